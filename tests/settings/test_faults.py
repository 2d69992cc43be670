"""A fault names the key as its writer knows it, and repeats no long or secret value."""

from __future__ import annotations

import pytest

from worker.settings.faults import Origins, SettingsProblem, leaves, translated


def detail(kind, key, given, **context):
    return {"type": kind, "loc": tuple(key.split(".")), "input": given, "ctx": context, "msg": "?"}


def test_the_last_layer_to_set_a_key_names_it():
    """Mending the file would not help if a variable is what counts."""
    origins = Origins()
    origins.record("file", ("a",), "spool.toml: a")
    origins.record("env", ("a",), "SPOOL_A")
    assert origins.name(("a",)) == "SPOOL_A"
    assert origins.kind(("a",)) == "env"


def test_a_key_that_nobody_set_is_placed_beside_its_neighbours():
    """A missing key belongs into the table that lacks it."""
    origins = Origins()
    origins.record("file", ("endpoints", "far", "dialect"), "my.toml: endpoints.far.dialect")
    assert origins.name(("endpoints", "far", "model")) == "my.toml: endpoints.far.model"
    assert origins.name(("other",)) == "other"


def test_a_key_below_one_that_was_set_is_named_through_it():
    """Options given as one JSON variable still have keys inside."""
    origins = Origins()
    origins.record("env", ("endpoints", "a", "headers"), "SPOOL_ENDPOINTS__A__HEADERS")
    assert origins.name(("endpoints", "a", "headers", "x")) == "SPOOL_ENDPOINTS__A__HEADERS.x"


def test_leaves_stop_at_options():
    """What is inside them is a value, not a setting."""
    tree = {"a": 1, "endpoints": {"x": {"options": {"b": 2}}}}
    assert [path for path, _ in leaves(tree)] == [("a",), ("endpoints", "x", "options")]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (detail("extra_forbidden", "lese_seconds", 1), "did you mean lease_seconds?"),
        (detail("extra_forbidden", "xyzzy", 1), "is not a setting: remove it"),
        (
            detail("literal_error", "transport", "fats", expected="'fast' or 'httpx'"),
            "must be one of fast or httpx, not 'fats'; did you mean fast?",
        ),
        (detail("greater_than", "a_seconds", 0, gt=0), "must be more than 0 seconds, not 0"),
        (detail("less_than_equal", "a_ms", 9, le=5), "must be at most 5 milliseconds, not 9"),
        (detail("int_parsing", "a_bytes", "x"), "must be a whole number of bytes, not 'x'"),
        (detail("bool_parsing", "listen", 3), "must be true or false, not 3"),
        (detail("string_type", "model", True), "must be text, not true"),
        (detail("model_type", "endpoints.a", 3), "must be a table of its own"),
    ],
)
def test_each_kind_of_fault_has_words(error, words):
    """Expected, given, and the unit."""
    assert words in translated(error, ["lease_seconds", "listen"])


def test_a_long_value_is_cut():
    """A message is a sentence."""
    told = translated(detail("int_parsing", "max_attempts", "x" * 500), [])
    assert len(told) < 100


def test_a_secret_value_is_not_repeated():
    """Whatever is wrong with it."""
    assert "hush" not in translated(detail("string_type", "database_url", "hush"), [])


def test_a_fault_reads_as_a_sentence():
    """Place, then what is wrong."""
    assert str(SettingsProblem("spool.toml: a", "must be b")) == "spool.toml: a must be b"
