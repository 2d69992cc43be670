"""A progress bar on standard error while a long file is read and somebody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeVar

T = TypeVar("T")

_EVERY = 500  # items between two looks at the position


@contextmanager
def watched(
    items: Iterable[T], file: BinaryIO, size: int | None, *, quiet: bool
) -> Iterator[Iterable[T]]:
    """The same items; meanwhile a bar follows the position in the file.

    Nothing is shown for a size of None (small, or unknown), for programs, or without a terminal.
    """
    if quiet or size is None or not sys.stderr.isatty():
        yield items
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    columns = ("{task.fields[count]:,} prompts", BarColumn(), TaskProgressColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as progress:
        task = progress.add_task("", total=size, count=0)

        def counted() -> Iterator[T]:
            for number, item in enumerate(items):
                if number % _EVERY == 0 and not file.closed:
                    progress.update(task, completed=file.tell(), count=number)
                yield item

        yield counted()
