"""Everybody gets the same refusal, page or fault: a key, a model, an account, a gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.worlds.faults import Fault, Refuses, kind
from benchmarks.worlds.loop import WorldLoop
from benchmarks.worlds.network import Reply, Server
from benchmarks.worlds.server import ModelServer, page, said
from benchmarks.worlds.tally import Tally
from benchmarks.worlds.world import HOUR, MINUTE, Ask, Start, World

HOST = "model.test"
QUEUE = (Ask(400, 10),)
AT_A_TIME = 16
BEGINS, CURED = MINUTE, HOUR  # the fault, unless said otherwise


def one(*faults: Callable[[], Fault], **server: object):
    """The servers of a world: one, with faults of its own."""

    def servers(loop: WorldLoop, tally: Tally) -> dict[str, Server]:
        return {HOST: ModelServer(loop, tally, faults=[make() for make in faults], **server)}

    return servers


def shut(name: str, about: str, reply: Callable[[], Reply], *, begins: float = BEGINS) -> World:
    """An endpoint that says the same to everybody for an hour."""
    return World(
        name,
        about,
        QUEUE,
        one(lambda: Refuses(reply, since=begins, until=CURED)),
        AT_A_TIME,
        endpoint={"concurrency": AT_A_TIME},
        cure_at=CURED,
    )


def worlds() -> Iterator[World]:
    yield from _keys()
    yield from _faults()
    yield from _options()
    yield from _starts()


def _keys() -> Iterator[World]:
    yield shut("key-401", "key expires, 401", lambda: said(401, "Incorrect API key provided"))
    yield shut(
        "key-400",
        "key expires, 400",
        lambda: said(400, "API key not valid. Please pass a valid API key.", code=400),
    )
    yield shut(
        "key-412",
        "account suspended, 412",
        lambda: said(412, "Account x is suspended", code="PRECONDITION_FAILED"),
    )
    yield shut("key-page", "login page with status 200", lambda: page(200, "Please sign in"))
    yield shut(
        "model-404",
        "wrong model from the start, 404",
        lambda: said(404, "model 'small' not found"),
        begins=0.0,
    )
    yield shut(
        "model-400",
        "wrong model from the start, 400",
        lambda: said(400, "The model `small` cannot be loaded"),
        begins=0.0,
    )


def _faults() -> Iterator[World]:
    yield shut("page-200", "maintenance page with status 200", lambda: page(200, "Back soon"))
    yield shut("all-500", "500 to everybody", lambda: said(500, "Internal server error"))
    yield World(
        "gateway-dead",
        "gateway whose upstream is dead, 500; a queue of 8",
        (Ask(8, 60),),
        one(lambda: Refuses(_upstream_dead, until=CURED)),
        4,
        endpoint={"concurrency": 4},
        cure_at=CURED,
    )
    yield World(
        "gateway-never",
        "gateway that never worked, 500; `run --drain`",
        QUEUE,
        one(lambda: Refuses(lambda: said(500, "streaming is not supported"))),
        AT_A_TIME,
        starts=[Start(drain=True)],
        endpoint={"concurrency": AT_A_TIME},
        horizon=2 * HOUR,
    )
    yield shut("busy-429", "429 without Retry-After", lambda: said(429, "Too many requests"))


def _options() -> Iterator[World]:
    yield World(
        "too-long",
        "25 prompts in a row that are too long, among 2,000",
        (Ask(1000, 5), Ask(25, 5, "long"), Ask(1000, 5)),
        one(lambda: Refuses(_too_long, to=kind("long"))),
        AT_A_TIME,
        endpoint={"concurrency": AT_A_TIME},
    )
    yield World(
        "option-endpoint",
        "bad option in the endpoint's settings",
        QUEUE,
        one(lambda: Refuses(_unknown_option, to=lambda asked: "typo" in asked.body)),
        AT_A_TIME,
        starts=[
            Start(until=CURED, endpoint={"options": {"typo": 1}}),
            Start(at=CURED),
        ],
        endpoint={"concurrency": AT_A_TIME},
        cure_at=CURED,
    )
    yield World(
        "option-file",
        "bad option in every line of a file of 100, beside a good file",
        (
            Ask(100, 10, "option", "bad", {"options": {"typo": 1}}),
            Ask(200, 10, "", "good"),
        ),
        one(lambda: Refuses(_unknown_option, to=lambda asked: "typo" in asked.body)),
        AT_A_TIME,
        endpoint={"concurrency": AT_A_TIME},
    )


def _starts() -> Iterator[World]:
    yield World(
        "five-starts",
        "401 to everybody and five starts of `run --drain`",
        QUEUE,
        one(lambda: Refuses(lambda: said(401, "Incorrect API key provided"), until=CURED)),
        AT_A_TIME,
        starts=[
            *(
                Start(at=n * 10 * MINUTE, until=(n + 1) * 10 * MINUTE - 5, drain=True)
                for n in range(5)
            ),
            Start(at=CURED, drain=True),
        ],
        endpoint={"concurrency": AT_A_TIME},
        cure_at=CURED,
    )


def _upstream_dead() -> Reply:
    return said(500, "litellm.InternalServerError: Connection error.", code="500")


def _too_long() -> Reply:
    return said(
        400,
        "This model's maximum context length is 8192 tokens",
        code="context_length_exceeded",
    )


def _unknown_option() -> Reply:
    return said(400, "Unrecognized request argument supplied: typo")
