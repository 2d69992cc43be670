"""Answers that break off: restarts, hangs, cuts by a proxy or by a time-out of ours."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.worlds.catalogue.doors import one
from benchmarks.worlds.faults import Down, Fault, Hangs, Refuses, Restarts, Stutters, kind
from benchmarks.worlds.server import said
from benchmarks.worlds.world import HOUR, MINUTE, Ask, Start, World

HANG_SECONDS = 60.0  # first_frame_timeout_seconds, where a server hangs


def worlds() -> Iterator[World]:
    yield from _restarts()
    yield from _silences()
    yield from _queues_of_one()


def _restarts() -> Iterator[World]:
    for concurrency, count in ((1, 60), (4, 200), (500, 3000)):
        yield World(
            f"restarts-c{concurrency}-short",
            f"restarts every 30 s for an hour, concurrency {concurrency}, answers of 5 s",
            (Ask(count, 5),),
            one(lambda: Restarts(every_seconds=30, down_seconds=2, since=-27, until=HOUR)),
            concurrency,
            endpoint={"concurrency": concurrency},
            cure_at=HOUR,
        )
    for concurrency, count in ((1, 3), (4, 12), (500, 500)):
        yield World(
            f"restarts-c{concurrency}-long",
            f"restarts every 30 s for an hour, concurrency {concurrency}, answers of an hour",
            (Ask(count, HOUR),),
            one(lambda: Restarts(every_seconds=30, down_seconds=2, until=HOUR)),
            concurrency,
            endpoint={"concurrency": concurrency},
            cure_at=HOUR,
            why="none is whole before the server stays up",
        )
    yield World(
        "five-restarts-c1",
        "five quick restarts, every 30 s, back at once, concurrency 1, an answer of 10 min",
        (Ask(1, 10 * MINUTE),),
        one(lambda: Restarts(every_seconds=30, down_seconds=0, times=5)),
        1,
        endpoint={"concurrency": 1},
        cure_at=150.0,
    )
    yield World(
        "down-hour",
        "down for an hour, connections refused",
        (Ask(400, 10),),
        one(lambda: Down(MINUTE, HOUR)),
        16,
        endpoint={"concurrency": 16},
        cure_at=HOUR,
    )


def _silences() -> Iterator[World]:
    yield World(
        "hangs-all",
        "hangs before the first frame, for everybody, for an hour",
        (Ask(400, 10),),
        one(lambda: Hangs(since=MINUTE, until=HOUR)),
        16,
        endpoint={"concurrency": 16, "first_frame_timeout_seconds": HANG_SECONDS},
        cure_at=HOUR,
    )
    yield World(
        "hangs-one",
        "hangs before the first frame for one prompt of 200",
        (Ask(20, 10), Ask(1, 10, "hang"), Ask(179, 10)),
        one(lambda: Hangs(to=kind("hang"))),
        16,
        endpoint={"concurrency": 16, "first_frame_timeout_seconds": HANG_SECONDS},
    )
    yield World(
        "idle-too-short",
        "idle_timeout_seconds 5 where every answer pauses for 8 s; mended after an hour",
        (Ask(100, 20),),
        one(lambda: Stutters(8)),
        8,
        starts=[Start(until=HOUR, endpoint={"idle_timeout_seconds": 5}), Start(at=HOUR)],
        endpoint={"concurrency": 8},
        cure_at=HOUR,
        why="a lasting fault of the settings: none is whole before it is mended",
    )
    yield World(
        "proxy-60s",
        "a proxy cuts every answer at 60 s, for two hours: 200 of 20 s, 40 of 120 s",
        (Ask(100, 20), Ask(40, 120), Ask(100, 20)),
        one(cut_after_seconds=60.0, cut_until=2 * HOUR),
        8,
        endpoint={"concurrency": 8},
        cure_at=2 * HOUR,
        why="no answer of 120 s can be whole before the proxy is mended",
    )


def _queues_of_one() -> Iterator[World]:
    ten, half = 10 * MINUTE, HOUR / 2
    down, restarts = Down(0, ten), Restarts(every_seconds=50, down_seconds=1, until=ten)
    fails = Refuses(lambda: said(500, "Internal server error"), until=half)
    refuses = Refuses(lambda: said(400, "cannot be parsed"), to=kind("bad"))
    yield _alone("one-down", "the server is down for 10 min", down, ten)
    yield _alone("one-500", "500 for half an hour", fails, half)
    yield _alone(
        "one-cut", "an answer of 2 min, the server restarts every 50 s for 10 min", restarts, ten
    )
    yield _alone("one-400", "a prompt that is refused with 400", refuses, None, guilty="bad")


def _alone(
    name: str, about: str, fault: Fault, cure_at: float | None, *, guilty: str = ""
) -> World:
    return World(
        name,
        f"{about}; a queue of one",
        (Ask(1, 120, guilty),),
        one(lambda: fault),
        1,
        endpoint={"concurrency": 4},
        cure_at=cure_at,
    )
