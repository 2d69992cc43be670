"""Every event is listed, levelled and explained; no secret passes; a broken log ends nothing."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from worker import log

PACKAGE = Path(__file__).parent.parent / "worker"
NOON = datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC)


class Terminal(io.StringIO):
    """A stream with a person behind it."""

    def isatty(self):
        return True


class Clock:
    def now(self):
        return NOON

    def monotonic(self):
        return 0.0

    def random(self):
        return 0.0

    async def sleep(self, seconds):
        raise NotImplementedError


def logged(*calls, stream=None, **options):
    """What is written for these (event, values) calls."""
    stream = stream or io.StringIO()
    logger = log.make(stream=stream, clock=Clock(), **options)
    for event, values in calls:
        logger(event, **values)
    return stream.getvalue()


def test_programs_get_one_object_a_line():
    """Time in UTC, level, event, then the values."""
    line = logged(("run_completed", {"run_id": 7, "finish_reason": None}), log_format="json")
    assert list(json.loads(line).items()) == [
        ("timestamp", "2026-11-22T12:00:00.250Z"),
        ("level", "info"),
        ("event", "run_completed"),
        ("run_id", 7),
        ("finish_reason", None),
    ]


def test_people_get_words():
    """On a terminal, by default."""
    text = logged(("run_completed", {"run_id": 7}), stream=Terminal())
    assert "run_completed" in text
    assert not text.startswith("{")
    assert logged(("run_completed", {})).startswith("{")


def test_no_color_is_obeyed(monkeypatch):
    """https://no-color.org"""
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in logged(("run_completed", {}), stream=Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in logged(("run_completed", {}), stream=Terminal())


def test_what_is_less_important_than_asked_for_is_not_written():
    """Each event has its level; the setting draws the line."""
    calls = [("run_claimed", {}), ("run_completed", {}), ("run_failed", {})]
    assert len(logged(*calls, level="debug").splitlines()) == 3
    assert len(logged(*calls, level="info").splitlines()) == 2
    assert len(logged(*calls, level="error").splitlines()) == 1


def test_an_event_outside_the_list_is_written_all_the_same():
    """A missing word in a list must not hide what happened."""
    assert json.loads(logged(("never_heard_of", {}), level="warning"))["event"] == "never_heard_of"


def test_bound_values_are_on_every_line():
    """One id finds the whole story of a run."""
    stream = io.StringIO()
    logger = log.make(stream=stream, log_format="json").bind(worker_id="w")
    logger.bind(run_id=1)("run_claimed")
    logger.bind(run_id=2)("run_completed", run_id=3)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["worker_id"], line["run_id"]) for line in lines] == [("w", 3)]
    logger("run_completed")
    assert "run_id" not in json.loads(stream.getvalue().splitlines()[-1])


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "values",
    [
        {"error": "Bearer hush-1234 was refused"},
        {"error": ValueError("hush-1234")},
        {"headers": {"Authorization": "other-hush"}},
        {"api_key": "other-hush"},
        {"nested": [{"x-api-key": "other-hush"}, ("hush-1234",)]},
        {"url": b"hush-1234"},
    ],
)
def test_secrets_are_taken_out(values, log_format):
    """By the name of the value, and by what is inside."""
    text = logged(("run_failed", values), log_format=log_format, secrets=["hush-1234"])
    assert "hush" not in text
    assert "***" in text


def test_a_longer_secret_goes_before_the_one_it_begins_with():
    """Else its tail would stay."""
    text = logged(("run_failed", {"error": "hush-1234-tail"}), secrets=["hush", "hush-1234-tail"])
    assert "tail" not in text


def test_a_short_secret_does_not_blot_out_words():
    """A dummy key such as `x` is in every sentence."""
    assert "exit" in logged(("run_failed", {"error": "exit"}), secrets=["x"])


def test_a_server_cannot_move_a_persons_cursor_or_forge_a_line():
    """Errors quote what servers said."""
    text = logged(("run_failed", {"error": "a\x1b[2Jb\r\nc"}), log_format="console")
    assert len(text.splitlines()) == 1
    assert "\x1b[2J" not in text


@pytest.mark.parametrize("fault", [BrokenPipeError, ValueError, OSError])
def test_a_log_that_cannot_be_written_ends_nothing(fault):
    """A closed terminal is no reason to lose a run."""

    class Broken(io.StringIO):
        def write(self, text):
            raise fault

    log.make(stream=Broken(), log_format="json")("run_completed")


def test_a_program_gets_records(caplog):
    """In the standard library's logging: level, words and values, without secrets."""
    record = log.to_logging(secrets=["s3cret-key"]).bind(worker_id="w")
    with caplog.at_level("DEBUG"):
        record("run_failed", run_id=7, error="it refuses s3cret-key")
        record("run_claimed", run_id=8)
    failed, claimed = caplog.records
    assert (failed.name, failed.levelname, claimed.levelname) == ("promptspool", "ERROR", "DEBUG")
    assert failed.getMessage() == "run_failed worker_id='w' run_id=7 error='it refuses ***'"
    assert failed.spool["run_id"] == 7
