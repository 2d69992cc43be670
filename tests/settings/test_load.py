"""File < environment < flags; unset is not default; every fault at once, and no secret in any."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.errors import SettingsError
from worker.settings import load, load_all


def faults(**kwargs):
    with pytest.raises(SettingsError) as caught:
        load(**kwargs)
    return str(caught.value)


def test_without_anything_the_defaults_hold():
    """A laptop with Ollama needs no configuration."""
    settings = load()
    assert settings.database_url == "sqlite:///spool.db"
    assert settings.lease_seconds == 30
    (endpoint,) = settings.endpoints.values()
    assert (endpoint.name, endpoint.dialect) == ("default", "ollama-chat")
    assert (endpoint.base_url, endpoint.model) == ("http://localhost:11434", "llama3.2")


def test_each_layer_wins_over_the_one_below(toml, monkeypatch):
    """Flag over variable over file over default, key by key."""
    toml('lease_seconds = 40\npoll_seconds = 2\nflush_seconds = 3\ndatabase_url = "sqlite:///f.db"')
    monkeypatch.setenv("SPOOL_POLL_SECONDS", "4")
    monkeypatch.setenv("SPOOL_DATABASE_URL", "sqlite:///e.db")
    settings = load(overrides={"database_url": "sqlite:///x.db", "lease_seconds": None})
    assert settings.database_url == "sqlite:///x.db"
    assert settings.poll_seconds == 4
    assert settings.flush_seconds == 3
    assert settings.lease_seconds == 40
    assert settings.max_attempts == 5


def test_a_variable_at_its_default_still_wins_over_the_file(toml, monkeypatch):
    """Unset is not default: setting the default on purpose is setting it."""
    toml("max_attempts = 9")
    monkeypatch.setenv("SPOOL_MAX_ATTEMPTS", "5")
    assert load().max_attempts == 5


def test_an_empty_variable_is_not_set(toml, monkeypatch):
    """Compose files write SPOOL_X= for what nobody filled in."""
    toml("max_attempts = 9")
    monkeypatch.setenv("SPOOL_MAX_ATTEMPTS", "")
    assert load().max_attempts == 9


def test_a_file_of_an_editor_on_windows_is_read(toml):
    """It begins with a mark that nobody sees."""
    toml("\ufefflease_seconds = 40")
    assert load().lease_seconds == 40


def test_variables_reach_into_endpoints(toml, monkeypatch):
    """One value of one endpoint can be changed without repeating the others."""
    toml('[endpoints.default]\nmodel = "a"\nconcurrency = 2\noptions = { temperature = 0 }')
    monkeypatch.setenv("SPOOL_ENDPOINTS__DEFAULT__MODEL", "b")
    monkeypatch.setenv("SPOOL_ENDPOINTS__DEFAULT__OPTIONS", '{"seed": 1}')
    endpoint = load().endpoints["default"]
    assert (endpoint.model, endpoint.concurrency) == ("b", 2)
    assert endpoint.options == {"temperature": 0, "seed": 1}


def test_names_that_variables_cannot_spell_are_found(toml, monkeypatch):
    """Dashes, dots and capitals of an endpoint's name are folded in the variable's."""
    toml('[endpoints.My-gpu]\nmodel = "a"')
    monkeypatch.setenv("SPOOL_ENDPOINTS__MY_GPU__MODEL", "b")
    settings = load()
    assert list(settings.endpoints) == ["My-gpu"]
    assert settings.endpoints["My-gpu"].model == "b"


def test_a_variable_alone_changes_the_default_endpoint(monkeypatch):
    """Another model on the same Ollama is one variable."""
    monkeypatch.setenv("SPOOL_ENDPOINTS__DEFAULT__MODEL", "qwen3")
    endpoint = load().endpoints["default"]
    assert (endpoint.model, endpoint.base_url) == ("qwen3", "http://localhost:11434")


def test_a_file_that_names_endpoints_has_exactly_those(toml):
    """Nobody gets an endpoint that they did not ask for."""
    toml('[endpoints.fast]\nmodel = "a"')
    assert list(load().endpoints) == ["fast"]


def test_every_fault_is_told_at_once_with_its_place_and_cure(toml, monkeypatch):
    """One list to mend, not one fault at a time."""
    toml(
        'lease_second = 3\nflush_bytes = 9999999\npoll_seconds = "soon"\n'
        'database_url = "mysql://u:hush@h/x"\n'
        "[endpoints.default]\n"
        'dialect = "olama-chat"\nconcurrency = 0\n'
        '[endpoints.far]\ndialect = "openai-chat"\n'
    )
    monkeypatch.setenv("SPOOL_LEASE_SECONDS", "abc")
    told = faults()
    for words in (
        "9 settings are wrong:",
        "spool.toml: lease_second is not a setting; did you mean lease_seconds?",
        "spool.toml: flush_bytes is 9999999 bytes, more than stream_buffer_bytes",
        "spool.toml: poll_seconds must be a number of seconds, not 'soon'",
        "spool.toml: database_url must begin with sqlite:/// or postgresql://",
        "did you mean ollama-chat?",
        "spool.toml: endpoints.default.concurrency must be at least 1, not 0",
        "spool.toml: endpoints.far.base_url is missing",
        "spool.toml: endpoints.far.model is missing",
        "SPOOL_LEASE_SECONDS must be a number of seconds, not 'abc'",
    ):
        assert words in told
    assert "hush" not in told


def test_one_fault_is_one_sentence(toml):
    """No list of one."""
    toml("max_attempts = 0")
    assert faults() == "spool.toml: max_attempts must be at least 1, not 0"


def test_a_named_file_must_exist(here):
    """A mistyped --config must not silently mean the defaults."""
    told = faults(config=Path("nope.toml"))
    assert told.startswith("nope.toml does not exist")
    assert "spool config --defaults > nope.toml" in told


def test_broken_toml_is_told_with_its_line(toml):
    """The parser knows the place; so does the reader."""
    toml("lease_seconds = = 3")
    told = faults()
    assert told.startswith("spool.toml is not valid TOML")
    assert "line 1" in told


def test_a_file_that_cannot_be_read_is_told(here):
    """A directory called spool.toml, or one in another encoding."""
    (here / "spool.toml").mkdir()
    assert faults().startswith("spool.toml cannot be read")
    (here / "latin.toml").write_bytes(b'database_url = "caf\xe9"')
    assert faults(config=Path("latin.toml")) == "latin.toml is not UTF-8 text: save it as UTF-8"


def test_a_misspelt_variable_is_a_fault(monkeypatch):
    """It would be ignored otherwise, and its owner would never know."""
    monkeypatch.setenv("SPOOL_FLUSH_BYTE", "3")
    assert faults() == "SPOOL_FLUSH_BYTE is not a setting; did you mean SPOOL_FLUSH_BYTES?"


def test_a_foreign_variable_is_only_hinted_at(monkeypatch):
    """Kubernetes puts SPOOL_PORT into the pods beside a service called spool."""
    monkeypatch.setenv("SPOOL_PORT", "tcp://10.0.0.1:80")
    assert load_all().hints == ("the environment variable SPOOL_PORT is not a setting of Spool",)


def test_a_variable_that_holds_a_key_may_be_called_anything(toml, monkeypatch):
    """`api_key_env` names it, so it is known."""
    toml('[endpoints.default]\napi_key_env = "SPOOL_OLLAMA_KEY"')
    monkeypatch.setenv("SPOOL_OLLAMA_KEY", "sk-1")
    loaded = load_all()
    assert loaded.hints == ()
    assert loaded.settings.endpoints["default"].api_key == "sk-1"


def test_a_missing_key_is_a_fault_only_where_keys_are_needed(toml):
    """Looking at the queue needs no key."""
    toml('[endpoints.default]\napi_key_env = "NO_SUCH_KEY"')
    assert load(keys_required=False).endpoints["default"].api_key is None
    told = faults(keys_required=True)
    assert "endpoints.default" in told
    assert "the environment variable NO_SUCH_KEY is not set" in told


@pytest.mark.parametrize("pasted", ["sk-live-abc", "gsk_9dKfj3LmPq8sT2vWx4Yz7Ab1", "a b"])
def test_a_key_in_place_of_its_variables_name_is_not_repeated(toml, pasted):
    """People paste the key itself; a message must not carry it into a log."""
    toml(f'[endpoints.default]\napi_key_env = "{pasted}"')
    told = faults()
    assert "is not the name of a variable" in told
    assert pasted not in told


def test_no_value_that_may_be_secret_is_repeated(toml, monkeypatch):
    """Whatever is wrong with it."""
    toml('[endpoints.default]\nheaders = { Authorization = 5 }\napi_key = "hush"')
    monkeypatch.setenv("SPOOL_DATABASE_URL", "hush://hush@hush")
    told = faults()
    assert "hush" not in told
    assert "keys are not written into files" in told


def test_json_that_is_broken_in_a_variable_is_one_of_the_faults(monkeypatch):
    """It must not hide the others."""
    monkeypatch.setenv("SPOOL_ENDPOINTS__DEFAULT__OPTIONS", '{"a')
    monkeypatch.setenv("SPOOL_MAX_CRASHES", "0")
    told = faults()
    assert "SPOOL_ENDPOINTS__DEFAULT__OPTIONS must be a table" in told
    assert "SPOOL_MAX_CRASHES must be at least 1" in told


def test_no_endpoint_at_all_is_a_fault(toml):
    """A worker without one could never do anything."""
    toml("endpoints = {}")
    assert "is empty: name at least one" in faults()


def test_a_flag_is_named_as_it_was_typed():
    """The person looks at the command line, not at a file."""
    told = faults(overrides={"database_url": "mysql://x"})
    assert told == "--database-url must begin with sqlite:/// or postgresql://"


def test_where_each_value_came_from_is_known(toml, monkeypatch):
    """What `spool config` prints beside it."""
    toml('lease_seconds = 40\n[endpoints.default]\nmodel = "a"')
    monkeypatch.setenv("SPOOL_POLL_SECONDS", "4")
    origins = load_all(overrides={"database_url": "sqlite:///x.db"}).origins
    assert origins.kind(("lease_seconds",)) == "file"
    assert origins.kind(("poll_seconds",)) == "env"
    assert origins.kind(("database_url",)) == "flag"
    assert origins.kind(("max_attempts",)) == "default"
    assert origins.kind(("endpoints", "default", "model")) == "file"
    assert origins.kind(("endpoints", "default", "dialect")) == "default"
