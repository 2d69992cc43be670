"""Text followed while it grows, from attempt to attempt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from worker.errors import NotFound
from worker.following import Follower, Piece
from worker.records import Kind
from worker.states import PromptState


@dataclass
class Row:
    status: PromptState = PromptState.QUEUED
    run_id: int | None = None


@dataclass
class Texts:
    """A prompt and its chunks, as a test lets them grow."""

    row: Row | None = field(default_factory=Row)
    chunks: dict[int, list[str]] = field(default_factory=dict)

    def prompt(self, prompt_id: int) -> Row | None:
        return self.row

    def text(
        self, run_id: int, kind: Kind = Kind.TEXT, after_seq: int = -1
    ) -> Iterator[tuple[int, str]]:
        yield from list(enumerate(self.chunks.get(run_id, [])))[after_seq + 1 :]


def test_only_what_is_new_is_told() -> None:
    """Each look tells the chunks since the last one, and the state with them."""
    texts = Texts(Row(PromptState.RUNNING, run_id=7), {7: ["a"]})
    follower = Follower(texts, 1)
    assert list(follower.look()) == [Piece(7, 0, "a", fresh=False)]
    assert list(follower.look()) == []
    texts.chunks[7].append("b")
    assert list(follower.look()) == [Piece(7, 1, "b", fresh=False)]
    assert not follower.done
    texts.row = Row(PromptState.COMPLETED, run_id=7)
    assert list(follower.look()) == []
    assert follower.done


def test_a_new_attempt_begins_afresh_after_the_rest_of_the_old_one() -> None:
    """What the old attempt still stored is told before the new one begins."""
    texts = Texts(Row(PromptState.RUNNING, run_id=7), {7: ["a"]})
    follower = Follower(texts, 1)
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
    pieces = list(Follower(texts, 1, run_id=7, after_seq=1).look())
    assert pieces == [Piece(7, 2, "c", fresh=False)]


def test_a_prompt_that_waits_has_no_text() -> None:
    """Before its first run there is nothing to tell, and that is no error."""
    follower = Follower(Texts(), 1)
    assert list(follower.look()) == []
    assert follower.state is PromptState.QUEUED


def test_a_prompt_that_does_not_exist_is_said() -> None:
    """A wrong id is an error, not an endless wait."""
    with pytest.raises(NotFound, match="no prompt 5"):
        list(Follower(Texts(row=None), 5).look())
