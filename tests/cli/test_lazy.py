"""Every ending is an exit code and one sentence; nothing ends in a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from tests.house.tree import ROOT
from worker.cli import cli
from worker.cli.lazy import LazyGroup, global_options
from worker.errors import InputError, SettingsError, StoreBusy

ENDINGS = {}


def ending(error):
    """Run a command that ends so."""

    @click.group(cls=LazyGroup, commands_of=("tests.cli.endings", {"end": "End."}))
    @global_options
    def group():
        """Only for this test."""

    @click.command
    def command():
        if isinstance(error, int):
            click.get_current_context().exit(error)
        raise error

    module = type(sys)("tests.cli.endings.end")
    module.command = command
    sys.modules["tests.cli.endings"] = type(sys)("tests.cli.endings")
    sys.modules["tests.cli.endings.end"] = module
    return lambda *args: CliRunner().invoke(group, [*args, "end"])


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("the file is bad"), 1, "spool: the file is bad\n"),
        (StoreBusy("the disk is full"), 1, "spool: the disk is full\n"),
        (SettingsError("a: is wrong"), 2, "spool: a: is wrong\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (click.Abort(), 130, ""),
        (FileNotFoundError(2, "No such file or directory", "x"), 1, "spool: x: No such file"),
        (ZeroDivisionError("oops"), 1, "spool: a fault of this program: ZeroDivisionError: oops"),
        (0, 0, ""),
        (1, 1, ""),
    ],
)
def test_each_ending_has_its_code_and_its_sentence(error, code, words):
    """0 done, 1 failed, 2 wrong usage or settings, 130 interrupted."""
    result = ending(error)()
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith(words)
    assert "Traceback" not in result.stderr


def test_verbose_adds_the_traceback():
    """For whoever has to find the fault."""
    result = ending(InputError("bad"))("-v")
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("spool: bad\n")


@pytest.mark.parametrize(
    ("typed", "meant"), [("stats", "status"), ("ad", "add"), ("exprot", "export")]
)
def test_a_misspelt_command_is_answered_with_the_nearest(spool, typed, meant):
    """And with exit code 2."""
    spool(typed).fails(f"did you mean `spool {meant}`?", code=2)


def test_a_strange_command_is_answered_with_help(spool):
    """Nothing is near."""
    spool("xyzzy").fails("there is no command 'xyzzy'; see `spool --help`", code=2)


def test_a_misspelt_option_is_answered_with_the_nearest(spool):
    """Click knows them."""
    spool("add", "--bach", "x").fails("--batch", code=2)


@pytest.mark.parametrize("place", ["before", "after"])
def test_shared_options_stand_before_or_after_the_command(spool, here, place):
    """People do both."""
    option, command = ["--database-url", "sqlite:///other.db"], ["migrate"]
    said = spool(*(option + command if place == "before" else command + option))
    assert said.code == 0
    assert (here / "other.db").exists()


def test_wrong_usage_is_one_line_with_where_to_read_on(spool):
    """Not the four that Click would write."""
    said = spool("show", "1", "2")
    said.fails("got unexpected extra argument (2) (see `cli show --help`)", code=2)
    spool("export", "--format", "openai-batch", "--partial").fails("spool: OpenAI Batch", code=2)


def shell(line):
    """What a shell line says, with `spool` for this program."""
    line = line.replace("spool", f"{sys.executable} -m worker")
    return subprocess.run(
        ["sh", "-c", line],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize(
    ("line", "code", "err"),
    [
        (
            "spool config > /dev/full",
            1,
            "spool: the output cannot be written: No space left on device\n",
        ),
        ("spool config >&-", 0, ""),
        ("spool config 2>&- > /dev/null", 0, ""),
        ("spool add - <&-", 1, "spool: standard input is closed: name a file\n"),
    ],
)
def test_a_stream_that_is_full_or_closed_is_no_fault_of_the_program(here, line, code, err):
    """Cron jobs and daemons close them; disks fill up."""
    said = shell(line)
    assert (said.returncode, said.stderr) == (code, err)


def test_a_reader_that_has_enough_is_no_error(here):
    """`spool export | head -1` is quiet, and says so by its code."""
    lines = "".join(f'{{"prompt": "number {n}"}}\n' for n in range(3000))
    (here / "p.jsonl").write_text(lines)
    assert CliRunner().invoke(cli, ["add", "p.jsonl"]).exit_code == 0
    with subprocess.Popen(
        [sys.executable, "-m", "worker", "export", "--status", "queued"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        process.wait()
    assert said == b""
    assert process.returncode == 141


def test_an_interrupt_ends_quietly(here, spool):
    """Ctrl-C while following: no traceback, 130, and how to go on is for the command to say."""
    assert spool("add", "-p", "x").code == 0
    with subprocess.Popen(
        [sys.executable, "-m", "worker", "status", "--watch", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        process.wait()
    assert b"Traceback" not in said
    assert process.returncode == 130
