"""docs/dialects.md is true: every dialect is on it, and each row names a test that exists."""

import ast
import re

from tests.house.tree import ROOT, TESTS, tree
from worker.wire import DIALECTS

PAGE = (ROOT / "docs" / "dialects.md").read_text("utf-8")
NAMED = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE)


def tables():
    """The tables of the page, each a list of rows of cells, the heading first."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", PAGE, re.MULTILINE):
        rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in block.splitlines()]
        found.append([row for row in rows if not set("".join(row)) <= {"-", " "}])
    return found


def test_every_test_that_is_named_exists():
    """A row whose test is gone is a promise that nobody keeps."""
    assert len(NAMED) > 50
    there = {
        (path.name, node.name)
        for room in ("wire", "http", "stream")
        for path in (TESTS / room).rglob("test_*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert sorted(set(NAMED) - there) == []


def test_every_row_names_its_test():
    """The last cell of each row of each table."""
    assert len(tables()) >= 5
    for heading, *rows in tables():
        assert heading[-1] == "test"
        for row in rows:
            assert len(row) == len(heading), row
            assert "::test_" in row[-1], row


def test_every_dialect_is_on_the_page_with_its_path_and_its_request():
    """Two tables have a row for each of them: what ends it, and what it sends."""
    listed = [
        [row[0].strip("`") for row in rows]
        for heading, *rows in tables()
        if heading[0] == "dialect"
    ]
    assert len(listed) == 2
    for names in listed:
        assert sorted(names) == sorted(DIALECTS)
