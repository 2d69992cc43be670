"""An ending arrives in its columns, whichever way it travels."""

from __future__ import annotations

import json

import msgspec
import pytest

from worker.records import Ending, Usage
from worker.states import PromptEvent, RunEvent
from worker.store.ending_rows import ENDING, as_json, as_rows
from worker.store.statements.fence import fences_of

FULL = Ending(
    run_id=7,
    prompt_id=3,
    run_event=RunEvent.COMPLETE,
    prompt_event=PromptEvent.COMPLETE,
    done_frame=True,
    finish_reason="stop",
    usage=Usage(prompt_tokens=11, completion_tokens=5),
    error_code="c",
    error="e",
    http_status=200,
    request_id="r",
    charged=False,
    delay_seconds=1.5,
    first_text_seconds_ago=0.25,
    chars=9,
    chunks=2,
    runs_without_progress=3,
    cut_id=77,
    nonce=99,
)
BARE = Ending(4, 2, RunEvent.INTERRUPT, PromptEvent.REQUEUE)


def in_json(*endings):
    return as_json(endings, fences_of([], endings))


def in_rows(*endings):
    return as_rows(endings, fences_of([], endings))


def test_every_value_arrives_under_its_name():
    """Rows and JSON share one order; this holds it to the names."""
    (said,) = json.loads(in_json(FULL))
    assert said == {
        "run_id": 7,
        "prompt_id": 3,
        "nonce": 99,
        "before": 2,
        "run_state": "completed",
        "prompt_state": "completed",
        "refund": 1,
        "delay": 1.5,
        "chars": 9,
        "chunks": 2,
        "done_frame": True,
        "first_text_ago": -0.25,
        "finish_reason": "stop",
        "prompt_tokens": 11,
        "completion_tokens": 5,
        "http_status": 200,
        "request_id": "r",
        "error_code": "c",
        "error": "e",
        "in_vain": 3,
        "cut_id": 77,
    }


@pytest.mark.parametrize("ending", [FULL, BARE])
def test_both_ways_say_the_same(ending):
    """A name that JSON leaves out is NULL, and only those are left out."""
    (row,) = in_rows(ending)
    (said,) = json.loads(in_json(ending))
    assert dict(zip(ENDING, row, strict=True)) == dict.fromkeys(ENDING) | said
    assert None not in said.values()


def test_what_is_nothing_is_said_when_it_is_not_null():
    """Zero characters and no done frame are facts."""
    (said,) = json.loads(in_json(BARE))
    assert (said["chars"], said["chunks"], said["refund"], said["done_frame"]) == (0, 0, 0, False)


def test_runs_are_in_the_order_of_their_locks():
    """Two commits that lock runs in different orders would wait for each other."""
    assert [row["run_id"] for row in json.loads(in_json(FULL, BARE))] == [4, 7]


@pytest.mark.parametrize(
    ("said", "stored"),
    [(None, None), ("stop", "stop"), ("é", "é"), ("a\0b", "a\ufffdb"), ("\ud800", "?")],
)
def test_odd_characters_keep_no_run_from_ending(said, stored):
    """PostgreSQL stores no NUL, and nobody half a surrogate pair."""
    ending = msgspec.structs.replace(FULL, finish_reason=said)
    assert in_rows(ending)[0][list(ENDING).index("finish_reason")] == stored
