"""However the network cuts a recorded body, it means the same: what its expectations say."""

import json
import random

import pytest

from tests.wire.corpus import BIG, CASES, FOLDER, PEERS, SMALL, STREAMS, check, split_answer
from tests.wire.reading import bytewise, cut, is_retryable, read
from worker.wire import failure

PEER_ROWS = json.loads((FOLDER / "peers.json").read_text())


def read_pieces(case, pieces):
    return read(case.decoder(), pieces)


def test_the_corpus_is_all_there():
    """Seven dialects, and every file that a case names, gzip included."""
    assert len(CASES) == 275
    lists = {"cases.json", "more.json", "peers.json", "oddities.json", "ODDITIES.md"}
    bodies = {path.name for path in FOLDER.iterdir()} - lists - {".gitattributes", "peers"}
    answers = {path.name for path in PEERS.iterdir()}
    odd = {row["id"] for row in json.loads((FOLDER / "oddities.json").read_text())}
    rejected = {row["file"] for row in PEER_ROWS if row["status"] != 200}
    assert {case.file for case in CASES} == bodies | odd | (answers - rejected)
    assert answers == {row["file"] for row in PEER_ROWS}
    assert {case.dialect for case in CASES} == {
        "ollama-generate",
        "ollama-chat",
        "openai-chat",
        "openai-completions",
        "openai-responses",
        "anthropic-messages",
        "llamacpp-completion",
    }
    assert all(case.body or "empty" in case.file for case in CASES)


def test_every_oddity_is_in_the_log():
    """With its thread, and with what is right; sixty at least, of eight trackers at least."""
    log = (FOLDER / "ODDITIES.md").read_text()
    rows = json.loads((FOLDER / "oddities.json").read_text())
    assert all(f"| {row['id']} | {row['source']} |" in log for row in rows)
    assert len(rows) >= 60
    assert len({row["source"].split("#")[0] for row in rows}) >= 8


@pytest.mark.parametrize("row", [row for row in PEER_ROWS if row["status"] != 200], ids=str)
def test_a_refusal_of_a_real_peer_is_quoted(row):
    """Whatever form the peer gives it, what it says stands in the error."""
    status, headers, body = split_answer((PEERS / row["file"]).read_bytes())
    error = failure(status, headers, body)
    assert (status, error.http_status) == (row["status"], row["status"])
    assert row["words"] in error.message


@pytest.mark.parametrize("case", STREAMS, ids=str)
def test_whole(case):
    """In one read."""
    reading = read_pieces(case, [case.body])
    check(case, reading, "whole")
    assert case.expect["retryable"] is (not reading.is_done and is_retryable(reading.error))


@pytest.mark.parametrize("case", STREAMS, ids=str)
def test_without_a_content_type(case):
    """Servers leave it out and lie about it; the bytes decide."""
    for content_type in (None, "text/event-stream", "application/json; charset=utf-8"):
        source = case.decoder(content_type=content_type)
        check(case, read(source, [case.body]), f"as {content_type}")


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_byte_by_byte(case):
    """As the slowest network would bring it, with empty reads in between."""
    pieces = [piece for byte in bytewise(case.body) for piece in (byte, b"")]
    check(case, read_pieces(case, pieces), "byte by byte")


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_every_single_split(case):
    """In two reads, for every place where the second can begin."""
    data = case.body
    for place in range(1, len(data)):
        check(case, read_pieces(case, cut(data, [place])), f"cut at {place}")


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_many_splits(case):
    """In many reads of any sizes."""
    data, dice = case.body, random.Random(case.file)
    for _ in range(20):
        places = [dice.randrange(len(data) + 1) for _ in range(dice.randrange(2, 40))]
        check(case, read_pieces(case, cut(data, places)), f"cut at {places}")


@pytest.mark.parametrize("case", BIG, ids=str)
@pytest.mark.parametrize("size", [4096, 65536])
def test_big_frames_in_reads_of_one_size(case, size):
    """Lines of a megabyte, as reads bring them."""
    data = case.body
    check(case, read_pieces(case, cut(data, range(size, len(data), size))), f"by {size}")


@pytest.mark.parametrize("case", BIG, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_big_frames_in_reads_of_any_size(case, seed):
    """Lines of a megabyte, cut anywhere."""
    data, dice = case.body, random.Random(seed)
    places = [dice.randrange(len(data)) for _ in range(60)]
    check(case, read_pieces(case, cut(data, places)), f"seed {seed}")
