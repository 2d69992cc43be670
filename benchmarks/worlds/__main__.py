"""`python -m benchmarks.worlds [--source DIR] [--world NAME ...] [--json]`."""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import json
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import ROOT
from benchmarks.worlds import source

if TYPE_CHECKING:
    from benchmarks.worlds.play import Outcome


def main() -> None:
    given = _parser().parse_args()
    source.choose(given.source.resolve())
    from benchmarks.worlds.catalogue import WORLDS

    names = [name for name in WORLDS if _wanted(name, given.world)]
    if not names:
        raise SystemExit(f"no such world; there are {', '.join(WORLDS)}")
    if given.list:
        for name in names:
            print(f"{name:32} {WORLDS[name].about}")
        return
    if len(given.beside) == 2:
        _show_beside(*(_read(file) for file in given.beside))
        return
    directory, patience = given.source.resolve(), given.patience
    jobs = [(directory, name, seed, patience) for name in names for seed in range(given.seeds)]
    if given.verbose:
        print(json.dumps(dataclasses.asdict(_play(*jobs[0], verbose=True)), indent=1))
        return
    with ProcessPoolExecutor(given.jobs) as pool:
        outcomes = []
        for done in as_completed([pool.submit(_play, *job) for job in jobs]):
            outcomes.append(done.result())
            _tell(outcomes[-1], as_json=given.json)
    outcomes.sort(key=lambda outcome: (names.index(outcome.world), outcome.seed))
    if given.beside:
        _show_beside(_read(given.beside[0]), outcomes)
    elif not given.json:
        from benchmarks.worlds.report import table

        print(f"\n{table(f'Worlds, {given.seeds} seed(s)', WORLDS, outcomes)}")


def _read(file: Path) -> list[Outcome]:
    from benchmarks.worlds.play import Outcome

    return [Outcome(**json.loads(line)) for line in file.read_text().splitlines()]


def _show_beside(olds: list[Outcome], news: list[Outcome]) -> None:
    from benchmarks.worlds.catalogue import WORLDS
    from benchmarks.worlds.report import beside

    print(beside(WORLDS, olds, news))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worlds")
    parser.add_argument("--source", type=Path, default=ROOT, help="the checkout whose worker plays")
    parser.add_argument("--world", nargs="+", default=["*"], help="names, or patterns of names")
    parser.add_argument("--seeds", type=int, default=1, help="how often each world is played")
    parser.add_argument("--jobs", type=int, default=1, help="worlds that are played at a time")
    parser.add_argument("--patience", type=int, default=600, help="real seconds for one world")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument(
        "--beside",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="what --json printed for another checkout, to compare with; two files: only compare",
    )
    parser.add_argument("--verbose", action="store_true", help="one world, with every event")
    parser.add_argument("--list", action="store_true", help="only name the worlds")
    return parser


def _wanted(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _play(
    directory: Path, name: str, seed: int, patience: int, *, verbose: bool = False
) -> Outcome:
    source.choose(directory)
    from benchmarks.worlds.catalogue import WORLDS
    from benchmarks.worlds.play import Outcome, play

    signal.signal(signal.SIGALRM, _enough)
    signal.alarm(patience)
    try:
        return play(WORLDS[name], seed=seed, log=_print if verbose else None)
    except _Enough as error:
        return Outcome(name, seed, ended=[str(error)], real_seconds=patience)
    finally:
        signal.alarm(0)


class _Enough(KeyboardInterrupt):
    """The one kind of error, beside SystemExit, that an event loop lets through."""


def _enough(*_: object) -> None:
    raise _Enough("it was still played when the patience was over")


def _print(event: str, **values: object) -> None:
    at = values.pop("at", 0)
    said = " ".join(f"{name}={value}" for name, value in values.items())
    print(f"{at:>10} {event} {said}", file=sys.stderr)


def _tell(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(dataclasses.asdict(outcome)), flush=True)
        return
    print(
        f"  {outcome.world} ({outcome.seed}): {outcome.innocents_failed} of {outcome.innocents}"
        f" failed, {outcome.runs} runs, {outcome.real_seconds} s",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    main()
