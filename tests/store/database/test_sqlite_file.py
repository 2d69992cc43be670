"""A name is not a file: what was replaced or removed is noticed, and ends the worker."""

from __future__ import annotations

import shutil

import pytest

from tests.store.cast import sign_on, start, words
from worker.errors import StoreBroken
from worker.records import NewPrompt
from worker.store.database.sqlite_file import OpenFile


@pytest.fixture
def file(sqlite_url, tmp_path):
    return type(tmp_path)(sqlite_url.removeprefix("sqlite:///"))


def replace(file):
    """A restored copy takes the place of the file, as `mv` does it."""
    copy = file.with_name("copy.db")
    shutil.copy(file, copy)
    copy.replace(file)


@pytest.mark.parametrize(
    ("harm", "said"), [(replace, "replaced"), (lambda f: f.unlink(), "removed")]
)
def test_a_file_that_is_another_one_now_is_noticed_by_every_transaction(
    sqlite_store, file, harm, said
):
    """Claims, flushes, renewals and questions: each would write or read what nobody else sees."""
    run = start(sqlite_store)
    harm(file)
    for act in (
        lambda: sqlite_store.renew("w1", 60),
        lambda: sqlite_store.commit("w1", [words(run, 0, "lost")], []),
        lambda: sqlite_store.owned("w1"),
        lambda: sqlite_store.add([NewPrompt(prompt="lost")]),
        sqlite_store.status,
    ):
        with pytest.raises(StoreBroken, match=said):
            act()


def test_a_file_that_is_written_to_or_copied_is_the_same(sqlite_store, file, tmp_path):
    """A backup, a checkpoint, another process: nothing that anybody has to be told of."""
    sign_on(sqlite_store)
    shutil.copy(file, tmp_path / "backup.db")
    file.touch()
    file.chmod(0o644)
    assert sqlite_store.renew("w1", 60)


def test_a_file_that_is_made_later_is_taken_for_the_first(tmp_path):
    """A worker makes it itself."""
    seen = OpenFile(tmp_path / "new.db")
    seen.check()
    (tmp_path / "new.db").write_bytes(b"")
    seen.check()
    (tmp_path / "new.db").unlink()
    with pytest.raises(StoreBroken, match=r"new.db was removed while this program had it open"):
        seen.check()


def test_what_cannot_be_asked_is_left_to_sqlite(tmp_path, monkeypatch):
    """A stumble of the file system is no other file."""
    path = tmp_path / "new.db"
    path.write_bytes(b"")
    seen = OpenFile(path)

    def stumble(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type(path), "stat", stumble)
    seen.check()
