"""Record a terminal: a batch is killed with `kill -9`, and the same command goes on.

    python -m benchmarks.recording

plays the scenes below in an empty folder, with the embedded model and a terminal of its own, and
writes what was to be seen: docs/recording.txt, and docs/recording.svg, which README shows.  Nothing
in them is written by hand; tests/house/test_recording.py notices when the program speaks otherwise.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from io import StringIO
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = ROOT / "docs" / "recording.txt"
PICTURE = ROOT / "docs" / "recording.svg"
TITLE = "kill -9, and the same command again"
COLUMNS = 100
PATIENCE_SECONDS = 600.0

SETTINGS = """\
flush_seconds = 0.5
[endpoints.default]
dialect = "openai-chat"
embedded = true
model = "smollm2"
concurrency = 2
options = {temperature = 0, max_tokens = 120}
"""
ASKED = (
    "Why is the sky blue?",
    "Name five fruits.",
    "How does a bicycle stay upright?",
    "Write three sentences about the moon.",
    "What is a database transaction?",
    "Describe a river in two sentences.",
)
BATCH = "spool batch prompts.jsonl -o answers.jsonl"
LIST = "spool list --batch prompts.jsonl"
SHOW = "spool show 3"
SCENES = (BATCH, LIST, SHOW, BATCH, SHOW, "wc -l answers.jsonl")
KILLED = "Killed"  # what a shell says of a process that was ended by SIGKILL


class Terminal:
    """A terminal that keeps the lines that stay on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        programs = Path(sys.executable).parent
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.upper().startswith("SPOOL_")},
            "PATH": f"{programs}:{os.environ['PATH']}",
            "COLUMNS": str(COLUMNS),
            "LINES": "40",
            "NO_COLOR": "1",
            "TERM": "xterm",
        }
        self.lines: list[str] = []

    def play(self, command: str, kill_when: Callable[[], bool] | None = None) -> None:
        """Run a command, and kill it with signal 9 as soon as that is true."""
        self.lines.append(f"$ {command}")
        number, terminal = pty.fork()
        if not number:
            os.chdir(self._folder)
            os.execvpe("/bin/sh", ["sh", "-c", f"exec {command}"], self._environment)
        seen = bytearray()
        for piece in _pieces(terminal):
            seen += piece
            if kill_when is not None and kill_when():
                os.kill(number, signal.SIGKILL)
                break
        os.waitpid(number, 0)
        os.close(terminal)
        self.lines += stays(seen.decode("utf-8", "replace"))
        if kill_when is not None:
            self.lines.append(KILLED)


def _pieces(terminal: int) -> Iterator[bytes]:
    """What a program writes, and nothing twice a second, until it has ended."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    with suppress(OSError):  # how Linux says that the other side has closed
        while time.monotonic() < ends_at:
            ready, _, _ = select.select([terminal], [], [], 0.5)
            piece = os.read(terminal, 65536) if ready else b""
            if ready and not piece:
                return
            yield piece


def stays(text: str) -> list[str]:
    """The lines that stay on a terminal when a program writes some of them again and again."""
    lines, row = [""], 0
    for mark in re.finditer(r"\x1b\[([0-9;?]*)([a-zA-Z])|\r|\n|[^\x1b\r\n]+", text):
        found, (count, code) = mark[0], mark.groups()
        if found == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif code == "A":
            row = max(0, row - int(count or 1))
        elif code == "K":
            lines[row] = ""
        elif code is None and found != "\r":
            lines[row] += found
    return [line for line in lines if line.strip()]


def halfway(database: Path) -> bool:
    """Whether two prompts are answered, and the third has stored the beginning of its text."""
    if not database.exists():
        return False
    query = (
        "SELECT (SELECT count(*) FROM prompts WHERE status = 'completed'),"
        " (SELECT length(partial_output) FROM results WHERE id = 3 AND status = 'running')"
    )
    with suppress(sqlite3.Error), closing(sqlite3.connect(database)) as connection:
        completed, characters = connection.execute(query).fetchone()
        return completed >= 2 and (characters or 0) > COLUMNS
    return False


def record() -> list[str]:
    """The lines of the terminal."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "spool.toml").write_text(SETTINGS)
        lines = (
            json.dumps({"custom_id": f"q{number}", "prompt": asked})
            for number, asked in enumerate(ASKED, 1)
        )
        (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")
        terminal = Terminal(folder)
        first, *others = SCENES
        terminal.play(first, kill_when=lambda: halfway(folder / "spool.db"))
        for command in others:
            terminal.play(command)
        return terminal.lines


def picture(lines: list[str]) -> str:
    """The lines as a drawing of a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=COLUMNS, file=StringIO(), color_system="truecolor")
    for line in lines:
        style = "bold cyan" if line.startswith("$ ") else "bold red" if line == KILLED else ""
        console.print(Text(line, style=style))
    # Without a source for its fonts: whoever looks at it asks no other server.
    return re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title=TITLE), flags=re.DOTALL)


def main() -> None:
    """Record, and write both files."""
    lines = record()
    TEXT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    PICTURE.write_text(picture(lines), encoding="utf-8")
    sys.stdout.write(TEXT.read_text("utf-8"))


if __name__ == "__main__":
    main()
