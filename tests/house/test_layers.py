"""Imports point down, and each outside library has its room."""

import ast
import subprocess
import sys

import pytest

from tests.house.tree import PACKAGE, ROOT, name, python_files, tree

LINT = (
    "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
)

# library: the files, or folders, that may import it.
ROOMS = {
    "sqlalchemy": ("worker/store/",),
    "alembic": ("worker/store/",),
    "psycopg": ("worker/store/",),
    "sqlite3": ("worker/store/",),
    "httpx": ("worker/http/",),
    "httptools": ("worker/http/",),
    "tenacity": ("worker/retry.py",),
    "time": ("worker/clock.py",),
    "random": ("worker/clock.py",),
    "xllamacpp": ("worker/embedded/",),
    "click": ("worker/cli/",),
    "rich": ("worker/cli/",),
    "pydantic": ("worker/settings/",),
    "pydantic_settings": ("worker/settings/",),
    "prometheus_client": ("worker/metrics.py",),
    "pyarrow": ("worker/ingest/", "worker/export/"),
}


def imported(path):
    """The outside libraries that a file imports, by their first name."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_every_floor_imports_only_the_floors_below_it():
    """The contracts in pyproject.toml hold, and every module has found its floor."""
    result = subprocess.run(
        [sys.executable, "-c", LINT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("library", ROOMS)
def test_each_library_stays_in_its_room(library):
    """What the world can do to us comes in by one door, and is translated there."""
    strangers = [
        name(path)
        for path in python_files(PACKAGE)
        if library in imported(path) and not name(path).startswith(ROOMS[library])
    ]
    assert strangers == []


def test_only_the_clock_knows_the_time():
    """`datetime.now` hides inside an import that is harmless otherwise."""
    forbidden = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "asyncio.sleep"}
    found = [
        f"{name(path)}:{node.lineno} {ast.unparse(node)}"
        for path in python_files(PACKAGE)
        if name(path) != "worker/clock.py"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in forbidden
    ]
    assert found == []
