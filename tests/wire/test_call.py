"""The end of a call's arguments is seen wherever the pieces were cut."""

import json

from hypothesis import given
from hypothesis import strategies as st

from worker.wire.call import Call

values = st.recursive(
    st.none() | st.integers() | st.text('{}[]"\\\\ ab', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(value=st.dictionaries(st.text('{"\\\\', max_size=3), values, max_size=3), data=st.data())
def test_arguments_are_whole_at_their_last_brace_and_not_before(value, data):
    text = json.dumps(value)
    cut = data.draw(st.integers(0, len(text) - 1))
    call = Call(0)
    call.add(text[:cut])
    assert not call.is_whole
    call.add(text[cut:])
    assert call.is_whole
    assert call.rest(text) == call.rest(json.dumps(value, indent=2)) == ""
    assert call.arguments.length == len(text)


def test_a_name_belongs_to_another_call_only_after_arguments():
    call = Call(0)
    call.name = "f"
    assert not call.is_over("g")
    call.add("{")
    assert call.is_over("g")
    assert not call.is_over("f")
    call.add("}")
    assert call.is_over("f")
