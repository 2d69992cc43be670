"""Of an object of any length the wanted fields are kept, exactly, in memory for those only."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.reading import bytewise, cut
from worker.wire.framing.json_filter import JsonFilter

KEEP = {"a": None, "b": {"c": None, "d": {"e": None}}, "\u00e9\n": None}


def wanted(said, keep):
    """What the skimmer promises, on parsed values; arrays are transparent."""
    if keep is None:
        return said
    if isinstance(said, list):
        return [wanted(each, keep) for each in said]
    if not isinstance(said, dict):
        return said
    return {key: wanted(value, keep[key]) for key, value in said.items() if key in keep}


def skim(pieces, keep=KEEP):
    skimmer = JsonFilter(keep)
    for piece in pieces:
        skimmer.feed(piece)
    return json.loads(skimmer.finish())


names = st.sampled_from(["a", "b", "c", "d", "e", "x", "\u00e9\n", 'q"', "\\", "k" * 300])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)
objects = st.dictionaries(names, values, max_size=6)


@given(
    said=objects,
    places=st.lists(st.integers(0, 300), max_size=8),
    is_ascii=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
def test_exactly_the_wanted_part_in_any_pieces(said, places, is_ascii, indent):
    data = json.dumps(said, ensure_ascii=is_ascii, indent=indent).encode()
    expected = wanted(said, KEEP)
    assert skim([data]) == skim(cut(data, places)) == skim(bytewise(data)) == expected


@given(said=objects, data=st.data())
def test_a_part_is_not_an_object(said, data):
    whole = json.dumps(said).encode()
    skimmer = JsonFilter(KEEP)
    skimmer.feed(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(ValueError):
        skimmer.finish()


@given(st.binary())
def test_any_bytes_are_an_object_or_a_value_error(data):
    skimmer = JsonFilter(KEEP)
    skimmer.feed(b'{"a":' + data)
    with suppress(ValueError):
        skimmer.finish()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[]", "no object"),
        ("1", "no object"),
        ('{"a":1}x', "text after"),
        ('{"a":1}{}', "text after"),
        ("{1:2}", "key is missing"),
        ('{"a":1,}', "key is missing"),
        ('{"a" 1}', "colon is missing"),
        ('{"a":}', "value is missing"),
        ('{"b":[1,]}', "value is missing"),
        ('{"a":1 2}', "comma is missing"),
        ('{"b":[1 2]}', "comma is missing"),
        ('{"b":[1}', "comma is missing"),
        ('{"x":[1}', "brackets do not match"),
        ('{"x":' + "[" * 10_001, "nested too deeply"),
        ('{"b":' + "[" * 10_002, "nested too deeply"),
        ("", "cut off"),
        ('{"a":"', "cut off"),
    ],
)
def test_faults_are_named(text, fault):
    skimmer = JsonFilter(KEEP)
    skimmer.feed(text.encode())
    skimmer.feed(b" ")
    with pytest.raises(ValueError, match=fault):
        skimmer.finish()


def test_memory_is_for_the_wanted_fields_only():
    skimmer = JsonFilter(KEEP)
    skimmer.feed(b'{"a":1,"x":[')
    for _ in range(100):
        skimmer.feed(b'{"deep":["a\\"]",' + b"1," * 5000 + b"0]},")
        assert skimmer.kept < 20
    skimmer.feed(b'0],"b":{"c":"kept","x":"' + b"y" * 100_000 + b'"}}')
    assert json.loads(skimmer.finish()) == {"a": 1, "b": {"c": "kept"}}
    assert skimmer.kept < 50


def test_blanks_may_stand_anywhere_between_tokens():
    data = b' { "a" : 1 , "x" : [ 2 ] , "b" : { "c" : "s" } } '
    assert skim([data]) == skim(bytewise(data)) == {"a": 1, "b": {"c": "s"}}


def test_escaped_keys_are_recognised():
    assert skim([b'{"\\u0061":1,"\\u00e9\\n":2,"\\u0078":3,"\\uzzzz":4}']) == {
        "a": 1,
        "\u00e9\n": 2,
    }
