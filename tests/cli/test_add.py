"""`spool add` takes what is good, tells what is bad, and adds nothing twice."""

from __future__ import annotations

import json
import sqlite3

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.carried import claim, complete, flush

LINES = '{"prompt": "a"}\n{"prompt": "b", "custom_id": "x"}\n'
BAD = '{"prompt": "a"}\n{"promt": "b"}\n{"prompt": "c"}\n'


@pytest.fixture
def rows(here):
    """What is in the database of the working directory."""

    def read(columns="prompt"):
        if not (here / "spool.db").exists():
            return []
        connection = sqlite3.connect(here / "spool.db")
        found = connection.execute(f"SELECT {columns} FROM prompts ORDER BY id").fetchall()
        connection.close()
        return [row[0] if len(row) == 1 else row for row in found]

    return read


def test_the_first_minute(spool, here, rows):
    """An SQLite database is made when the first prompt comes."""
    said = spool("add", "-p", "hello")
    assert (said.code, said.out) == (0, "added 1 prompt\n")
    assert said.err == "spool: created spool.db\n"
    assert rows("prompt, custom_id, batch_id") == [("hello", None, None)]


def test_text_is_added_each_time_it_is_typed(spool, rows):
    """Asking again is a use; a custom_id in a batch makes it the same."""
    spool("add", "-p", "a", "-p", "b")
    spool("add", "-p", "a")
    assert rows() == ["a", "b", "a"]
    for _ in range(2):
        said = spool("add", "-p", "c", "--custom-id", "7", "--batch", "t")
    assert "nothing new: 1 prompt of -p are already in batch t" in said.out
    assert rows() == ["a", "b", "a", "c"]


def test_adding_the_same_file_twice_adds_nothing_twice(on, here, sql):
    """On both databases; the batch is called like the file."""
    (here / "p.jsonl").write_text(LINES)
    assert on("add", "p.jsonl").out == "added 2 prompts to batch p.jsonl\n"
    (here / "p.jsonl").write_text(LINES + '{"prompt": "new"}')
    assert on("add", "p.jsonl").out == "added 1 prompt to batch p.jsonl; 2 were there already\n"
    assert "nothing new" in on("add", str(here / "p.jsonl")).out
    assert sql.one("SELECT count(*) FROM prompts") == 3
    assert sql("SELECT name, source FROM batches") == [("p.jsonl", str(here / "p.jsonl"))]


def lines(*texts):
    return "".join(
        json.dumps({"custom_id": f"c{n}", "prompt": text}) + "\n" for n, text in enumerate(texts)
    )


@pytest.fixture
def monday(on, here):
    """A file whose three prompts are in the database, and another one of the same name."""
    for day, texts in (("mon", "abc"), ("tue", "aBC")):
        (here / day).mkdir()
        (here / day / "p.jsonl").write_text(lines(*texts))
    assert on("add", "mon/p.jsonl").code == 0


def test_a_changed_prompt_is_never_called_there_already(on, monday, sql):
    """It is left as it is, and words, exit code and JSON say so."""
    said = on("add", "tue/p.jsonl")
    assert said.code == 1
    assert said.out == (
        "added 0 prompts to batch p.jsonl; 1 were there already; 2 prompts are in batch p.jsonl"
        " with other content and left as they are: --replace queues them anew, another --batch"
        " keeps both\n"
    )
    (found,) = on("add", "tue/p.jsonl", "--json").matches("add")
    counts = {name: found[name] for name in ("added", "existing", "changed", "replaced")}
    assert counts == {"added": 0, "existing": 1, "changed": 2, "replaced": 0}
    assert [prompt for (prompt,) in sql("SELECT prompt FROM prompts ORDER BY id")] == list("abc")
    assert on("add", "mon/p.jsonl").code == 0


def test_a_batch_of_another_file_says_so(on, monday, here, monkeypatch):
    """Two files of the same name are one batch; which one was first is told, in any directory."""
    said = on("add", "tue/p.jsonl")
    first = str(here / "mon" / "p.jsonl")
    assert f"batch p.jsonl was first added from {first}, which is another place" in said.err
    (found,) = on("add", "tue/p.jsonl", "--json").matches("add")
    assert found["other_source"] == first
    monkeypatch.chdir(here / "mon")
    assert on("add", "p.jsonl").err == ""
    monkeypatch.chdir(here / "tue")
    assert "was first added from" in on("add", "p.jsonl").err
    # A batch that is named is meant to hold several files.
    (here / "tue" / "q.jsonl").write_text('{"custom_id": "other", "prompt": "x"}')
    assert on("add", "q.jsonl", "--batch", "p.jsonl").err == ""
    assert "was first added from" in on("add", "q.jsonl", "--batch", "p.jsonl").err


def test_replace_queues_what_changed_and_keeps_what_was_answered(on, monday, store, sql):
    """The old answer stays readable, and is never shown for the new question."""
    runs = claim(store, 3)
    for run in runs:
        flush(store, run, f"answer to {run.prompt}")
    for run in runs[:2]:
        complete(store, run)
    said = on("add", "tue/p.jsonl", "--replace")
    assert said.code == 0
    assert "; 1 were there already; replaced 2, which are queued anew\n" in said.out
    look = "SELECT custom_id, status, prompt, output, partial_output FROM results ORDER BY id"
    assert sql(look) == [
        ("c0", "completed", "a", "answer to a", None),
        ("c1", "queued", "B", None, None),
        ("c2", "queued", "C", None, None),
    ]
    assert on("show", runs[1].prompt_id, "--attempt", 1).out == "answer to b\n"
    assert "because what it asks was changed" in on("show", runs[1].prompt_id).err
    assert "nothing new" in on("add", "tue/p.jsonl").out
    assert [run.prompt for run in claim(store, 3)] == ["B", "C"]


def test_strict_refuses_a_changed_prompt_and_adds_nothing(on, monday, here, sql):
    """Not even the new ones; with --replace it is no fault."""
    (here / "tue" / "p.jsonl").write_text(lines(*"aBcd"))
    said = on("add", "tue/p.jsonl", "--strict")
    assert said.code == 1
    assert "nothing was added, because --strict allows no changed prompt (1 prompt is" in said.out
    assert sql.one("SELECT count(*) FROM prompts") == 3
    said = on("add", "tue/p.jsonl", "--strict", "--replace")
    assert (said.code, sql.one("SELECT count(*) FROM prompts")) == (0, 4)


def test_a_dry_run_says_what_is_there(on, monday, here, sql):
    """And what changed, by its exit code too; nothing is written."""
    (here / "tue" / "p.jsonl").write_text(lines(*"aBcd"))
    said = on("add", "tue/p.jsonl", "--dry-run")
    assert said.code == 1
    assert (
        "1 prompt would be added, 2 are there already, 1 are there with other content"
        " (--replace queues them anew); nothing was\n"
    ) in said.err
    said = on("add", "tue/p.jsonl", "--dry-run", "--replace")
    assert said.code == 0
    assert "2 are there already, 1 would be replaced; nothing was\n" in said.err
    assert sql.one("SELECT count(*) FROM prompts") == 3


def test_another_batch_takes_the_same_file_again(spool, here, rows):
    """The second night's run of the same prompts."""
    (here / "p.jsonl").write_text(LINES)
    spool("add", "p.jsonl")
    assert spool("add", "p.jsonl", "--batch", "second").out == "added 2 prompts to batch second\n"
    assert len(rows()) == 4


def test_bad_lines_are_told_and_good_ones_are_taken(spool, here, rows):
    """With exit code 1, the file, the line and the cure."""
    (here / "p.jsonl").write_text(BAD)
    said = spool("add", "p.jsonl")
    assert said.code == 1
    assert said.out == "added 2 prompts to batch p.jsonl; 1 line left out\n"
    assert 'p.jsonl: line 2 has the unknown key "promt"; did you mean prompt? If it' in said.err
    assert rows() == ["a", "c"]


def test_only_the_first_bad_lines_are_told_one_by_one(spool, here):
    """A million identical sentences help nobody."""
    (here / "p.jsonl").write_text("oops\n" * 25)
    said = spool("add", "p.jsonl")
    assert said.err.count("is not a JSON object") == 10
    assert "p.jsonl: 15 more lines are bad" in said.err


@pytest.mark.parametrize("how", ["file", "stdin"])
def test_strict_is_all_or_nothing(spool, here, rows, how):
    """Nothing is written if anything is bad, also where the input cannot be rewound."""
    (here / "p.jsonl").write_text(BAD)
    (here / "q.jsonl").write_text(LINES)
    given = {"file": (["p.jsonl"], None), "stdin": (["-"], BAD)}
    arguments, stdin = given[how]
    said = spool("add", "--strict", *arguments, stdin=stdin)
    assert said.code == 1
    assert "nothing was added, because --strict allows no bad line" in said.out
    assert "line 2 has the unknown key" in said.err
    assert rows() == []
    arguments, stdin = {"file": (["q.jsonl"], None), "stdin": (["-"], LINES)}[how]
    assert spool("add", "--strict", *arguments, stdin=stdin).code == 0
    assert rows() == ["a", "b"]


def test_a_dry_run_shows_requests_and_writes_nothing(spool, here):
    """Not even a database."""
    (here / "p.jsonl").write_text(BAD + '{"prompt": "d"}\n{"prompt": "e"}\n')
    said = spool("add", "--dry-run", "p.jsonl")
    shown = said.matches("preview")
    assert [each["body"]["messages"][0]["content"] for each in shown] == ["a", "c", "d"]
    assert said.code == 1
    assert "4 prompts would be added; nothing was" in said.err
    assert not (here / "spool.db").exists()


def test_standard_input_has_no_batch_unless_it_is_named(spool, rows):
    """Then adding it twice adds nothing twice."""
    said = spool("add", "-", stdin="a\nb\n")
    assert said.out == "added 2 prompts, one a line; --format text would make it one prompt\n"
    for _ in range(2):
        said = spool("add", "-", "--batch", "s", stdin=LINES)
    assert "nothing new" in said.out
    assert rows() == ["a", "b", "a", "b"]


def test_several_files_are_several_batches(spool, here, rows):
    """And one that is bad does not stop the others."""
    (here / "p.jsonl").write_text(BAD)
    (here / "q.txt").write_text("x\ny\n")
    said = spool("add", "p.jsonl", "q.txt")
    assert said.code == 1
    assert said.out.splitlines() == [
        "added 2 prompts to batch p.jsonl; 1 line left out",
        "added 2 prompts, one a line, to batch q.txt; --format text would make it one prompt",
    ]
    assert rows() == ["a", "c", "x", "y"]


def test_options_reach_the_prompts(spool, rows):
    """All of them, and a worker claims what was meant."""
    spool(
        "add", "-p", "x", "--model", "m", "--system", "s", "--priority", "5", "--max-attempts", "2",
        "--option", "temperature=0.5", "--option", 'stop=["a"]', "--metadata", "k=v",
    )  # fmt: skip
    ((model, system, priority, attempts, options, metadata),) = rows(
        "model, system, priority, max_attempts, options, metadata"
    )
    assert (model, system, priority, attempts) == ("m", "s", 5, 2)
    assert json.loads(options) == {"temperature": 0.5, "stop": ["a"]}
    assert json.loads(metadata) == {"k": "v"}


def test_a_template_makes_prompts_of_a_table(spool, here, rows):
    """From the command line, or from a file."""
    (here / "t.csv").write_text("text,key\nalpha,1\nbeta,2\n")
    (here / "t.j2").write_text("Sum: {{ text }}")
    spool("add", "t.csv", "--template", "Say {{ text }}", "--id-column", "key")
    spool("add", "t.csv", "--template", "@t.j2", "--batch", "second")
    assert rows("prompt, custom_id")[:2] == [("Say alpha", "1"), ("Say beta", "2")]
    assert rows()[2:] == ["Sum: alpha", "Sum: beta"]


def test_an_openai_batch_file_is_taken_whole(spool, here, rows):
    """By an endpoint that speaks its dialect."""
    (here / "spool.toml").write_text(
        '[endpoints.gpt]\ndialect = "openai-chat"\nbase_url = "http://h/v1"\nmodel = "m"\n'
    )
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
    line = {"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    (here / "b.jsonl").write_text(json.dumps(line))
    assert spool("add", "b.jsonl", "--endpoint", "gpt").code == 0
    assert rows("custom_id, endpoint, model") == [("r1", "gpt", "gpt-4o-mini")]


def test_json_says_everything(spool, here):
    """One object a source."""
    (here / "p.jsonl").write_text(BAD)
    (here / "broken.json").write_text('[{"prompt": "z"}, oops')
    said = spool("add", "--json", "-p", "x", "p.jsonl", "broken.json")
    text, file, broken = said.matches("add")
    assert (text["source"], text["batch"], text["added"]) == ("-p", None, 1)
    assert (file["batch"], file["added"], file["bad"]) == ("p.jsonl", 2, 1)
    assert file["errors"][0]["number"] == 2
    assert broken["added"] == 1
    assert broken["error"].startswith("is not valid JSON in request 2")
    assert said.code == 1


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        ([], "give a FILE, - for standard input, or -p TEXT", 2),
        (["-", "-"], "can be read only once", 2),
        (["-p", "a", "-p", "b", "--custom-id", "x"], "--custom-id goes with a single -p", 2),
        (["p.jsonl", "--custom-id", "x"], "--custom-id goes with a single -p", 2),
        (["-p", "a", "--batch", ""], "a batch needs a printable name", 2),
        (["-p", "a", "--batch", "x\n"], "a batch needs a printable name", 2),
        (["-p", "a", "--endpoint", "defalt"], "did you mean default?", 2),
        (["-p", "a", "--option", "x"], "is not KEY=VALUE", 2),
        (["-p", "a", "--priority", "x"], "is not a valid whole number", 2),
        (["-p", "a", "--format", "xml"], "'xml' is not one of", 2),
        (["none.jsonl"], "there is no file none.jsonl: check its name", 1),
        (["-p", "@none"], "there is no file none: check its name; a prompt that begins with @", 1),
        (["-", "-p", "@-"], "can be read only once", 2),
        (["p.jsonl", "--template", "{{ x"], "the template is not valid Jinja2", 1),
        (["p.jsonl", "--template", "@none"], "the template none cannot be read", 1),
    ],
)
def test_each_wrong_call_is_one_sentence_and_changes_nothing(
    spool, here, rows, arguments, words, code
):
    """2 for wrong usage, 1 for what is wrong with a file."""
    (here / "p.jsonl").write_text(LINES)
    spool("add", *arguments).fails(words, code=code)
    assert rows() == []


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("p.jsonl.gz", b"\x1f\x8b\x08", "p.jsonl.gz is gzip that is cut or damaged"),
        ("p.jsonl.bz2", b"BZh91AY", "p.jsonl.bz2 is compressed: bzcat p.jsonl.bz2 | spool add"),
        ("p.csv", b"title\na\n", "p.csv has no column called prompt"),
        ("p.json", b'{\n"a": 1}', 'p.json is one JSON object without "requests"'),
        ("p.parquet", b"nonsense", "p.parquet is not readable as Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(spool, here, rows, name, data, words):
    """With its name and the cure; nothing of it is added."""
    (here / name).write_bytes(data)
    said = spool("add", name)
    assert said.code == 1
    assert f"spool: {words}" in said.err
    assert rows() == []


def test_an_empty_file_is_no_failure(spool, here):
    """But it is worth a word."""
    (here / "p.jsonl").write_text("\n")
    said = spool("add", "p.jsonl")
    assert (said.code, said.out) == (0, "p.jsonl holds no prompts; nothing was added\n")


@pytest.mark.parametrize("data", ["\n", '{"promt": "a"}\n'])
def test_a_file_without_a_usable_prompt_makes_no_database(spool, here, data):
    """Nothing was added, and that is what is said."""
    (here / "p.jsonl").write_text(data)
    assert "nothing was added" in spool("add", "p.jsonl").out
    assert not (here / "spool.db").exists()


def test_what_was_left_out_is_called_what_it_is(spool, here):
    """A row of a table is no line, and a prompt that was typed is neither."""
    said = spool("add", "-p", " ", "-p", "a")
    assert said.out == "added 1 prompt; 1 prompt left out\n"
    assert "spool: -p 1 has an empty prompt\n" in said.err
    pq.write_table(pa.table({"prompt": ["a", None, ""]}), here / "p.parquet")
    assert spool("add", "p.parquet").out.endswith("batch p.parquet; 2 rows left out\n")


def test_a_template_file_that_is_no_text_is_one_sentence(spool, here):
    """With the cure."""
    (here / "t").write_bytes(b"\xff{{ a }}")
    (here / "p.csv").write_text("a\nb\n")
    spool("add", "p.csv", "--template", "@t").fails("the template t is not UTF-8: save it as")


def test_good_prompts_before_a_fault_that_ends_the_file_are_kept(spool, here, rows):
    """Nobody can say where the next one begins, but those are whole."""
    (here / "p.json").write_text('[{"prompt": "a"}, {"prompt": "b"}, oops]')
    said = spool("add", "p.json")
    assert said.code == 1
    assert "p.json is not valid JSON in request 3" in said.err
    assert rows() == ["a", "b"]


def test_what_was_added_can_be_claimed(on, store):
    """By any worker, in the order of the file."""
    on("add", "-p", "one", "-p", "two", "--priority", "1")
    on("add", "-p", "first", "--priority", "9")
    assert [run.prompt for run in claim(store, 5)] == ["first", "one", "two"]


def test_an_interrupt_says_how_to_go_on(spool, here, monkeypatch):
    """The pages before it are there, and are not added twice."""
    (here / "p.jsonl").write_text(LINES)

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("worker.store.Store.add", interrupted)
    said = spool("add", "p.jsonl")
    assert said.code == 130
    assert "interrupted; add p.jsonl again to go on: nothing is added twice" in said.err


def test_a_trial_takes_the_first_prompts_and_the_rest_comes_later(on, here, sql):
    """`--limit` counts good prompts of each file, and those that are there already among them."""
    (here / "p.jsonl").write_text(lines(*"abcde"))
    assert "added 2 prompts" in on("add", "p.jsonl", "--limit", "2").out
    assert "nothing new: 2 prompts" in on("add", "p.jsonl", "--limit", "2").out
    on("add", "p.jsonl")
    assert [prompt for (prompt,) in sql("SELECT prompt FROM prompts ORDER BY id")] == list("abcde")


def test_a_document_is_one_prompt(spool, here, rows):
    """As a file, as a folder, typed, or from standard input; edited, it is a change."""
    letters = here / "letters"
    letters.mkdir()
    for name in ("a.txt", "b.md"):
        (letters / name).write_text(f"Dear {name},\nhello.\n")
    assert spool("add", "letters").out == "added 2 prompts, one a file, to batch letters\n"
    assert "nothing new" in spool("add", "letters/", "--strict").out
    (letters / "a.txt").write_text("Dear A.")
    assert spool("add", "letters").code == 1
    assert spool("add", "letters", "--replace").code == 0
    assert rows("custom_id, prompt") == [("a.txt", "Dear A."), ("b.md", "Dear b.md,\nhello.\n")]
    said = spool("add", "letters/a.txt", "--format", "text", "-p", "@letters/b.md")
    assert said.out == "added 1 prompt\nadded 1 prompt to batch a.txt\n"
    assert spool("add", "--format", "text", "-", stdin="one\ntwo").out == "added 1 prompt\n"
    assert rows()[2:] == ["Dear b.md,\nhello.\n", "Dear A.", "one\ntwo"]


def test_what_is_no_text_in_a_folder_is_named(spool, here, rows):
    """And the others are added; a program gets the name as well."""
    (here / "d").mkdir()
    (here / "d" / "a.txt").write_text("a")
    (here / "d" / "p.jsonl").write_text(BAD)
    (here / "d" / "x.png").write_bytes(bytes(range(256)) * 40)
    said = spool("add", "d")
    assert said.code == 1
    assert "spool: d/p.jsonl: line 2 has the unknown key" in said.err
    assert "spool: d/x.png is not text: prompts are" in said.err
    assert rows() == ["a", "a", "c"]
    (found,) = spool("add", "d", "--json").matches("add")
    assert [each["file"] for each in found["errors"]] == ["p.jsonl", "x.png"]


def test_what_was_taken_for_what_is_said(spool, here):
    """On standard error, and to programs; nothing is said of Spool's own names."""
    (here / "q.csv").write_text("id,question,topic\n1,why,sky\n")
    (here / "p.jsonl").write_text(LINES)
    said = spool("add", "q.csv")
    assert (
        "spool: q.csv: id -> custom_id, question -> prompt; 1 column kept as metadata (topic)\n"
        in said.err
    )
    assert "->" not in spool("add", "p.jsonl").err
    (found,) = spool("add", "q.csv", "--json", "--dry-run", "--batch", "c").matches("preview")
    assert found["custom_id"] == "1"
    (found,) = spool("add", "q.csv", "--json", "--batch", "c").matches("add")
    assert (found["taken"], found["kept_as_metadata"]) == (
        {"id": "custom_id", "question": "prompt"},
        ["topic"],
    )


def test_several_answers_are_several_prompts(on, here, sql):
    """In every kind of file, and by --option; said in a sentence, and adding twice adds nothing."""
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "n": 2}
    (here / "spool.toml").write_text(
        '[endpoints.default]\ndialect = "openai-chat"\nbase_url = "http://x/v1"\nmodel = "m"\n'
    )
    (here / "p.jsonl").write_text(
        json.dumps({"custom_id": "a", "url": "/v1/chat/completions", "body": body})
        + '\n{"custom_id": "b", "prompt": "y", "options": {"n": 3}}\n'
        '{"custom_id": "c", "prompt": "y", "options": {"n": 0}}\n'
    )
    said = on("add", "p.jsonl")
    assert "2 asked for several answers: each is queued that often, as ID#1, ID#2" in said.err
    assert "line 3 asks for a number of answers (n) that is not 1 to 128" in said.err
    ids = "SELECT custom_id, options FROM prompts ORDER BY id"
    assert sql(ids) == [(each, None) for each in ("a#1", "a#2", "b#1", "b#2", "b#3")]
    assert "5 prompts of p.jsonl are already in batch p.jsonl" in on("add", "p.jsonl").out
    assert on("add", "-p", "z", "--option", "n=2").out == "added 2 prompts\n"


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ('{"prompt":"a","temperature":0.1}', {"temperature": 0.1}),
        ('{"prompt":"a","max_tokens":5}', {"max_tokens": 5}),
        (
            '{"prompt":"a","response_format":{"type":"json_object"}}',
            {"response_format": {"type": "json_object"}},
        ),
        ('{"prompt":"a","tools":[]}', {"tools": []}),
        ('{"prompt":"a","id":9}', {}),
        ('{"prompt":"a","completion":"b"}', {}),
        ('{"text":"a"}', {}),
        ('{"conversations":[{"from":"human","value":"a"}]}', {}),
        ('{"prompt":"a","metadata":{"temperature":0.1}}', {}),
    ],
)
def test_what_people_write_is_what_is_sent(spool, here, line, sent):
    """The request has the options of the line, and nothing of what is only kept with it."""
    (here / "one.jsonl").write_text(line)
    (here / "spool.toml").write_text(
        '[endpoints.default]\ndialect = "openai-chat"\nbase_url = "http://h/v1"\nmodel = "m"\n'
    )
    said = spool("add", "--dry-run", "one.jsonl")
    (shown,) = said.matches("preview")
    body = shown["body"]
    assert said.code == 0
    assert body["messages"] == [{"role": "user", "content": "a"}]
    rest = {key: body[key] for key in body if key not in ("messages", "model", "stream_options")}
    assert rest == {"stream": True, **sent}


def test_a_conversation_without_a_turn_is_told(spool, here):
    """Nothing is asked, and nothing is sent."""
    (here / "one.jsonl").write_text('{"conversations":[]}')
    said = spool("add", "--dry-run", "one.jsonl")
    assert said.code == 1
    assert "line 1 asks nothing in its conversations: a turn of the user is missing" in said.err
