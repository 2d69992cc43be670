"""Every example in config/ is one that works: it loads, has no hint against it, and is current."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from worker.cli import COMMANDS
from worker.settings import load_all
from worker.settings.model import Written

CONFIG = Path(__file__).parent.parent.parent / "config"
EXAMPLES = sorted(path.name for path in CONFIG.glob("*.toml"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_loads_without_a_fault_or_a_hint(name, monkeypatch):
    """People copy them."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    loaded = load_all(CONFIG / name, keys_required=True)
    assert loaded.hints == ()
    assert "default" in loaded.settings.endpoints


def test_there_are_examples():
    """The glob above finds them."""
    assert {"spool.toml", "sqlite-ollama.toml", "postgres-openai.toml"} <= set(EXAMPLES)


@pytest.mark.parametrize("name", ["spool.service", "compose.yaml"])
def test_the_variables_of_an_example_are_settings(name, monkeypatch):
    """A misspelt one would stop the worker, or do nothing."""
    text = (CONFIG / name).read_text("utf-8")
    named = set(re.findall(r"\bSPOOL_(?:[A-Z]+_*)+", text)) - {"SPOOL_POSTGRES_PASSWORD"}
    assert named
    for variable in named:
        key = variable.removeprefix("SPOOL_").lower()
        assert key in Written.model_fields or key.startswith("endpoints__default__")
        if key.startswith("endpoints__default__"):
            assert (
                key.rpartition("__")[2]
                in Written.model_fields["endpoints"].annotation.__args__[1].model_fields
            )


@pytest.mark.parametrize("name", ["spool.service", "compose.yaml"])
def test_the_commands_of_an_example_exist(name):
    """A unit that starts a command which there is not fails at night."""
    text = (CONFIG / name).read_text("utf-8")
    started = re.findall(r"ExecStart=\S+/spool (?:--config \S+ )?(\w+)", text)
    started += re.findall(r'\["spool", "(\w+)"', text)
    assert "run" in started
    assert set(started) <= set(COMMANDS)


def test_services_are_given_time_to_hand_back():
    """More than the grace, or systemd and compose kill what was about to be flushed."""
    grace = Written.model_fields["shutdown_grace_seconds"].default
    unit = (CONFIG / "spool.service").read_text("utf-8")
    compose = (CONFIG / "compose.yaml").read_text("utf-8")
    for seconds in (
        int(re.search(r"TimeoutStopSec=(\d+)", unit)[1]),
        int(re.search(r"stop_grace_period: (\d+)s", compose)[1]),
    ):
        assert seconds >= grace + 20
