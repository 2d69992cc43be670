"""Servers that are only busy: a line, a slot that is taken, a model that loads."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.worlds.catalogue.doors import one
from benchmarks.worlds.faults import Loads, Occupied
from benchmarks.worlds.world import HOUR, Ask, World


def worlds() -> Iterator[World]:
    yield World(
        "line-504",
        "4 slots, concurrency 32, a proxy answers 504 to who waits in line for 10 s",
        (Ask(200, 15),),
        one(slots=4, line_seconds_max=10.0),
        4,
        endpoint={"concurrency": 32},
    )
    yield World(
        "slot-strangers-6h",
        "a single slot that a stranger holds for six hours",
        (Ask(20, 10),),
        one(lambda: Occupied(1, until=6 * HOUR), slots=1),
        1,
        endpoint={"concurrency": 1},
        cure_at=6 * HOUR,
        horizon=8 * HOUR,
    )
    yield World(
        "slot-own-6h",
        "a single slot that an answer of six hours of our own holds, concurrency 4",
        (Ask(1, 6 * HOUR), Ask(20, 10)),
        one(slots=1),
        1,
        endpoint={"concurrency": 4},
        cure_at=6 * HOUR,
        horizon=8 * HOUR,
    )
    yield World(
        "loads-2min",
        "a model that takes two minutes to load, anew if all who wait leave",
        (Ask(100, 10),),
        one(lambda: Loads(120)),
        4,
        endpoint={"concurrency": 4},
    )
    yield World(
        "loads-2min-impatient",
        "the same with first_frame_timeout_seconds 130",
        (Ask(100, 10),),
        one(lambda: Loads(120)),
        4,
        endpoint={"concurrency": 4, "first_frame_timeout_seconds": 130},
    )
