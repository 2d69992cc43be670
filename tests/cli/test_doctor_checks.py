"""Each endpoint ends in one finding: reachable or not, with its model or not, and the cure."""

from __future__ import annotations

import json

import pytest

from tests.cli.modelserver import model_server
from worker.cli.doctor_checks import endpoints
from worker.clock import SystemClock
from worker.settings import load_all


@pytest.fixture
def check(here, monkeypatch):
    """The findings about endpoints that are configured so."""

    def run(toml):
        (here / "spool.toml").write_text(toml)
        return [(str(each.health), str(each)) for each in endpoints(load_all(), SystemClock())]

    return run


def table(url, dialect="ollama-chat", model="llama3.2", more=""):
    return (
        f'[endpoints.default]\ndialect = "{dialect}"\nbase_url = "{url}"\nmodel = "{model}"\n{more}'
    )


def ollama(*names):
    return {"/api/tags": (200, json.dumps({"models": [{"name": name} for name in names]}))}


def listing(path, *names):
    return {path: (200, json.dumps({"data": [{"id": name} for name in names]}))}


@pytest.mark.parametrize(
    ("dialect", "suffix", "answers"),
    [
        ("ollama-chat", "", ollama("llama3.2:latest", "x")),
        ("ollama-generate", "", ollama("llama3.2")),
        ("openai-chat", "/v1", listing("/v1/models", "a", "llama3.2")),
        ("openai-responses", "/v1", listing("/v1/models", "llama3.2")),
        ("anthropic-messages", "", listing("/v1/models", "llama3.2")),
        ("anthropic-messages", "/v1", listing("/v1/models", "llama3.2")),
        ("openai-chat", "/v1?tenant=a", listing("/v1/models?tenant=a", "llama3.2")),
    ],
)
def test_an_endpoint_that_answers_and_has_its_model_is_well(check, dialect, suffix, answers):
    """Each family lists its models in its own way; where requests find a base URL, so does this."""
    with model_server(answers) as (url, _):
        ((health, said),) = check(table(url + suffix, dialect))
    assert health == "ok"
    assert "answers and has llama3.2" in said


NO_MODEL = (404, '{"error": "model llama3.2 not found"}')


def test_a_model_that_ollama_lacks_is_pulled(check):
    """Every prompt would fail with 404."""
    answers = {**ollama("a", "b", "c", "d", "e", "f"), "POST /api/chat": NO_MODEL}
    with model_server(answers) as (url, _):
        ((health, said),) = check(table(url))
    assert health == "broken"
    assert "has no model llama3.2 (it has: a, b, c, d, e, ...); `ollama pull llama3.2`" in said


def test_a_model_that_is_not_listed_and_answers_is_well(check):
    """Gateways answer to names that they do not list; one that does not answer is broken."""
    with model_server(listing("/v1/models")) as (url, _):
        ((health, said),) = check(table(url + "/v1", "openai-chat"))
    assert health == "ok"
    assert "answers as llama3.2, which it does not list" in said
    answers = {**listing("/v1/models"), "POST /v1/chat/completions": NO_MODEL}
    with model_server(answers) as (url, _):
        ((health, said),) = check(table(url + "/v1", "openai-chat"))
    assert health == "broken"
    assert "(it has: none)" in said
    with model_server(listing("/v1/models")) as (url, _):
        ((health, said),) = check(table(url + "/v1", "openai-chat", more='canary = "GET"'))
    assert health == "doubtful"


@pytest.mark.parametrize(
    ("dialect", "answers"),
    [
        ("openai-chat", {}),
        ("openai-chat", {"/v1/models": (200, "<html>")}),
        ("openai-chat", {"/v1/models": (200, '["a"]')}),
        ("openai-chat", {"/v1/models": (405, "no")}),
        ("openai-chat", {"/v1/models": (501, "no")}),
        ("llamacpp-completion", {}),
    ],
)
def test_a_server_that_lists_no_models_is_well(check, dialect, answers):
    """That it answers is what counts."""
    with model_server(answers) as (url, _):
        ((health, said),) = check(table(url + ("/v1" if "openai" in dialect else ""), dialect))
    assert health == "ok"
    assert "does not say which models it has" in said


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"/v1/models": (400, "No connected db.")}, "would refuse every prompt: HTTP 400"),
        ({"/v1/models": (400, "No required SSL certificate was sent")}, "would refuse every"),
        ({"/v1/models": (400, "The plain HTTP request was sent to HTTPS port")}, "HTTPS port"),
        ({"/v1/models": (307, "")}, "redirects"),
        ({"/v1/models": (500, "oops")}, "HTTP 500: oops"),
        ({"POST /v1/chat/completions": (400, '{"error": "wrong"}')}, "HTTP 400: wrong"),
        ({"POST /v1/chat/completions": (500, '{"error": "wrong"}')}, "HTTP 500: wrong"),
        (
            {"POST /v1/chat/completions": (200, "<html><title>Welcome</title>")},
            "a page with status",
        ),
        ({"POST /v1/chat/completions": (401, '{"error": "no"}')}, "refuses the key"),
    ],
)
def test_what_would_refuse_every_prompt_is_broken(check, answers, words):
    """A wrong key as 400, a missing header, mTLS, plain http on a TLS port, a redirect, a page."""
    with model_server(answers) as (url, _):
        ((health, said),) = check(table(url + "/v1", "openai-chat"))
    assert health == "broken"
    assert words in said


def test_a_server_that_never_sends_its_done_frame_is_found_out(check):
    """And the setting is named."""
    unfinished = (
        'data: {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}\n\n'
    )
    answers = {"POST /v1/chat/completions": (200, unfinished)}
    with model_server(answers) as (url, _):
        ((health, said),) = check(table(url + "/v1", "openai-chat"))
    assert health == "broken"
    assert "set accept_finish_without_done = true" in said


def test_a_server_that_asks_for_patience_is_doubtful(check):
    """It is there; prompts wait."""
    with model_server({"POST /v1/chat/completions": (429, "slow down")}) as (url, _):
        ((health, said),) = check(table(url + "/v1", "openai-chat"))
    assert health == "doubtful"
    assert "asks for patience" in said


def test_nobody_there_is_broken(check):
    """With the address, and for Ollama the command."""
    ((health, said),) = check(table("http://127.0.0.1:1"))
    assert health == "broken"
    assert "127.0.0.1:1" in said
    assert "`ollama serve` starts Ollama" in said


def test_a_server_that_only_fails_is_broken(check):
    """It is there, but no prompt would succeed."""
    with model_server({"POST /api/chat": (500, "oops")}) as (url, _):
        ((health, said),) = check(table(url))
    assert health == "broken"
    assert "would refuse every prompt: HTTP 500: oops" in said


def test_a_key_that_is_refused_is_broken(check, monkeypatch):
    """And is not shown."""
    monkeypatch.setenv("KEY", "hush-key")
    with model_server({"/v1/models": (401, '{"error": "bad key hush-key"}')}) as (url, asked):
        ((health, said),) = check(table(url + "/v1", "openai-chat", more='api_key_env = "KEY"'))
    assert health == "broken"
    assert "refuses the key" in said
    assert "check its api_key_env or api_key_file" in said
    assert "hush" not in said
    assert any("hush-key" in str(headers) for _, headers in asked)


def test_a_missing_key_is_broken_and_nothing_is_asked(check):
    """A request without it would only earn a 401."""
    with model_server({}) as (url, asked):
        ((health, said),) = check(table(url + "/v1", "openai-chat", more='api_key_env = "NOPE"'))
    assert health == "broken"
    assert "the environment variable NOPE is not set" in said
    assert asked == []


def test_all_endpoints_are_asked_in_their_order(check):
    """One that is broken hides no other."""
    with model_server(ollama("llama3.2")) as (url, _):
        found = check(table(url) + '[endpoints.far]\nbase_url = "http://127.0.0.1:1"\n')
    assert [health for health, _ in found] == ["ok", "broken"]


def test_an_embedded_endpoint_is_looked_for_on_disk(check, here, monkeypatch):
    """llama.cpp is loaded to see whether it can be; no server is started."""
    (here / "tiny.gguf").write_bytes(b"GGUF....")
    ((health, said),) = check('[endpoints.default]\nembedded = true\nmodel = "tiny.gguf"')
    assert (health, said) == (
        "ok",
        "ok        endpoint default: embedded, with the model tiny.gguf; llama.cpp can be loaded",
    )
    ((health, said),) = check('[endpoints.default]\nembedded = true\nmodel = "none.gguf"')
    assert health == "broken"
    assert "none.gguf cannot be read" in said
    (here / "xllamacpp.py").write_text(
        "raise ImportError('libgomp.so.1: cannot open shared object file: No such file')"
    )
    monkeypatch.setenv("PYTHONPATH", str(here))
    ((health, said),) = check('[endpoints.default]\nembedded = true\nmodel = "tiny.gguf"')
    assert health == "broken"
    assert "this system has no libgomp.so.1: run `apt install libgomp1`" in said
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ((health, said),) = check('[endpoints.default]\nembedded = true\nmodel = "tiny.gguf"')
    assert health == "broken"
    assert "needs xllamacpp, which is not installed" in said


def test_a_proxy_of_the_environment_is_told(check, monkeypatch):
    """Without its password; what is on this machine is asked without it."""
    monkeypatch.setenv("http_proxy", "http://user:password@127.0.0.1:1")
    said = [each for _, each in check(table("http://far.invalid/v1", "openai-chat"))]
    assert any("through the proxy http://127.0.0.1:1," in each for each in said)
    assert "password" not in "".join(said)
    with model_server(ollama("llama3.2")) as (url, _):
        assert [health for health, _ in check(table(url))] == ["ok"]
