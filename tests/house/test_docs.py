"""What the documents say can be done: links lead somewhere, examples work, names exist."""

import re
import sqlite3
from contextlib import closing

import pytest

from tests.house.tree import ROOT, name
from worker.cli import COMMANDS
from worker.settings import load
from worker.store.schema.migrate import upgrade

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OURS = ("worker/", "tests/", "migrations/", "config/", "docs/", "benchmarks/", ".ci/")


def blocks(document, language):
    """The fenced examples of a document in one language."""
    return [text for found, text in BLOCK.findall(document.read_text("utf-8")) if found == language]


def everywhere(language):
    return [
        pytest.param(text, id=f"{name(document)}-{number}")
        for document in DOCUMENTS
        for number, text in enumerate(blocks(document, language), 1)
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document):
    """A reader who follows one arrives."""
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text("utf-8"))
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in local if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_files_that_are_named_exist(document):
    """A path in a document is a promise that there is something to open."""
    named = re.findall(r"`([\w./-]+)`", document.read_text("utf-8"))
    missing = [path for path in named if path.startswith(OURS) and not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("example", everywhere("toml"))
def test_settings_in_examples_are_accepted(example, tmp_path):
    """Whoever copies an example gets a worker, not an error."""
    (tmp_path / "spool.toml").write_text(example)
    assert load(tmp_path / "spool.toml", keys_required=False).endpoints


@pytest.mark.parametrize("example", everywhere("sql"))
def test_sql_in_examples_runs(example, tmp_path):
    """The tables and views have the columns that the documents name."""
    upgrade(f"sqlite:///{tmp_path / 'spool.db'}")
    with closing(sqlite3.connect(tmp_path / "spool.db")) as database:
        database.executescript(example)


@pytest.mark.parametrize("example", everywhere("sh"))
def test_commands_in_examples_exist(example):
    """`spool` knows each word that follows it, `make` each target."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for line in example.splitlines():
        for command in re.findall(r"(?:^|[|;&(]\s*|/)spool (\w+)", line):
            assert command in COMMANDS, line
        for target in re.findall(r"^make (\w+)", line):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), line


def test_the_readme_shows_the_query_of_the_demo():
    """What is printed there is what people will see."""
    from worker.store.demo_query import QUERY

    assert f"{QUERY};\n" in blocks(ROOT / "README.md", "sql")
