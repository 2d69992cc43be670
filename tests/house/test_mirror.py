"""Whoever opens a module knows where its tests are: the same path, under `tests/`."""

import ast
from pathlib import Path

from tests.house.tree import PACKAGE, ROOT, TESTS, name, python_files, tree

DECLARATIONS = ast.Import | ast.ImportFrom | ast.Expr | ast.Assign | ast.AnnAssign


def only_declares(body):
    """Whether there is no behaviour to test: docstrings, imports, constants, fields, protocols."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            if not only_declares(node.body):
                return False
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not all(isinstance(each, ast.Expr) and is_constant(each) for each in node.body):
                return False
        elif not isinstance(node, DECLARATIONS):
            return False
    return True


def is_constant(expression):
    """A docstring, or the three dots of a protocol."""
    return isinstance(expression.value, ast.Constant)


def expected_test(path):
    """`worker/wire/framing/frames.py` is tested by `tests/wire/framing/test_frames.py`.

    A package's own `__init__.py` is tested by a file of the package's name, inside its folder;
    that of `worker` itself is what programs import, and is tested by `tests/client/test_spool.py`.
    """
    inner = path.relative_to(PACKAGE)
    if inner == Path("__init__.py"):
        return TESTS / "client" / "test_spool.py"
    stem = inner.parent.name if path.name == "__init__.py" else inner.stem
    return TESTS / inner.parent / f"test_{stem}.py"


def modules():
    for path in python_files(PACKAGE):
        if path.name != "__main__.py" and not only_declares(tree(path).body):
            yield path


def test_every_module_has_its_test_file():
    """A module without one has promises that nobody checks; pure declarations promise nothing."""
    assert len(list(modules())) > 10
    missing = [
        f"{name(path)} -> {name(expected_test(path))}"
        for path in modules()
        if not expected_test(path).exists()
    ]
    assert missing == [], "\n".join(["no test file for:", *missing])


def test_every_test_opens_with_its_promise():
    """The docstring of a test file says what would be broken if it failed."""
    silent = [
        name(path)
        for path in python_files(TESTS)
        if path.name.startswith("test_") and not ast.get_docstring(tree(path))
    ]
    assert silent == []


def test_every_module_opens_with_its_theory():
    """The first thing in a file is why it exists."""
    silent = [name(path) for path in python_files(PACKAGE) if not ast.get_docstring(tree(path))]
    assert silent == []


def test_every_migration_is_a_step_that_tests_take():
    """The folder reads as a history: numbered, without gaps."""
    versions = sorted(path.stem for path in (ROOT / "migrations" / "versions").glob("*.py"))
    assert [stem[:4] for stem in versions] == [f"{n:04}" for n in range(1, len(versions) + 1)]
    assert versions
    assert list((TESTS / "migrations").glob("test_*.py"))
