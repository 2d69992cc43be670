"""Prompts that kill the server, alone and among innocent ones (decisions 0012 and 0013)."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.worlds.catalogue.doors import one
from benchmarks.worlds.faults import Poison
from benchmarks.worlds.world import HOUR, Ask, World


def worlds() -> Iterator[World]:
    yield World(
        "poison-alone",
        "a prompt that kills its server, back after 30 s",
        (Ask(1, 20, "poison"),),
        one(lambda: Poison(down_seconds=30)),
        4,
        endpoint={"concurrency": 4},
    )
    for concurrency in (16, 64, 500):
        yield among(1, 1000, concurrency, down_seconds=30)
    for concurrency in (16, 64, 500):
        yield among(1, 1000, concurrency, down_seconds=0)
    yield among(5, 1000, 16, down_seconds=30)
    yield among(5, 1000, 16, down_seconds=0)
    yield among(5, 1000, 4, down_seconds=0)
    yield among(5, 17, 16, down_seconds=0)
    yield among(1, 1000, 16, down_seconds=30, proxied=True)
    yield World(
        "poison-502-alone",
        "a prompt that kills its server before the first frame, behind a proxy that answers 502",
        (Ask(1, 20, "poison"),),
        one(lambda: Poison(down_seconds=30, before_first_frame=True), proxied=True),
        4,
        endpoint={"concurrency": 4},
        horizon=4 * HOUR,
    )
    yield World(
        "poison-502-early",
        "1 in 300 kills its server before the first frame, behind a proxy that answers 502",
        (Ask(299, 20), Ask(1, 20, "poison")),
        one(lambda: Poison(down_seconds=30, before_first_frame=True), proxied=True),
        16,
        endpoint={"concurrency": 16},
        shuffled=True,
        horizon=4 * HOUR,
    )


def among(
    guilty: int, count: int, concurrency: int, *, down_seconds: float, proxied: bool = False
) -> World:
    """Prompts of 20 s, of which some kill their server a second after their first frame."""
    back = f"back after {down_seconds:g} s" if down_seconds else "back at once"
    name = f"poison-{guilty}-in-{count}-c{concurrency}-{'down' if down_seconds else 'once'}"
    return World(
        name + ("-502" if proxied else ""),
        f"{guilty} in {count} kill their server, {back}, concurrency {concurrency}"
        + (", behind a proxy that answers 502" if proxied else ""),
        (Ask(count - guilty, 20), Ask(guilty, 20, "poison")),
        one(lambda: Poison(down_seconds=down_seconds), proxied=proxied),
        concurrency,
        endpoint={"concurrency": concurrency},
        shuffled=True,
        horizon=24 * HOUR,
    )
