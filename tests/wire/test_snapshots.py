"""A server that repeats the whole text in each frame is named, and its text is not doubled."""

import json

import pytest

from tests.wire.reading import body
from worker.errors import Malformed
from worker.wire.snapshots import PIECES, SnapshotGuard

SAYS = {
    "openai-chat": lambda text: {"choices": [{"index": 0, "delta": {"content": text}}]},
    "openai-completions": lambda text: {"choices": [{"index": 0, "text": text}]},
    "ollama-chat": lambda text: {"message": {"content": text}, "done": False},
    "ollama-generate": lambda text: {"response": text, "done": False},
    "llamacpp-completion": lambda text: {"content": text, "stop": False},
    "openai-responses": lambda text: {"type": "response.output_text.delta", "delta": text},
    "anthropic-messages": lambda text: {
        "type": "content_block_delta",
        "delta": {"type": "text_delta", "text": text},
    },
}
ENDS = {
    "ollama-chat": {"message": {"content": ""}, "done": True},
    "ollama-generate": {"response": "", "done": True},
    "llamacpp-completion": {"content": "", "stop": True},
    "openai-responses": {"type": "response.completed"},
    "anthropic-messages": {"type": "message_stop"},
}


@pytest.mark.parametrize("dialect", SAYS)
@pytest.mark.parametrize("words", [3, 4, 20])
def test_snapshots_are_an_error_in_every_dialect(dialect, words):
    """Short and long ones."""
    said = [" ".join(["word"] * number) for number in range(1, words + 1)]
    frames = [*map(SAYS[dialect], said), *([ENDS[dialect]] if dialect in ENDS else [])]
    lead, end = (b"", b"\n") if dialect.startswith("ollama") else (b"data: ", b"\n\n")
    data = b"".join(lead + json.dumps(frame).encode() + end for frame in frames)
    reading = body(dialect, data + (b"" if dialect in ENDS else b"data: [DONE]\n\n"))
    assert isinstance(reading.error, Malformed)
    assert "repeats the whole text" in str(reading.error)


@pytest.mark.parametrize(
    "pieces",
    [
        ["=", "==", "====", "========"],
        [" ", "  ", "    "],
        ["1", "10", "100"],
        ["the", " the", " there"],
        ["ha", "ha", "ha"],
        ["a b", "a b"],
        ["a b c", "a b c d", "e"],
    ],
)
def test_growing_tokens_are_none(pieces):
    guard = SnapshotGuard()
    for piece in pieces:
        assert not guard.saw(piece)
    guard.settle()


def test_it_has_seen_enough_after_a_few_pieces():
    guard = SnapshotGuard()
    seen = [guard.saw(f"word {number}") for number in range(PIECES)]
    assert seen == [False] * (PIECES - 1) + [True]
