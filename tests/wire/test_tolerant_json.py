"""JSON as servers write it is read; what is not JSON is a ValueError and nothing else."""

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.wire.tolerant_json import parse


def test_what_servers_write_beyond_the_standard():
    assert math.isnan(parse('{"logprob":NaN}')["logprob"])
    assert parse('{"logprob":-Infinity}') == {"logprob": -math.inf}
    assert parse('"a\tb\x0b"') == "a\tb\x0b"
    assert parse('"\\ud83d"') == "\ud83d"
    assert parse(b'"\xff\xed\xa0\xbd"') == "\ufffd" * 4


def test_integers_of_any_length():
    said = parse('{"a":' + "9" * 10_000 + ',"b":7,"c":' + "9" * 300 + "}")
    assert said["a"] == math.inf
    assert (said["b"], said["c"]) == (7, int("9" * 300))


@pytest.mark.parametrize(
    "text", ["", "{", "nope", "{}{}", "[" * 100_000, '{"a":' * 100_000, "\ufeff{}"]
)
def test_the_rest_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse(text)


@given(st.binary())
def test_any_bytes(data):
    with suppress(ValueError):
        parse(data)
