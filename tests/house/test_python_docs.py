"""docs/python.md is true: its examples run against a server, and a strict type checker takes them."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.server import FakeServer
from tests.house.tree import ROOT

PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def python(folder: Path, *arguments: str) -> str:
    names = folder / "names"  # as an installation has them
    (names / "promptspool").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "worker" / "import_name.py", names / "promptspool" / "__init__.py")
    path = f"{ROOT}{os.pathsep}{names}"
    environment = {**os.environ, "PYTHONPATH": path, "MYPYPATH": path}
    said = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=[str(n) for n, _ in enumerate(EXAMPLES, 1)])
def test_every_example_runs(example: str, tmp_path: Path) -> None:
    """Whoever copies it gets answers."""
    (tmp_path / "example.py").write_text(example)

    async def carried() -> str:
        async with FakeServer() as server:
            (tmp_path / "spool.toml").write_text(
                f'[endpoints.default]\nbase_url = "{server.url}"\nmodel = "m"\n'
            )
            return await asyncio.to_thread(python, tmp_path, "example.py")

    assert asyncio.run(carried()) != ""


def test_a_strict_type_checker_takes_every_example(tmp_path: Path) -> None:
    """The package says of what type everything is."""
    assert len(EXAMPLES) > 5
    for number, example in enumerate(EXAMPLES):
        (tmp_path / f"example{number}.py").write_text(example)
    strict = ("-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"))
    python(tmp_path, *strict, *sorted(map(str, tmp_path.glob("example*.py"))))
