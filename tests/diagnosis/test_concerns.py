"""Each thing that is stuck has a sentence that says why, and what to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from worker.clock import SystemClock
from worker.diagnosis.concerns import concerns
from worker.errors import ErrorCode
from worker.records import Endpoint
from worker.states import PromptState
from worker.store.rows import LiveRun, QueueStatus, Tally, WorkerStatus

THEN = datetime(2026, 11, 22, tzinfo=UTC)
ENDPOINTS = {"default": Endpoint("default", "ollama-chat", "http://x", "m")}


def said(**status):
    return list(concerns(QueueStatus(**status), ENDPOINTS, lease_seconds=30))


def worker(lease_seconds_left=25.0, runs=1, stopped_at=None, endpoints=None):
    return WorkerStatus("w", "host", 12, "0", THEN, stopped_at, lease_seconds_left, runs, endpoints)


def run(silent_seconds, chunks=1, endpoint="default"):
    return LiveRun(1, 7, None, None, endpoint, "m", "w", 1, THEN, 999.0, silent_seconds, chunks)


def test_nothing_wrong_is_nothing_said():
    """A quiet screen means something."""
    assert said(workers=(worker(),), ready=3, live=(run(1.0),)) == []


@pytest.mark.parametrize("workers", [(), (worker(stopped_at=THEN, runs=0),), (worker(-5.0, 0),)])
def test_prompts_without_a_worker(workers):
    """The first thing that a new user meets."""
    assert said(ready=2, later=1, next_in_seconds=5.0, workers=workers)[0] == (
        "no worker is running, and 3 prompts queued: start `spool run`"
    )


def test_prompts_that_wait_for_their_moment():
    """And for how long."""
    assert said(workers=(worker(),), later=1, next_in_seconds=90.0) == [
        "waiting for a later try: 1 prompt, the first in 1 min 30 s"
    ]


def test_a_lease_that_is_about_to_run_out():
    """It is renewed after a third; with less than half left, something is wrong."""
    (sentence,) = said(workers=(worker(9.0),))
    assert sentence.startswith("the lease of worker host:12 runs out in 9 s: it is blocked, or")


def test_a_lease_that_ran_out():
    """And who takes the runs over."""
    assert said(workers=(worker(-70.0, 2),))[0] == (
        "worker host:12 has been silent for 1 min 10 s past its lease; the next worker to start"
        " takes its 2 runs over"
    )
    assert "a living worker takes its 2 runs over" in said(workers=(worker(-70.0, 2), worker()))[0]


def test_an_endpoint_that_is_not_configured():
    """Its prompts would wait for ever."""
    tally = Tally("b", "far", {PromptState.QUEUED: 4})
    (sentence,) = said(workers=(worker(),), tallies=(tally, tally))
    assert sentence.startswith(
        "queued for the endpoint 'far', which is not configured here: 8 prompts; add [endpoints.far]"
    )
    assert said(tallies=(Tally("b", "far", {PromptState.FAILED: 4}),)) == []


def test_an_endpoint_that_no_running_worker_serves():
    """Configured, but nobody was started for it."""
    tallies = (Tally("b", "default", {PromptState.QUEUED: 4}),)
    told, silent = worker(endpoints={"far": {"state": "closed"}}), worker()
    (sentence,) = said(workers=(told,), tallies=tallies)
    assert sentence == (
        "queued for the endpoint 'default', which no running worker serves: 4 prompts;"
        " start `spool run --endpoint default`"
    )
    assert said(workers=(told, silent), tallies=tallies) == []
    assert said(workers=(worker(endpoints={"default": {}}),), tallies=tallies) == []


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            {"state": "open", "since": "noon", "asks_at": "one", "error": "refused"},
            (
                "breaker open since noon, asked again at one; nothing is claimed for it and no attempt"
                " is used up: refused"
            ),
        ),
        ({"state": "half open"}, "one prompt at a time finds out if it answers again"),
        ({"paused_until": "noon"}, "the server asked for patience until noon"),
        (
            {"state": "half open", "paused_until": "noon"},
            "the server asked for patience until noon",
        ),
    ],
)
def test_an_endpoint_that_a_worker_waits_for(told, words):
    """As long as that worker lives; what a dead one thought is of no interest."""
    assert said(workers=(worker(endpoints={"default": told}),)) == [
        f"worker host:12, endpoint 'default': {words}"
    ]
    assert said(workers=(worker(-99.0, 0, endpoints={"default": told}),)) == []


def test_an_endpoint_that_turns_everybody_away():
    """What it said, and the cure."""
    told = {"state": "open", "since": "noon", "error": "HTTP 402", "refuses": "quota_exhausted"}
    (sentence,) = said(workers=(worker(endpoints={"default": told}),))
    assert sentence.endswith("is used up: HTTP 402; top up the account, and it goes on by itself")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"cut_after_seconds": 60}, "something cuts answers after 60 s"),
        ({"streams_at_a_time": 4}, "is asked for 4 streams at a time"),
        ({"canary_useless": True}, "its canary is refused in other words"),
        (
            {"held_batches": [{"batch": 7, "code": "bad_request", "error": "no"}]},
            "every prompt of batch 7 fails with bad_request, so it goes on one prompt at a time: no",
        ),
        ({"state": "open", "never_worked": True}, "it has never answered, so check its settings"),
    ],
)
def test_what_a_person_should_know_of_an_endpoint(told, words):
    """A timeout between, a lack of room, a canary that proves nothing, a batch that is held."""
    (sentence,) = said(workers=(worker(endpoints={"default": {"state": "closed", **told}}),))
    assert words in sentence


def test_workers_that_mean_different_servers_by_one_name():
    """One has a wrong key, perhaps; the digests of their settings differ."""
    one = worker(endpoints={"default": {"state": "closed", "digest": "aa"}})
    other = worker(endpoints={"default": {"state": "closed", "digest": "bb"}})
    assert said(workers=(one, one)) == []
    (sentence,) = said(workers=(one, other))
    assert "have different settings for the endpoint 'default'" in sentence


@pytest.mark.parametrize(("days_ago", "told"), [(0, "%H:%M:%S"), (2, "%Y-%m-%d %H:%M:%S")])
def test_a_moment_of_another_day_has_its_day(days_ago, told):
    """Out since the day before yesterday is not out since noon."""
    since = SystemClock().now().astimezone() - timedelta(days=days_ago)
    said_so = {"state": "open", "since": since.isoformat(timespec="seconds")}
    (sentence,) = said(workers=(worker(endpoints={"default": said_so}),))
    assert f"breaker open since {since.strftime(told)}, asked" in sentence


@pytest.mark.parametrize(
    ("live", "words"),
    [
        (run(70.0), "prompt 7 has stored no text for 1 min 10 s; after 2 min 0 s of silence"),
        (run(400.0, chunks=0), "after 10 min 0 s of silence its run is ended and tried again"),
    ],
)
def test_a_run_that_is_silent_for_long(live, words):
    """Before its first text it may be silent for longer."""
    (sentence,) = said(live=(live,))
    assert words in sentence


def test_a_run_that_is_silent_within_reason():
    """Loading a model takes its time; and of unknown endpoints nobody knows the limit."""
    assert said(live=(run(70.0, chunks=0), run(999.0, endpoint="far"))) == []


def test_answers_that_were_cut():
    """They are completed, which is why somebody has to say so."""
    (one,) = said(truncated=1)
    assert one.startswith("cut at their length limit: 1 completed answer (`truncated` in exports ")
    assert "2 completed answers" in said(truncated=2)[0]


def test_prompts_that_killed_their_workers():
    """The newest few, by id, and where to look."""
    (sentence,) = said(crash_capped=(9, 8))
    assert sentence.startswith("given up because workers died while carrying them: prompts 9, 8 (")
    assert "`spool show 9 --attempts`" in sentence
    assert "5, 4, 3, 2, 1, ... (" in said(crash_capped=(5, 4, 3, 2, 1, 0))[0]


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_of_failure_has_a_cure(code):
    """The most frequent first."""
    (sentence,) = said(failures={str(code): 2})
    assert sentence.startswith(f"failed with {code}: 2 prompts; ")
    assert len(sentence.partition("; ")[2]) > 15


def test_the_most_frequent_failure_comes_first():
    """It is the one to cure."""
    assert "rate_limited" in said(failures={"bad_request": 1, "rate_limited": 9})[0]
