"""A file is complete or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.errors import InputError
from worker.export import whole_file


def names(folder):
    return [path.name for path in folder.iterdir()]


def interrupted(path):
    with whole_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt


def test_a_file_appears_when_it_is_whole(tmp_path):
    """Nobody reads half of it."""
    path = tmp_path / "out.jsonl"
    with whole_file(path) as file:
        file.write(b"half")
        assert not path.exists()
    assert path.read_bytes() == b"half"
    assert names(tmp_path) == ["out.jsonl"]


def test_an_interruption_leaves_what_was_there(tmp_path):
    """And nothing beside it."""
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == ["out.jsonl"]


def test_a_link_stays_a_link(tmp_path):
    """What it points at is replaced."""
    (tmp_path / "real").write_bytes(b"")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    with whole_file(link) as file:
        file.write(b"x")
    assert link.is_symlink()
    assert (tmp_path / "real").read_bytes() == b"x"


def test_a_device_is_written_to_directly():
    """/dev/null has no neighbours."""
    with whole_file(Path("/dev/null")) as file:
        file.write(b"x")


def test_what_cannot_be_written_is_told(tmp_path):
    """With the path and the reason."""
    with pytest.raises(InputError, match="nowhere/out cannot be written: No such file"):
        interrupted(tmp_path / "nowhere" / "out")
