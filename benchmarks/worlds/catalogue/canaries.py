"""Canaries that mislead: refused where prompts are answered, answered where prompts are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.worlds.catalogue.doors import one
from benchmarks.worlds.faults import Fault, Refuses, canaries, kind, prompts
from benchmarks.worlds.network import Asked, Reply
from benchmarks.worlds.server import said
from benchmarks.worlds.world import HOUR, MINUTE, Ask, World

_ASKS = (Ask(100, 10), Ask(3, 10, "bad"), Ask(100, 10), Ask(3, 10, "bad"), Ask(100, 10))


def _bad() -> Refuses:
    return Refuses(lambda: said(400, "Invalid image in message 2"), to=kind("bad"))


def _too_few(asked: Asked) -> bool:
    return canaries(asked) and (asked.tokens_max or 0) < 16


def _other_key(asked: Asked) -> bool:
    return asked.method == "POST" and "max_tokens" in asked.body


def _few() -> Reply:
    return said(400, "Invalid 'max_output_tokens': integer below minimum value 16")


def _key() -> Reply:
    return said(400, "Unsupported parameter: 'max_tokens' is not supported with this model")


def _budget() -> Reply:
    return said(400, "`max_tokens` must be greater than `thinking.budget_tokens`")


def _expired() -> Refuses:
    return Refuses(lambda: said(401, "Incorrect API key provided"), since=MINUTE, until=HOUR)


def worlds() -> Iterator[World]:
    yield _refused("canary-16", "below 16 tokens (Responses)", lambda: Refuses(_few, to=_too_few))
    yield _refused("canary-key", "with max_tokens (o-series)", lambda: Refuses(_key, to=_other_key))
    yield _refused(
        "canary-budget",
        "however they are spelled (thinking budget)",
        lambda: Refuses(_budget, to=canaries),
    )
    yield World(
        "canary-refused-401",
        "canaries are refused, however they are spelled, and the key expires for an hour",
        (Ask(300, 10),),
        one(_expired, lambda: Refuses(_budget, to=canaries)),
        16,
        endpoint={"concurrency": 16},
        cure_at=HOUR,
        horizon=4 * HOUR,
    )
    yield from _answered()


def _refused(name: str, about: str, fault: Callable[[], Fault]) -> World:
    return World(
        name,
        f"canaries are refused {about}, prompts are answered; 6 bad of 306",
        _ASKS,
        one(fault, _bad),
        16,
        endpoint={"concurrency": 16},
        horizon=4 * HOUR,
    )


def _answered() -> Iterator[World]:
    yield World(
        "canary-passes",
        "canaries are answered where every real prompt gets 400, for an hour",
        (Ask(300, 10),),
        one(
            lambda: Refuses(
                lambda: said(400, "Failed to render chat template"),
                since=MINUTE,
                until=HOUR,
                to=prompts,
            )
        ),
        16,
        endpoint={"concurrency": 16},
        cure_at=HOUR,
    )
    yield World(
        "canary-passes-500",
        "canaries are answered where every real prompt gets 500, for an hour",
        (Ask(300, 10),),
        one(
            lambda: Refuses(
                lambda: said(500, "CUDA error: an illegal memory access"),
                since=MINUTE,
                until=HOUR,
                to=prompts,
            )
        ),
        16,
        endpoint={"concurrency": 16},
        cure_at=HOUR,
    )
