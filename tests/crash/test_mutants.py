"""Each guard that can be taken away is where `benchmarks/mutants.py` looks for it, and so is its test.

Running all mutants takes minutes and is `make mutants`; that they can be run is checked here.
"""

from __future__ import annotations

import ast

import pytest

from benchmarks.chaos.guards import MUTANTS, Mutant
from benchmarks.chaos.stage import ROOT


def by_guard(mutant: Mutant) -> str:
    return mutant.guard


@pytest.mark.parametrize("mutant", MUTANTS, ids=by_guard)
def test_the_guard_is_there_exactly_once(mutant: Mutant) -> None:
    """A guard that was moved would otherwise be tested no more, without anybody noticing."""
    source = (ROOT / mutant.file).read_text()
    assert source.count(mutant.old) == 1
    ast.parse(source.replace(mutant.old, mutant.new))


def test_no_two_mutants_are_one() -> None:
    """Each is a guard of its own, with words of its own."""
    assert len({mutant.guard for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)
