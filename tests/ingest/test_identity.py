"""Every reader gives prompts ids of the same kind: adding a file twice adds nothing twice.

One contract for all formats, those that are added later as well: a reader without an example
here fails the last test.
"""

from __future__ import annotations

import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.reading import read
from worker.errors import InputError
from worker.ingest import Format
from worker.ingest.template import Template
from worker.records import NewPrompt

TEXTS = ("Name a sea.", "Name a river.", "Name a sea.")


def own(text, custom_id):
    return {"prompt": text} | ({} if custom_id is None else {"custom_id": custom_id})


def chat(text, custom_id):
    named = {} if custom_id is None else {"custom_id": custom_id}
    body = {"messages": [{"role": "user", "content": text}]}
    return {**named, "method": "POST", "url": "/v1/chat/completions", "body": body}


def anthropic(text, custom_id):
    named = {} if custom_id is None else {"custom_id": custom_id}
    return {**named, "params": {"messages": [{"role": "user", "content": text}], "max_tokens": 9}}


def as_lines(make):
    def write(texts, ids):
        lines = [json.dumps(make(*pair)) for pair in zip(texts, ids, strict=True)]
        return ("\n".join(lines) + "\n").encode()

    return write


def as_array(make):
    def write(texts, ids):
        return json.dumps([make(*pair) for pair in zip(texts, ids, strict=True)]).encode()

    return write


def as_requests(texts, ids):
    array = json.loads(as_array(anthropic)(texts, ids))
    return json.dumps({"requests": array}).encode()


def as_csv(texts, ids):
    head = "prompt" if ids[0] is None else "prompt,custom_id"
    rows = [
        text if each is None else f"{text},{each}" for text, each in zip(texts, ids, strict=True)
    ]
    return "\n".join([head, *rows, ""]).encode()


def as_parquet(texts, ids):
    columns = {"prompt": list(texts)} | ({} if ids[0] is None else {"custom_id": list(ids)})
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def as_text(texts, _ids):
    return "\n".join([*texts, ""]).encode()


KINDS = {
    "jsonl": (Format.JSONL, as_lines(own), {}),
    "OpenAI Batch": (Format.JSONL, as_lines(chat), {"endpoint": "gpt"}),
    "Anthropic batch": (Format.JSONL, as_lines(anthropic), {"endpoint": "claude"}),
    "JSON array": (Format.JSON, as_array(own), {}),
    "OpenAI Batch in an array": (Format.JSON, as_array(chat), {"endpoint": "gpt"}),
    "Anthropic requests": (Format.JSON, as_requests, {"endpoint": "claude"}),
    "csv": (Format.CSV, as_csv, {}),
    "parquet": (Format.PARQUET, as_parquet, {}),
    "text": (Format.LINES, as_text, {}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def prompts(kind, texts, *, ids=None, name="f", **more):
    file_format, write, options = KINDS[kind]
    data = write(texts, ids or [None] * len(texts))
    found = read(data, name=name, file_format=file_format, **options, **more)
    assert all(isinstance(each, NewPrompt) for each in found), found
    return found


def ids_of(found):
    return [each.custom_id for each in found]


@every_kind
def test_ids_are_the_same_each_time_and_there_is_one_for_each(kind):
    """Also for equal prompts: to ask the same thing ten times is a use."""
    first = ids_of(prompts(kind, TEXTS))
    assert ids_of(prompts(kind, TEXTS)) == first
    assert None not in first
    assert len(set(first)) == len(TEXTS)


@every_kind
def test_an_edited_prompt_has_another_id(kind):
    """And the others keep theirs."""
    before = ids_of(prompts(kind, TEXTS))
    after = ids_of(prompts(kind, ("Name a sea.", "Name a lake.", "Name a sea.")))
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]


@every_kind
def test_another_file_has_other_ids(kind):
    """Two files in one batch are not taken for one."""
    one, other = ids_of(prompts(kind, TEXTS)), ids_of(prompts(kind, TEXTS, name="g"))
    assert set(one).isdisjoint(other)


@every_kind
def test_without_a_batch_no_id_is_derived(kind):
    """Nothing would be recognised by it."""
    assert ids_of(prompts(kind, TEXTS, batch=None)) == [None] * len(TEXTS)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "text"])
def test_an_id_that_its_owner_chose_stays(kind, store):
    """Whatever the file is called; an edit then is a change of that prompt, in the store as well."""
    ids = ["a", "b", "c"]
    assert (
        ids_of(prompts(kind, TEXTS, ids=ids))
        == ids_of(prompts(kind, TEXTS, ids=ids, name="g"))
        == ids
    )
    edited = ("Name a sea.", "Name a lake.", "Name a sea.")
    assert store.add(prompts(kind, TEXTS, ids=ids), batch="b").added == len(ids)
    again = store.add(prompts(kind, TEXTS, ids=ids), batch="b")
    assert (again.added, again.existing, again.changed) == (0, 3, 0)
    found = store.add(prompts(kind, edited, ids=ids), batch="b")
    assert (found.added, found.existing, found.changed) == (0, 2, 1)


@every_kind
def test_what_is_typed_beside_the_file_is_a_part_of_what_is_asked(kind, store):
    """Another system text or model makes another request of the same line."""
    store.add(prompts(kind, TEXTS), batch="b")
    for typed in ({"system": "Be brief."}, {"model": "other"}, {"options": {"top_p": 0.5}}):
        found = store.add(prompts(kind, TEXTS, **typed), batch="b")
        assert (found.added, found.existing, found.changed) == (0, 0, 3)


def test_a_whole_text_is_known_by_the_name_of_its_file(store):
    """An edit is a change of that prompt; from standard input there is no name, but the content."""

    def added(data, name="a.txt", **options):
        found = read(data, name=name, file_format="text", **options)
        return found[0].custom_id, store.add(found, batch="b")

    for template in (None, Template("Say {{ text }}")):
        name = f"a{template is None}.txt"
        assert added("one\ntwo", name, template=template)[0] == name
        assert added("one\ntwo", name, template=template)[1].existing == 1
        assert added("other", name, template=template)[1].changed == 1
    ids = [added(data, name="-")[0] for data in ("one", "one", "two")]
    assert None not in ids
    assert ids[0] == ids[1] != ids[2]


@every_kind
def test_packed_or_as_utf_16_it_is_the_same(kind):
    """The same prompts with the same ids; Parquet is packed inside, and no text."""
    file_format, write, options = KINDS[kind]
    data = write(TEXTS, [None] * len(TEXTS))
    plain = read(data, name="f", file_format=file_format, **options)
    if file_format is Format.PARQUET:
        with pytest.raises(InputError, match="cannot be read from a pipe"):
            read(gzip.compress(data), name="f", file_format=file_format)
        return
    for other in (gzip.compress(data), data.decode().encode("utf-16"), b"\xef\xbb\xbf" + data):
        assert read(other, name="f", file_format=file_format, **options) == plain


@pytest.mark.parametrize("kind", ["jsonl", "JSON array", "csv", "parquet", "text"])
def test_a_template_and_a_column_of_ids_are_observed(kind):
    """In every format that has rows; a text has one column, which is called so."""
    file_format, write, _ = KINDS[kind]
    column = "text" if kind == "text" else "prompt"
    data = write(TEXTS, ["a", "b", "c"])
    template = Template("Say {{ " + column + " }}")
    found = read(data, file_format=file_format, template=template)
    assert [each.prompt for each in found] == [f"Say {text}" for text in TEXTS]
    if kind == "text":
        with pytest.raises(InputError, match="has no column 'key'"):
            read(data, file_format=file_format, id_column="key")
        return
    data = data.replace(b"custom_id", b"key_of_it") if kind != "parquet" else as_parquet_keys()
    assert ids_of(read(data, file_format=file_format, id_column="key_of_it")) == ["a", "b", "c"]


def as_parquet_keys():
    out = io.BytesIO()
    pq.write_table(pa.table({"prompt": list(TEXTS), "key_of_it": ["a", "b", "c"]}), out)
    return out.getvalue()


def test_every_format_has_an_example():
    """The contract holds for formats that nobody has thought of yet."""
    assert {file_format for file_format, *_ in KINDS.values()} == set(Format) - {Format.TEXT}
