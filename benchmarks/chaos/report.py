"""The table that the experiment prints."""

from __future__ import annotations

import platform
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable
from os import cpu_count
from statistics import median

from benchmarks.chaos.audit import EXAMPLES, PROMISES, Audit
from benchmarks.chaos.evidence import Evidence, overlaps
from benchmarks.chaos.plan import LEASE_SECONDS, What
from benchmarks.chaos.play import Play
from benchmarks.chaos.stage import Harm
from benchmarks.chaos.tables import Tables

OURS = ("lease_expired", "lease_lost", "shutdown", "orphaned", "handed_back", "commits_forgotten")
Line = tuple[str, object]


def lines(play: Play, audit: Audit, *, version: str, exits: Counter, took: float) -> list[Line]:
    """Name and value of every line."""
    tables, evidence = audit.tables, audit.evidence
    states = Counter(prompt.status for prompt in tables.prompts.values())
    endings = Counter(run.error_code or run.status for run in tables.runs.values())
    return [
        ("machine", f"{cpu_count()} cores, {platform.system()} {platform.machine()}"),
        ("versions", f"Python {sys.version.split()[0]}, {version}"),
        ("seconds", f"{took:.0f}"),
        ("prompts", f"{len(tables.prompts):,} ({_counts(states)})"),
        ("runs", f"{len(tables.runs):,} ({_counts(endings)})"),
        ("requests served", f"{len(evidence.served):,}"),
        ("faults of the server", _counts(Counter(one.fault for one in evidence.served))),
        *_harms(play, evidence),
        *_cancels(play, tables),
        ("workers that ended by themselves", _counts(exits)),
        *_speed(tables, evidence, audit),
        *_tokens(tables, evidence),
        *((promise, len(audit.findings[promise])) for promise in PROMISES),
    ]


def _harms(play: Play, evidence: Evidence) -> Iterable[Line]:
    pauses = [harm for harm in evidence.harms if harm.kind == "pause"]
    zombies = sum(harm.ended - harm.began > LEASE_SECONDS for harm in pauses)
    kills = sum(harm.kind == "kill" for harm in evidence.harms)
    yield "SIGKILL", kills
    yield "SIGSTOP", f"{len(pauses)}, of them {zombies} longer than the lease"
    downtime = sum(end - begin for begin, end in evidence.database_outages)
    longest = max((end - begin for begin, end in evidence.database_outages), default=0.0)
    name = "disk full" if play.database.url.startswith("sqlite") else "PostgreSQL crashes"
    yield name, f"{play.done[What.DATABASE]}, away for {downtime:.0f} s, at most {longest:.1f} s"
    if play.done[What.TERM]:
        yield "SIGTERM, then SIGKILL", play.done[What.TERM]
    if evidence.went_back:
        ages = sorted(at - copied for copied, at in evidence.went_back)
        told = f"{len(ages)} times, {ages[0]:.0f} to {ages[-1]:.0f} s old"
        yield "the database put back to a copy", told
    if play.done[What.READ_ONLY]:
        yield "sessions turned read-only", play.done[What.READ_ONLY]
    if play.clock.steps:
        told = f"{len(play.clock.steps)} times, {play.clock.steps[-1][1]:.0f} s in all"
        yield "the clock of leases set forward", told
    if play.done[What.LOCK]:
        yield "a lock held by a stranger, longer than a lease", play.done[What.LOCK]
    if evidence.lock_waits:
        longest = max(end - begin for begin, end in evidence.lock_waits)
        yield (
            "stopped while it wrote, and all waited",
            (f"{len(evidence.lock_waits)} times, at most {longest:.1f} s"),
        )
    said = Counter(
        str(event.get("error")).rpartition(": ")[2]
        for event in play.crew.logged()
        if event.get("event") == "database_unavailable"
    )
    yield "what workers said of it", _counts(said) or "nothing"
    yield "model server down", play.done[What.DOWN]


def _cancels(play: Play, tables: Tables) -> Iterable[Line]:
    ways = [What.CANCEL, What.CANCEL_SQL, What.CANCEL_HAND]
    told = ", ".join(f"{play.done[how]} {how}" for how in ways)
    waits = [
        (run.finished_at or 0) - at
        for prompt_id, at in play.cancelled_at.items()
        for run in tables.runs_of(prompt_id)[-1:]
        if run.status == "cancelled"
    ]
    yield "cancelled while running", told
    if waits:
        took = f"median {median(waits):.2f}, longest {max(waits):.2f}"
        yield "seconds from cancel to closed", took


def recoveries(tables: Tables, evidence: Evidence) -> list[tuple[float, float, bool]]:
    """For each run that a kill ended: seconds until it was taken back, and until its prompt ran
    again; and whether nothing else was away meanwhile.
    """
    found = []
    for harm in evidence.harms:
        if harm.kind != "kill":
            continue
        for run in tables.runs.values():
            held = tables.pids.get(run.worker_id) == harm.pid and run.started_at <= harm.began
            if not held or run.error_code != "lease_expired" or run.finished_at is None:
                continue
            if run.finished_at < harm.began:
                continue
            for later in tables.runs_of(run.prompt_id):
                if later.attempt == run.attempt + 1:
                    calm = _undisturbed(evidence, harm, later.started_at)
                    took = (run.finished_at - harm.began, later.started_at - harm.began)
                    found.append((*took, calm))
    return found


def _undisturbed(evidence: Evidence, harm: Harm, until: float) -> bool:
    spans = evidence.database_away + evidence.server_outages
    return not overlaps(spans, harm.began - LEASE_SECONDS, until)


def _speed(tables: Tables, evidence: Evidence, audit: Audit) -> Iterable[Line]:
    found = recoveries(tables, evidence)
    for number, until in enumerate(("being queued again", "running again (in a free slot)")):
        calm = [each[number] for each in found if each[2]]
        if calm:
            longest = max(each[number] for each in found)
            told = f"median {median(calm):.1f}, longest {max(calm):.1f}"
            rest = f"; with database or server away meanwhile, longest {longest:.1f}"
            yield f"seconds from a kill to its prompts {until}", told + rest
    ages = audit.loss_seconds
    if ages:
        told = f"{len(ages)} streams, median {median(ages):.2f}, most {max(ages):.2f}"
        yield "seconds of unflushed text lost by a kill", told


def _tokens(tables: Tables, evidence: Evidence) -> Iterable[Line]:
    wanted = {run.request_id for run in tables.runs.values() if run.status == "completed"}
    ours = {
        request.request_id
        for run in tables.runs.values()
        if run.error_code in OURS and (request := evidence.request_of(run, tables))
    }
    sent = Counter()
    for one in evidence.served:
        kind = "kept" if one.request_id in wanted else "spoilt"
        sent["crashed" if one.request_id in ours and kind == "spoilt" else kind] += one.tokens_sent
    yield "tokens of completed runs", f"{sent['kept']:,}"
    yield "tokens paid twice, for crashes and pauses of workers", f"{sent['crashed']:,}"
    yield "tokens paid twice, for faults of the server and cancels", f"{sent['spoilt']:,}"


def _counts(counts: Counter) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def table(title: str, rows: list[Line]) -> str:
    """As Markdown, which is also readable as it is."""
    told = [f"### {title}", "", "| | |", "| --- | --- |"]
    told += [f"| {name} | {value} |" for name, value in rows]
    return "\n".join(told)


def examples(audit: Audit) -> str:
    """The first findings of each kind."""
    told = []
    for promise, cases in audit.findings.items():
        told += [f"{promise}: {case}" for case in cases[:EXAMPLES]]
        if len(cases) > EXAMPLES:
            told.append(f"{promise}: and {len(cases) - EXAMPLES} more")
    return "\n".join(told)


def sqlite_version() -> str:
    """What this Python brings."""
    return f"SQLite {sqlite3.sqlite_version}"
