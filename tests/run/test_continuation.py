"""An answer that was cut goes on where it was cut, or begins again and says why; on real databases.

The audit is the promise: what a run carries over is what the earlier run had received, byte for
byte, and the answer is the one that nobody cut.
"""

from __future__ import annotations

import pytest

from tests.fakes.aio import aio
from tests.fakes.house import House, living
from tests.fakes.model import ANSWER, Model, rendered
from tests.fakes.scripted_stream import CHAT, END, STOP, endpoint, event, think
from worker.errors import Broken, ErrorCode, Refused
from worker.records import NewPrompt
from worker.run import attribution
from worker.run.buffer import Limits
from worker.store import Selection
from worker.wire import DIALECTS

RAW = DIALECTS["openai-completions"]
ATTEMPTS = (
    "SELECT attempt, status, continued_by, carried_chars, dropped_chars, not_continued, error_code"
    " FROM attempts ORDER BY attempt"
)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """The database's clock is the real one: nobody waits for it here."""
    monkeypatch.setattr(attribution, "LATER_SECONDS_MAX", 0.0)


def queue(store, **values):
    store.add([NewPrompt(**{"prompt": "Why? ", **values})])


async def carried(store, model, dialect=CHAT, **place):
    """Everything that is queued, carried by one worker to its end."""
    there = endpoint(dialect=dialect.name, **place)
    house = House(
        store,
        stream=model,
        dialect=dialect,
        endpoints=[there],
        drain=True,
        limits=Limits(flush_bytes=200),
    )
    async with living(house) as it:
        return await it.begin()


def answer(store):
    (row,) = store.results(Selection())
    return "".join(text for _, text in store.text(row.run_id))


def attempts(sql):
    names = ("attempt", "status", "by", "carried", "dropped", "why", "code")
    return [dict(zip(names, row, strict=True)) for row in sql(ATTEMPTS)]


# --- it goes on


@aio
@pytest.mark.parametrize("end", [600, 601, 604, 1111, 1500, 2000, len(ANSWER)])
async def test_a_raw_prompt_goes_on_where_the_answer_was_cut(store, sql, end):
    """No word twice, none missing, and no more generated than the word that was cut."""
    queue(store)
    model = Model(end)
    await carried(store, model, RAW)
    assert answer(store) == ANSWER
    first, second = attempts(sql)
    assert (first["status"], second["status"]) == ("interrupted", "completed")
    assert second["by"] == "prefill"
    assert second["carried"] + second["dropped"] == end
    assert model.generated == len(ANSWER) + second["dropped"]
    earlier, later = sql("SELECT text FROM attempts ORDER BY attempt")
    assert earlier[0][: second["carried"]] == later[0][: second["carried"]]
    ((spliced, chars, source),) = sql("SELECT spliced, carried_chars, run_id FROM results")
    assert (bool(spliced), chars, source) == (True, second["carried"], 2)
    assert sql.one("SELECT chars FROM attempts WHERE attempt = 2") == len(ANSWER)


@aio
async def test_a_chat_goes_on_where_its_rendered_prompt_ends_in_the_text(store, sql):
    """The proof is asked for once for each run that goes on."""
    queue(store, system="Be brief.")
    model = Model(900)
    model.renders = rendered
    await carried(store, model)
    assert answer(store) == ANSWER
    assert [each["by"] for each in attempts(sql)] == [None, "prefill"]
    assert model.rendered == 1
    roles = [message["role"] for message in model.bodies[-1]["messages"]]
    assert roles == ["system", "user", "assistant"]


@aio
async def test_a_server_that_breaks_off_whenever_it_is_asked_for_its_prompt_is_asked_twice(
    store, sql
):
    """A proxy that resets what it does not know: the answer begins again, and is completed."""
    queue(store)
    model = Model(900)

    def reset(_):
        raise Broken("the connection was lost")

    model.renders = reset
    await carried(store, model)
    assert answer(store) == ANSWER
    assert model.rendered == 2
    assert [each["status"] for each in attempts(sql)][-1] == "completed"


@aio
async def test_a_chain_keeps_no_character_more_than_twice(store, sql):
    """Each run has the whole text while it is the last; the ones before have their own part."""
    queue(store)
    await carried(store, Model(600, 600, 600), RAW)
    assert answer(store) == ANSWER
    assert [each["by"] for each in attempts(sql)] == [None, "prefill", "prefill", "prefill"]
    stored = sql.one("SELECT sum(length(text)) FROM chunks")
    assert stored < 2 * len(ANSWER)
    texts = [text for (text,) in sql("SELECT text FROM attempts ORDER BY attempt")]
    assert texts[3] == ANSWER
    assert texts[0] == ANSWER[:600]
    assert all(len(text) < 700 and text in ANSWER for text in texts[:3])


@aio
async def test_first_runs_pay_nothing(store, sql):
    """No question to the store or to the server, and nothing written."""
    queue(store)
    model, asked = Model(), []
    model.renders = rendered
    store.earlier_runs = lambda *given: asked.append(given)
    await carried(store, model)
    assert (asked, model.rendered) == ([], 0)
    names = "continues_run_id, carried_chars, carried_chunks, dropped_chars, not_continued, frames"
    assert sql(f"SELECT {names} FROM runs") == [(None,) * 6]


@aio
async def test_limits_and_seeds_are_those_of_the_rest(store, sql):
    """What the earlier run used up is not given a second time."""
    queue(store, options={"max_tokens": 1000, "seed": 7})
    model = Model(700)
    await carried(store, model, RAW)
    first, second = model.bodies
    assert (first["max_tokens"], first["seed"]) == (1000, 7)
    tokens = sql.one("SELECT frames FROM runs WHERE attempt = 1")
    assert second["max_tokens"] == 1000 - tokens
    assert second["seed"] != 7
    assert sql.one("SELECT carried_tokens FROM runs WHERE attempt = 2") == tokens == 100


@aio
async def test_the_length_of_the_chain_is_limited(store, sql):
    """A text that was carried over counts towards max_output_bytes."""
    queue(store)
    await carried(store, Model(1500), RAW, max_output_bytes=1800)
    last = attempts(sql)[-1]
    assert (last["code"], last["by"]) == ("output_too_large", "prefill")


# --- it begins again, and says why


@aio
@pytest.mark.parametrize(
    ("renders", "why"),
    [
        (None, "was not seen to go on"),
        (lambda messages: rendered(messages) + "<|end|><|assistant|>", "was not seen to go on"),
        (lambda messages: rendered(messages).replace(";", ""), "was not seen to go on"),
    ],
)
async def test_without_the_proof_it_begins_again(store, sql, renders, why):
    """A server that closes the message, or changes the text, would begin a new answer silently."""
    queue(store)
    model = Model(900)
    model.renders = renders
    await carried(store, model)
    assert answer(store) == ANSWER
    last = attempts(sql)[-1]
    assert (last["status"], last["by"], last["carried"]) == ("completed", None, None)
    assert why in last["why"]
    assert model.bodies[0] == model.bodies[1]


ERROR = event({"error": {"message": "prefill is not supported", "code": 400}})


@aio
@pytest.mark.parametrize(
    ("begins", "status", "why"),
    [
        (lambda part: ANSWER, "completed", "began it again"),  # restarts; so does an echo look
        (lambda part: "\n" + ANSWER, "completed", "began it again"),
        (lambda part: "<think>hm</think> other words", "interrupted", "did not"),
        (lambda part: " " + part.split()[-1] + " and so on", "interrupted", "did not"),
        (lambda part: "", "interrupted", "did not"),
        (lambda part: [think("hm"), STOP, END], "interrupted", "did not"),
        (lambda part: [ERROR, END], "interrupted", "prefill is not supported"),
        (lambda part: Refused("HTTP 400: no prefill", http_status=400), "completed", "no prefill"),
        (lambda part: Refused("HTTP 422: no prefill", http_status=422), "completed", "no prefill"),
    ],
)
async def test_a_server_that_disobeys_doubles_no_word(store, sql, begins, status, why):
    """On the owner's word nothing is proved: what comes is looked at before it is put there."""
    queue(store)
    model = Model(900)
    model.begins = begins
    await carried(store, model, continue_interrupted="prefill")
    text = answer(store)
    assert text.strip() == ANSWER
    second = attempts(sql)[1]
    assert (second["status"], second["carried"] or 0) == (status, 0)
    said = second["why"] or sql.one("SELECT error FROM runs WHERE attempt = 2")
    assert why in said
    assert sql.one("SELECT attempts FROM prompts") <= 2
    assert not sql.one("SELECT spliced FROM results")


@aio
async def test_a_changed_prompt_and_other_answers_begin_again(store, sql):
    """The earlier text answers another question; nothing but text was ever put together."""
    queue(store)
    model = Model(900)
    model.on_cut = lambda: sql("UPDATE prompts SET options = '{\"top_p\": 1}'")
    await carried(store, model, RAW)
    last = attempts(sql)[-1]
    assert (last["status"], last["by"]) == ("completed", None)
    assert "another request" in last["why"]


@aio
@pytest.mark.parametrize(
    ("options", "why"),
    [({"logprobs": 5}, "logprobs"), ({"response_format": {"type": "json_object"}}, "anew")],
)
async def test_what_cannot_be_put_together_begins_again(store, sql, options, why):
    """Numbers of tokens, and formats whose grammar would begin at its root."""
    queue(store, options=options)
    await carried(store, Model(900), RAW)
    assert answer(store) == ANSWER
    assert why in attempts(sql)[-1]["why"]


@aio
async def test_off_begins_again(store, sql):
    """And asks nobody."""
    queue(store)
    model = Model(900)
    await carried(store, model, RAW, continue_interrupted="off")
    assert answer(store) == ANSWER
    assert [each["by"] for each in attempts(sql)] == [None, None]
    assert model.generated == len(ANSWER) + 900


# --- longer than one request


class Limited(Model):
    """A server that gives at most `each` tokens for a request, of seven characters."""

    each = 100
    context = 100_000

    def _spoken(self, text, *, is_chat):
        said = self.answer[: len(self.answer) - len(text)]
        if len(said) + 7 * self.each > self.context:
            raise Refused(
                "HTTP 400: it exceeds the context",
                http_status=400,
                code=ErrorCode.CONTEXT_EXCEEDED,
            )
        whole = len(text) <= 7 * self.each
        steps = list(super()._spoken(text if whole else text[: 7 * self.each], is_chat=is_chat))
        return iter(
            [
                step.replace(b'"stop"', b'"stop"' if whole else b'"length"')
                if isinstance(step, bytes)
                else step
                for step in steps
            ]
        )


@aio
async def test_an_answer_goes_on_beyond_its_length_limit(store, sql):
    """In one row, with a cut in between, and without an attempt used up."""
    queue(store)
    model = Limited(None, 300)
    await carried(store, model, RAW, continue_at_length_tokens=10_000)
    assert answer(store) == ANSWER
    told = [(each["code"], each["by"]) for each in attempts(sql)]
    assert told == [
        ("length_continued", None),
        ("connection_lost", "length"),
        ("length_continued", "prefill"),
        (None, "length"),
    ]
    assert sql("SELECT attempts, status FROM prompts") == [(1, "completed")]
    ((spliced, reason),) = sql("SELECT spliced, finish_reason FROM results")
    assert (bool(spliced), reason) == (True, "stop")


@aio
async def test_so_many_tokens_are_the_end(store, sql):
    """All requests together keep to the bound, and the answer says that it was cut."""
    queue(store, options={"max_tokens": 100})
    model = Limited()
    await carried(store, model, RAW, continue_at_length_tokens=150)
    used = sql.one("SELECT frames FROM runs WHERE attempt = 1")
    assert [body["max_tokens"] for body in model.bodies] == [100, 150 - used]
    assert [each["code"] for each in attempts(sql)] == ["length_continued", None]
    assert sql.one("SELECT finish_reason FROM results") == "length"


@aio
async def test_an_answer_that_cannot_be_longer_is_whole_as_it_is(store, sql):
    """The context is full: its earlier done frame ended it, and nothing is generated again."""
    queue(store)
    model = Limited()
    model.context = 800
    await carried(store, model, RAW, continue_at_length_tokens=10_000)
    assert answer(store) == ANSWER[:700]
    first, second, third = attempts(sql)
    assert (first["code"], second["code"]) == ("length_continued", "not_continued")
    assert (third["status"], third["by"], third["carried"]) == ("completed", "length", 700)
    assert sql("SELECT finish_reason, truncated, completion_tokens > 90 FROM results") == [
        ("length", True, True)
    ]
    assert model.generated == 700


@aio
async def test_without_the_setting_a_length_limit_is_the_end(store, sql):
    """As before."""
    queue(store)
    await carried(store, Limited(), RAW)
    (only,) = attempts(sql)
    assert (only["status"], only["code"]) == ("completed", None)
    assert sql.one("SELECT finish_reason FROM results") == "length"


@aio
async def test_the_time_of_the_chain_is_limited(store, sql):
    """What the earlier runs took counts towards total_timeout_seconds."""
    queue(store)
    model = Model(900)
    model.on_cut = lambda: sql("UPDATE runs SET started_at = '2026-01-01 00:00:00.000000'")
    await carried(store, model, RAW, total_timeout_seconds=100_000.0)
    last = attempts(sql)[-1]
    assert (last["status"], last["by"]) == ("completed", None)
    assert "total_timeout_seconds" in last["why"]


@aio
async def test_a_retry_goes_on_with_what_is_there(store, sql):
    """Also with the text of a prompt that was cancelled."""
    queue(store)
    model = Model(900)
    model.on_cut = lambda: sql("UPDATE prompts SET cancel_requested_at = created_at")
    await carried(store, model, RAW)
    assert sql.one("SELECT status FROM prompts") == "cancelled"
    assert store.retry(Selection()) == 1
    await carried(store, model, RAW)
    assert (answer(store), attempts(sql)[-1]["by"]) == (ANSWER, "prefill")
