"""Text followed while it grows, from attempt to attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from worker.client.tail import ChangeDetector, Piece, TailReader
from worker.errors import NotFound, StoreBusy
from worker.records import Kind
from worker.states import PromptState, RunState
from worker.store.rows import Attempt


@dataclass
class Row:
    status: PromptState = PromptState.QUEUED
    run_id: int | None = None
    runs: int = 1
    earlier: int | None = None  # with text, while the latest run has none

    @property
    def text_run_id(self) -> int | None:
        return self.earlier or self.run_id


@dataclass
class Texts:
    """A prompt and its chunks, as a test lets them grow."""

    row: Row | None = field(default_factory=Row)
    chunks: dict[int, list[str]] = field(default_factory=dict)
    runs: list[Attempt] = field(default_factory=list)

    def prompt(self, prompt_id: int) -> Row | None:
        return self.row

    def attempts(self, prompt_id: int) -> list[Attempt]:
        return self.runs

    def text(
        self, run_id: int, kind: Kind = Kind.TEXT, after_seq: int = -1
    ) -> Iterator[tuple[int, str]]:
        yield from list(enumerate(self.chunks.get(run_id, [])))[after_seq + 1 :]


def test_only_what_is_new_is_told() -> None:
    """Each look tells the chunks since the last one, and the state with them."""
    texts = Texts(Row(PromptState.RUNNING, run_id=7), {7: ["a"]})
    follower = TailReader(texts, 1)
    assert list(follower.look()) == [Piece(7, 0, "a", fresh=False)]
    assert list(follower.look()) == []
    texts.chunks[7].append("b")
    assert list(follower.look()) == [Piece(7, 1, "b", fresh=False)]
    assert not follower.done
    texts.row = Row(PromptState.COMPLETED, run_id=7)
    assert list(follower.look()) == []
    assert follower.done


def went_on(run_id: int, source: int, *, chunks: int, dropped: int) -> Attempt:
    return Attempt(
        *(run_id, 2, RunState.STREAMING, "w", None, None, None, 0, None, None),
        continues_run_id=source,
        carried_chunks=chunks,
        dropped_chars=dropped,
    )


def test_an_attempt_that_goes_on_is_told_from_its_seam() -> None:
    """What was told already is not told again, but for the word that was cut."""
    texts = Texts(Row(PromptState.RUNNING, run_id=7), {7: ["one ", "two thr"]})
    follower = TailReader(texts, 1)
    assert "".join(piece.text for piece in follower.look()) == "one two thr"
    texts.row = Row(PromptState.RUNNING, run_id=8, runs=2)
    assert list(follower.look()) == []
    texts.chunks[8] = ["one ", "two", " three"]
    texts.runs = [went_on(8, 7, chunks=2, dropped=4)]
    assert list(follower.look()) == [Piece(8, 2, " three", False, 2, replaces_chars=4)]
    texts.chunks[8].append(" four")
    assert list(follower.look()) == [Piece(8, 3, " four", fresh=False, attempt=2)]
    stranger = TailReader(texts, 1)
    assert "".join(piece.text for piece in stranger.look()) == "one two three four"


def test_a_new_attempt_begins_afresh_after_the_rest_of_the_old_one() -> None:
    """What the old attempt still stored is told before the new one begins."""
    texts = Texts(Row(PromptState.RUNNING, run_id=7), {7: ["a"]})
    follower = TailReader(texts, 1)
    list(follower.look())
    texts.chunks = {7: ["a", "tail"], 8: ["A", "B"]}
    texts.row = Row(PromptState.RUNNING, run_id=8)
    assert list(follower.look()) == [
        Piece(7, 1, "tail", fresh=False),
        Piece(8, 0, "A", fresh=True),
        Piece(8, 1, "B", fresh=False),
    ]


def test_following_goes_on_where_it_was_left() -> None:
    """With the run and the number of the last chunk, nothing is told twice."""
    texts = Texts(Row(PromptState.RUNNING, run_id=7), {7: ["a", "b", "c"]})
    pieces = list(TailReader(texts, 1, run_id=7, after_seq=1).look())
    assert pieces == [Piece(7, 2, "c", fresh=False)]


def test_a_prompt_that_waits_has_no_text() -> None:
    """Before its first run there is nothing to tell, and that is no error."""
    follower = TailReader(Texts(), 1)
    assert list(follower.look()) == []
    assert follower.state is PromptState.QUEUED


def test_a_prompt_that_does_not_exist_is_said() -> None:
    """A wrong id is an error, not an endless wait."""
    with pytest.raises(NotFound, match="no prompt 5"):
        list(TailReader(Texts(row=None), 5).look())


def test_a_new_attempt_is_fresh_also_if_its_text_comes_later() -> None:
    """The run is seen before its first chunk; that chunk still begins the text from the start."""
    texts = Texts(Row(PromptState.RUNNING, run_id=7, runs=1), {7: ["a"]})
    follower = TailReader(texts, 1)
    list(follower.look())
    texts.row = Row(PromptState.RUNNING, run_id=8, runs=2)
    assert list(follower.look()) == []
    texts.chunks[8] = ["A"]
    assert list(follower.look()) == [Piece(8, 0, "A", fresh=True, attempt=2)]


def test_the_text_of_an_earlier_attempt_is_shown_while_the_latest_has_none() -> None:
    """A server that is down refuses the next attempt: what the last one stored is still there."""
    texts = Texts(Row(PromptState.QUEUED, run_id=8, runs=2, earlier=7), {7: ["almost", " all"]})
    follower = TailReader(texts, 1)
    assert [piece.text for piece in follower.look()] == ["almost", " all"]
    assert list(follower.look()) == []
    texts.row = Row(PromptState.RUNNING, run_id=9, runs=3)
    texts.chunks[9] = ["A"]
    assert list(follower.look()) == [Piece(9, 0, "A", fresh=True, attempt=3)]


def test_a_database_that_is_away_is_no_reason_to_wait_for_ever() -> None:
    """The look finds out what is wrong, and whoever looks decides about it."""

    class Away(Watched):
        def data_version(self) -> int:
            raise StoreBusy("away")

    watched = Away([])
    asyncio.run(ChangeDetector(watched, watched).wait())
    assert watched.sleeps == 1


@dataclass
class Watched:
    """A store that tells whether anybody wrote, and a clock that tells how often it slept."""

    versions: list[int]
    seconds: float = 0.0
    sleeps: int = 0

    def data_version(self) -> int:
        return self.versions.pop(0)

    def now(self) -> datetime:
        raise NotImplementedError

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.sleeps += 1

    def jitter(self) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("versions", "sleeps"),
    [
        ([3, 3, 3, 4], [1, 3]),  # somebody wrote
        ([0, 0], [1, 1]),  # nobody knows
        ([3, *[3] * 40], [1, 25]),  # now and then in any case
    ],
)
def test_a_look_is_worth_it_only_after_somebody_wrote(
    versions: list[int], sleeps: list[int]
) -> None:
    """An idle file is not read again and again."""
    watched = Watched(versions)
    changes = ChangeDetector(watched, watched)
    taken = []
    for _ in sleeps:
        before = watched.sleeps
        asyncio.run(changes.wait())
        taken.append(watched.sleeps - before)
    assert taken == sleeps
