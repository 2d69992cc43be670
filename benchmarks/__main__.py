"""`python -m benchmarks [NAME ...] [--short|--long]`: prints the tables as Markdown."""

from __future__ import annotations

import argparse
import importlib
import sys
import time

from benchmarks import harness

NAMES = ("reading", "pipeline", "memory", "writes", "queue", "latency", "startup")
WHEN_NAMED = ("worlds", "morning")  # take minutes, and measure no machine


def main() -> None:
    known = (*NAMES, *WHEN_NAMED)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--short", action="store_true", help="a few minutes in all (the default)")
    length.add_argument("--long", action="store_true", help="what docs/performance.md shows")
    given = parser.parse_args()
    if unknown := set(given.names) - set(known):
        parser.error(f"no such table: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if crowd := harness.missing("niquests", "jh2"):
        del crowd
    else:
        print("niquests is installed: it makes requests six times slower", file=sys.stderr)
    print(f"{harness.machine()}\n")
    for name in given.names or NAMES:
        began = time.monotonic()
        module = importlib.import_module(f"benchmarks.{name}")
        for table in module.tables(short=not given.long):
            print(table, flush=True)
        print(f"({name}: {time.monotonic() - began:.0f} s)", file=sys.stderr)


if __name__ == "__main__":
    main()
