"""What one row holds never stops the readers of all others, on either database.

People and other programs write to the tables as well.  Here many prompts hold what no
worker writes, each another oddity, and every command that reads goes over all of them.
"""

from __future__ import annotations

import csv
import io
import json
import logging

import pytest
from pyarrow import parquet

from tests.cli.carried import WORKER, claim, complete, fail, flush
from worker import Spool
from worker.records import NewPrompt, WorkerInfo

DIGITS = "9" * 6000
DEEP = {"sqlite": 990, "postgresql": 3000}  # SQLite itself refuses what is nested much deeper
ANSWER = "Hello"

# What is done to a completed prompt of its own; `?` stands for its id.
BOTH = {
    "a number of 6,000 digits": f"""UPDATE prompts SET metadata = '{{"n": {DIGITS}}}' WHERE id = ?""",
    "metadata that are no object": "UPDATE prompts SET metadata = '[1, \"x\"]' WHERE id = ?",
    "JSON on several lines": "UPDATE prompts SET metadata = '{\n\"a\":\n1}' WHERE id = ?",
    "half a surrogate pair": r"""UPDATE prompts SET prompt = NULL, messages = '["\ud800"]' WHERE id = ?""",
    "messages nested deeply": """UPDATE prompts SET prompt = NULL, messages = 'NESTED' WHERE id = ?""",
    "options that no Python reads": f"""UPDATE prompts SET options = '{{"a": {DIGITS}}}' WHERE id = ?""",
    "tool calls that no worker wrote": "UPDATE chunks SET kind = 'tool_calls', text = '[1, {'"
    " WHERE run_id = (SELECT run_id FROM prompts WHERE id = ?)",
    "counts at the end of their type": "UPDATE runs SET prompt_tokens = 9223372036854775807,"
    " completion_tokens = -9223372036854775807 WHERE prompt_id = ?",
    "a created_at that is no moment": "UPDATE prompts SET created_at = 'NEVER' WHERE id = ?",
    "a finished_at that is no moment": "UPDATE prompts SET finished_at = 'NEVER' WHERE id = ?",
    "a run that never began": "UPDATE runs SET started_at = 'NEVER' WHERE prompt_id = ?",
    "a run that never ended": "UPDATE runs SET finished_at = 'NEVER' WHERE prompt_id = ?",
    "a first text at no moment": "UPDATE runs SET first_text_at = 'NEVER' WHERE prompt_id = ?",
    "a chunk of no moment": "UPDATE chunks SET created_at = 'NEVER'"
    " WHERE run_id = (SELECT run_id FROM prompts WHERE id = ?)",
    "a moment beyond all calendars": "UPDATE prompts SET created_at = 'FAR' WHERE id = ?",
    "a status that nobody knows": "UPDATE prompts SET status = 'resting' WHERE id = ?",
}
SQLITE = {
    "a prompt of bytes that are no text": "UPDATE prompts SET prompt = CAST(x'ff61' AS TEXT) WHERE id = ?",
    "an answer of bytes that are no text": "UPDATE chunks SET text = CAST(x'e2826c' AS TEXT)"
    " WHERE run_id = (SELECT run_id FROM prompts WHERE id = ?)",
    "a zero in a text": "UPDATE prompts SET error = 'a' || char(0) || 'b' WHERE id = ?",
    "a moment without a time": "UPDATE prompts SET created_at = '' WHERE id = ?",
}
NO_MOMENTS = {"a created_at that is no moment", "a finished_at that is no moment",
              "a moment beyond all calendars", "a moment without a time"}  # fmt: skip
UNKNOWN = "a status that nobody knows"
FORMATS = ("jsonl", "csv", "parquet", "openai-batch")


@pytest.fixture
def odd(store, sql):
    """Ids of prompts by what is odd about each; those of two that are as they should be."""
    kind = "sqlite" if sql.is_sqlite else "postgresql"
    harms = BOTH | (SQLITE if sql.is_sqlite else {})
    store.add([NewPrompt(prompt=f"p{n}") for n in range(len(harms) + 2)], batch="b")
    for run in claim(store, len(harms) + 2):
        flush(store, run, ANSWER)
        complete(store, run)
    words = {
        "NESTED": "[" * DEEP[kind] + "]" * DEEP[kind],
        "NEVER": "yesterday" if sql.is_sqlite else "infinity",
        "FAR": "12026-01-01 00:00:00",
    }
    _without_rules(sql)
    ids = {}
    for prompt_id, (name, harm) in enumerate(harms.items(), start=2):
        ids[name] = prompt_id
        for word, value in {**words, "?": str(prompt_id)}.items():
            harm = harm.replace(word, value)  # noqa: PLW2901
        sql(harm)
    return {"sound": {1, len(harms) + 2}, "odd": ids}


def _without_rules(sql):
    """As in a file that another program made."""
    if sql.is_sqlite:
        sql("PRAGMA ignore_check_constraints = ON")
    else:
        sql("ALTER TABLE prompts DROP CONSTRAINT prompts_status")
        sql("ALTER TABLE prompts DROP CONSTRAINT prompts_finished_at")


def _ids(file_format, data):
    if file_format == "csv":
        return {int(row["id"]) for row in csv.DictReader(io.StringIO(data.decode()))}
    if file_format == "parquet":
        return set(parquet.read_table(io.BytesIO(data)).column("id").to_pylist())
    # No integer is read: those of odd rows may have more digits than Python takes.
    lines = [line for line in data.decode().split("\n") if line]
    if file_format == "jsonl":
        return {int(line.split(",", 1)[0].removeprefix('{"id":')) for line in lines}
    return {int(json.loads(line)["id"].removeprefix("batch_req_")) for line in lines}


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_export_writes_all_that_can_be_written_and_names_the_rest(on, here, odd, file_format):
    """Exit code 1 if anything was named; what is only handed on is handed on as it is."""
    done = on("export", "--format", file_format, "-o", "out")
    assert done.code == 1
    assert "Traceback" not in done.err
    unknown = odd["odd"][UNKNOWN]
    found = _ids(file_format, (here / "out").read_bytes())
    # One whose status nobody knows is not among the finished ones: nothing asks for it.
    assert found == (odd["sound"] | {*odd["odd"].values()}) - {unknown}
    named = {name for name, n in odd["odd"].items() if f"prompt {n} cannot be read" in done.err}
    assert named == NO_MOMENTS & odd["odd"].keys()
    if file_format != "openai-batch":
        assert DIGITS.encode() in (here / "out").read_bytes() or file_format == "parquet"
    everything = on("export", "--format", "jsonl", "--partial", "-o", "all")
    assert f"prompt {unknown} cannot be read as it is (unknown status 'resting')" in everything.err


def test_each_prompt_can_be_shown_and_none_stands_before_another(on, odd):
    """Whatever is odd about it; the one of a status that nobody knows gets a sentence."""
    for name, prompt_id in odd["odd"].items():
        for flags in ((), ("--json",), ("--attempts",)):
            done = on("show", prompt_id, *flags)
            assert done.code == (1 if name == UNKNOWN else 0), (name, flags, done.err)
            assert "Traceback" not in done.err
        assert on("tail", prompt_id).code == (1 if name == UNKNOWN else 0)
    shown = on("show", odd["odd"]["a number of 6,000 digits"], "--json").out
    assert DIGITS in shown
    unknown = on("show", odd["odd"][UNKNOWN])
    assert "'resting', which this version of Spool does not know" in unknown.err


def test_the_whole_queue_can_be_seen(on, odd, store, sql):
    """Workers' rows that nobody wrote as workers do included."""
    never = "yesterday" if sql.is_sqlite else "infinity"
    said = ("[1]", '"x"', '{"default": 1}', "null", f'{{"default": {DIGITS}}}')
    for number, each in enumerate(said):
        store.register(WorkerInfo(f"odd{number}", "host", 1, "0"), 30.0)
        sql(f"UPDATE workers SET endpoints = '{each}', process = '{each}' WHERE id = 'odd{number}'")
    sql("UPDATE workers SET pid = 9223372036854775807 WHERE id = 'odd1'")
    sql(f"UPDATE workers SET started_at = '{never}' WHERE id = 'odd0'")
    sql(f"UPDATE workers SET lease_until = '{never}' WHERE id = 'odd2'")
    store.add([NewPrompt(prompt="p")])
    (run,) = claim(store)
    sql(f"UPDATE runs SET started_at = '{never}' WHERE id = {run.id}")
    for command in (("status",), ("status", "--json"), ("tail", run.prompt_id)):
        done = on(*command)
        assert done.code == 0, (command, done.err)
        assert "Traceback" not in done.err
    found = on("doctor", "--json").json["findings"]
    assert [each["health"] for each in found if each["about"] == "database"] == ["ok"]


def test_python_gets_every_row(database_url, odd, caplog):
    """A moment that is none is None; JSON that Python cannot read is its text."""
    with Spool(database_url) as spool, caplog.at_level(logging.WARNING, "promptspool"):
        found = {row.id: row.as_dict() for row in spool.results()}
    assert found.keys() == (odd["sound"] | {*odd["odd"].values()}) - {odd["odd"][UNKNOWN]}
    assert DIGITS in found[odd["odd"]["a number of 6,000 digits"]]["metadata"]
    assert found[odd["odd"]["metadata that are no object"]]["metadata"] == [1, "x"]
    assert found[odd["odd"]["a created_at that is no moment"]]["created_at"] is None
    assert isinstance(found[odd["odd"]["messages nested deeply"]]["messages"], str)
    named = {each.args[0] for each in caplog.records if each.name == "promptspool"}
    assert named == {odd["odd"][name] for name in {*NO_MOMENTS, UNKNOWN} & odd["odd"].keys()}


def test_workers_and_those_who_change_prompts_pass_over_them(on, odd, store, sql):
    """A claim fails what nobody can read by name; retry, cancel, rescue and prune go on."""
    state = "status = 'queued', finished_at = NULL"
    sql(f"UPDATE prompts SET {state} WHERE status = 'completed'")
    runs = claim(store, 100)
    carried = {run.prompt_id for run in runs}
    unreadable = {"messages nested deeply", "options that no Python reads"}
    expected = {n for name, n in odd["odd"].items() if name not in {*unreadable, UNKNOWN}}
    assert carried == odd["sound"] | expected
    why = sql("SELECT id FROM prompts WHERE error LIKE 'what is asked cannot be read%'")
    assert {n for (n,) in why} == {odd["odd"][name] for name in unreadable}
    sql(f"UPDATE workers SET lease_until = '2020-01-01 00:00:00' WHERE id = '{WORKER.id}'")
    assert len(store.rescue(max_crashes=5)) == len(carried)
    for run in claim(store, 100):
        fail(store, run)
    failed = len(sql("SELECT id FROM prompts WHERE status = 'failed'"))
    assert on("retry", "--status", "failed").out == f"queued {failed} prompts again\n"
    assert on("cancel", "--all", "--json").json == {"cancelled": failed}
    whole = on("retry", "--status", "cancelled", "--option", "seed=1")
    unread = odd["odd"]["options that no Python reads"]
    assert whole.out == f"queued {failed - 1} prompts again\n"
    assert (whole.code, f"cannot be read: {unread};" in whole.err) == (1, True)
    on("cancel", "--all")
    assert on("prune", "--all", "--json").json == {"pruned": failed, "dry_run": False}
