"""A file is complete or not there."""

from __future__ import annotations

import os
import subprocess
import sys
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


def test_only_its_owner_can_read_a_new_file(tmp_path):
    """Answers are for those whom their owner lets read them."""
    path = tmp_path / "out.jsonl"
    with whole_file(path) as file:
        file.write(b"x")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path):
    """Its owner has opened it to a group, and wants it so tomorrow as well."""
    path = tmp_path / "out.jsonl"
    path.touch()
    path.chmod(0o640)
    with whole_file(path) as file:
        file.write(b"x")
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_link_that_waits_at_a_name_which_can_be_guessed_is_not_followed(tmp_path):
    """Whoever may write in the same folder cannot make an export overwrite another file."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    path = tmp_path / "out.jsonl"
    for guess in (f".out.jsonl.{os.getpid()}.part", ".out.jsonl.part", "out.jsonl.part"):
        (tmp_path / guess).symlink_to(precious)
    with whole_file(path) as file:
        file.write(b"x")
    assert precious.read_bytes() == b"precious"
    assert path.read_bytes() == b"x"
    assert not path.is_symlink()


def test_the_link_of_another_user_is_refused(tmp_path, monkeypatch):
    """It may point at any file that this user can write."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (tmp_path / "link").symlink_to(precious)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(InputError, match="is a link that belongs to another user"):
        interrupted(tmp_path / "link")
    assert precious.read_bytes() == b"precious"


def test_standard_output_that_is_a_file_is_written_to_directly(tmp_path):
    """`-o /dev/stdout > file` makes nothing in /dev."""
    out = tmp_path / "out"
    program = (
        "from pathlib import Path; from worker.export import whole_file\n"
        "with whole_file(Path('/dev/stdout')) as file: file.write(b'x')"
    )
    with out.open("wb") as file:
        subprocess.run([sys.executable, "-c", program], stdout=file, check=True)
    assert out.read_bytes() == b"x"
