"""Files that are complete or not there, and that only their owner can read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from worker.errors import InputError


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write to a file beside the named one, which takes its name when the block ends well.

    An export that was interrupted half-way would otherwise pass for a short one.  A new file has
    mode 0600; one that is replaced keeps the mode that its owner gave it.  A link is followed only
    if it belongs to this user.  Devices and pipes (`/dev/stdout`) are written to directly.

    Raises:
        InputError: the file cannot be written, or a link belongs to another user.
    """
    with _reported(path):
        _refuse_foreign_link(path)
        place = path.resolve()
    if path.exists() and (not path.is_file() or _is_stream(path)):
        with _reported(path), path.open("wb") as file:
            yield file
        return
    with _reported(path):
        # A name that nobody can guess, opened with O_EXCL: what is there already is never followed.
        number, part = tempfile.mkstemp(prefix=f".{place.name}.", suffix=".part", dir=place.parent)
    try:
        with _reported(path), os.fdopen(number, "wb") as file:
            _keep_mode(number, place)
            yield file
            file.flush()
            os.fsync(number)
        Path(part).replace(place)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _is_stream(path: Path) -> bool:
    # `/dev/stdout` is a link to whatever standard output is, a plain file among others.
    return path.parent in {Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd")}


def _refuse_foreign_link(path: Path) -> None:
    if path.is_symlink() and not _is_stream(path) and path.lstat().st_uid != os.geteuid():
        raise InputError(
            f"{path} is a link that belongs to another user: name a file in a folder of your own"
        )


def _keep_mode(number: int, place: Path) -> None:
    if place.is_file() and place.stat().st_uid == os.geteuid():
        os.fchmod(number, place.stat().st_mode & 0o777)


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
