"""Each dialect is asked to go on in its own words, and shows what it makes of them."""

from __future__ import annotations

import json

import pytest

from tests.fakes.scripted_stream import endpoint, run
from worker.wire import DIALECTS
from worker.wire.dialects import continuing
from worker.wire.dialects.continuing import By

TEXT = "Once upon a time"


def asked(dialect, by, *, tokens=None, at=None, **prompt):
    """The body of a request that goes on."""
    place = endpoint(dialect=dialect, options=at or {}, continue_by=by)
    (way,) = continuing.ways_to_ask(place)
    going = continuing.going_on(run(**prompt), place, TEXT, way, tokens=tokens)
    return json.loads(DIALECTS[dialect].request(place, going).body)


@pytest.mark.parametrize("dialect", ["llamacpp-completion", "openai-completions"])
def test_raw_prompts_end_in_the_text(dialect):
    """Also those that came as messages, and with a system text."""
    assert asked(dialect, "completion", prompt="Tell. ")["prompt"] == "Tell. " + TEXT
    said = {"prompt": None, "messages": [{"role": "user", "content": [{"text": "Tell. "}]}]}
    assert asked(dialect, "completion", **said)["prompt"] == "Tell. " + TEXT
    body = asked(dialect, "completion", prompt="Tell. ", at={"system": "Be kind."})
    assert body["prompt"] == "Be kind.\n\nTell. " + TEXT


@pytest.mark.parametrize(
    ("dialect", "by", "last", "flags"),
    [
        ("openai-chat", "trailing", {}, {}),
        (
            "openai-chat",
            "final_message",
            {},
            {"continue_final_message": True, "add_generation_prompt": False},
        ),
        ("openai-chat", "prefix", {"prefix": True}, {}),
        ("ollama-chat", "trailing", {}, {}),
        ("anthropic-messages", "trailing", {}, {}),
    ],
)
def test_chats_end_in_a_message_of_the_assistant(dialect, by, last, flags):
    """One message, merged with a beginning that the prompt itself gave."""
    body = asked(dialect, by, prompt="Tell.")
    assert body["messages"][-1] == {"role": "assistant", "content": TEXT, **last}
    assert flags.items() <= body.items()
    assert [m["role"] for m in body["messages"]] == ["user", "assistant"]
    given = [{"role": "user", "content": "Tell."}, {"role": "assistant", "content": "Yes: "}]
    body = asked(dialect, by, prompt=None, messages=given)
    assert body["messages"][-1] == {"role": "assistant", "content": "Yes: " + TEXT, **last}
    assert len(body["messages"]) == 2


def test_a_system_text_stays_where_it_was():
    """In front, from the prompt or from the endpoint."""
    body = asked("openai-chat", "trailing", prompt="Tell.", at={"system": "Be kind."})
    assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant"]
    body = asked("anthropic-messages", "trailing", prompt="Tell.", system="Be kind.")
    assert body["system"] == "Be kind."


def test_limits_are_less_and_seeds_are_others():
    """Wherever a dialect has them; a null of the prompt still takes an option away."""
    options = {"max_tokens": 100, "seed": 3, "top_p": 1}
    body = asked("openai-chat", "trailing", tokens=40, at=options)
    assert (body["max_tokens"], body["seed"]) == (60, 3 + len(TEXT))
    assert asked("openai-chat", "trailing", tokens=500, at=options)["max_tokens"] == 1
    assert asked("openai-chat", "trailing", at=options)["max_tokens"] == 100
    nested = {"options": {"num_predict": 100, "seed": 3, "top_k": 2}}
    body = asked("ollama-chat", "trailing", tokens=40, at=nested)
    assert body["options"] == {"num_predict": 60, "seed": 3 + len(TEXT), "top_k": 2}
    own = {"options": {"top_p": None, "options": {"top_k": 5}}}
    body = asked("ollama-chat", "trailing", tokens=40, at=nested | {"top_p": 1}, **own)
    assert body["options"] == {"num_predict": 60, "seed": 3 + len(TEXT), "top_k": 5}


@pytest.mark.parametrize(
    ("place", "ways"),
    [
        ({"dialect": "openai-chat"}, (By.TRAILING, By.FINAL_MESSAGE)),
        ({"dialect": "openai-chat", "continue_interrupted": "prefill"}, (By.TRAILING,)),
        ({"base_url": "https://api.deepseek.com/beta"}, (By.PREFIX,)),
        ({"base_url": "https://api.mistral.ai/v1"}, (By.PREFIX,)),
        ({"dialect": "openai-completions"}, (By.COMPLETION,)),
        ({"dialect": "llamacpp-completion"}, (By.COMPLETION,)),
        ({"dialect": "ollama-chat"}, (By.TRAILING,)),
        ({"dialect": "anthropic-messages"}, (By.TRAILING,)),
        ({"dialect": "ollama-generate"}, ()),
        ({"dialect": "openai-responses"}, ()),
        ({"continue_by": "prefix"}, (By.PREFIX,)),
    ],
)
def test_every_dialect_has_its_ways(place, ways):
    """Or none."""
    assert continuing.ways_to_ask(endpoint(**place)) == ways


@pytest.mark.parametrize(
    ("options", "stops"),
    [
        ({}, []),
        ({"stop": "END"}, ["END"]),
        ({"stop": ["a", ""], "stop_sequences": ["b"]}, ["a", "b"]),
        ({"options": {"stop": ["x"]}}, ["x"]),
    ],
)
def test_stop_texts_are_found(options, stops):
    """In the words of every dialect."""
    flat = continuing.options_of(endpoint(options=options), run())
    assert continuing.stops_of(flat) == stops


def test_what_cannot_be_put_together_is_named():
    """Numbered tokens, echoes, grammars that would begin anew; and messages that are no text."""
    assert continuing.forbids({"logprobs": True}, run()) == "logprobs"
    assert continuing.forbids({"logprobs": False, "echo": None, "n_probs": 0}, run()) is None
    assert continuing.formatted({"response_format": {"type": "json_object"}}) == "response_format"
    assert continuing.formatted({"response_format": {"type": "text"}, "format": ""}) is None
    image = [{"role": "assistant", "content": [{"type": "image"}]}]
    assert "more than text" in continuing.forbids({}, run(prompt=None, messages=image))


def renders(dialect, **place):
    there = endpoint(dialect=dialect, **place)
    way = continuing.ways_to_ask(there)[0]
    going = continuing.going_on(run(), there, TEXT, way, tokens=None)
    request = DIALECTS[dialect].request(there, going)
    return list(continuing.renders(there, request))


def test_a_chat_server_shows_its_prompt_in_one_of_two_ways():
    """llama.cpp renders it; vLLM gives its tokens, and spells them."""
    llama, vllm = renders("openai-chat", base_url="http://host:8080/v1")
    assert llama.request.url == "http://host:8080/apply-template"
    assert json.loads(llama.request.body)["messages"][-1]["content"] == TEXT
    assert "stream" not in json.loads(llama.request.body)
    assert llama.prompt_in({"prompt": "<|user|>..." + TEXT}).endswith(TEXT)
    assert llama.prompt_in({"prompt": 3}) is None
    assert llama.takes_formats
    assert not vllm.takes_formats
    assert vllm.request.url == "http://host:8080/tokenize"
    assert vllm.tokens_in({"count": 2, "tokens": [1, 2]}) == [1, 2]
    assert vllm.tokens_in({"tokens": ["a"]}) is None
    assert vllm.tokens_in([]) is None
    spelled = vllm.spelled([1, 2])
    assert spelled.url == "http://host:8080/detokenize"
    assert json.loads(spelled.body) == {"model": "small", "tokens": [1, 2]}
    assert continuing.prompt_of_tokens({"prompt": "x"}) == "x"


def test_ollama_shows_its_prompt_and_generates_no_answer():
    """A version that does not know the question gives one token."""
    (render,) = renders("ollama-chat", base_url="http://host:11434", options={"num_predict": 9})
    body = json.loads(render.request.body)
    assert (body["_debug_render_only"], body["stream"]) == (True, False)
    assert body["options"]["num_predict"] == 1
    assert render.prompt_in({"_debug_info": {"rendered_template": "p"}}) == "p"
    assert render.prompt_in({"message": {"content": "Hi"}}) is None


def test_llamacpp_shows_what_it_makes_of_a_message_api():
    """With the system text in front, as its template takes it."""
    (render,) = renders("anthropic-messages", base_url="http://host:8080", options={"system": "S"})
    roles = [message["role"] for message in json.loads(render.request.body)["messages"]]
    assert roles == ["system", "user", "assistant"]
