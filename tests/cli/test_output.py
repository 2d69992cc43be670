"""Data on one stream, talk on the other, and words for numbers."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone

from worker.cli import output


def test_times_are_utc():
    """Whatever zone they came in."""
    zone = timezone(timedelta(hours=2))
    assert output.moment(datetime(2026, 1, 1, 2, tzinfo=zone)) == "2026-01-01T00:00:00.000Z"
    assert output.moment(None) is None


def test_a_model_cannot_control_a_terminal(monkeypatch):
    """Nor rename its window; files and pipes get every byte."""
    text = "a\x1b]0;pwned\x07b\x9bc\td\ne"
    assert output.for_terminal(text) == text
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert output.for_terminal(text) == "a]0;pwnedbc\td\ne"


def test_nor_can_a_server_by_its_errors(monkeypatch, capsys):
    """They are quoted on standard error."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    output.talk("HTTP 400: \x1b[2Joops")
    assert capsys.readouterr().err == "spool: HTTP 400: [2Joops\n"


def test_talk_is_not_data(capsys):
    """So that pipes stay clean."""
    output.talk("hello")
    output.data("1")
    output.json_line({"t": datetime(2026, 1, 1, tzinfo=timezone.utc), "x": "ü"})  # noqa: UP017
    said = capsys.readouterr()
    assert said.err == "spool: hello\n"
    assert said.out == '1\n{"t": "2026-01-01T00:00:00.000Z", "x": "ü"}\n'
