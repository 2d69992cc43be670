"""A file of each kind that people bring: what is queued is what its owner meant, or one sentence.

docs/input.md has the same list; a kind that is missing on either side fails the last test.
"""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.house.tree import ROOT

SETTINGS = "".join(
    f'[endpoints.{name}]\ndialect = "{dialect}"\nbase_url = "http://localhost:1/v1"\nmodel = "m"\n'
    for name, dialect in (
        ("default", "openai-chat"),
        ("old", "openai-completions"),
        ("new", "openai-responses"),
        ("claude", "anthropic-messages"),
    )
)
ASK = [{"role": "user", "content": "Name a river."}]
BRIEF = {"role": "system", "content": "Be brief."}
CHAT = "/v1/chat/completions"


def request(custom_id, url, body):
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def table(rows):
    out = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue().to_pybytes()


MIXED = lines(
    request("chat", CHAT, {"model": "gpt", "messages": ASK, "max_tokens": 9}),
    request("completion", "/v1/completions", {"model": "gpt", "prompt": "Name a river."}),
    request("response", "/v1/responses", {"input": "Name a river.", "instructions": "Be brief."}),
)
VLLM = lines(
    request(
        "request-1", CHAT, {"model": "m", "messages": [BRIEF, *ASK], "max_completion_tokens": 9}
    )
)
ANTHROPIC = json.dumps(
    {"requests": [{"custom_id": "a", "params": {"model": "c", "max_tokens": 9, "messages": ASK}}]}
).encode()
SHAREGPT = json.dumps(
    [
        {
            "id": "x_0",
            "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "human", "value": "Name a river."},
                {"from": "gpt", "value": "The Rhine."},
            ],
        }
    ]
).encode()
ALPACA = json.dumps(
    [
        {"instruction": "Name a river.", "input": "", "output": "The Rhine."},
        {"instruction": "Translate.", "input": "Fluss", "output": "river"},
    ],
    indent=2,
).encode()
HUGGING_FACE = table(
    [
        {
            "prompt_id": "1",
            "messages": [{"content": "Name a river.", "role": "user", "name": None}],
        },
        {"prompt_id": "2", "messages": [BRIEF | {"name": "x"}, *ASK]},
    ]
)
PREFERENCES = table([{"prompt": ASK, "chosen": ASK, "score": 0.5}])
BODIES = lines({"model": "n", "messages": ASK, "temperature": 0, "stream": True})
QUESTIONS = lines({"id": 7, "question": "Name a river.", "answer": "The Rhine."})
TEMPLATE = ["--template", "Name a {{ what }} in {{ where }}.", "--id-column", "key"]
MESSAGES = json.dumps(
    [{"role": "system", "content": "{{ tone }}"}, ASK[0] | {"content": "{{ q }}"}]
)

# By its name in the documents: the file, its bytes, options, what is queued, what is said.
GOOD = {
    "OpenAI Batch, chat, completions and responses mixed": (
        "b.jsonl",
        MIXED,
        [],
        [
            ("chat", "default", ASK, {"max_tokens": 9}),
            ("completion", "old", "Name a river.", None),
            ("response", "new", "Name a river.", {"instructions": "Be brief."}),
        ],
        "/v1/completions -> endpoint old, /v1/responses -> endpoint new",
    ),
    "vLLM `run-batch`": (
        "v.jsonl",
        VLLM,
        [],
        [("request-1", "default", [BRIEF, *ASK], {"max_completion_tokens": 9})],
        "",
    ),
    "Anthropic Message Batches": (
        "a.json",
        ANTHROPIC,
        [],
        [("a", "claude", ASK, {"max_tokens": 9})],
        "-> endpoint claude",
    ),
    "request bodies, one a line": (
        "r.jsonl",
        BODIES,
        [],
        [(None, "default", ASK, {"temperature": 0})],
        "temperature -> request option",
    ),
    "ShareGPT": (
        "s.json",
        SHAREGPT,
        [],
        [("x_0", "default", [BRIEF, *ASK], None)],
        "1 with a last answer, which is not sent but kept as metadata",
    ),
    "Alpaca": (
        "alpaca.json",
        ALPACA,
        [],
        [
            (None, "default", "Name a river.", None),
            (None, "default", "Translate.\n\nFluss", None),
        ],
        "instruction -> prompt, input -> prompt; 1 column kept as metadata (output)",
    ),
    "questions and answers": (
        "q.jsonl",
        QUESTIONS,
        [],
        [("7", "default", "Name a river.", None)],
        "question -> prompt; 1 column kept as metadata (answer)",
    ),
    "Parquet of Hugging Face, nested messages": (
        "h.parquet",
        HUGGING_FACE,
        [],
        [
            (None, "default", ASK, None),
            (None, "default", [BRIEF | {"name": "x"}, *ASK], None),
        ],
        "1 column kept as metadata (prompt_id)",
    ),
    "Parquet of preferences, the prompt as messages": (
        "p.parquet",
        PREFERENCES,
        [],
        [(None, "default", ASK, None)],
        "prompt -> messages; 2 columns kept as metadata (chosen, score)",
    ),
    "CSV with a template": (
        "t.csv",
        b"key,what,where\nk1,river,Asia\n",
        TEMPLATE,
        [("k1", "default", "Name a river in Asia.", None)],
        "",
    ),
    "a JSON array with a template of messages": (
        "t.json",
        b'[{"tone": "Be brief.", "q": "Name a river."}]',
        ["--template", MESSAGES],
        [(None, "default", [BRIEF, *ASK], None)],
        "",
    ),
    "CSV of a spreadsheet, semicolons and quotes": (
        "e.csv",
        '\ufeffId;Prompt;Notes\r\n1;"Say ""hi; you"",\r\nplease.";x\r\n'.encode(),
        [],
        [("1", "default", 'Say "hi; you",\nplease.', None)],
        "Id -> custom_id, Prompt -> prompt; 1 column kept as metadata (Notes)",
    ),
    "TSV in UTF-16, as spreadsheets save Unicode text": (
        "u.tsv",
        "prompt\ttemperature\r\nNäme a river.\t0.5\r\n".encode("utf-16"),
        [],
        [(None, "default", "Näme a river.", {"temperature": 0.5})],
        "temperature -> request option",
    ),
    "gzip": (
        "z.jsonl.gz",
        gzip.compress(lines({"prompt": "Name a river.", "custom_id": "z"}), mtime=0),
        [],
        [("z", "default", "Name a river.", None)],
        "",
    ),
    "a JSON array of texts": (
        "l.json",
        b'["Name a river.", "Name a sea."]',
        [],
        [(None, "default", "Name a river.", None), (None, "default", "Name a sea.", None)],
        "",
    ),
    "a JSON array with a comma before its end": (
        "comma.json",
        b'[{"prompt": "Name a river."},\n]',
        [],
        [(None, "default", "Name a river.", None)],
        "",
    ),
    "lines of text": (
        "l.txt",
        b"Name a river.\n\nName a sea.\n",
        [],
        [(None, "default", "Name a river.", None), (None, "default", "Name a sea.", None)],
        "2 prompts, one a line",
    ),
    "a folder of texts": (
        "folder/one.md",
        b"Name a river.\r\nBe brief.\r\n",
        [],
        [("one.md", "default", "Name a river.\nBe brief.\n", None)],
        "1 prompt, one a file",
    ),
}
# By its name in the documents: the file, its bytes, and the sentence.
REFUSED = {
    "an answer file of a batch": (
        "o.jsonl",
        lines({"id": "batch_req_1", "custom_id": "a", "response": {"body": {}}, "error": None}),
        "is an answer of a batch, not a request: add the file that was sent",
    ),
    "JSON with comments": ("c.json", b'[\n  // rivers\n  {"prompt": "a"}\n]', "no comments"),
    "JSON with a comma at the end of an object": (
        "k.json",
        b'[{"prompt": "a",\n}]',
        "is not valid JSON in request 1: ",
    ),
    "JSON Lines with comments": ("c.jsonl", b"# rivers\n", "is not a JSON object: each line must"),
    "CSV without a column that asks": (
        "n.csv",
        b"title,score\na,1\n",
        "has no column called prompt",
    ),
    "Latin-1": ("w.csv", "prompt\nNäme\n".encode("latin-1"), "iconv -f WINDOWS-1252 -t UTF-8"),
    "a picture or another binary file": (
        "x.bin",
        bytes(range(256)) * 9,
        "is not text: prompts are",
    ),
    "zstd, bzip2, xz": ("x.jsonl.zst", b"\x28\xb5\x2f\xfd", "zstdcat x.jsonl.zst | spool add -"),
}


@pytest.fixture
def bring(spool, here):
    """Adds a file as its owner would; gives what was said, and what was queued."""
    (here / "spool.toml").write_text(SETTINGS)

    def add(name, data, *options):
        path = here / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        said = spool("add", name.split("/", maxsplit=1)[0], *options)
        return said, queued(here)

    return add


def queued(here):
    if not (here / "spool.db").exists():
        return []
    query = "SELECT custom_id, endpoint, prompt, messages, options FROM prompts ORDER BY id"
    with closing(sqlite3.connect(here / "spool.db")) as database:
        return [
            (
                None
                if re.fullmatch("(line|row|request)-[0-9]+-[0-9a-f]{16}", custom_id)
                else custom_id,
                endpoint,
                prompt if messages is None else json.loads(messages),
                None if options is None else json.loads(options),
            )
            for custom_id, endpoint, prompt, messages, options in database.execute(query)
        ]


@pytest.mark.parametrize("kind", GOOD)
def test_what_is_queued_is_what_its_owner_meant(bring, kind):
    """And what was taken for what is said."""
    name, data, options, wanted, words = GOOD[kind]
    said, found = bring(name, data, *options)
    assert (said.code, found) == (0, wanted)
    assert words in said.err + said.out


@pytest.mark.parametrize("kind", REFUSED)
def test_or_one_sentence_says_why_not(bring, kind):
    """With the name of the file, and the cure."""
    name, data, words = REFUSED[kind]
    said, found = bring(name, data)
    assert (said.code, found) == (1, [])
    assert said.err.startswith(f"spool: {name}")
    assert words in said.err
    assert said.err.count("\n") == 1


def test_the_documents_list_the_same_files():
    """What is promised there is tried here."""
    section = (ROOT / "docs" / "input.md").read_text("utf-8").split("## Files that people bring")[1]
    rows = [row.strip("|").split("|")[0].strip() for row in section.splitlines() if "|" in row]
    assert rows[2:] == [*GOOD, *REFUSED]
