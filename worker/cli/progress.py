"""A progress bar on standard error during long work, while somebody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_EVERY = 250  # items between two looks at the position


@contextmanager
def watched(
    items: Iterable[T], total: int | None, position: Callable[[int], int], *, quiet: bool
) -> Iterator[Iterable[T]]:
    """The same items; meanwhile a bar goes to `total`.

    `position` says how far it is after so many items.  Nothing is shown for a total of None
    (small, or unknown), when `quiet`, or when standard error is not a terminal.
    """
    if quiet or not total or not sys.stderr.isatty():
        yield items
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    count = "{task.fields[count]:,} prompts, {task.fields[rate]:,.0f}/s"
    columns = (count, BarColumn(), TaskProgressColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as progress:
        task = progress.add_task("", total=total, count=0, rate=0.0)

        def counted() -> Iterator[T]:
            for number, item in enumerate(items):
                if number % _EVERY == 0:
                    seconds = progress.tasks[0].elapsed
                    rate = number / seconds if seconds else 0.0
                    progress.update(task, completed=position(number), count=number, rate=rate)
                yield item

        yield counted()
