"""Where `add` reads from: files, standard input, and text from the command line."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from worker.cli.output import talk
from worker.errors import InputError

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Source:
    """An open source.

    Attributes:
        name: as messages call it.
        size: in bytes, None if nobody knows.
        path: as it was typed.
    """

    name: str
    file: io.BufferedReader
    size: int | None
    path: str

    @property
    def batch(self) -> str | None:
        """The name that its batch has unless one is given: the file's, without folders."""
        return None if self.path == STDIN else Path(self.path).name

    @property
    def kept_as(self) -> str:
        """The source of its batch: a path that means the same in every directory."""
        return STDIN if self.path == STDIN else str(Path(self.path).absolute())

    def rewind(self) -> None:
        """Read it again from the start; only for sources opened with `twice`."""
        self.file.seek(0)


@contextmanager
def opened(path: str, *, twice: bool) -> Iterator[Source]:
    """Open a file, or `-`; raises InputError with the reason and the cure.

    With `twice`, what cannot be rewound is copied to a temporary file first, so that its length
    is the disk's concern and not the memory's.
    """
    if path != STDIN:
        with _file(path) as file:
            yield Source(path, file, Path(path).stat().st_size, path)
        return
    if vars(sys)["stdin"] is None:  # a shell closed it: <&-
        raise InputError("standard input is closed: name a file")
    if sys.stdin.isatty():
        talk("type prompts, one a line; Ctrl-D ends")
    if not twice:
        yield Source("standard input", _peekable(sys.stdin.buffer), None, STDIN)
        return
    with tempfile.TemporaryFile(buffering=0) as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        size = copy.tell()
        copy.seek(0)
        yield Source("standard input", _peekable(copy), size, STDIN)


def _peekable(file: IO[bytes]) -> io.BufferedReader:
    if isinstance(file, io.BufferedReader):
        return file
    return io.BufferedReader(cast("io.RawIOBase", file))


def _file(path: str) -> io.BufferedReader:
    try:
        return Path(path).open("rb")
    except FileNotFoundError:
        raise InputError(f"there is no file {path}: check its name") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a directory: name the files in it") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
