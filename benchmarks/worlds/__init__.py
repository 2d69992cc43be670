"""What becomes of a queue in a faulty world: the real worker, a scripted server, simulated time.

    python -m benchmarks.worlds [--source DIR] [--world NAME ...] [--json]

Each world is a queue, a server with a fault, and the moment at which a person mends it.  The
worker, its store (an SQLite file in memory) and its HTTP client are the real ones of the checkout
DIR; only the clock, the threads and the network are replaced, so that hours take seconds and the
same seed gives the same figures.  What is counted: innocent prompts that failed, runs, tokens that
were paid for twice, requests that carried no prompt (probes and canaries), and time.

    loop.py      an event loop whose clock jumps to the next timer
    threads.py   threads that run one at a time, by that clock
    source.py    the checkout whose worker is played, and what is replaced in it
    network.py   HTTP without sockets: requests reach a scripted server, faults come back
    server.py    a model server: slots, restarts, refusals, prompts that kill it
    world.py     what a world is made of
    catalogue/   the worlds
    play.py      plays one world
    report.py    the figures as a table
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import Table

SEEDS = 3  # of the long form


def tables(*, short: bool) -> Iterator[Table]:
    """All worlds, as `make bench ARGS=worlds` shows them."""
    from benchmarks.worlds.catalogue import WORLDS
    from benchmarks.worlds.play import play
    from benchmarks.worlds.report import table

    seeds = 1 if short else SEEDS
    outcomes = [play(world, seed=seed) for world in WORLDS.values() for seed in range(seeds)]
    yield table(f"Worlds, {seeds} seed(s)", WORLDS, outcomes)
