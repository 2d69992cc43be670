"""What the user says goes to the server as it is; what would break the stream is refused clearly."""

import datetime as dt
import json

import pytest

from tests.wire.reading import endpoint
from worker.errors import Refused, Verdict
from worker.records import Run
from worker.wire.dialects.request import (
    body_bytes,
    chat_messages,
    leading_system,
    merged,
    options_for,
    single_prompt,
    text_content,
    url_for,
    with_default_system,
)


def run(**settings):
    return Run(
        **{"id": 1, "prompt_id": 1, "attempt": 1, "attempts": 1, "max_attempts": 5}
        | {"endpoint": "e", "model": "m"}
        | settings
    )


def user(content):
    return {"role": "user", "content": content}


def test_options_are_laid_over_each_other():
    assert merged({"a": 1, "b": {"x": 1}}, {"b": {"y": 2}}) == {"a": 1, "b": {"y": 2}}
    nested = merged({"options": {"x": 1, "y": 1}}, {"options": {"y": 2, "z": None}})
    assert nested == {"options": {"x": 1, "y": 2}}
    assert merged({"options": {"x": 1}}, {"options": 5}) == {"options": 5}


def test_a_null_takes_an_option_away():
    where = endpoint("openai-chat", options={"seed": 1, "top_p": 0.5})
    options = options_for(where, run(options={"seed": None}), defaults={"a": 1, "b": 2})
    assert options == {"top_p": 0.5, "a": 1, "b": 2}
    assert options_for(where, run(options={"a": None}), defaults={"a": 1}).get("a") is None


def test_the_prompt_wins_over_the_endpoint_and_both_over_the_defaults():
    where = endpoint("openai-chat", options={"t": 1, "d": 1})
    assert options_for(where, run(options={"t": 2}), defaults={"d": 0, "e": 0}) == {
        "t": 2,
        "d": 1,
        "e": 0,
    }


@pytest.mark.parametrize(
    "options",
    [
        {"stream": False},
        {"stream": "no"},
        {"model": "x"},
        {"messages": []},
        {"n": 2},
        {"n_cmpl": 2},
    ],
)
def test_what_cannot_work_is_refused_by_name(options):
    with pytest.raises(Refused, match=next(iter(options))) as refused:
        options_for(endpoint("openai-chat"), run(options=options), reserved=("messages",))
    assert refused.value.verdict is Verdict.FAIL


def test_what_changes_nothing_is_let_through():
    options = {"stream": True, "n": 1}
    assert options_for(endpoint("openai-chat"), run(options=options)) == {"n": 1}


def test_chat_messages():
    assert chat_messages(run(prompt="p")) == [user("p")]
    assert chat_messages(run(prompt="")) == [user("")]
    system = {"role": "system", "content": "s"}
    assert chat_messages(run(prompt="p", system="s")) == [system, user("p")]
    talk = [user("a"), {"role": "assistant", "content": "b"}, user("c")]
    assert chat_messages(run(messages=talk)) == talk
    assert chat_messages(run(messages=talk, system="s")) == [system, *talk]
    with pytest.raises(Refused, match="neither text nor messages"):
        chat_messages(run())


def test_a_single_prompt_out_of_messages():
    def single(**settings):
        return single_prompt(run(**settings), dialect="d", cure="c")

    assert single(prompt="p", system="s") == ("p", "s")
    assert single(messages=[user("p")]) == ("p", None)
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert single(messages=[user(parts)]) == ("ab", None)
    system = {"role": "system", "content": "s"}
    assert single(messages=[system, user("p")]) == ("p", "s")
    assert single(messages=[system, user("p")], system="t") == ("p", "t\n\ns")
    with pytest.raises(Refused, match="neither text nor messages"):
        single()


@pytest.mark.parametrize(
    "messages",
    [
        [user("a"), {"role": "assistant", "content": "b"}, user("c")],
        [user([{"type": "image_url", "image_url": {}}])],
        [{"role": "assistant", "content": "b"}],
        [{"role": "user"}],
        ["hello"],
    ],
)
def test_a_conversation_is_no_single_prompt(messages):
    with pytest.raises(Refused, match=r"dialect-x takes one text.* use an endpoint with cure-y"):
        single_prompt(run(messages=messages), dialect="dialect-x", cure="cure-y")


def test_text_content():
    assert text_content(user("a")) == "a"
    assert text_content(user(["a", {"type": "text", "text": "b"}])) == "ab"
    assert text_content(user([{"type": "image"}])) is None
    assert text_content(user(None)) is None
    assert text_content("a") is None


def test_a_default_system_text():
    options = {"system": "d", "x": 1}
    assert with_default_system(run(prompt="p"), options).system == "d"
    assert options == {"x": 1}
    assert with_default_system(run(prompt="p", system="s"), {"system": "d"}).system == "s"
    talk = [{"role": "system", "content": "s"}, user("p")]
    assert with_default_system(run(messages=talk), {"system": "d"}).system is None
    blocks = {"system": [{"type": "text"}]}
    assert with_default_system(run(prompt="p"), blocks).system is None
    assert blocks["system"]


def test_leading_system():
    system, developer = ({"role": role, "content": role} for role in ("system", "developer"))
    assert leading_system([system, developer, user("p"), system]) == (
        ["system", "developer"],
        [user("p"), system],
    )
    assert leading_system([user("p")]) == ([], [user("p")])
    assert leading_system([system]) == (["system"], [])


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("http://h:1/v1", "/chat/completions", "http://h:1/v1/chat/completions"),
        ("http://h/v1/", "/chat/completions", "http://h/v1/chat/completions"),
        ("http://h/v1//", "/responses", "http://h/v1/responses"),
        ("http://h", "/v1/messages", "http://h/v1/messages"),
        ("http://h/v1", "/v1/messages", "http://h/v1/messages"),
        ("http://h/v1/messages", "/v1/messages", "http://h/v1/messages"),
        ("http://h/proxy/v1/", "/v1/messages", "http://h/proxy/v1/messages"),
        ("http://h:11434", "/api/chat", "http://h:11434/api/chat"),
        ("http://h:11434/api", "/api/chat", "http://h:11434/api/chat"),
        ("http://h/v1/chat/completions", "/chat/completions", "http://h/v1/chat/completions"),
        ("http://h/v1/chat/completions", "/completions", "http://h/v1/chat/completions"),
        (
            "https://h/d/gpt?api-version=1",
            "/chat/completions",
            "https://h/d/gpt/chat/completions?api-version=1",
        ),
        ("http://u:p@[::1]:80/x", "/completion", "http://u:p@[::1]:80/x/completion"),
    ],
)
def test_urls(base, path, url):
    assert url_for(base, path) == url


def test_bodies_are_utf8_json():
    assert body_bytes({"prompt": "é\u2028\U0001f600"}) == '{"prompt":"é\u2028\U0001f600"}'.encode()
    assert json.loads(body_bytes({"prompt": "a\ud83db"})) == {"prompt": "a?b"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), dt.date(2026, 1, 1), {1}])
def test_options_that_are_not_json_are_refused(value):
    with pytest.raises(Refused, match="cannot be sent as JSON"):
        body_bytes({"seed": value})
