"""A server's wish to be left alone is understood in every form, and nonsense is not obeyed."""

from datetime import UTC, datetime

import pytest

from worker.wire.errors.retry_after import retry_after, span, wait_in_sentence

NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
LATER = "Sat, 14 Mar 2026 09:27:23 GMT"
DATE = "Sat, 14 Mar 2026 09:26:53 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500.5"}, 1.5005),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after-ms": "-1", "retry-after": "1"}, 1.0),
        ({"retry-after": LATER, "date": DATE}, 30.0),
        ({"retry-after": "Saturday, 14-Mar-26 09:27:23 GMT", "date": DATE}, 30.0),
        ({"retry-after": DATE, "date": LATER}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "NaN"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after": str(8 * 24 * 3600)}, None),
        ({"retry-after": str(7 * 24 * 3600)}, 7 * 24 * 3600.0),
        ({"retry-after": ""}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "Sat, 99 Mar 2026 09:27:23 GMT", "date": DATE}, None),
        ({"retry-after": "Sat, 14 Mar 99999999 09:27:23 GMT", "date": DATE}, None),
        ({"retry-after": LATER}, None),
        ({"retry-after": LATER, "date": "?"}, None),
    ],
)
def test_headers(headers, seconds):
    assert retry_after(headers) == seconds


def test_a_date_without_the_servers_clock_uses_ours():
    assert retry_after({"retry-after": LATER}, now=NOW) == 30.0
    assert retry_after({"retry-after": LATER, "date": LATER}, now=NOW) == 0.0


@pytest.mark.parametrize(
    ("sentence", "seconds"),
    [
        ("Requests have exceeded token rate limit. Please retry after 8 seconds.", 8.0),
        ("Rate limit reached. Please try again in 6m0.5s. Visit the site", 360.5),
        ("Please try again in 250ms.", 0.25),
        ("try again in 1h2m3s", 3723.0),
        ("Please wait 20 seconds before retrying", 20.0),
        ("retry in 1 minute", 60.0),
        ("Please try again later.", None),
        ("retry after 400 tokens", None),
        ("", None),
    ],
)
def test_sentences(sentence, seconds):
    assert wait_in_sentence(sentence) == seconds


def test_spans():
    assert span("34s") == 34.0
    assert span("34") == 34.0
    assert span("1.5h") == 5400.0
    assert span("later") is None
    assert span("9" * 9 + "h") is None
