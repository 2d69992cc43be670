"""A function fits the screen and a module fits the head."""

import ast

from tests.house.tree import PACKAGE, ROOT, name, python_files, tree

MODULE_LINES = 400
FUNCTION_LINES = 60


def source():
    return (
        python_files(PACKAGE)
        + python_files(ROOT / "migrations")
        + python_files(ROOT / "benchmarks")
    )


def test_no_module_is_longer_than_a_wall():
    """What grows beyond it holds two thoughts, and each deserves a name."""
    lengths = {name(path): len(path.read_text("utf-8").splitlines()) for path in source()}
    assert lengths["worker/errors.py"] > 0
    assert {path: lines for path, lines in lengths.items() if lines > MODULE_LINES} == {}


def test_no_function_is_longer_than_a_screen():
    """Its docstring is part of what has to be read."""
    long = {
        f"{name(path)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for path in source()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert long
    assert {place: lines for place, lines in long.items() if lines > FUNCTION_LINES} == {}
