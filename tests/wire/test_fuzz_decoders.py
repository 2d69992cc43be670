"""The fuzz target can be imported without its engine, and holds for what it starts from."""

import pytest

from tests.wire.fuzz_decoders import NAMES, one_input, seeds


def test_it_starts_from_every_dialect():
    assert {seed[0] for seed in seeds()} == set(range(len(NAMES)))


@pytest.mark.parametrize("limit", range(4))
def test_the_seeds_hold(limit):
    for seed in seeds():
        one_input(seed[:1] + bytes([limit]) + seed[2:])


def test_too_short_an_input_is_none():
    assert one_input(b"") is None
    assert one_input(b"\0\0\0") is None
