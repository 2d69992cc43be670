"""Dialect, URL and model belong together; keys come from outside; odd URLs get a hint."""

from __future__ import annotations

import pytest

from worker.errors import SettingsError
from worker.settings import DIALECT_NAMES
from worker.settings.endpoints import EndpointTable
from worker.wire import DIALECTS

OPENAI = {"dialect": "openai-chat", "base_url": "https://host/v1", "model": "m"}


def problems(name="default", **fields):
    return dict(EndpointTable(**fields).problems(name))


def resolved(**fields):
    return EndpointTable(**fields).resolved("default", api_key=None)


def test_the_dialects_of_the_settings_are_those_of_the_wire():
    """Two lists of one thing must not drift apart."""
    assert set(DIALECT_NAMES) == set(DIALECTS)


def test_a_complete_table_has_no_problems():
    """The checks do not cry wolf."""
    assert problems() == {}
    assert problems(**OPENAI, api_key_env="OPENAI_API_KEY", headers={"X-A": "b"}) == {}
    assert problems(embedded=True) == {}


def test_a_slash_at_the_end_of_the_url_is_dropped():
    """Paths are added to it."""
    assert resolved(**OPENAI | {"base_url": "https://host/v1/"}).base_url == "https://host/v1"


def test_an_embedded_endpoint_speaks_what_its_server_speaks():
    """llama.cpp answers OpenAI's chat, not Ollama's."""
    endpoint = resolved(embedded=True)
    assert (endpoint.dialect, endpoint.base_url, endpoint.model) == ("openai-chat", "", "embedded")
    assert resolved(embedded=True, dialect="llamacpp-completion").dialect == "llamacpp-completion"


@pytest.mark.parametrize(
    ("fields", "key", "words"),
    [
        ({"embedded": True, "base_url": "http://x"}, "base_url", "no meaning with embedded"),
        ({"embedded": True, "dialect": "ollama-chat"}, "dialect", "not spoken by the embedded"),
        ({"dialect": "openai-chat", "model": "m"}, "base_url", "is missing"),
        ({"dialect": "openai-chat", "base_url": "http://x/v1"}, "model", "is missing"),
        ({"base_url": "ftp://x"}, "base_url", "must begin with http"),
        ({"base_url": "localhost:11434"}, "base_url", "must begin with http"),
        ({"base_url": "http://"}, "base_url", "names no host"),
        ({"base_url": "http://x:port"}, "base_url", "is not a URL"),
        ({"base_url": "http://me:hush@x"}, "base_url", "holds a user or password"),
        ({"base_url": "http://x/#a"}, "base_url", "must end before the #"),
        ({"api_key_env": "A", "api_key_file": "b"}, "api_key_file", "both set"),
        ({"headers": {"bad name": "x"}}, "headers", "is not the name of a header"),
        ({"headers": {"x": "a\nb"}}, "headers", "no header can carry"),
        ({"options": {"stream": False}}, "options", "may not hold `stream`"),
        ({"options": {"n_cmpl": 2}}, "options", "may not hold `n_cmpl`"),
    ],
)
def test_what_types_cannot_say_is_checked(fields, key, words):
    """Each problem names its key and what to do, and repeats no secret."""
    found = problems(**fields)
    assert words in found[key]
    assert "hush" not in found[key]


def test_a_name_must_be_usable_in_messages_and_variables():
    """It becomes part of both."""
    assert "not a usable name" in problems(name="a b")[""]


def test_the_key_is_read_from_its_variable():
    """And line ends around it, which shells and editors add, are not part of it."""
    table = EndpointTable(**OPENAI, api_key_env="KEY")
    assert table.key({"KEY": " sk-1\n"}) == "sk-1"


def test_the_key_is_read_from_its_file(tmp_path):
    """A mounted secret."""
    path = tmp_path / "key"
    path.write_text("sk-2\n")
    assert EndpointTable(**OPENAI, api_key_file=str(path)).key({}) == "sk-2"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"\xff\xfe", "cannot be read: it is not text"),
        (b"", "must hold the key and nothing else"),
        (b"x" * 70000, "must hold the key and nothing else"),
        (b"two\nlines", "no HTTP header can carry"),
    ],
)
def test_a_file_that_is_no_key_is_told(tmp_path, content, words):
    """With its path, and without what is inside."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=words) as caught:
        EndpointTable(**OPENAI, api_key_file=str(path)).key({})
    assert "lines" not in str(caught.value)


def test_without_either_there_is_no_key():
    """Local servers want none."""
    assert EndpointTable().key({}) is None


def test_a_table_does_not_show_its_secrets():
    """Neither written nor resolved."""
    table = EndpointTable(**OPENAI, api_key_env="HUSH", headers={"Authorization": "hush"})
    endpoint = table.resolved("default", api_key="hush")
    assert "hush" not in f"{table!r} {endpoint!r}".lower()
