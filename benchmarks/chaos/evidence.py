"""What is known from outside: what the server sent, what was done to whom, what was seen.

A run and a request are brought together without asking the worker.  The server gives
every request words of its own, and an id that a run stores at its end; where a worker died
before that, the text that it stored says whose it is, and where it stored none, the
time does.
"""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos import plan
from benchmarks.chaos.stage import Harm
from benchmarks.chaos.tables import RunRow, Tables
from tests.fakes.connection import Served, said_by
from tests.fakes.plan import Behaviour
from tests.fakes.words import words

Span = tuple[float, float]
LOCK_SECONDS = 0.25  # a pause of twice that is too short to be told from chance
PROGRESS_CHARS = 500  # a run that comes so much further than any before it makes progress
CLOCK_SECONDS = 0.01  # how exactly tables and the log of the server tell the time

# Seen from the server's side: after these an answer is whole, whatever else came.
WHOLE = {"none", "double-done", "text-after-done", "huge"}


def served_from(log: Path) -> list[Served]:
    """The requests that the server dealt with."""
    requests = []
    for line in log.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        values["behaviour"] = Behaviour(**values["behaviour"])
        values["progress"] = [(at, chars) for at, chars in values["progress"]]
        requests.append(Served(**values))
    return [one for one in requests if one.method == "POST" and not one.is_question]


@dataclass
class Evidence:
    """Everything that the tables are compared with; spans and harms in epoch seconds."""

    served: list[Served]
    harms: list[Harm]
    database_outages: list[Span]
    server_outages: list[Span]
    seen: dict[int, tuple[int, int]] = field(default_factory=dict)
    completed: set[int] = field(default_factory=set)
    added: int = 0
    max_crashes: int = plan.MAX_CRASHES
    cancelled_by_hand: set[int] = field(default_factory=set)
    lock_waits: list[Span] = field(default_factory=list)  # see `stopped_writers`
    went_back: list[Span] = field(default_factory=list)  # when it was copied, and put back
    offset: float = field(default_factory=lambda: time.time() - time.monotonic())

    def __post_init__(self) -> None:
        self.by_request = {one.request_id: one for one in self.served}
        self.by_prompt: dict[str, list[Served]] = defaultdict(list)
        for one in self.served:
            self.by_prompt[one.prompt].append(one)

    @property
    def database_away(self) -> list[Span]:
        """When nobody could write, for whatever reason."""
        return self.database_outages + self.lock_waits

    def asked_at(self, one: Served) -> float:
        """When a request arrived, in epoch seconds."""
        return one.asked_at + self.offset

    def ended_at(self, one: Served) -> float:
        """When the server was done with it, in epoch seconds."""
        return (one.ended_at or one.asked_at) + self.offset

    def request_of(self, run: RunRow, tables: Tables) -> Served | None:
        """The request that this run made; None if it made none that can be known.

        A run whose text fits no request of its prompt gets the latest one, so that the
        comparison fails.
        """
        if run.request_id is not None:
            return self.by_request.get(run.request_id)
        prompt = tables.prompts[run.prompt_id].prompt
        text, thoughts = tables.text(run.id), tables.text(run.id, "thinking")
        if text or thoughts:
            fitting = [
                one
                for one in self.by_prompt[prompt]
                if said_by(one).startswith(text) and thoughts_of(one).startswith(thoughts)
            ]
            return (fitting or self.by_prompt[prompt] or [None])[-1]
        # The request follows the claim at once; the next run's comes after the end of this one.
        since, until = run.started_at - CLOCK_SECONDS, run.finished_at or time.time()
        timely = [
            one
            for one in self.by_prompt[prompt]
            if since <= self.asked_at(one) <= until + CLOCK_SECONDS
        ]
        # The last one: what a kept connection lost before any answer was sent again on a new one.
        return timely[-1] if timely else None

    def sent_by(self, one: Served, epoch: float) -> int:
        """How many characters of the answer had been sent at that time."""
        times = [at for at, _ in one.progress]
        found = bisect_right(times, epoch - self.offset)
        return len(one.carried) + (one.progress[found - 1][1] if found else 0)

    def sent_at(self, one: Served, chars: int) -> float:
        """When the character with that number was sent, in epoch seconds."""
        for at, sent in one.progress:
            if sent > chars - len(one.carried):
                return at + self.offset
        return float("inf")

    def was_put_back_under(self, run: RunRow) -> bool:
        """Whether the database became an older copy while this run was under way."""
        until = run.finished_at or time.time()
        return any(run.started_at < at <= until for _, at in self.went_back)

    def harms_of(self, pid: int) -> list[Harm]:
        """What was done to one process."""
        return [harm for harm in self.harms if harm.pid == pid]


def stopped_writers(harms: Iterable[Harm], tables: Tables) -> list[Span]:
    """Pauses during which nobody at all wrote: SQLite's one write lock slept with its holder.

    For all others that is an outage of the database, which no promise can shorten.
    """
    wrote = sorted(tables.moments())
    spans = []
    for harm in harms:
        began, ended = harm.began + LOCK_SECONDS, harm.ended - LOCK_SECONDS
        if harm.kind == "pause" and began < ended:
            first = bisect_right(wrote, began)
            if first == len(wrote) or wrote[first] >= ended:
                spans.append((harm.began, harm.ended))
    return spans


def overlaps(spans: Iterable[Span], began: float, ended: float) -> bool:
    """Whether any of the spans touches the time between."""
    return any(start <= ended and stop >= began for start, stop in spans)


def thoughts_of(one: Served) -> str:
    """The reasoning that a request got, if all of it was sent."""
    behaviour = one.behaviour
    return "".join(words(behaviour.voice + one.prompt, behaviour.thinking, kind="thinking"))


def got_further(run: RunRow, runs: list[RunRow]) -> bool:
    """Whether a run made progress beyond every run of its prompt before it."""
    furthest = max((other.chars for other in runs if other.attempt < run.attempt), default=0)
    return run.chars >= furthest + PROGRESS_CHARS
