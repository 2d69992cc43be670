"""Where `add` reads from: files, folders, standard input, and text from the command line."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from worker.cli.output import talk
from worker.errors import InputError

if TYPE_CHECKING:
    from worker.ingest import BadLine, Format, Intake
    from worker.records import NewPrompt

STDIN = "-"


class Source:
    """An open file, or standard input.

    Attributes:
        name: as messages call it.
        size: in bytes, None if it is unknown.
        path: as it was typed.
        layout: how the prompts stand in it, if that is not evident.
    """

    def __init__(
        self, name: str, file: io.BufferedReader, size: int | None, path: str, asked: Format | None
    ) -> None:
        self.name = name
        self.size = size
        self.path = path
        self.layout = ""
        self._file = file
        self._asked = asked
        self._read = False

    @property
    def batch(self) -> str | None:
        """The name that its batch has unless one is given: the file's, without folders."""
        return None if self.path == STDIN else Path(self.path).name

    @property
    def kept_as(self) -> str:
        """The source of its batch: a path that means the same in every directory."""
        return STDIN if self.path == STDIN else str(Path(self.path).absolute())

    def position(self) -> int:
        """How many of the bytes have been read."""
        return self._file.tell()

    def prompts(self, intake: Intake) -> Iterator[NewPrompt | BadLine]:
        """Every prompt; a second time only from sources that were opened with `twice`."""
        if self._read:
            self._file.seek(0)
        self._read = True
        intake.name = STDIN if self.path == STDIN else Path(self.path).name
        found, prompts = _read(self._file, intake, self._asked, whole=False)
        self.layout = "one a line" if found == "lines" else ""
        yield from prompts


class Folder:
    """A directory: each file in it, and in those below it, in the order of their names.

    Hidden files are skipped, and links to other directories are not followed. Batch files and
    tables are read as what they are; every other file is one prompt.
    """

    size = None

    def __init__(self, path: str, asked: Format | None) -> None:
        self.name = self.path = path
        self.layout = "one a file"
        self._asked = asked

    @property
    def batch(self) -> str:
        """The name that its batch has unless one is given: the folder's own."""
        return Path(self.path).resolve().name or "root"

    @property
    def kept_as(self) -> str:
        """The source of its batch: a path that means the same in every directory."""
        return str(Path(self.path).absolute())

    def position(self) -> int:
        """How far reading is; unknown, as the size is."""
        return 0

    def prompts(self, intake: Intake) -> Iterator[NewPrompt | BadLine]:
        """Every prompt of every file; what is wrong with one does not stop the others."""
        from worker.ingest import BadLine

        top = Path(self.path)
        for path in _files(top):
            intake.name = path.relative_to(top).as_posix()
            try:
                with _file(str(path)) as file:
                    found, prompts = _read(file, intake, self._asked, whole=True)
                    if found != "text":
                        self.layout = ""
                    for item in prompts:
                        if isinstance(item, BadLine):
                            item.file = intake.name
                        yield item
            except InputError as error:
                yield BadLine(0, error.message, "file", intake.name)


def _files(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        elif not entry.is_dir():
            yield Path(entry.path)


def _read(
    file: io.BufferedReader, intake: Intake, asked: Format | None, *, whole: bool
) -> tuple[Format, Iterator[NewPrompt | BadLine]]:
    """The format of a file, and its prompts."""
    from worker.ingest import detect, prompts, readable

    data = readable(file)
    found = asked or detect(intake.name, data, whole=whole)
    return found, prompts(data, found, intake)


@contextmanager
def opened(path: str, *, twice: bool, asked: Format | None = None) -> Iterator[Source | Folder]:
    """Open a file, a folder, or `-`; raises InputError with the reason and the cure.

    With `twice`, what cannot be rewound is copied to a temporary file first, so that its length
    is the disk's concern and not the memory's.
    """
    if path != STDIN:
        if Path(path).is_dir():
            yield Folder(path, asked)
            return
        with _file(path) as file:
            yield Source(path, file, Path(path).stat().st_size, path, asked)
        return
    stdin = standard_input()
    if not twice:
        yield Source("standard input", stdin, None, STDIN, asked)
        return
    with tempfile.TemporaryFile(buffering=0) as copy:
        shutil.copyfileobj(stdin, copy)
        size = copy.tell()
        copy.seek(0)
        yield Source("standard input", _peekable(copy), size, STDIN, asked)


def standard_input() -> io.BufferedReader:
    """Standard input as bytes; raises InputError if it is closed."""
    if vars(sys)["stdin"] is None:  # a shell closed it: <&-
        raise InputError("standard input is closed: name a file")
    if sys.stdin.isatty():
        talk("type prompts, one a line; Ctrl-D ends")
    return _peekable(sys.stdin.buffer)


def typed_text(text: str, max_bytes: int) -> str:
    """What a `-p` means: itself, the text of a file (`@FILE`), or a text that begins with @ (`@@`).

    Raises:
        InputError: there is no such file, or it is no text.
    """
    if not text.startswith("@"):
        return text
    if text.startswith("@@"):
        return text[1:]
    from worker.ingest import readable, whole_text

    path = text[1:]
    if path != STDIN and not Path(path).is_file():
        raise InputError(
            f"there is no file {path or '@'}: check its name; a prompt that begins with @ is"
            " written with @@"
        )
    try:
        if path == STDIN:
            return whole_text(readable(standard_input()), max_bytes)
        with _file(path) as file:
            return whole_text(readable(file), max_bytes)
    except InputError as error:
        raise InputError(f"{path} {error.message}") from error


def _peekable(file: IO[bytes]) -> io.BufferedReader:
    if isinstance(file, io.BufferedReader):
        return file
    return io.BufferedReader(cast("io.RawIOBase", file))


def _file(path: str) -> io.BufferedReader:
    try:
        return Path(path).open("rb")
    except FileNotFoundError:
        raise InputError(f"there is no file {path}: check its name") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
