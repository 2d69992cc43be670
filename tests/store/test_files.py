"""Uploaded files are whole or not there, and only their owner sees them."""

from __future__ import annotations


def add(store, file_id, data=b"abc", *, owner="", **more):
    store.add_parts(file_id, 0, [data])
    return store.add_file(
        file_id, owner=owner, filename="a.jsonl", purpose="batch", size=len(data), **more
    )


def test_the_bytes_come_back_in_their_order(store):
    """Whatever lies between two transactions of an upload."""
    store.add_parts("file-1", 0, [b"one", b"two"])
    assert store.file("file-1", owner="") is None
    store.add_parts("file-1", 2, [b"three"])
    made = store.add_file("file-1", owner="", filename="a", purpose="batch", size=11)
    assert store.file("file-1", owner="") == made
    assert list(store.file_bytes("file-1")) == [b"one", b"two", b"three"]
    with store.open_file("file-1") as source:
        assert source.read() == b"onetwothree"


def test_a_file_is_its_owners_alone(store):
    """Another key neither reads, lists nor deletes it."""
    add(store, "file-1", owner="ann")
    assert store.file("file-1", owner="bob") is None
    assert store.files(owner="bob", limit=10) == []
    assert not store.delete_file("file-1", owner="bob")
    assert store.file("file-1", owner="ann") is not None


def test_pages_of_a_list_hold_every_file_once(store):
    """In both orders, also where several were made at the same moment."""
    ids = [add(store, f"file-{n}").id for n in range(5)]
    for newest_first in (True, False):
        found, behind = [], None
        while page := store.files(owner="", limit=2, behind=behind, newest_first=newest_first):
            found += [each.id for each in page]
            behind = page[-1]
        assert sorted(found) == ids
    assert store.files(owner="", limit=10, purpose="other") == []


def test_what_is_deleted_or_has_expired_leaves_no_byte(store, sql):
    """Nor does an upload that broke."""
    add(store, "file-1")
    add(store, "file-2", expires_seconds=-1.0)
    add(store, "file-3")
    store.add_parts("file-4", 0, [b"abc"])
    assert store.file("file-2", owner="") is None
    assert store.delete_file("file-1", owner="")
    assert not store.delete_file("file-1", owner="")
    store.sweep_files()
    assert sql("SELECT DISTINCT file_id FROM batch_file_parts ORDER BY 1") == [
        ("file-3",),
        ("file-4",),
    ]
    store.sweep_files(abandoned_seconds=-3600.0)
    assert sql("SELECT DISTINCT file_id FROM batch_file_parts") == [("file-3",)]
