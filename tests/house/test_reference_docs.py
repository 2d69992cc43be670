"""What the program can say, be or be told is in the documents, and nothing else is."""

from __future__ import annotations

import re

from tests.house.tree import ROOT
from worker.cli import COMMANDS
from worker.errors import ErrorCode
from worker.events import Event
from worker.states import TRANSITIONS, PromptState, RunState

CONCEPTS = (ROOT / "docs" / "concepts.md").read_text("utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")
QUICKSTART = (ROOT / "docs" / "quickstart.md").read_text("utf-8")


def rows(page: str, columns: int) -> list[tuple[str, ...]]:
    """The rows of every table whose first cell is code, cell by cell."""
    found = re.findall(r"^\| `([^`]+)` \|(.*)\|$", page, re.MULTILINE)
    cells = [(first, *(each.strip() for each in rest.split(" | "))) for first, rest in found]
    return [row for row in cells if len(row) == columns]


def test_every_event_is_documented() -> None:
    """The list of events is the program's own, with level and meaning."""
    documented = rows(OPERATIONS, 3)
    assert documented == [(str(each), each.level, each.meaning) for each in Event]


def test_every_error_code_is_documented() -> None:
    """Whoever finds a code in a row finds its meaning on the page."""
    assert [code for code, *_ in rows(CONCEPTS, 3)] == [str(code) for code in ErrorCode]


def test_the_pictures_are_the_table() -> None:
    """The diagrams show every transition, and none that cannot happen."""
    drawn = re.findall(r"^    (\w+) --> (\w+): (\w+)$", CONCEPTS, re.MULTILINE)
    known = [(str(state), str(after), str(event)) for (state, event), after in TRANSITIONS.items()]
    assert sorted(drawn) == sorted(known)


def test_every_state_is_named() -> None:
    """No state can be met that the concepts do not name."""
    for state in (*PromptState, *RunState):
        assert f"`{state}`" in CONCEPTS


def test_every_command_is_shown() -> None:
    """The quickstart shows each command once at least."""
    assert [name for name in COMMANDS if f"spool {name}" not in QUICKSTART] == []
