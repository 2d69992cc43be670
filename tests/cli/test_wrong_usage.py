"""Wrong usage of every command is one sentence with a cure that is right: each is followed here."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import dataclass

import pytest

from tests.cli.carried import claim, complete, fail, flush

SETTINGS = "".join(
    f'[endpoints.{name}]\ndialect = "{dialect}"\nbase_url = "http://localhost:1/v1"\nmodel = "m"\n'
    for name, dialect in (("default", "openai-chat"), ("new", "openai-responses"))
)
ASK = [{"role": "user", "content": "q"}]


@dataclass(frozen=True)
class Wrong:
    """A mistake, words of its sentence, and what the sentence says to do.

    `cure` is the command that the sentence names, a blank standing for the mistake's own; `mend`
    changes a file (name, new content) before it.  `shows` is what the cured command prints.
    """

    usage: str
    words: str
    cure: str = ""
    shows: str = ""
    mend: tuple[str, str] | None = None
    code: int = 2


CASES = [
    Wrong("ad p.jsonl", "did you mean `spool add`?", "add p.jsonl", "already in batch p.jsonl"),
    Wrong("add", "give a FILE, - for standard input, or -p TEXT", "add -p TEXT", "added 1 prompt"),
    Wrong("add q.jsonl", "there is no file q.jsonl: check", "add p.jsonl", "already in", code=1),
    Wrong("add p.jsonl --endpont new", "Did you mean '--endpoint'?", "add p.jsonl --endpoint new"),
    Wrong("add -p x --endpoint nwe", "did you mean new?", "add -p x --endpoint new", "added 1"),
    Wrong(
        "add -p x --option temperature",
        "is not KEY=VALUE, such as temperature=0",
        "add -p x --option temperature=0",
        "added 1",
    ),
    Wrong(
        "add -p x --temperature 0",
        "--option temperature=VALUE",
        "add -p x --option temperature=0",
        "added 1",
    ),
    Wrong("add p.jsonl --format yaml", "'jsonl', 'json', 'csv'", "add p.jsonl --format jsonl"),
    Wrong(
        "add t.csv --template 'Say {title}'",
        "write them as {{ column }}",
        "add t.csv --template 'Say {{ title }}'",
        "added 1",
        code=1,
    ),
    Wrong(
        "add t.csv --template '{{ tilte }}'",
        "did you mean title? (there is: title, key)",
        "add t.csv --template '{{ title }}'",
        "added 1",
        code=1,
    ),
    Wrong(
        "add t.csv",
        "--template 'Summarise: {{ column }}'",
        "add t.csv --template 'Summarise: {{ title }}'",
        "added 1",
        code=1,
    ),
    Wrong(
        "add t.csv --template '{{ title }}' --id-column kye",
        "did you mean key?",
        "add t.csv --template '{{ title }}' --id-column key",
        "added 1",
        code=1,
    ),
    Wrong(
        "add bad.jsonl",
        "did you mean prompt?",
        shows="added 1",
        mend=("bad.jsonl", '{"prompt": "q"}'),
        code=1,
    ),
    Wrong(
        "add hot.jsonl",
        'is wrong in temperature: expected a number, got the text "hot"',
        shows="added 1",
        mend=("hot.jsonl", '{"prompt": "q", "temperature": 1}'),
        code=1,
    ),
    Wrong(
        "add both.jsonl",
        "--template '{{ input }} {{ prompt }}'",
        "add both.jsonl --template '{{ input }} {{ prompt }}'",
        "added 1",
        code=1,
    ),
    Wrong(
        "add lines.jsonl",
        'each line must be one, such as {"prompt": "..."}',
        shows="added 1",
        mend=("lines.jsonl", '{"prompt": "..."}'),
        code=1,
    ),
    Wrong(
        "add batch.jsonl --endpoint default",
        "use --endpoint new",
        "add batch.jsonl --endpoint new",
        "added 1",
        code=1,
    ),
    Wrong(
        "add twice.jsonl",
        "of an earlier one: give it its own",
        shows="were there already",
        mend=(
            "twice.jsonl",
            '{"custom_id": "1", "prompt": "q"}\n{"custom_id": "2", "prompt": "q"}',
        ),
        code=1,
    ),
    Wrong("add changed.jsonl --batch p.jsonl", "--replace queues it anew", " --replace", code=1),
    Wrong("add -p @me", "a prompt that begins with @ is written with @@", "add -p @@me", code=1),
    Wrong("add -p a -p b --custom-id c", "goes with a single -p", "add -p a --custom-id c"),
    Wrong("add -p x --max-attempts 0", "1<=x<=", "add -p x --max-attempts 1", "added 1"),
    Wrong("show", "by ID, or by --custom-id", "show --custom-id a", "answer"),
    Wrong("show a", "`spool show --custom-id a` finds one", "show --custom-id a", "answer"),
    Wrong("show 99", "`spool list` shows them", "list", "completed", code=1),
    Wrong("show --custom-id zz", "`spool list` shows them", "list", "completed", code=1),
    Wrong("tail 99", "`spool list` shows them", "list", "completed", code=1),
    Wrong("tail 1 --after x", "RUN:SEQ, such as 7:12, which --json shows", "tail 1 --json"),
    Wrong("export --batch nope", "`spool status` lists them", "status", "p.jsonl", code=1),
    Wrong("export --format xlsx", "'jsonl', 'csv', 'parquet'", "export --format csv", "answer"),
    Wrong("export --errors e", "goes with --format openai-batch", " --format openai-batch"),
    Wrong("export -o spool.db", "is the database itself: choose another", "export -o other"),
    Wrong("retry", "or --all", "retry --all", "queued"),
    Wrong("retry --all 1", "remove it or the others", "retry --all", "queued"),
    Wrong("cancel --status quued", "did you mean queued?", "cancel --status queued", "cancelled"),
    Wrong("prune --older-than 30", "write 90s, 30m, 12h, 7d or 2w", "prune --older-than 30m"),
    Wrong("status --batch p.jsonl", "`spool list --batch NAME`", "list --batch p.jsonl", "a"),
    Wrong("wait --batch p.jsonl", "`spool wait NAME`", "wait p.jsonl"),
    Wrong("batch p.jsonl -o p.jsonl", "write them to another file", "batch p.jsonl -o out.jsonl"),
    Wrong(
        "--database-url mysql://h/d status",
        "sqlite:///",
        "--database-url sqlite:///spool.db status",
    ),
    Wrong(
        "--config no.toml status", "`spool config --defaults > no.toml`", "config --defaults", "["
    ),
    Wrong("completion tcsh", "'bash', 'zsh', 'fish'", "completion zsh", "spool"),
]


@pytest.fixture
def place(here, spool, sqlite_template, open_at):
    """A database with an answered, a failed and a queued prompt; files with a mistake each."""
    shutil.copy(sqlite_template, here / "spool.db")
    responses = {"custom_id": "r", "url": "/v1/responses", "body": {"input": "q"}}
    files = {
        "spool.toml": SETTINGS,
        "p.jsonl": '{"custom_id": "a", "prompt": "q"}',
        "changed.jsonl": '{"custom_id": "a", "prompt": "other"}',
        "t.csv": "title,key\nx,k\n",
        "bad.jsonl": '{"promt": "q"}',
        "hot.jsonl": '{"prompt": "q", "temperature": "hot"}',
        "both.jsonl": '{"prompt": "q", "input": "x"}',
        "lines.jsonl": "Name a river.",
        "batch.jsonl": json.dumps(responses),
        "twice.jsonl": '{"custom_id": "1", "prompt": "q"}\n{"custom_id": "1", "prompt": "q"}',
    }
    for name, text in files.items():
        (here / name).write_text(text)
    assert spool("add", "p.jsonl").code == 0
    assert spool("add", "-p", "fails", "-p", "waits").code == 0
    store = open_at(f"sqlite:///{here / 'spool.db'}")
    first, second = claim(store, 2)
    assert first.custom_id == "a"  # else the commands that wait for it would wait for ever
    flush(store, first, "answer")
    complete(store, first)
    fail(store, second)
    return here


@pytest.mark.parametrize("case", CASES, ids=[case.usage for case in CASES])
def test_each_mistake_is_one_sentence_whose_cure_works(place, spool, case):
    """No traceback, one sentence, the right exit code; then what it says is done, and works."""
    said = spool(*shlex.split(case.usage))
    sentences = [line for line in said.err.splitlines() if "created" not in line]
    everything = said.err + said.out
    assert said.code == case.code, everything
    assert case.words in everything
    assert "Traceback" not in everything
    assert len([line for line in sentences if "->" not in line]) <= 1, said.err
    if case.mend:
        name, text = case.mend
        (place / name).write_text(text)
    cure = case.cure or case.usage
    cured = spool(*shlex.split(case.usage + cure if cure.startswith(" ") else cure))
    assert cured.code == 0, cured.err
    assert case.shows in cured.out + cured.err


def test_there_are_at_least_thirty_mistakes_in_every_corner():
    """Of all commands that take arguments; and each names its cure in words that are its own."""
    assert len(CASES) >= 30
    used = {
        word for case in CASES for word in case.usage.split()[:3] if re.fullmatch("[a-z]+", word)
    }
    assert {"add", "batch", "cancel", "export", "prune", "retry", "show", "tail", "wait"} <= used
