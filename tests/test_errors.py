"""The tree of errors: every class has its verdict, every code somebody who uses it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from worker import errors
from worker.errors import ErrorCode, SpoolError, Verdict

WORKER = Path(errors.__file__).parent
V = Verdict

VERDICTS = {
    "SettingsError": V.STOP,
    "InputError": V.FAIL,
    "NotFound": V.FAIL,
    "ImpossibleTransition": V.STOP,
    "StreamError": V.RETRY_LATER,
    "Unreachable": V.RETRY_HERE,
    "Stalled": V.RETRY_LATER,
    "Broken": V.RETRY_LATER,
    "WireError": V.RETRY_LATER,
    "Truncated": V.RETRY_LATER,
    "Unfinished": V.RETRY_LATER,
    "Malformed": V.RETRY_LATER,
    "FrameTooLarge": V.RETRY_LATER,
    "OutputTooLarge": V.FAIL,
    "Busy": V.RETRY_LATER,
    "ServerFailed": V.RETRY_LATER,
    "Crashed": V.RETRY_LATER,
    "NotContinued": V.RETRY_LATER,
    "Refused": V.FAIL,
    "StoreError": V.STOP,
    "StoreBusy": V.RETRY_HERE,
    "StoreContended": V.RETRY_HERE,
    "StaleSession": V.RETRY_HERE,
    "StoreBroken": V.STOP,
    "LeaseLost": V.YIELD,
    "ShutDown": V.RETRY_LATER,
    "Cancelled": V.FAIL,
}


def tree(root: type[SpoolError] = SpoolError) -> dict[str, type[SpoolError]]:
    """Every class of errors.py below the root."""
    found = {}
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            found |= {kind.__name__: kind, **tree(kind)}
    return found


@cache
def used_names() -> frozenset[str]:
    """Every name and attribute that the program's own code mentions, outside errors.py."""
    names: set[str] = set()
    for path in WORKER.rglob("*.py"):
        if path == WORKER / "errors.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                names.add(node.attr)
            elif isinstance(node, ast.Name):
                names.add(node.id)
    return frozenset(names)


def test_every_class_has_the_verdict_that_is_written_here():
    """A new error has to be judged; a changed verdict has to be meant."""
    assert {name: kind.verdict for name, kind in tree().items()} == VERDICTS


def test_the_picture_at_the_top_of_the_file_shows_every_class_with_its_verdict():
    """The tree that a reader sees first is the tree that runs."""
    picture = errors.__doc__ or ""
    for name, kind in tree().items():
        (line,) = [line for line in picture.splitlines() if f"── {name} " in f"{line} "]
        words = line.split()
        is_branch = name in {"StreamError", "WireError", "StoreError"}
        assert is_branch or kind.verdict.name in words


@pytest.mark.parametrize("name", sorted(set(VERDICTS) - {"StreamError", "WireError"}))
def test_every_class_is_used_by_the_program(name):
    """An error that nobody raises or catches is a promise that nobody keeps."""
    assert name in used_names()


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_code_is_used_by_the_program(code):
    """What can stand in `error_code` is what the program can put there."""
    by_class = {kind.code for kind in tree().values()}
    assert code in by_class or code.name in used_names()


def test_whatever_ends_a_run_has_a_code():
    """Rows are counted by code; a run that did not complete always has one."""
    coded = {name for name, kind in tree().items() if kind.code is not None}
    about_runs = {
        name
        for name, kind in tree().items()
        if issubclass(kind, errors.StreamError | errors.WireError)
    }
    assert about_runs | {"LeaseLost", "ShutDown", "Cancelled"} <= coded


def test_an_error_is_its_message():
    """What a person reads is the sentence, without the name of a class."""
    assert str(errors.Broken("the cable was cut")) == "the cable was cut"


def test_one_error_can_differ_from_its_class_without_changing_it():
    """`x-should-retry`, a lapsed lease: the verdict of one error, not of its kind."""
    one = errors.LeaseLost(
        "lapsed", verdict=V.RETRY_LATER, code=ErrorCode.HANDED_BACK, charged=False
    )
    assert (one.verdict, one.code, one.charged) == (V.RETRY_LATER, ErrorCode.HANDED_BACK, False)
    other = errors.LeaseLost("lost")
    assert (other.verdict, other.code, other.charged) == (V.YIELD, ErrorCode.LEASE_LOST, True)


def test_what_the_server_said_travels_with_the_error():
    """Delay, status and request id reach the rows."""
    busy = errors.Busy("wait", retry_after_seconds=3.5, http_status=429, request_id="r1")
    assert (busy.retry_after_seconds, busy.http_status, busy.request_id) == (3.5, 429, "r1")
    plain = errors.Busy("wait")
    assert (plain.retry_after_seconds, plain.http_status, plain.request_id) == (None, None, None)


def test_an_error_does_not_change():
    """Many runs may share one; what is concluded from it is another value."""
    error = errors.Busy("wait", http_status=429, charged=False)
    for name, value in (("charged", True), ("message", "other"), ("code", ErrorCode.SHUTDOWN)):
        with pytest.raises(AttributeError, match="does not change"):
            setattr(error, name, value)
    assert (error.charged, error.message) == (False, "wait")


def test_another_error_is_made_of_one_with_its_cause():
    """The class, the facts and the cause stay; what is named is different."""
    error = errors.Busy("wait", http_status=429, charged=False, request_id="r")
    error.__cause__ = OSError("reset")
    error.add_note("seen")
    other = error.but(message="[redacted]")
    assert type(other) is errors.Busy
    assert (other.message, str(other)) == ("[redacted]", "[redacted]")
    assert (other.http_status, other.charged, other.request_id) == (429, False, "r")
    assert other.__cause__ is error.__cause__
    assert error.message == "wait"


def test_a_code_that_was_renamed_is_found_by_either_word():
    """A script that names the earlier word goes on finding the rows of both."""
    assert set(errors.spellings("orphaned")) == {"handed_back", "orphaned"}
    assert set(errors.spellings("handed_back")) == {"handed_back", "orphaned"}
    assert errors.spellings("rate_limited") == ["rate_limited"]
