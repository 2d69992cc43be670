"""Nothing is read of a request that may not ask, and nothing beyond its limits."""

from __future__ import annotations

import asyncio
import json

import pytest

from worker.server.errors import ApiError, refused
from worker.server.guard import JSON_BODY_BYTES, UPLOAD_BYTES, Guard


def ask(*messages, keys=None, path="/v1/models", **headers):
    """The status of the answer to one request; what is in `messages` is its body."""
    given = {"host": "localhost:1", **{k.replace("_", "-"): v for k, v in headers.items()}}
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(k.encode(), v.encode()) for k, v in given.items()],
    }
    sent = []

    async def app(scope, receive, send):
        try:
            while (await receive()).get("more_body"):
                pass
            await send({"type": "http.response.start", "status": 200, "headers": []})
        except ApiError as error:
            await refused(error)(scope, receive, send)

    async def main():
        waiting = iter(messages)

        async def receive():
            found = next(waiting, None)
            return found if found is not None else await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        await Guard(app, keys=keys or {}, silence_seconds=0.0 if not messages else 30.0)(
            scope, receive, send
        )

    asyncio.run(main())
    if sent[0]["status"] != 200:
        assert set(json.loads(sent[1]["body"])["error"]) == {"message", "type", "param", "code"}
    return sent[0]["status"]


END = {"type": "http.request", "body": b"{}", "more_body": False}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "127.0.0.1:8400"}, 200),
        ({"host": "[::1]:8400"}, 200),
        ({"host": "rebound.example"}, 403),
        ({"host": "[::1"}, 403),
        ({"origin": "http://localhost:1"}, 200),
        ({"origin": "http://localhost:2"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"content_length": "-1"}, 400),
        ({"content_length": "9" * 40}, 400),
        ({"content_length": str(JSON_BODY_BYTES + 1)}, 413),
    ],
)
def test_a_page_of_another_site_and_a_body_without_measure_are_refused(headers, status):
    """Before a byte of the body is read."""
    assert ask(END, **headers) == status


@pytest.mark.parametrize(
    ("authorization", "status"),
    [("Bearer right", 200), ("bearer right", 200), ("Bearer wrong", 401), ("Basic right", 401)],
)
def test_only_a_known_key_is_answered(authorization, status):
    """From anywhere, under any name of the host."""
    keys = {"right": "ann"}
    assert ask(END, keys=keys, host="spool.example", authorization=authorization) == status
    assert ask(END, keys=keys) == 401
    assert ask(END, keys=keys, path="/live") == 200


def test_a_body_that_grows_beyond_its_limit_is_refused_where_it_does():
    """Also when its length was not announced; files may be longer."""
    piece = {"type": "http.request", "body": b"x" * JSON_BODY_BYTES, "more_body": True}
    assert ask(piece, piece, END) == 413
    assert ask(piece, piece, END, path="/v1/files") == 200
    assert ask(END, path="/v1/files", content_length=str(UPLOAD_BYTES + 1)) == 413


def test_a_body_that_does_not_come_is_not_waited_for():
    """The deadline is that of silence."""
    assert ask() == 408
