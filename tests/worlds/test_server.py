"""A scripted server does what its world says of it, seen through HTTP."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import httpx
import pytest

from benchmarks.worlds import faults
from benchmarks.worlds.loop import WorldLoop, pass_
from benchmarks.worlds.network import HostTransport, Network
from benchmarks.worlds.server import Balancer, ModelServer, said
from benchmarks.worlds.tally import Tally

URL = "http://model.test/v1/chat/completions"


def play(main):
    with asyncio.Runner(loop_factory=WorldLoop) as runner:
        return runner.run(main(runner.get_loop()))


def tally_of(loop, **values):
    return Tally(loop, **{"innocents": 10, "at_a_time": 2, "cure_at": None, **values})


@asynccontextmanager
async def client_of(server, *, host="a", cut_off=frozenset()):
    network = Network({"model.test": server}, cut_off=cut_off)
    async with httpx.AsyncClient(transport=HostTransport(network, host, "w1")) as client:
        yield client


async def ask(client, number, seconds=6, kind=""):
    content = f"#{number} {seconds} {kind}".rstrip()
    return await client.post(URL, json={"messages": [{"role": "user", "content": content}]})


def test_an_answer_takes_its_time_and_ends_with_its_done_frame():
    async def main(loop):
        tally = tally_of(loop)
        async with client_of(ModelServer(loop, tally)) as client:
            response = await ask(client, 1, seconds=60)
        assert response.status_code == 200
        assert response.text.endswith("data: [DONE]\n\n")
        assert response.text.count("abc") == 60 * 25
        assert 60 <= loop.time() < 61
        assert (tally.requests, tally.paid, tally.kept) == (1, 1500, 1500)

    play(main)


def test_who_finds_no_slot_waits_in_line_in_the_order_of_coming():
    async def main(loop):
        server = ModelServer(loop, tally_of(loop), slots=1)
        ends = []

        async def one(client, number):
            await ask(client, number)
            ends.append((number, round(loop.time())))

        async with client_of(server) as client:
            await asyncio.gather(*(one(client, number) for number in (1, 2, 3)))
        assert ends == [(1, 6), (2, 13), (3, 19)]

    play(main)


def test_who_leaves_the_line_does_not_keep_its_place():
    async def main(loop):
        server = ModelServer(loop, tally_of(loop), slots=1)
        async with client_of(server) as client:
            first = asyncio.create_task(ask(client, 1))
            impatient = asyncio.create_task(ask(client, 2))
            await pass_(1)
            impatient.cancel()
            third = await ask(client, 3)
            assert (await first).status_code == third.status_code == 200
        assert server.busy == 0
        assert not server.exchanges

    play(main)


def test_a_proxy_before_the_line_answers_504_when_it_has_waited_enough():
    async def main(loop):
        server = ModelServer(loop, tally_of(loop), slots=1, line_seconds_max=3)
        async with client_of(server) as client:
            first = asyncio.create_task(ask(client, 1))
            await pass_(0.1)
            assert (await ask(client, 2)).status_code == 504
            assert loop.time() == pytest.approx(3.11)
            await first

    play(main)


def test_a_server_that_dies_cuts_what_is_under_way_and_refuses_until_it_is_back():
    async def main(loop):
        tally = tally_of(loop)
        server = ModelServer(
            loop, tally, faults=[faults.Restarts(every_seconds=10, down_seconds=5)]
        )
        async with client_of(server) as client:
            with pytest.raises(httpx.ReadError):
                await ask(client, 1, seconds=30)
            assert loop.time() == pytest.approx(10)
            with pytest.raises(httpx.ConnectError):
                await ask(client, 1)
            await pass_(5)
            assert (await ask(client, 1, seconds=4)).status_code == 200
        assert tally.paid > tally.kept > 0

    play(main)


def test_behind_a_proxy_a_death_before_the_first_frame_is_a_502():
    async def main(loop):
        poison = faults.Poison(down_seconds=5, before_first_frame=True)
        server = ModelServer(loop, tally_of(loop), faults=[poison], proxied=True)
        async with client_of(server) as client:
            assert (await ask(client, 1, kind="poison")).status_code == 502
            assert (await ask(client, 2)).status_code == 502
            await pass_(5)
            assert (await ask(client, 2)).status_code == 200

    play(main)


def test_a_poison_takes_its_company_along():
    async def main(loop):
        server = ModelServer(loop, tally_of(loop), faults=[faults.Poison(down_seconds=0)])
        async with client_of(server) as client:
            ends = await asyncio.gather(
                ask(client, 1, 30), ask(client, 2, 30, "poison"), return_exceptions=True
            )
        assert [type(end) for end in ends] == [httpx.ReadError, httpx.ReadError]

    play(main)


def test_a_model_that_loads_starts_anew_when_all_who_wait_have_left():
    async def main(loop):
        server = ModelServer(loop, tally_of(loop), faults=[faults.Loads(120)])
        async with client_of(server) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(100):
                    await ask(client, 1)
            await ask(client, 1)
            assert loop.time() >= 220

    play(main)


def test_a_request_without_a_prompt_is_a_canary_and_a_get_is_a_probe():
    async def main(loop):
        tally = tally_of(loop)
        async with client_of(ModelServer(loop, tally)) as client:
            body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
            assert "[DONE]" in (await client.post(URL, json=body)).text
            assert (await client.get(URL)).status_code == 404
        assert (tally.canaries, tally.canary_tokens, tally.probes, tally.requests) == (1, 1, 1, 0)

    play(main)


def test_a_balancer_takes_its_servers_in_turn_the_dead_one_as_well():
    async def main(loop):
        dead = ModelServer(loop, tally_of(loop), proxied=True)
        dead.down_until = 1000.0
        async with client_of(Balancer(ModelServer(loop, tally_of(loop)), dead)) as client:
            assert [(await ask(client, n)).status_code for n in range(4)] == [200, 502, 200, 502]

    play(main)


def test_a_host_without_a_route_reaches_nothing():
    async def main(loop):
        async with client_of(ModelServer(loop, tally_of(loop)), cut_off={"a"}) as client:
            with pytest.raises(httpx.ConnectError):
                await ask(client, 1)

    play(main)


def test_full_speed_is_when_as_many_are_answered_as_can_be():
    async def main(loop):
        tally = tally_of(loop, cure_at=100.0)
        refuses = faults.Refuses(lambda: said(401, "no"), until=100.0)
        async with client_of(ModelServer(loop, tally, faults=[refuses])) as client:
            assert (await ask(client, 1)).status_code == 401
            await pass_(150)
            first = asyncio.create_task(ask(client, 1, 60))
            await pass_(10)
            assert tally.full_at is None
            await asyncio.gather(first, ask(client, 2, 60))
        assert tally.full_at == pytest.approx(160.42)

    play(main)
