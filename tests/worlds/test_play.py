"""A world is played by the real worker, the same way each time, and counted truly."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import subprocess
import sys
import threading

import pytest

from benchmarks.harness import ROOT
from benchmarks.worlds.catalogue import WORLDS
from benchmarks.worlds.catalogue.doors import one
from benchmarks.worlds.faults import Poison, Refuses, Restarts, kind
from benchmarks.worlds.play import play
from benchmarks.worlds.report import beside, table
from benchmarks.worlds.server import said
from benchmarks.worlds.world import HOUR, Ask, Start, World


def small(**changes):
    """A world in which nothing is wrong."""
    values = {
        "name": "small",
        "about": "nothing is wrong",
        "asks": (Ask(6, 30),),
        "servers": one(),
        "at_a_time": 2,
        "endpoint": {"concurrency": 2},
    }
    return World(**{**values, **changes})


def test_a_queue_takes_as_long_as_its_answers_do():
    """Six answers of 30 s, two at a time."""
    outcome = play(small())
    assert (outcome.completed, outcome.runs, outcome.left) == (6, 6, 0)
    assert (outcome.innocents_failed, outcome.paid_twice) == (0, 0)
    assert 90 <= outcome.end < 95


def test_the_same_seed_gives_the_same_figures():
    """Chance, threads and the database all follow the seed."""
    restless = small(
        asks=(Ask(30, 20), Ask(2, 20, "poison")),
        servers=one(
            lambda: Poison(down_seconds=10), lambda: Restarts(every_seconds=70, down_seconds=1)
        ),
        shuffled=True,
        at_a_time=8,
        endpoint={"concurrency": 8},
    )
    first, second = (dataclasses.replace(play(restless, seed=3), real_seconds=0) for _ in range(2))
    assert first == second
    assert first.runs > 32


def test_hours_are_as_short_as_minutes():
    """A prompt that waits for its server waits in the database, by the clock of the world."""
    outcome = play(
        small(
            asks=(Ask(1, 10),),
            servers=one(lambda: Restarts(every_seconds=1, down_seconds=HOUR, times=1)),
            cure_at=HOUR + 1,
        )
    )
    assert outcome.completed == 1
    assert outcome.end > HOUR
    assert outcome.full is not None


def test_what_was_generated_and_thrown_away_is_counted():
    outcome = play(
        small(
            asks=(Ask(1, 30),),
            servers=one(lambda: Restarts(every_seconds=16, down_seconds=0, times=1)),
        )
    )
    assert outcome.completed == 1
    assert 0 < outcome.paid_twice < 30 * 25


def test_the_failures_of_the_guilty_are_not_those_of_the_innocent():
    outcome = play(
        small(
            asks=(Ask(2, 5), Ask(1, 5, "bad")),
            servers=one(lambda: Refuses(lambda: said(400, "cannot be read"), to=kind("bad"))),
        )
    )
    assert outcome.innocents_failed == 0
    assert outcome.guilty_failed == {"bad_request": 1}
    assert outcome.completed == outcome.innocents == 2


def test_a_world_that_does_not_end_is_left_at_its_horizon():
    outcome = play(
        small(servers=one(lambda: Restarts(every_seconds=1, down_seconds=1e6)), horizon=60)
    )
    assert (outcome.left, outcome.end) == (6, None)


def test_processes_start_and_stop_when_the_world_says_so_and_share_the_queue():
    """Stopped in the middle, the first one hands back; the second has other settings."""
    outcome = play(
        small(
            asks=(Ask(4, 20),),
            servers=one(
                lambda: Refuses(lambda: said(429, "slow"), to=lambda it: "typo" in it.body)
            ),
            starts=[
                Start(until=100, endpoint={"options": {"typo": 1}}),
                Start(at=100, host="b", drain=True),
            ],
        )
    )
    assert outcome.completed == 4
    assert outcome.said["worker_started"] == 2
    assert outcome.ended[-1].endswith("done")


def test_nothing_is_left_replaced_when_a_world_is_over():
    before, threads = sqlite3.connect, threading.active_count()
    play(small(asks=(Ask(1, 1),)))
    assert sqlite3.connect is before
    assert threading.active_count() == threads


def test_every_world_has_a_name_of_its_own_and_says_what_is_wrong():
    assert len({world.about for world in WORLDS.values()}) == len(WORLDS)
    assert all(name == world.name for name, world in WORLDS.items())


def test_two_rules_stand_beside_each_other_in_one_table():
    """What differs shows both figures, what is the same shows one."""
    world = small(asks=(Ask(1, 1),))
    old, new = play(world), play(world)
    new.failed, new.runs = {"bad_request": 1}, 2
    worlds = {"small": world}
    shown = str(beside(worlds, [old], [new]))
    assert "| 0 → 1 of 1 (bad_request) | 1 → 2 | 0 | 0 + 0 |" in shown
    assert str(table("t", worlds, [old, old])).count("| nothing is wrong; 1 prompt ") == 1


def test_the_command_plays_a_world_of_a_checkout():
    """One object a line, so that two checkouts can be compared."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.worlds",
            "--source",
            ROOT,
            "--world",
            "one-400",
            "--json",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["guilty_failed"] == {"bad_request": 1}


SMALL = {  # a world, and by how much its queue is shorter than the bench's
    "key-400": 3,
    "page-200": 3,
    "all-500": 3,
    "busy-429": 3,
    "gateway-dead": 4,
    "too-long": 8,
    "option-endpoint": 8,
    "option-file": 8,
    "five-starts": 8,
    "restarts-c4-short": 4,
    "restarts-c500-short": 4,
    "five-restarts-c1": 1,
    "hangs-all": 3,
    "one-down": 1,
    "one-500": 1,
    "one-cut": 1,
    "poison-1-in-1000-c64-once": 8,
    "poison-5-in-17-c16-once": 1,
    "replica-refused": 8,
    "wrong-key": 4,
    "wrong-option": 4,
    "no-route": 8,
    "canary-16": 4,
    "canary-budget": 4,
    "canary-refused-401": 2,
    "line-504": 4,
    "loads-2min": 4,
}


@pytest.mark.parametrize("name", SMALL)
def test_no_innocent_prompt_fails_and_the_queue_comes_to_its_end(name):
    """Whatever is wrong there is not its fault, and what is mended goes on by itself."""
    outcome = play(WORLDS[name].smaller(by=SMALL[name]))
    assert outcome.failed == {}, outcome.sentences
    assert outcome.left == 0
    assert outcome.completed == outcome.innocents


def test_a_gateway_that_never_worked_ends_a_drain_with_a_sentence_and_keeps_the_queue():
    """A person is in front of it, and wants to be told."""
    outcome = play(WORLDS["gateway-never"].smaller(by=8))
    assert (outcome.failed, outcome.left) == ({}, outcome.innocents)
    assert "has never answered" in outcome.ended[-1]
