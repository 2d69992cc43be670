"""What will happen, drawn from a seed before anything starts.

Prompts arrive in slices over the first part of the experiment, so that there is work
whenever something is killed.  Acts are drawn uniformly over the chaos window; their order,
their victims and their lengths follow from the seed alone.  What the operating system
makes of them does not, which is the point.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

LEASE_SECONDS = 3.0
FLUSH_SECONDS = 0.5
IDLE_TIMEOUT_SECONDS = 4.0
FIRST_FRAME_TIMEOUT_SECONDS = 6.0
MAX_ATTEMPTS = 12
MAX_CRASHES = 1000  # far more is killed here than by anything real
MAX_FRAME_BYTES = 1_000_000

BATCH = "crash"
SLICE_PROMPTS = 40
SLICES_MAX = 24
ADDED_WITHIN = 0.85  # of the chaos window; what arrives last still meets some chaos
CHAOS_WITHIN = 0.7  # of the time allowed; the rest is for draining

# Endpoint -> dialect, path below the server's root, and streams at a time per worker.
ENDPOINTS = {
    "default": ("ollama-chat", "", 5),
    "oai": ("openai-chat", "/v1", 4),
    "claude": ("anthropic-messages", "", 3),
}

# What the server does to a request, by probability; the rest is answered as it should be.
FAULTS = {
    "fault=cut": 0.03,
    "fault=cut framing=close": 0.01,
    "fault=reset": 0.03,
    "fault=no-done": 0.03,
    "fault=stall": 0.02,
    "fault=pings": 0.01,
    "fault=error": 0.02,
    "fault=error-done": 0.02,
    "fault=garbage": 0.02,
    "fault=bad-chunk": 0.01,
    "fault=disconnect": 0.02,
    "fault=reset-early": 0.02,
    "fault=silent": 0.01,
    "fault=500": 0.02,
    "fault=503": 0.01,
    "fault=503 retry_after=1": 0.01,
    "fault=429 retry_after=1": 0.02,
    "fault=huge size=200000": 0.01,
    "fault=huge size=3000000": 0.002,
    "fault=double-done": 0.03,
    "fault=text-after-done": 0.03,
    "split=1": 0.03,
    "gzip=yes": 0.02,
    "framing=close": 0.02,
}


class What(StrEnum):
    """Something that happens."""

    ADD = "add"  # another slice of prompts
    KILL = "kill"  # SIGKILL to a worker, which is replaced at once
    PAUSE = "pause"  # SIGSTOP to a worker, SIGCONT later
    DATABASE = "database"  # PostgreSQL crashes, or the disk of SQLite fills up
    SNAPSHOT = "snapshot"  # a copy of the database is put aside
    WENT_BACK = "went back"  # the database is put back to a copy of seconds or minutes ago
    READ_ONLY = "read-only"  # sessions of PostgreSQL turn read-only, for all or until they are new
    LOCK = "lock"  # a stranger holds a lock for longer than a lease
    CLOCK = "clock"  # the clock by which leases run is set forward
    TERM = "term"  # SIGTERM to a worker, and SIGKILL before it may be done
    DOWN = "down"  # the model server refuses connections
    CANCEL = "cancel"  # `spool cancel` for a running prompt
    CANCEL_SQL = "cancel by SQL"  # UPDATE prompts SET cancel_requested_at
    CANCEL_HAND = "cancel by hand"  # UPDATE prompts SET status = 'cancelled'


@dataclass(frozen=True, order=True)
class Act:
    """Something that happens `at` so many seconds after the start.

    Attributes:
        index: which worker, which slice, or which snapshot.
        seconds: how long it lasts, where it lasts.
    """

    at: float
    what: What
    index: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """All of it."""

    seed: int
    prompts: tuple[dict[str, str], ...]
    acts: tuple[Act, ...]
    chaos_seconds: float
    total_seconds: float

    @property
    def slices(self) -> int:
        """In how many parts the prompts arrive."""
        return sum(act.what is What.ADD for act in self.acts)

    def write_slices(self, folder: Path) -> list[Path]:
        """One file for `spool add` a slice."""
        paths = []
        for number in range(self.slices):
            path = folder / f"slice-{number:02}.jsonl"
            lines = [json.dumps(prompt) for prompt in self.prompts[number :: self.slices]]
            path.write_text("".join(f"{line}\n" for line in lines))
            paths.append(path)
        return paths


def draw(
    *,
    seed: int,
    prompts: int,
    workers: int,
    kills: int,
    crashes: int,
    minutes: float,
    chaos_seconds: float | None = None,
    each: int = 0,
) -> Plan:
    """Draw a plan; the same arguments give the same plan.

    each: how often the database goes back, is read-only, is locked by a stranger; and how many
    workers are told to stop and killed.
    """
    dice = random.Random(seed)
    total = minutes * 60
    chaos = chaos_seconds or total * CHAOS_WITHIN
    slices = min(SLICES_MAX, -(-prompts // SLICE_PROMPTS))
    acts = [Act(chaos * ADDED_WITHIN * n / slices, What.ADD, n) for n in range(slices)]
    acts += [_harm(dice, chaos, workers) for _ in range(kills)]
    acts += [_outage(dice, chaos, n, crashes) for n in range(crashes)]
    downs = max(1, crashes // 2)
    acts += [
        Act(dice.uniform(0.1, 1.0) * chaos, What.DOWN, seconds=dice.uniform(0.5, 5.0))
        for _ in range(downs)
    ]
    cancels = (What.CANCEL, What.CANCEL_SQL, What.CANCEL_SQL, What.CANCEL_HAND)
    acts += [
        Act(dice.uniform(0.05, 1.0) * chaos, cancels[n % len(cancels)])
        for n in range(max(4, prompts // 50))
    ]
    for number in range(each):
        acts += _meddling(dice, chaos, number, each, workers)
    made = tuple(_prompt(dice, number) for number in range(prompts))
    return Plan(seed, made, tuple(sorted(acts)), chaos, total)


def _harm(dice: random.Random, chaos: float, workers: int) -> Act:
    at, victim = dice.uniform(0.02, 1.0) * chaos, dice.randrange(workers)
    kind = dice.random()
    if kind < 0.6:
        return Act(at, What.KILL, victim)
    if kind < 0.8:
        return Act(at, What.PAUSE, victim, dice.uniform(0.1, 0.8 * LEASE_SECONDS))
    return Act(at, What.PAUSE, victim, dice.uniform(1.2, 3.0) * LEASE_SECONDS)


def _outage(dice: random.Random, chaos: float, number: int, crashes: int) -> Act:
    # Spread evenly: two outages at once are one outage.
    at = chaos * (number + dice.uniform(0.3, 0.7)) / crashes
    length = dice.choice((0.0, 0.0, 1.0, LEASE_SECONDS, 2 * LEASE_SECONDS))
    return Act(at, What.DATABASE, number, length)


def _meddling(dice: random.Random, chaos: float, number: int, each: int, workers: int) -> list[Act]:
    """One of each: a copy and the way back, a read-only phase, a lock, a clock, a planned stop."""

    def at(since: float, until: float) -> float:
        return chaos * (number + dice.uniform(since, until)) / each

    back_at = at(0.0, 0.2)
    # Every third time it is a copy of minutes ago, if there were minutes.
    age = dice.uniform(60.0, 180.0) if number % 3 == 2 else dice.uniform(2.0, 12.0)
    lock_seconds = dice.uniform(1.2, 2.5) * LEASE_SECONDS
    return [
        Act(max(0.05 * chaos, back_at - age), What.SNAPSHOT, number),
        Act(max(0.05 * chaos + 1.0, back_at), What.WENT_BACK, number),
        Act(at(0.3, 0.5), What.READ_ONLY, number, dice.uniform(1.0, 2.0) * LEASE_SECONDS),
        Act(at(0.6, 0.8), What.LOCK, number, lock_seconds),
        Act(at(0.0, 1.0), What.CLOCK, seconds=dice.uniform(0.5, 20.0) * LEASE_SECONDS),
        Act(at(0.0, 1.0), What.TERM, dice.randrange(workers), dice.uniform(0.1, 2.0)),
    ]


def _prompt(dice: random.Random, number: int) -> dict[str, str]:
    kind = dice.random()
    if kind < 0.30:
        manner = f"tokens={dice.randint(1, 60)}"
    elif kind < 0.78:
        manner = f"tokens={dice.randint(60, 160)} rate={dice.randint(20, 40)}"
    elif kind < 0.90:
        manner = f"tokens={dice.randint(200, 450)} rate={dice.randint(25, 40)}"
    elif kind < 0.95:
        manner = f"tokens=3000 rate={dice.choice((0, 1000))}"
    else:
        manner = f"tokens={dice.randint(20, 60)} thinking=30 rate=40"
    endpoint = dice.choices(list(ENDPOINTS), [each[2] for each in ENDPOINTS.values()])[0]
    custom_id = f"p-{number:05}"
    return {
        "custom_id": custom_id,
        "endpoint": endpoint,
        "prompt": f"Tell me about {custom_id}. [[{manner}]]",
    }
