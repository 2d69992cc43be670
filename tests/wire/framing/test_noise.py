"""Heartbeats are skipped wherever they stand, and a text instead of a stream is quoted."""

import pytest

from tests.wire.reading import body, bytewise
from worker.errors import Malformed, Truncated
from worker.wire.framing.noise import is_noise, plain_words

CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    "beat",
    [b"ping", b"PING", b"pong", b"keep-alive", b"keepalive", b"heartbeat", b'"ping"', b": hello",
     b"ping - 2026-11-30 10:00:00.123+00:00", b"ping 17"],
)  # fmt: skip
def test_a_heartbeat_as_data_is_no_frame(beat):
    data = CHUNK + b"data: " + beat + b"\n\n" + CHUNK + DONE
    for pieces in ([data], bytewise(data)):
        reading = body("openai-chat", *pieces)
        assert (reading.text, reading.frames, reading.is_done) == ("aa", 2, True)
    line = beat + b'\n{"response":"a","done":true}\n'
    assert body("ollama-generate", line).text == "a"


@pytest.mark.parametrize(
    "words", [b"pinging the server", b"nope", b"ping\x00", b"1", b"null", b'"a"']
)
def test_anything_else_is_an_error(words):
    assert not is_noise(words)
    assert isinstance(
        body("openai-chat", CHUNK + b"data: " + words + b"\n\n" + DONE).error, Malformed
    )


@pytest.mark.parametrize("dialect", ["openai-chat", "anthropic-messages", "llamacpp-completion"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\nmore\r\n"])
def test_a_plain_text_with_status_200_is_quoted(dialect, end):
    """A proxy's sentence is the only thing that says what is wrong."""
    data = b"upstream connect error or disconnect/reset before headers" + end
    for pieces in ([data], bytewise(data)):
        error = body(dialect, *pieces).error
        assert isinstance(error, Truncated)
        assert "upstream connect error" in str(error)


@pytest.mark.parametrize(
    "body_bytes", [b"", b": hi\n\n", b"data: {", b"event: x\n", b"{", b"<p>", b"\n"]
)
def test_a_part_of_a_stream_is_no_text(body_bytes):
    assert plain_words(body_bytes) == ""
