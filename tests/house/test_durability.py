"""Every promise and every guard in docs/durability.md names a test that exists."""

import ast
import re

import pytest

from benchmarks.chaos.guards import MUTANTS
from tests.house.tree import ROOT, tree

DOCUMENT = (ROOT / "docs" / "durability.md").read_text("utf-8")
NODES = re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)(?:\[([^\]`]*)\])?`", DOCUMENT)


def defined(path, names):
    """Whether a file has that function, or that method of that class."""
    body = tree(ROOT / path).body
    for name in names:
        found = [
            node
            for node in body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and node.name == name
        ]
        if not found:
            return False
        body = found[0].body
    return True


def test_there_is_something_to_check():
    """An expression that finds nothing would let everything through."""
    assert len(NODES) > 50
    assert len(NODES) == DOCUMENT.count("`tests/") - DOCUMENT.count("`tests/crash/`")


@pytest.mark.parametrize("path", sorted({path for path, _, _ in NODES}))
def test_every_test_that_is_named_exists(path):
    """A promise whose test was renamed, or thrown away, is only a sentence."""
    assert (ROOT / path).exists()
    named = [names for place, names, _ in NODES if place == path]
    assert [names for names in named if not defined(path, names.split("::"))] == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.guard)
def test_every_guard_is_listed_with_its_test(mutant):
    """What can be taken away is told to people, and so is who would notice."""
    assert f"| {mutant.guard} | `{mutant.test}` |" in DOCUMENT
