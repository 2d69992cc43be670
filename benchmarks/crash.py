"""Kill everything, again and again, and see whether a word is missing in the end.

    python -m benchmarks.crash --database postgresql --prompts 2000 --workers 4 --kills 300 \\
        --database-crashes 10 --minutes 20 --seed 1

Real workers (`spool run`), each a process of its own, stream from a model server, again
a process, that misbehaves by a seeded plan: it refuses connections, answers 500, 503 and
429 with Retry-After, resets, ends without a done frame, cuts a chunk, stalls, sends an error
frame, garbage, one byte at a time, a huge line, the done frame twice, an error before
the done frame, text after it, and closes before the headers.  Meanwhile workers are killed
(and replaced at once) and paused, some for longer than their lease, told to stop and killed
before they have ended; PostgreSQL, which runs with `synchronous_commit = off`, is killed
and started again, the disk below SQLite is filled, both are put back to copies of seconds and
of minutes ago (SQLite while its workers have it open), PostgreSQL's sessions turn
read-only, strangers hold locks for longer than a lease, the clock by which leases run is set
forward, and prompts are cancelled.  The lease is
short (see chaos/plan.py), so that minutes hold what years would.

Then peace returns, the queue is drained, and the tables alone are compared with the log of
the model server.  `chaos/audit.py` defines what counts as a broken promise; the table names
them, and one is enough for exit code 1.  The rest of the table:

- *seconds from a kill to its prompts being queued, running again*: from SIGKILL to the end of the
  dead worker's run, which a living worker wrote, and to the start of the next run, which also
  needs a free slot; for every prompt that was aboard and not cancelled;
- *unflushed text lost by a kill*: the age of the oldest character that the server had sent,
  that was not stored, when the worker was killed; its bound is the flush interval;
`--source` tries the `spool` of another checkout, such as an older version.

- *tokens paid twice*: tokens that the server sent in requests other than those of the
  completed runs, told apart by whose fault that was.

Everything is on 127.0.0.1 and in a temporary directory, ends by itself within the minutes,
and ends only processes that it started.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

from benchmarks.chaos import databases, plan, report, tables
from benchmarks.chaos.audit import Audit
from benchmarks.chaos.clock import Clock
from benchmarks.chaos.evidence import Evidence, served_from, stopped_writers
from benchmarks.chaos.play import Play
from benchmarks.chaos.stage import ROOT, Crew, ModelServer, run_spool, write_config


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=300, help="SIGKILL and SIGSTOP together")
    parser.add_argument(
        "--database-crashes", type=int, default=10, help="or, for SQLite, full disks"
    )
    parser.add_argument(
        "--each",
        type=int,
        default=6,
        help="times the database goes back, is read-only, is locked; workers that are told to stop"
        " and killed",
    )
    parser.add_argument(
        "--source", type=Path, default=ROOT, help="the checkout whose `spool` is tried"
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="after that it ends")
    parser.add_argument(
        "--chaos-seconds", type=float, help="how long things break; then the queue is drained"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a new directory for logs, kept afterwards")
    parser.add_argument("--json", action="store_true", help="the table as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="only the table")
    return parser.parse_args(arguments)


def experiment(chosen: argparse.Namespace, folder: Path) -> tuple[Play, Audit, list[report.Line]]:
    """Prepare, let it happen, drain, and read."""
    drawn = plan.draw(
        seed=chosen.seed,
        prompts=chosen.prompts,
        workers=chosen.workers,
        kills=chosen.kills,
        crashes=chosen.database_crashes,
        minutes=chosen.minutes,
        chaos_seconds=chosen.chaos_seconds,
        each=chosen.each,
    )
    source = chosen.source.resolve()
    say = (lambda _: None) if chosen.quiet else lambda told: print(told, file=sys.stderr)
    began = time.monotonic()
    with ExitStack() as stack:
        crew: Crew | None = None
        clock = Clock(folder)
        of_workers = chosen.database == "sqlite"  # whose clock it is by which leases run
        database = stack.enter_context(
            databases.opened(
                chosen.database,
                folder,
                pids=lambda: crew.pids if crew else [],
                clock={} if of_workers else clock.environment,
            )
        )
        server = ModelServer(folder, seed=chosen.seed, faults=plan.FAULTS)
        stack.callback(server.close)
        config = write_config(folder / "spool.toml", database.url, server.url)
        migrated = run_spool(config, "migrate", source=source)
        if migrated.returncode != 0:
            raise SystemExit(migrated.stderr)
        database.settle()
        watcher = tables.Watcher(database.connect)
        stack.callback(watcher.stop)
        crew = Crew(
            config, chosen.workers, source=source, clock=clock.environment if of_workers else {}
        )
        stack.callback(crew.close)
        slices = drawn.write_slices(folder)
        play = Play(drawn, crew, server, database, clock, config, slices, say, watcher.forget)
        play.perform()
        exits = crew.exits.copy()
        exits.update(f"SIGTERM: {code}" for code in crew.dismiss())
        watcher.stop()
        server.close()
        with closing(database.connect()) as connection:
            found = tables.read(connection, clock.true)
            version = _version(connection, chosen.database)
    if chosen.keep:
        tables.keep(found, folder / "tables.db")
        (folder / "harms.json").write_text(json.dumps([vars(harm) for harm in crew.harms]))
    evidence = _evidence(play, found, watcher)
    audit = Audit(found, evidence).check()
    took = time.monotonic() - began
    return play, audit, report.lines(play, audit, version=version, exits=exits, took=took)


def _evidence(play: Play, found: tables.Tables, watcher: tables.Watcher) -> Evidence:
    """What is known from outside of the tables."""
    crew, server, database = play.crew, play.server, play.database
    on_sqlite = database.url.startswith("sqlite")
    evidence = Evidence(
        served_from(server.log),
        crew.harms,
        database.outages,
        [],
        seen=watcher.seen,
        completed=watcher.completed,
        added=play.added,
        cancelled_by_hand=play.cancelled_by_hand,
        went_back=database.went_back,
    )
    if on_sqlite:
        evidence.lock_waits = stopped_writers(crew.harms, found)
    shift = evidence.offset
    evidence.server_outages = [(begin + shift, end + shift) for begin, end in server.outages]
    return evidence


def _version(connection, database: str) -> str:
    if database == "sqlite":
        return report.sqlite_version()
    (version,) = connection.execute("SHOW server_version").fetchone()
    return f"PostgreSQL {version.split()[0]}"


def main(arguments: list[str]) -> int:
    chosen = options(arguments)
    if chosen.database == "sqlite":
        databases.with_mounts_of_its_own("benchmarks.crash", arguments)
    # Leave by the front door, and say so.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop (SIGTERM): nothing was judged"))
    with ExitStack() as stack:
        if chosen.keep:
            chosen.keep.mkdir(parents=True)
            folder = chosen.keep.resolve()
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spool-crash-")))
        folder.chmod(0o755)
        _, audit, rows = experiment(chosen, folder)
    if chosen.json:
        print(json.dumps(dict(rows)))
    else:
        print(report.table(f"{chosen.database}, seed {chosen.seed}", rows))
    if audit.broken:
        print(f"\n{report.examples(audit)}", file=sys.stderr if chosen.json else sys.stdout)
    return 1 if audit.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
