"""No command takes more memory for more: longer answers, longer files, more results.

Each runs in a process of its own, and its peak is what the kernel says, without the pages of
files: how many of a library's pages the kernel maps depends on the machine, and all processes
share them.  The figures for a gibibyte and for a million lines stand in docs/performance.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.carried import claim, complete, flush
from worker.records import NewPrompt
from worker.store import Selection, Store

GROWTH_MIB = 4.0
MOST_OWN_MIB = 64.0
MEBIBYTES = (1, 24)
CHUNK = 'So he said: "Well", and the line went on for a while. ' * 1213  # 64 KiB, the longest

Peak = Callable[..., float]


@pytest.fixture
def peak_mib(database_url: str, here: Path) -> Peak:
    """The most memory of its own that a command on this database ever held."""
    words = (
        "import sys\n"
        "from worker.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        "said = open('/proc/self/status').read()\n"
        "kibibytes = lambda name: int(said.partition(name)[2].split()[0])\n"
        "print(kibibytes('VmHWM:') - kibibytes('RssFile:'), file=sys.stderr)\n"
    )

    def run(*arguments: object) -> float:
        command = [sys.executable, "-c", words, *map(str, arguments)]
        done = subprocess.run(
            [*command, "--database-url", database_url],
            cwd=here,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert not done.returncode, done.stderr
        return int(done.stderr.split()[-1]) / 1024

    return run


def flat(small: float, large: float) -> None:
    """Within what an allocator may do, and within what was promised."""
    assert large < MOST_OWN_MIB
    assert large - small < GROWTH_MIB


def test_add_takes_the_same_for_any_number_of_lines(peak_mib: Peak, here: Path) -> None:
    """Ids, pages and transactions are of a fixed size."""
    peaks = []
    for count in (5_000, 30_000):
        lines = (
            json.dumps({"custom_id": f"q{n}", "prompt": f"What is {n} times seven?"}) + "\n"
            for n in range(count)
        )
        (here / f"{count}.jsonl").write_text("".join(lines))
        peaks.append(peak_mib("add", f"{count}.jsonl"))
    flat(*peaks)


def test_export_takes_the_same_for_any_number_of_results(peak_mib: Peak, store: Store) -> None:
    """Rows and answers come by the page, and go at once."""
    peaks = []
    for count in (2_000, 10_000):
        store.add(NewPrompt(prompt=f"What is {n} times seven?") for n in range(count))
        store.cancel(Selection())
        peaks += [max(peak_mib("export"), peak_mib("export", "--format", "csv"))]
    flat(*peaks)


def test_a_long_answer_is_shown_and_exported_in_pieces(peak_mib: Peak, store: Store) -> None:
    """Twenty-four times the text."""
    store.add(NewPrompt(prompt=str(mib)) for mib in MEBIBYTES)
    for run, mib in zip(claim(store, 2), MEBIBYTES, strict=True):
        flush(store, run, *[CHUNK] * (16 * mib))
        complete(store, run)
    for command in (["show"], ["show", "--json"], ["export"], ["export", "--format", "csv"]):
        flat(peak_mib(*command, 1), peak_mib(*command, 2))


def test_a_worker_takes_the_same_for_any_length_of_response(
    peak_mib: Peak, here: Path, store: Store, server_url: str
) -> None:
    """What has been flushed is let go."""
    (here / "spool.toml").write_text(
        f'[endpoints.default]\ndialect = "openai-chat"\nbase_url = "{server_url}/v1"\nmodel = "m"\n'
    )
    peaks = []
    for tokens in (5_000, 60_000):
        store.add([NewPrompt(prompt=f"[[tokens={tokens}]]")])
        peaks.append(peak_mib("run", "--drain", "--fail-on-error"))
    flat(*peaks)
