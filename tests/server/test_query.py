"""Parameters that are no numbers, or out of range, are refused by name."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from worker.server.errors import ApiError
from worker.server.query import number_of, word_of


def asked(query):
    return Request({"type": "http", "query_string": query, "headers": []})


@pytest.mark.parametrize("text", [b"0", b"-1", b"11", b"x", b"1e1", b"9" * 5000])
def test_a_number_out_of_range_is_refused(text):
    """However long it is."""
    with pytest.raises(ApiError) as refused:
        number_of(asked(b"limit=" + text), "limit", 5, least=1, most=10)
    assert refused.value.param == "limit"


def test_what_is_right_or_not_given_is_taken():
    """The default is what the interface documents."""
    assert number_of(asked(b"limit=7"), "limit", 5, least=1, most=10) == 7
    assert number_of(asked(b""), "limit", 5, least=1, most=10) == 5
    assert word_of(asked(b""), "order", "desc", ("asc", "desc")) == "desc"
    with pytest.raises(ApiError):
        word_of(asked(b"order=up"), "order", "desc", ("asc", "desc"))
