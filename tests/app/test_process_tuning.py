"""A worker carries no library that it does not need: a terminal's, the other database's."""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from worker.app.process_tuning import (
    COLLECT_EVERY,
    DESCRIPTORS_BESIDE_STREAMS,
    OWN_MAPPING_BYTES,
    collect_rarely,
    give_back,
    one_heap,
    raise_descriptor_limit,
    without,
)


def test_what_is_left_out_is_not_found_and_comes_back_afterwards():
    """Only the imports inside are lean; whoever wants the library later has it."""
    sys.modules.pop("this", None)
    with without("this"), pytest.raises(ImportError):
        import this  # noqa: F401
    assert "this" not in sys.modules


def test_what_is_loaded_already_stays():
    """Nobody loses a library that he uses."""
    with without("json"):
        import json
    assert json.loads("1") == 1


def test_the_collector_comes_rarely():
    """It would take a tenth of the time of a short command, and find nothing."""
    usual = gc.get_threshold()
    try:
        collect_rarely()
        assert gc.get_threshold() == COLLECT_EVERY
    finally:
        gc.set_threshold(*usual)


def test_a_worker_is_built_without_rich():
    """In a process of its own, for here others have loaded it long ago."""
    words = (
        "import sys\n"
        "from worker.app.process_tuning import without\n"
        "with without('rich', 'pygments'):\n"
        "    import worker.app.worker_app, worker.log\n"
        "print('rich' in sys.modules or 'pygments' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_worker_on_sqlite_has_no_driver_of_postgresql_and_nobody_counts_for_nobody(
    tmp_path: Path,
) -> None:
    """psycopg takes 9 MiB, Prometheus and its HTTP server two more."""
    words = (
        "import sys\n"
        "from worker.cli import main\n"
        "sys.argv = ['spool', 'run', '--drain', '--database-url', 'sqlite:///lean.db']\n"
        "try: main()\n"
        "except SystemExit as ended: code = ended.code\n"
        "print(code, [m for m in ('psycopg', 'prometheus_client', 'rich') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", words], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "0 []\n"


def test_what_is_freed_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """glibc takes both orders; a C library that knows none is left as it is."""
    import ctypes

    asked = []

    class Libc:
        def mallopt(self, what: int, value: int) -> int:
            asked.append((what, value))
            return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda _name: Libc())
    give_back()
    one_heap()
    assert asked == [(-3, OWN_MAPPING_BYTES), (-8, 1)]
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    give_back()
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("limits", "streams", "then"),
    [
        ((1024, 4096), 16, 1024),
        ((1024, 4096), 3000, 3064),
        ((1024, 4096), 9000, 4096),
        ((1024, -1), 9000, 9064),
        ((4096, 4096), 9000, 4096),
    ],
)
def test_the_limit_of_descriptors_is_raised_for_the_streams(monkeypatch, limits, streams, then):
    """Up to what the system allows; beyond that one sentence says what to change."""
    now = [limits]
    monkeypatch.setattr(resource, "getrlimit", lambda _which: now[0])
    monkeypatch.setattr(resource, "setrlimit", lambda _which, asked: now.insert(0, asked))
    hint = raise_descriptor_limit(streams)
    assert now[0] == (then, limits[1])
    assert (hint is None) == (streams + DESCRIPTORS_BESIDE_STREAMS <= then)
    if hint:
        assert "is 9,000, and this process may open 4,096 files" in hint
        assert "room for 4,032 streams: lower it, or raise the limit" in hint
