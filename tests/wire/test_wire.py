"""The door of the room: the seven dialects under their settled names, and nothing that does IO."""

import subprocess
import sys

from worker import wire
from worker.records import Kind

NAMES = [
    "ollama-generate",
    "ollama-chat",
    "openai-chat",
    "openai-completions",
    "openai-responses",
    "anthropic-messages",
    "llamacpp-completion",
]


def test_the_seven_dialects():
    assert list(wire.DIALECTS) == NAMES


def test_what_the_room_offers():
    assert wire.finish_group("length") is wire.FinishGroup.TRUNCATED
    assert wire.assemble_tool_calls("") == []
    assert "HTTP 500" in str(wire.failure(500, {}, b""))
    assert Kind.TEXT


def test_importing_it_brings_in_no_socket_and_no_loop():
    code = (
        "import sys, worker.wire; "
        "print([name for name in ('asyncio', 'httpx', 'ssl', 'sqlalchemy', 'tenacity') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
