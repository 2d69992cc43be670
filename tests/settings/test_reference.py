"""config/spool.toml and docs/configuration.md say exactly what Settings says."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from worker.settings import Settings, load
from worker.settings.endpoints import EndpointTable
from worker.settings.model import Values
from worker.settings.reference import as_markdown, as_toml, endpoint_default, literal

ROOT = Path(__file__).parent.parent.parent


def test_the_shipped_file_is_what_settings_say():
    """`spool config --defaults` prints it; nobody edits it by hand."""
    assert (ROOT / "config" / "spool.toml").read_text("utf-8") == as_toml()


def test_the_reference_page_is_what_settings_say():
    """`spool config --reference` prints it; nobody edits it by hand."""
    assert (ROOT / "docs" / "configuration.md").read_text("utf-8") == as_markdown()


def test_the_shipped_file_changes_nothing(monkeypatch):
    """Every value in it is the default: loading it equals loading nothing."""
    monkeypatch.setenv("SPOOL_CONFIG", "")
    assert load(ROOT / "config" / "spool.toml") == load() == Settings()


def test_the_shipped_file_names_every_setting():
    """Those without a default stand there as comments."""
    text = as_toml()
    tree = tomllib.loads(text)
    assert set(tree) == {*Values.model_fields, "endpoints"}
    commented = {name for name in EndpointTable.model_fields if f"# {name} = " in text}
    tls = {"ca_file", "client_cert_file", "client_key_file"}
    assert commented == {"api_key_env", "api_key_file", "continue_by"} | tls
    assert set(tree["endpoints"]["default"]) | commented == set(EndpointTable.model_fields)


def test_every_setting_has_a_reason_and_a_unit_in_its_name():
    """A number without a unit is a guess."""
    unitless = {"max_attempts", "max_runs", "max_crashes", "concurrency", "metrics_port"}
    for fields in (Values.model_fields, EndpointTable.model_fields):
        for name, field in fields.items():
            assert field.description, name
            if field.annotation in (int, float) and name not in unitless:
                assert name.endswith(("_seconds", "_bytes", "_ms", "_tokens", "_chars")), name


@pytest.mark.parametrize(
    "value",
    ['a"b\\c\nd', 3, 0.5, True, {}, {"a": {"b": [1, "x"]}}, {"with space": 1}],
)
def test_a_literal_reads_back_as_what_it_was(value):
    """`spool config` prints TOML that can be pasted into a file."""
    assert tomllib.loads(f"x = {literal(value)}") == {"x": value}


def test_the_defaults_of_an_endpoint_are_those_it_gets():
    """Also where the default depends on the dialect."""
    endpoint = EndpointTable().resolved("default", api_key=None)
    for name in EndpointTable.model_fields:
        if not name.startswith("api_key") and not name.endswith("_file"):
            assert getattr(endpoint, name) == endpoint_default(name), name
