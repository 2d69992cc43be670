"""Spool from Python: what the command line does, without a command line."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.aio import aio
from tests.fakes.plan import expected_text
from tests.fakes.server import FakeServer
from tests.store.cast import completed, sign_on, take
from worker import AsyncSpool, NewPrompt, Selection, Spool
from worker.app.worker_app import serve
from worker.errors import InputError, NotFound, SettingsError, StoreBroken, StoreBusy
from worker.log import make
from worker.records import Chunk, Kind
from worker.states import PromptState


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spool]:
    monkeypatch.chdir(tmp_path)
    with Spool("sqlite:///answers.db") as opened:
        yield opened


async def carried(spool: Spool, server: FakeServer) -> None:
    """Carry everything that is queued."""
    endpoint = replace(spool.settings.endpoints["default"], base_url=server.url)
    settings = spool.settings.model_copy(
        update={"endpoints": {"default": endpoint}, "poll_seconds": 0.05}
    )
    await serve(settings, spool.store, make(log_format="json", level="error"), drain=True)


def test_importing_the_package_loads_nothing() -> None:
    """`import worker` is free: no SQLAlchemy, no httpx, no pydantic until they are needed."""
    code = (
        "import sys, worker; "
        "print([n for n in ('sqlalchemy', 'httpx', 'pydantic', 'click') if n in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


def test_add_takes_texts_dicts_and_prompts(spool: Spool) -> None:
    """However a prompt is given, it is queued once; the same ids again add nothing."""
    given = ["one", {"prompt": "two", "custom_id": "2"}, NewPrompt(prompt="three", custom_id="3")]
    first = spool.add(given, batch="b")
    assert (first.added, first.existing) == (3, 0)
    again = spool.add(given[1:], batch="b")
    assert (again.added, again.existing) == (0, 2)
    assert spool.add("alone").added == 1
    assert [each.prompt for each in spool.results(batch="b")] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"promt": "x"}, "no field 'promt'; it may have: .*prompt"),
        ({"prompt": "x", "messages": []}, "exactly one of"),
        ({}, "exactly one of"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_said(
    spool: Spool, bad: dict[str, Any], words: str
) -> None:
    """A misspelt field is an error with the right names, not a silent nothing."""
    with pytest.raises(InputError, match=words):
        spool.add(bad)


@aio
async def test_answers_are_carried_waited_for_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From add to output with the same objects that the command line uses."""
    monkeypatch.chdir(tmp_path)
    async with FakeServer() as server, await AsyncSpool.open("sqlite:///answers.db") as spool:
        prompts = [f"question {number} [[tokens=30]]" for number in range(5)]
        await spool.add(prompts, batch="b")
        worker = asyncio.create_task(carried(spool.spool, server))
        await spool.wait(batch="b", timeout_seconds=30)
        await worker
        found = [each async for each in spool.results(batch="b")]
        assert [each.output for each in found] == [expected_text(prompt) for prompt in prompts]
        assert all(each.completed and each.status is PromptState.COMPLETED for each in found)
        tailed = [text async for text in spool.tail(found[0].id)]
        assert "".join(tailed) == found[0].output


@aio
async def test_a_failed_prompt_has_no_output_and_can_be_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`output` is None until the done frame came; the partial text is there, and `retry` works."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPOOL_MAX_RUNS", "1")
    async with FakeServer() as server, await AsyncSpool.open("sqlite:///answers.db") as spool:
        await spool.add({"prompt": "x [[fault=cut after=4 times=1]]", "max_attempts": 1}, batch="b")
        await carried(spool.spool, server)
        (result,) = [each async for each in spool.results(batch="b")]
        assert (result.status, result.output) == (PromptState.FAILED, None)
        assert expected_text("x [[fault=cut after=4 times=1]]").startswith(result.partial_output)
        assert result.partial_output
        assert await spool.retry(batch="b") == 1
        await carried(spool.spool, server)
        (result,) = [each async for each in spool.results(batch="b")]
        assert result.output == expected_text("x [[fault=cut after=4 times=1]]")


def test_only_who_carries_runs_needs_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that only queues and reads is not handed the key, and must not ask for it."""
    monkeypatch.chdir(tmp_path)
    Path("spool.toml").write_text('[endpoints.default]\napi_key_env = "NO_SUCH_KEY"\n')
    with Spool() as spool:
        assert spool.add("x").added == 1
        assert spool.unfinished() == 1
        with pytest.raises(SettingsError, match=r"endpoints\.default.*NO_SUCH_KEY is not set"):
            spool.run()
        assert spool.unfinished() == 1


def test_both_classes_have_the_same_methods() -> None:
    """What is written for one is found in the other."""
    methods = {name for name in vars(Spool) if not name.startswith("_")}
    assert methods <= set(vars(AsyncSpool))


def test_cancel_needs_a_selection(spool: Spool) -> None:
    """Forgetting to say which prompts must not mean all of them."""
    spool.add(["a", "b"], batch="b")
    with pytest.raises(InputError, match="say which prompts"):
        spool.cancel()
    assert spool.cancel(batch="b") == 2
    assert spool.unfinished(Selection(batch="b")) == 0


def test_waiting_ends_when_its_time_is_over(spool: Spool) -> None:
    """`wait` does not hang on a queue that nobody serves."""
    spool.add("a")
    with pytest.raises(TimeoutError, match="1 prompt has not finished"):
        spool.wait(timeout_seconds=0.0)


def test_waiting_does_not_count_what_nobody_knows(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is away all may have finished."""

    def away(*_: object, **__: object) -> int:
        raise StoreBusy("the connection was lost")

    monkeypatch.setattr(spool.store, "count", away)
    with pytest.raises(TimeoutError, match=r"nobody knows how many .*: the connection was lost"):
        spool.wait(timeout_seconds=0.0)


def test_states_may_be_typed_as_words(spool: Spool) -> None:
    """And a misspelt one is answered with the words there are."""
    spool.add(["a", "b"], batch="b")
    spool.cancel(ids=[1])
    assert [each.id for each in spool.results(states=["cancelled"])] == [1]
    assert spool.unfinished(batch="b") == spool.unfinished() == 1
    with pytest.raises(InputError, match="no state 'done'; there are: queued, running"):
        list(spool.results(states=["done"]))


def test_in_a_notebook_a_loop_runs_already(
    spool: Spool, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """What blocks does so in a thread of its own, and its worker needs no signals."""

    async def cell() -> None:
        spool.add("a", batch="b")
        spool.cancel(batch="b")
        assert spool.run() == 0
        spool.wait(batch="b")
        assert list(spool.tail(1)) == []

    with caplog.at_level("INFO"):
        asyncio.run(cell())
    assert "worker_stopped" in caplog.text
    assert capfd.readouterr() == ("", "")  # nothing is printed into a notebook


def test_what_does_not_exist_is_said_as_the_command_line_says_it(spool: Spool) -> None:
    """A misspelt batch is no empty one, whatever is asked of it."""
    spool.add("x", batch="night")
    for ask in (spool.results, spool.unfinished, spool.wait, spool.cancel, spool.retry):
        with pytest.raises(NotFound, match="no batch 'nihgt'; did you mean 'night'"):
            ask(batch="nihgt")
        with pytest.raises(NotFound, match="no prompt 7"):
            ask(ids=[1, 7])


@aio
async def test_the_same_errors_come_with_an_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whoever hands a URL to the class is told how it is opened."""
    monkeypatch.chdir(tmp_path)
    async with await AsyncSpool.open("sqlite:///answers.db") as spool:
        with pytest.raises(NotFound, match="no batch 'b'"):
            await spool.wait(batch="b")
        with pytest.raises(NotFound, match="no batch 'b'"):
            [each async for each in spool.results(batch="b")]
    wrong: Any = "sqlite:///x.db"
    with pytest.raises(TypeError, match=r"await AsyncSpool\.open\(url\)"):
        AsyncSpool(wrong)


def test_who_waits_in_vain_hears_why(spool: Spool) -> None:
    """No worker runs: nothing will ever finish."""
    spool.add("x", batch="b")
    with pytest.raises(
        TimeoutError, match="has not finished, and no worker is running: start `spo"
    ):
        spool.wait(batch="b", timeout_seconds=0)


@aio
async def test_a_run_that_is_cancelled_hands_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the loop of the program, with what was streamed."""
    monkeypatch.chdir(tmp_path)
    async with FakeServer() as server:
        (tmp_path / "spool.toml").write_text(
            f'flush_seconds = 0.01\nlog_level = "error"\n[endpoints.default]\n'
            f'base_url = "{server.url}"\n'
        )
        async with await AsyncSpool.open("sqlite:///answers.db") as spool:
            await spool.add("x [[fault=stall after=4]]")
            carrying = asyncio.create_task(spool.run())
            async for text in spool.tail(1):
                assert text
                break
            carrying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await carrying
            result = await spool.result(1)
            assert (result.status, result.output) == (PromptState.QUEUED, None)
            assert result.partial_output
            assert await spool.unfinished() == 1


def test_tables_in_postgresql_are_made_when_asked_for(empty_url: str) -> None:
    """Without it the sentence says what to do."""
    if not empty_url.startswith("sqlite"):
        with pytest.raises(StoreBroken, match="spool migrate"):
            Spool(empty_url)
    with Spool(empty_url, migrate=True) as spool:
        assert spool.unfinished() == 0


def test_a_tail_goes_on_when_the_database_was_away(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As waiting does."""
    spool.add("a")
    spool.cancel(ids=[1])
    real, faults = spool.store.prompt, [StoreBusy("away"), StoreBusy("away")]

    def prompt(prompt_id: int) -> Any:
        if faults:
            raise faults.pop()
        return real(prompt_id)

    monkeypatch.setattr(spool.store, "prompt", prompt)
    assert list(spool.tail(1)) == []
    assert faults == []


def test_tail_of_a_finished_prompt_ends(spool: Spool) -> None:
    """A prompt that can say no more is not waited for."""
    spool.add("a", batch="b")
    (result,) = spool.results(batch="b")
    spool.cancel(ids=(result.id,))
    assert list(spool.tail(result.id)) == []
    assert spool.result(result.id).partial_output == ""


def test_a_tail_is_read_in_pieces(spool: Spool) -> None:
    """An answer that is finished already may be longer than memory."""
    spool.add("a")
    sign_on(spool.store)
    (run,) = take(spool.store)
    chunks = [Chunk(run.id, seq, Kind.TEXT, f"{seq:01000000}", run.nonce) for seq in range(20)]
    spool.store.commit("w1", chunks, [completed(run)])
    del chunks

    async def tailed() -> int:
        return sum([len(text) async for text in AsyncSpool(spool).tail(1)])

    for read in (lambda: sum(map(len, spool.tail(1))), lambda: asyncio.run(tailed())):
        tracemalloc.start()
        assert read() == 20_000_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10_000_000


def test_a_wrong_id_or_url_is_said(spool: Spool) -> None:
    """What does not exist is an error with a sentence."""
    with pytest.raises(NotFound, match="no prompt 99"):
        spool.result(99)
    with pytest.raises(SettingsError, match="must begin with sqlite"):
        Spool("mysql://x/y")


def test_its_log_knows_every_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever repeats the key, `run` does not log it, as the command does not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEY", "worker_started")  # a word that is certainly logged
    (tmp_path / "spool.toml").write_text('[endpoints.default]\napi_key_env = "KEY"\n')
    with caplog.at_level("INFO"), Spool("sqlite:///answers.db") as spool:
        assert spool.run() == 0
    logged = caplog.text + str([each.__dict__ for each in caplog.records])
    assert "worker_stopped" in logged
    assert "worker_started" not in logged
