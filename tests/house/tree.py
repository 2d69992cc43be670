"""What the house tests look at: the project's own files, without caches and environments."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "worker"
TESTS = ROOT / "tests"
FOLDERS = ("worker", "migrations", "tests", "config", "docs", "benchmarks", ".ci")
TOP = (
    "pyproject.toml",
    "hatch_build.py",
    "README.md",
    "Makefile",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
)


def name(path: Path) -> str:
    """The path as a message shows it."""
    return path.relative_to(ROOT).as_posix()


def python_files(folder: Path) -> list[Path]:
    """Every Python file below a folder, in order."""
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def every_file() -> Iterator[Path]:
    """Every file that belongs to the project."""
    for top in TOP:
        if (ROOT / top).exists():
            yield ROOT / top
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))
