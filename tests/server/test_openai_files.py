"""Files go in and come out as they were, and only their owner sees them."""

from __future__ import annotations

import openai
import pytest

from tests.server.talking import batch_of, client, line


def test_files_come_by_the_page_and_can_be_deleted(served):
    """Also when their purpose comes after them."""
    url, _ = served
    api = client(url)
    made = [api.files.create(file=("a", b"x"), purpose="batch").id for _ in range(3)]
    assert [each.id for each in api.files.list(limit=2)] == made[::-1]
    assert api.files.content(made[0]).content == b"x"
    assert api.files.delete(made[0]).deleted
    with pytest.raises(openai.NotFoundError):
        api.files.retrieve(made[0])


def test_a_key_sees_only_what_is_its_own(served):
    """No key, and a wrong one, see nothing."""
    url, _ = served
    ann, bob = client(url), client(url, "l" * 20)
    batch = batch_of(ann, line("a"))
    with pytest.raises(openai.NotFoundError):
        bob.batches.retrieve(batch.id)
    with pytest.raises(openai.NotFoundError):
        bob.files.retrieve(batch.input_file_id)
    assert list(bob.batches.list()) == []
    for wrong in ("x" * 20, "k" * 19, "k" * 21):
        with pytest.raises(openai.AuthenticationError):
            client(url, wrong).models.list()


@pytest.mark.parametrize(
    "name", ["..%2F..%2Fetc%2Fpasswd", "%00", "file-of-output-", "file-of-output-%00", "a" * 4000]
)
def test_no_name_leads_out_of_the_table(served, name):
    """Ids are looked up, never opened as paths."""
    url, _ = served
    api = client(url)
    for path in (f"/files/{name}", f"/files/{name}/content", f"/batches/{name}"):
        with pytest.raises(openai.NotFoundError):
            api.get(path, cast_to=object)
