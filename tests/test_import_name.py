"""`promptspool` is `worker` under the name of the distribution, also beside another `worker`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tree import ROOT

ANSWERS = """
from promptspool import NewPrompt, NotFound, Spool
with Spool("sqlite:///mine.db") as spool:
    spool.add(NewPrompt(prompt="x"), batch="b")
    print([each.prompt for each in spool.results(batch="b")])
    try:
        spool.result(7)
    except NotFound as error:
        print(error)
    spool.cancel(batch="b")
    print(spool.run())
"""
SAID = ["['x']", "there is no prompt 7: `spool list` shows them", "0"]


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """A folder on the path that has the second name, as an installation has it."""
    folder = tmp_path / "names"
    (folder / "promptspool").mkdir(parents=True)
    shutil.copy(ROOT / "worker" / "import_name.py", folder / "promptspool" / "__init__.py")
    return folder


def python(names: Path, code: str, *files: tuple[str, str]) -> list[str]:
    """What a script says in a folder with these files, which come first on its path."""
    here = names.parent / "here"
    here.mkdir(exist_ok=True)
    for name, text in (*files, ("script.py", code)):
        (here / name).write_text(text)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{names}"}
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_it_is_the_same_package(names: Path) -> None:
    """Down to every module: what one name raises, the other one catches, in any order."""
    code = """
import worker.errors
import promptspool, promptspool.errors, promptspool.store.rows
import worker.store.rows
print(promptspool.Spool is worker.Spool, promptspool.NotFound is worker.errors.NotFound)
print(promptspool.errors is worker.errors, promptspool.store.rows is worker.store.rows)
print(worker.errors.__name__, worker.errors.__spec__.name, worker.store.rows.__loader__.name)
"""
    assert python(names, code) == [
        "True True",
        "True True",
        "worker.errors worker.errors worker.store.rows",
    ]


def test_it_works_by_itself(names: Path) -> None:
    """Without a word about `worker`."""
    assert python(names, ANSWERS) == SAID


def test_it_works_beside_a_worker_of_the_program(names: Path) -> None:
    """Which is found first, and stays what it is; whichever is imported first."""
    code = ANSWERS + "import worker\nprint(worker.mine)\n"
    mine = ("worker.py", "mine = 7\n")
    assert python(names, code, mine) == [*SAID, "7"]


def test_it_works_after_a_worker_of_the_program(names: Path) -> None:
    """A package of that name, with modules called like ours, as well."""
    package = "import worker.errors\nprint(worker.errors.mine)\n" + ANSWERS
    code = package + "import worker.errors as again\nprint(again.mine)\n"
    (names.parent / "here").mkdir()
    (names.parent / "here" / "worker").mkdir()
    (names.parent / "here" / "worker" / "__init__.py").write_text("")
    (names.parent / "here" / "worker" / "errors.py").write_text("mine = 8\n")
    assert python(names, code) == ["8", *SAID, "8"]


def test_a_module_that_does_not_exist_is_said(names: Path) -> None:
    """By the name that was asked for, or by that of the module itself."""
    code = """
try:
    import promptspool.nothing
except ModuleNotFoundError as error:
    print(error)
try:
    from promptspool import Nothing
except ImportError as error:
    print("Nothing" in str(error))
"""
    assert python(names, code) == ["No module named 'worker.nothing'", "True"]
