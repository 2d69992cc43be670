"""`spool config` shows what is in force and where it comes from, and no secret."""

from __future__ import annotations

import tomllib

import pytest

from worker.settings.endpoints import EndpointTable
from worker.settings.reference import as_markdown, as_toml

FILE = """
lease_seconds = 40
[endpoints.gpt]
dialect = "openai-chat"
base_url = "http://host"
model = "m"
api_key_env = "KEY"
headers = { X-Token = "hush-token" }
options = { temperature = 0 }
"""


@pytest.fixture
def configured(here, monkeypatch):
    (here / "spool.toml").write_text(FILE)
    monkeypatch.setenv("SPOOL_DATABASE_URL", "postgresql://u:hush-pw@h/x")
    monkeypatch.setenv("SPOOL_ENDPOINTS__GPT__CONCURRENCY", "7")


def test_it_is_toml_with_the_origin_of_each_value(spool, configured):
    """What can be pasted, and where to change it."""
    said = spool("config")
    assert said.code == 0
    settings = tomllib.loads(said.out)
    assert settings["endpoints"]["gpt"]["concurrency"] == 7
    for line in (
        "# read from spool.toml",
        "lease_seconds = 40  # file",
        "flush_seconds = 1  # default",
        'database_url = "postgresql://u:***@h/x"  # env',
        "concurrency = 7  # env",
        'options = { "temperature" = 0 }  # file',
        "# api key: missing",
    ):
        assert line in said.out.splitlines()


def test_no_secret_is_shown(spool, configured, monkeypatch):
    """Neither as text nor as JSON."""
    monkeypatch.setenv("KEY", "hush-key")
    for said in (spool("config"), spool("config", "--json")):
        assert "hush" not in said.out + said.err
        assert "X-Token" in said.out


def test_json_has_the_same(spool, configured):
    """For programs."""
    (shown,) = spool("config", "--json").matches("config")
    assert shown["settings"]["lease_seconds"] == {"value": 40, "from": "file"}
    assert shown["endpoints"]["gpt"]["api_key"] == "missing"


def test_hints_and_missing_keys_are_talk(spool, configured):
    """A command that only looks is not stopped by them."""
    said = spool("config")
    assert "has no /v1" in said.err
    assert "endpoints.gpt: the environment variable KEY is not set" in said.err


def test_without_a_file_it_says_so(spool):
    """And every value is a default."""
    said = spool("config")
    assert said.out.startswith("# read from no file: there is no spool.toml here\n")
    assert "# file" not in said.out


def test_the_documents_are_printed(spool):
    """A file to start from, and the page of the docs."""
    assert spool("config", "--defaults").out == as_toml()
    assert spool("config", "--reference").out == as_markdown()


def test_a_name_with_a_dot_is_quoted(spool, here):
    """Or it would read back as two tables."""
    (here / "spool.toml").write_text('[endpoints."a.b"]\n')
    assert "a.b" in tomllib.loads(spool("config").out)["endpoints"]


def test_no_setting_of_an_endpoint_is_left_out(spool):
    """But for where the key comes from, which has a line of its own."""
    (shown,) = spool("config", "--json").matches("config")
    known = set(EndpointTable.model_fields) - {"api_key_env", "api_key_file"}
    assert set(shown["endpoints"]["default"]) == known | {"api_key"}
