"""More than one of something: replicas behind one address, workers, hosts."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.worlds.catalogue.doors import HOST, one
from benchmarks.worlds.faults import Refuses
from benchmarks.worlds.loop import WorldLoop
from benchmarks.worlds.network import Server
from benchmarks.worlds.play import KEY
from benchmarks.worlds.server import Balancer, ModelServer, said
from benchmarks.worlds.tally import Tally
from benchmarks.worlds.world import HOUR, MODEL, Ask, Start, World

_NEVER = 10.0**9


def _replicas_one_dead(loop: WorldLoop, tally: Tally) -> dict[str, Server]:
    well = [ModelServer(loop, tally, slots=8) for _ in range(2)]
    dead = ModelServer(loop, tally, proxied=True)
    dead.down_until = HOUR
    return {HOST: Balancer(*well, dead)}


def _replicas_one_unreachable(loop: WorldLoop, tally: Tally) -> dict[str, Server]:
    well = [ModelServer(loop, tally, slots=8) for _ in range(2)]
    dead = ModelServer(loop, tally)
    dead.down_until = HOUR
    return {HOST: Balancer(*well, dead)}


def _replicas_one_wrong(status: int, message: str):
    def servers(loop: WorldLoop, tally: Tally) -> dict[str, Server]:
        well = [ModelServer(loop, tally, slots=8) for _ in range(2)]
        wrong = ModelServer(
            loop, tally, faults=[Refuses(lambda: said(status, message), until=HOUR)]
        )
        return {HOST: Balancer(*well, wrong)}

    return servers


def _beside_wrong(name: str, about: str, wrong: dict[str, object], fault: Refuses) -> World:
    return World(
        name,
        about,
        (Ask(300, 10),),
        one(lambda: fault),
        8,
        starts=[Start(host="a"), Start(host="b", endpoint=wrong)],
        endpoint={"concurrency": 8},
    )


def worlds() -> Iterator[World]:
    yield from _replicas()
    yield from _workers()


def _replicas() -> Iterator[World]:
    replicas = {"asks": (Ask(400, 10),), "at_a_time": 16, "endpoint": {"concurrency": 16}}
    yield World(
        "replica-502",
        "three replicas, one dead for an hour (502)",
        servers=_replicas_one_dead,
        cure_at=HOUR,
        **replicas,
    )
    yield World(
        "replica-refused",
        "three replicas, one dead for an hour (connection refused)",
        servers=_replicas_one_unreachable,
        cure_at=HOUR,
        **replicas,
    )
    yield World(
        "replica-404",
        "three replicas, one without the model for an hour (404)",
        servers=_replicas_one_wrong(404, "model 'small' not found"),
        cure_at=HOUR,
        why="a prompt may meet the wrong replica twice",
        **replicas,
    )
    yield World(
        "replica-400",
        "three replicas, one wrong for an hour (400)",
        servers=_replicas_one_wrong(400, "chat template is missing"),
        cure_at=HOUR,
        why="a prompt may meet the wrong replica twice",
        **replicas,
    )


def _workers() -> Iterator[World]:
    yield _beside_wrong(
        "wrong-key",
        "one worker with a wrong key beside a right one (401)",
        {"api_key_env": "WORLD_WRONG_KEY"},
        Refuses(lambda: said(401, "Incorrect API key"), to=lambda asked: asked.key != KEY),
    )
    yield _beside_wrong(
        "wrong-model",
        "one worker with a wrong model beside a right one (400)",
        {"model": "smal"},
        Refuses(
            lambda: said(400, "The model `smal` does not exist"),
            to=lambda asked: asked.method == "POST" and asked.body.get("model") != MODEL,
        ),
    )
    yield _beside_wrong(
        "wrong-option",
        "one worker with a bad option beside a right one (400)",
        {"options": {"typo": 1}},
        Refuses(
            lambda: said(400, "Unrecognized request argument supplied: typo"),
            to=lambda asked: "typo" in asked.body,
        ),
    )
    yield World(
        "no-route",
        "four hosts, one without a route",
        (Ask(400, 10),),
        one(),
        12,
        starts=[Start(host=host) for host in "abcd"],
        endpoint={"concurrency": 4},
        cut_off=frozenset("d"),
    )
