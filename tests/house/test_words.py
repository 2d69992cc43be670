"""Words that have no place here: vague names, this machine, other people's hosts, waiting."""

import ast
import re

import pytest

from tests.house.tree import PACKAGE, TESTS, every_file, name, python_files, tree

VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc", "shared"}
MAY_SLEEP = ("tests/crash/", "tests/fakes/")

PLACES = {
    "a folder of one machine": r"(?<![\w.$}])/(?:root|work|home|Users)/[A-Za-z.]",
    "a package registry": r"\b(?:pypi|pythonhosted|npmjs|crates)\.(?:org|com|io)\b",
}


def text_files():
    for path in every_file():
        try:
            yield path, path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # a recorded transcript may be compressed, or broken on purpose


def calls(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def test_names_say_what_is_inside():
    """A file that is named after nothing collects everything."""
    assert [name(path) for path in every_file() if path.stem.lower() in VAGUE] == []


@pytest.mark.parametrize("what", PLACES)
def test_nothing_names_a_place_that_readers_do_not_have(what):
    """A clone works anywhere, with whatever index its owner uses."""
    pattern = re.compile(PLACES[what])
    found = [
        f"{name(path)}:{number} {line.strip()[:80]}"
        for path, text in text_files()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("a folder of one machine", ("see ", "home", "jo")),
        ("a folder of one machine", ("'", "root", ".x'")),
        ("a package registry", ("https:", "", "pypi" + "." + "org", "simple")),
    ],
)
def test_the_search_for_places_finds_them(what, words):
    """A pattern that matches nothing would let everything through."""
    assert re.search(PLACES[what], "/".join(words))


def test_tests_do_not_sleep():
    """A sleep is too short on a slow machine and too long on every other; wait for the event.

    `asyncio.sleep(0)` only lets other tasks run, and is allowed.
    """
    found = []
    for path in python_files(TESTS):
        if name(path).startswith(MAY_SLEEP):
            continue
        found += [
            f"{name(path)}:{node.lineno}"
            for node, function in calls(path)
            if function in {"time.sleep", "asyncio.sleep", "sleep"}
            and [ast.unparse(argument) for argument in node.args] != ["0"]
        ]
    assert found == []


def test_no_test_is_skipped_or_expected_to_fail():
    """A skip hides a promise on exactly the machine where it matters."""
    forbidden = re.compile(
        r"(?:pytest|unittest)\.(?:skip|xfail|importorskip)|mark\.(?:skip|skipif|xfail)|\bskip(?:If|Unless|Test)\b"
    )
    found = [
        f"{name(path)}:{node.lineno} {ast.unparse(node)}"
        for path in python_files(TESTS)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and forbidden.search(ast.unparse(node))
    ]
    assert found == []


def test_no_check_of_types_is_switched_off():
    """The checker is right, or the design is wrong."""
    switched_off = re.compile(r"#\s*(?:type:\s*ignore|mypy:)")
    found = [
        name(path) for path in python_files(PACKAGE) if switched_off.search(path.read_text("utf-8"))
    ]
    assert found == []


def test_a_suppressed_lint_names_its_rule():
    """`noqa` without a code also hides what nobody has seen yet."""
    bare = re.compile(r"#\s*noqa(?!:\s*[A-Z]+\d)")
    found = [name(path) for path in python_files(PACKAGE) if bare.search(path.read_text("utf-8"))]
    assert found == []
