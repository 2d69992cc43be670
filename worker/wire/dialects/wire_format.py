"""A dialect as a value: how to ask, and how to read the answer.

A family's file says what is particular (the body, the meaning of a frame) and
makes one ``WireFormat`` of it for each dialect; the rest is the same for all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from worker.errors import Refused, SpoolError
from worker.records import Endpoint, Json, Request, Run
from worker.wire.decoder import FrameReader, StreamDecoder
from worker.wire.dialects.request import (
    NOTHING_ASKED,
    Asked,
    Options,
    asked_of,
    body_bytes,
    options_for,
    url_for,
    with_default_system,
)
from worker.wire.response import ResponseParser

_REJECTED = frozenset({400, 422})
# Options that some versions of Anthropic's protocol refuse.
_VERSIONED = frozenset({"temperature", "thinking", "top_k", "top_p"})


class ParserMaker(Protocol):
    """Makes the reading state for one response."""

    def __call__(self, *, accept_finish_without_done: bool, asked: Asked) -> ResponseParser[Any]:
        """A fresh one."""
        ...


def bearer(api_key: str) -> dict[str, str]:
    """The usual header for a key."""
    return {"authorization": f"Bearer {api_key}"}


@dataclass(frozen=True, slots=True)
class WireFormat:
    """One dialect; see ``worker.wire.events.Dialect`` for the contract.

    Attributes:
        path: of the request, below the endpoint's base URL.
        body: the request body for a prompt and its options; model and stream are added to it.
        defaults: options unless the endpoint or the prompt says otherwise.
        reserved: options that would contradict the prompt.
        version_header: that names the version of the protocol; None if it has none.
        droppable: body keys that a server may reject and an answer can do without, each with
            the names under which it is rejected.
    """

    name: str
    path: str
    framing: FrameReader
    body: Callable[[Run, Options], Mapping[str, Json]]
    answer: ParserMaker
    defaults: Mapping[str, Json] = field(default_factory=dict)
    reserved: tuple[str, ...] = ("messages", "prompt")
    authorize: Callable[[str], dict[str, str]] = bearer
    version_header: str | None = None
    droppable: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def request(self, endpoint: Endpoint, run: Run) -> Request:
        """The request for a run, without credentials.

        Raises:
            Refused: the prompt or its options cannot be expressed in this dialect.
        """
        options = options_for(endpoint, run, defaults=self.defaults, reserved=self.reserved)
        run = with_default_system(run, options)
        model = run.model or endpoint.model
        body = {**({"model": model} if model else {}), **self.body(run, options), "stream": True}
        headers = {
            "content-type": "application/json",
            "accept": self.framing.media_type,
            "accept-encoding": "identity",  # compressing proxies buffer
        }
        if self.version_header:
            headers[self.version_header] = endpoint.anthropic_version
        return Request(url_for(endpoint.base_url, self.path), body_bytes(body), headers)

    def simpler(self, request: Request, error: SpoolError) -> Request | None:
        """The same request without what the server just rejected by name, or None."""
        if error.http_status not in _REJECTED:
            return None
        body = json.loads(request.body)
        rejected = [
            key
            for key, names in self.droppable.items()
            if key in body and any(name in error.message for name in names)
        ]
        if not rejected:
            return None
        less = {key: value for key, value in body.items() if key not in rejected}
        return Request(request.url, body_bytes(less), request.headers, request.method)

    def explained(self, request: Request, error: Refused) -> Refused:
        """The error, with the cure if the version of the protocol refuses an option by name."""
        if not self.version_header or error.http_status not in _REJECTED:
            return error
        body = json.loads(request.body)
        refused = [key for key in sorted(_VERSIONED & body.keys()) if key in error.message]
        if not refused:
            return error
        cure = f"remove the option {refused[0]}, or set anthropic_version to one that takes it"
        return error.but(message=f"{error.message} ({cure})")

    def authorization(self, api_key: str) -> dict[str, str]:
        """The headers that carry the key in this dialect."""
        return self.authorize(api_key)

    def decoder(
        self,
        endpoint: Endpoint,
        *,
        max_frame_bytes: int,
        content_type: str | None = None,
        run: Run | None = None,
    ) -> StreamDecoder:
        """A fresh decoder for one 200 response, the answer to a run."""
        answer = self.answer(
            accept_finish_without_done=endpoint.accept_finish_without_done,
            asked=NOTHING_ASKED if run is None else self._asked(endpoint, run),
        )
        return StreamDecoder(
            self.framing, answer, max_frame_bytes=max_frame_bytes, content_type=content_type
        )

    def _asked(self, endpoint: Endpoint, run: Run) -> Asked:
        options = options_for(endpoint, run, defaults=self.defaults, reserved=self.reserved)
        return asked_of(options, run)
