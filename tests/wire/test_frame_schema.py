"""The fast and the careful reading of a frame are equal wherever the fast one accepts it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.wire.frame_schema import FrameSchema
from worker.wire.tolerant_json import parse


class Inner(msgspec.Struct):
    text: Any = None
    count: int | None = None


class Frame(msgspec.Struct):
    done: bool = False
    reason: str | None = None
    count: int | None = None
    error: Any = None
    inner: Inner | None = None
    inners: list[Inner] | None = None


SHAPE = FrameSchema(Frame)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=4)
)
names = st.sampled_from(["done", "reason", "count", "error", "inner", "inners", "text", "x"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(st.dictionaries(names, values, max_size=6))
def test_what_the_fast_way_accepts_the_careful_way_reads_the_same(said):
    line = json.dumps(said).encode()
    careful = SHAPE.read(parse(line))
    try:
        (fast,) = SHAPE.decode_lines(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    assert fast == careful


@pytest.mark.parametrize(
    ("said", "frame"),
    [
        ({}, Frame()),
        ({"done": 1, "reason": 2, "count": "x3", "inner": [], "inners": {}}, Frame()),
        ({"done": "true"}, Frame()),
        ({"done": None, "reason": None, "count": None, "inner": None}, Frame()),
        ({"count": 26.0}, Frame(count=26)),
        ({"count": 26.5}, Frame()),
        ({"count": True}, Frame()),
        ({"count": float("nan")}, Frame()),
        ({"error": {"any": ["thing"]}}, Frame(error={"any": ["thing"]})),
        ({"inner": {"text": 1, "count": "x"}}, Frame(inner=Inner(text=1))),
        ({"inners": [None, {"text": "a"}, 3, {}]}, Frame(inners=[Inner("a"), Inner()])),
    ],
)
def test_a_field_of_another_type_is_absent(said, frame):
    assert SHAPE.read(said) == frame


def test_what_to_keep_of_a_long_frame_follows_from_the_same_declaration():
    inner = {"text": None, "count": None}
    assert SHAPE.keep == {
        "done": None,
        "reason": None,
        "count": None,
        "error": None,
        "inner": inner,
        "inners": inner,
    }
