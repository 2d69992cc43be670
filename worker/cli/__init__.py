"""The front door: `spool`.

Every command is a file of its own, named here and imported when it is called,
so that `--help` and completion stay quick.  This package builds every object;
inner rooms are handed what they need.

Standard output is data, standard error is talk.  Exit codes: 0 done, 1 something
failed, 2 wrong usage or settings, 130 interrupted.
"""

from __future__ import annotations

import io
import sys

import click

from worker.app.process_tuning import collect_rarely
from worker.cli.lazy import LazyGroup, global_options
from worker.version import __version__

COMMANDS = {
    "migrate": "Create the tables, or bring them up to date.",
    "add": "Queue prompts: files, standard input, or text.",
    "batch": "Add a file, run until it is done, export: all in one.",
    "run": "Carry runs: stream prompts to answers.",
    "serve": "OpenAI's Batch API in front of the queue.",
    "status": "The queue, the workers, and what is stuck and why.",
    "list": "Prompts by the page, the newest first.",
    "wait": "Return when a batch has finished.",
    "show": "The text of a prompt.",
    "tail": "The text of prompts while it streams.",
    "cancel": "Give prompts up, also while they stream.",
    "retry": "Queue failed or cancelled prompts again.",
    "prune": "Delete finished prompts and their text.",
    "export": "Results as JSON Lines, CSV, Parquet or OpenAI Batch files.",
    "doctor": "Can everything be reached, and what to do if not.",
    "demo": "Prompts to answers in SQL with the embedded model.",
    "config": "The settings in force, and where each comes from.",
    "completion": "Shell completion for bash, zsh or fish.",
}


@click.group(
    cls=LazyGroup,
    commands_of=("worker.cli", COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Settings come from spool.toml, then SPOOL_* variables, then flags: see `spool config`.",
)
@click.version_option(__version__, prog_name="spool", message="%(prog)s %(version)s")
@global_options
def cli() -> None:
    """Stream prompts from a queue in SQL to answers in SQL, and lose no word."""


def main() -> None:
    """Run `spool` and exit with its code."""
    collect_rarely()
    for stream in (sys.stdout, sys.stderr):
        # Data is UTF-8 wherever it goes; a terminal that cannot show it gets escapes, not a crash.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    cli.main(prog_name="spool")
