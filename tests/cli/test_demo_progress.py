"""Progress of the demo: each answer is told once, and running text shows its newest words."""

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from rich.console import Console

from worker.cli.demo_progress import Look, Progress, screenful
from worker.states import PromptState


@dataclass
class Row:
    id: int
    status: PromptState = PromptState.QUEUED
    custom_id: str | None = None
    run_id: int | None = None
    completion_tokens: int | None = None
    seconds: float | None = None


@dataclass
class Batch:
    """A store that holds nothing but the batch that is watched."""

    rows: list[Row] = field(default_factory=list)
    on_look: Callable[[], None] = lambda: None

    def results(self, selection):
        assert selection.batch == "demo"
        self.on_look()
        return iter(self.rows)

    def text(self, run_id):
        return iter([(0, f"text of {run_id}, "), (1, "and more")])


def completed(number, name=None):
    return Row(number, PromptState.COMPLETED, name, number, 7, 1.25)


def test_without_a_terminal_each_answer_is_one_line_told_once(capsys):
    """A log file or a pipe gets lines, no cursor movements, and no repetition."""
    batch = Batch([completed(1), Row(2), Row(3)])
    progress = Progress(batch, "demo")
    batch.rows[1] = completed(2, "sky")
    progress.finish()
    batch.rows[2] = completed(3)
    progress.finish()
    progress.finish()
    assert capsys.readouterr().err.splitlines() == [
        "spool: 2 of 3 answered: sky, 7 tokens in 1.2 s",
        "spool: 3 of 3 answered: prompt 3, 7 tokens in 1.2 s",
    ]


def test_following_looks_until_it_is_cancelled(capsys):
    """It ends with the worker, and has then told what was there to tell."""
    batch = Batch([Row(1)])

    async def story():
        progress = Progress(batch, "demo")
        batch.rows[0] = completed(1, "sky")
        looks, shown_once = iter(range(2)), asyncio.Event()
        loop = asyncio.get_running_loop()
        batch.on_look = lambda: next(looks, None) and loop.call_soon_threadsafe(shown_once.set)
        following = asyncio.create_task(progress.follow(None))
        await shown_once.wait()  # the second look: the first has been shown
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following

    asyncio.run(story())
    assert capsys.readouterr().err == "spool: 1 of 1 answered: sky, 7 tokens in 1.2 s\n"


def shown(look, width):
    screen = io.StringIO()
    Console(file=screen, width=width).print(screenful(look, width))
    return screen.getvalue().splitlines()


def test_a_screen_shows_a_bar_and_the_newest_words_of_each_text():
    """Long texts are cut at the front, so that movement is seen, and controls are taken out."""
    look = Look([completed(1), Row(2), Row(3)], {"sky": "blue\nand " * 50 + "END", "a": "short"})
    bar, first, second = shown(look, 60)
    assert bar.endswith("1 of 3")
    assert first.startswith("sky  ")
    assert first.endswith(" END")
    assert len(first) <= 60
    assert second == "  a  short"


def test_a_very_narrow_screen_is_survived():
    """A window that is smaller than a name still shows something."""
    assert shown(Look([Row(1)], {"a-long-name": "text"}), 8)


def test_the_texts_of_running_prompts_are_read_only_for_a_screen():
    """Nobody reads megabytes back for lines that do not show them."""
    batch = Batch([Row(1, PromptState.RUNNING, "sky", 5)])
    progress = Progress(batch, "demo")
    assert progress._look().texts == {}
    progress._live = object()
    assert progress._look().texts == {"sky": "text of 5, and more"}
