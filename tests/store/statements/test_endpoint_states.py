"""What endpoints said is read by every worker, and by the next start."""

from __future__ import annotations

from tests.store.cast import sign_on


def test_what_an_endpoint_said_is_kept_and_replaced(store):
    """One row for each endpoint and each digest of the settings."""
    assert store.endpoint_states() == {}
    for worker_id in ("w1", "w2"):
        sign_on(store, worker_id)
    store.keep_endpoint_state("w1", "default", "aa", {"models": ["m"], "refusal": None})
    store.keep_endpoint_state("w2", "default", "bb", {"models": [], "refusal": {"code": "x"}})
    store.keep_endpoint_state("w2", "default", "aa", {"models": ["m", "n"], "refusal": None})
    assert store.endpoint_states() == {
        ("default", "aa"): {"models": ["m", "n"], "refusal": None},
        ("default", "bb"): {"models": [], "refusal": {"code": "x"}},
    }


def test_a_row_that_somebody_wrote_by_hand_is_passed_over(store, sql):
    """No worker stops at it."""
    sql("INSERT INTO endpoint_states (endpoint, digest, state) VALUES ('default', 'aa', '[1]')")
    sql("INSERT INTO endpoint_states (endpoint, digest) VALUES ('default', 'bb')")
    assert store.endpoint_states() == {}
