"""Every event that can be reported has a meaning that a person understands, and is reported."""

import re
from pathlib import Path

from worker.events import Event

PACKAGE = Path(__file__).parent.parent / "worker"


def test_every_event_in_the_list_is_reported():
    """An operator who waits for an event of the list does not wait in vain."""
    code = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    used = set(re.findall(r"\bEvent\.([A-Z_]+)", code))
    assert {event.name for event in Event} - used == set()


def test_every_event_in_the_list_says_what_it_means():
    """In one sentence, with a level."""
    for event in Event:
        assert event.meaning.endswith(".")
        assert event.level in {"debug", "info", "warning", "error"}
        assert event.value == event.name.lower()
