"""The recorded terminal that README shows is what this program says today.

What the model said, times and ids differ from run to run; commands, sentences and columns do not.
If one of these tests fails, `python -m benchmarks.recording` makes both files anew.
"""

import html
import re
import shlex

import pytest

from benchmarks import recording
from tests.house.tree import ROOT
from worker.cli import cli
from worker.cli import list as listing

LINES = recording.TEXT.read_text("utf-8").splitlines()
SAID = [line for line in LINES if line.startswith("spool: ")]
COMMANDS = [line.removeprefix("$ ") for line in LINES if line.startswith("$ ")]


def test_the_scenes_are_those_of_the_script():
    """In their order, and the first one was killed."""
    assert tuple(COMMANDS) == recording.SCENES
    second = LINES.index(f"$ {recording.SCENES[1]}")
    assert LINES[second - 1] == recording.KILLED


@pytest.mark.parametrize("command", [each for each in recording.SCENES if each.startswith("spool")])
def test_each_command_is_one_of_ours(command):
    """With its options."""
    _, name, *arguments = shlex.split(command)
    found = cli.get_command(cli.make_context("spool", [], resilient_parsing=True), name)
    context = found.make_context(name, arguments, resilient_parsing=True)
    assert not context.args


def test_the_table_has_the_columns_of_today():
    """Of `spool list`."""
    table = LINES[LINES.index(f"$ {recording.LIST}") + 1]
    assert re.split(r"\s{2,}", table) == list(listing._NAMES)


def test_each_sentence_is_still_in_the_program():
    """Sentence by sentence, some words of it without names and numbers."""
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "worker").rglob("*.py"))
    program = re.sub(r'"\s*f?"', "", sources)
    for said in SAID:
        words = re.split(r"[\d,.:;()`/]+|spool|prompts?\b|answers?\b|\.jsonl", said)
        runs = [part.strip() for part in words if len(part.strip()) > 5]
        assert any(run in program for run in runs), said


def test_the_killed_run_left_text_and_the_second_one_finished():
    """Which is what it is shown for."""
    before, after = [n for n, line in enumerate(LINES) if line == f"$ {recording.SHOW}"]
    assert LINES[after + 1].startswith(LINES[before + 1][: recording.COLUMNS])
    assert "6 prompts completed; wrote 6 prompts to answers.jsonl" in "\n".join(SAID)
    assert LINES[-1] == "6 answers.jsonl"


def test_the_picture_shows_the_text():
    """Every word of it, and it asks no other server for anything."""
    drawn = html.unescape(recording.PICTURE.read_text("utf-8")).replace("\N{NO-BREAK SPACE}", " ")
    shown = "".join("".join(re.findall(r"<text[^>]*>([^<]*)</text>", drawn)).split())
    for line in LINES:
        assert "".join(line.split()) in shown, line
    assert "url(http" not in drawn
    assert "docs/recording.svg" in (ROOT / "README.md").read_text("utf-8")


def test_a_terminal_keeps_what_was_not_written_over():
    """A line that moves, and a bar that goes up a line to vanish."""
    moving = "a\r\n1 done\r\x1b[2K2 done\r\x1b[2Ktold\r\n2 done"
    assert recording.stays(moving) == ["a", "told", "2 done"]
    assert recording.stays("bar\r\n\x1b[1A\x1b[2Kx\r\n") == ["x"]
    assert recording.stays("\x1b[1mbold\x1b[0m") == ["bold"]
