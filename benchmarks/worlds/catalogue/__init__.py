"""The worlds, by name; the order is that of the table."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.worlds.catalogue import busy, canaries, doors, events, poisons, several
from benchmarks.worlds.world import World

WORLDS: Mapping[str, World] = {
    world.name: world
    for worlds in (doors, events, poisons, several, canaries, busy)
    for world in worlds.worlds()
}
