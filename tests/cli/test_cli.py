"""`spool --help` is quick and complete, and `main` writes UTF-8 wherever it goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module

import pytest

from tests.cli.schemas import SCHEMAS
from worker.cli import COMMANDS
from worker.version import __version__

HEAVY = {
    "sqlalchemy", "httpx", "pydantic", "pydantic_settings", "rich", "structlog", "msgspec",
    "jinja2", "asyncio", "psycopg", "alembic", "prometheus_client",
}  # fmt: skip


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        env=os.environ | environment,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["staus"], []])
def test_no_heavy_library_is_imported_to_say_little(arguments):
    """SQLAlchemy alone takes as long to import as twenty bare starts of Python."""
    code = (
        "import sys, json\nfrom worker.cli import cli\n"
        f"try: cli.main({arguments!r}, prog_name='spool')\nexcept SystemExit: pass\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    modules = json.loads(python(code).stderr.splitlines()[-1])
    assert HEAVY & set(modules) == set()


def test_help_imports_little():
    """What takes time is importing; a bare start of Python has some thirty modules."""
    code = (
        "import sys\nfrom worker.cli import cli\n"
        "try: cli.main(['--help'], prog_name='spool')\nexcept SystemExit: pass\n"
        "print(len(sys.modules), file=sys.stderr)"
    )
    assert int(python(code).stderr.splitlines()[-1]) < 250


def test_every_answer_in_json_has_a_schema():
    """For whoever writes the program that reads it."""
    schemas = {path.name.partition(".")[0] for path in SCHEMAS.glob("*.schema.json")}
    speaking = {
        name
        for name in COMMANDS
        if any(
            each.name == "as_json" for each in import_module(f"worker.cli.{name}").command.params
        )
    }
    assert schemas == speaking | {"export", "preview"}


def test_help_lists_every_command(spool):
    """In the order in which a new user meets them, with what each is for."""
    said = spool("--help")
    assert said.code == 0
    places = [said.out.index(f"\n  {name} ") for name in COMMANDS]
    assert places == sorted(places)


def test_the_list_says_what_the_commands_say():
    """It is written twice so that listing imports nothing; a test holds it together."""
    for name, summary in COMMANDS.items():
        assert import_module(f"worker.cli.{name}").command.short_help == summary, name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(spool, name):
    """With a sentence that says what it does, and every option explained."""
    said = spool(name, "--help")
    assert said.code == 0
    assert said.out.startswith(f"Usage: cli {name}") or said.out.startswith("Usage: spool")
    for option in import_module(f"worker.cli.{name}").command.params:
        if option.param_type_name == "option" and not option.hidden:
            assert option.help, option.name


def test_version(spool):
    """One line, for bug reports and scripts."""
    assert spool("--version").out == f"spool {__version__}\n"


def test_python_m_worker_is_spool():
    """For environments whose scripts are not on the path."""
    said = subprocess.run(
        [sys.executable, "-m", "worker", "--version"], capture_output=True, text=True, check=False
    )
    assert said.stdout == f"spool {__version__}\n"


def test_data_is_utf8_whatever_the_locale(here, spool):
    """A pipe in an old locale must not lose an answer to an UnicodeEncodeError."""
    assert spool("add", "-p", "\u00fc").code == 0
    code = "import sys; sys.argv[1:] = ['export', '--status', 'queued']\n"
    code += "from worker.cli import main; main()"
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    assert '"prompt":"\u00fc"'.encode() in python(code, **environment).stdout
