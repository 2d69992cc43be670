"""The endpoints and models part of `spool doctor`: all endpoints at the same time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from worker.cli.check_result import CheckResult, broken, doubtful, ok
from worker.clock import Clock
from worker.endpoints import canary
from worker.endpoints.canary import Kind
from worker.errors import ErrorCode, SpoolError, Unreachable
from worker.http.stream import Stream
from worker.records import Endpoint, Request
from worker.wire import DIALECTS
from worker.wire.dialects.request import url_for

if TYPE_CHECKING:
    from worker.settings import Loaded

_PATIENCE_SECONDS = 10.0
_LIST_BYTES = 4 * 1024 * 1024
_SHOWN_MODELS = 5
_CANARY_SECONDS = 60.0  # a person waits; a worker waits as long as for a first frame
_MAY_NOT_SAY = frozenset({404, 405, 501})  # a server need not list its models


class _Models:
    """How a family of dialects lists its models."""

    def __init__(self, path: str, key: str, name: str, headers: Mapping[str, str]) -> None:
        self.path = path
        self.key = key
        self.name = name
        self.headers = headers

    def names(self, answer: Any) -> list[str] | None:
        """The models in an answer; None if it is not such a list."""
        listed = answer.get(self.key) if isinstance(answer, dict) else None
        if not isinstance(listed, list):
            return None
        return [
            str(each[self.name]) for each in listed if isinstance(each, dict) and self.name in each
        ]


_OLLAMA = _Models("/api/tags", "models", "name", {})
_FAMILIES: Mapping[str, _Models] = MappingProxyType(
    {
        "ollama": _OLLAMA,
        "openai": _Models("/models", "data", "id", {}),
        "anthropic": _Models("/v1/models", "data", "id", {"anthropic-version": "2023-06-01"}),
    }
)


def endpoints(loaded: Loaded, clock: Clock) -> list[CheckResult]:
    """Findings about every configured endpoint, in their order."""

    async def ask() -> list[CheckResult]:
        settings = loaded.settings
        stream = Stream(clock=clock, transport=settings.transport, read_interval_seconds=0)
        try:
            found = await asyncio.gather(
                *(
                    _endpoint(stream, each, loaded.missing_keys.get(name), clock)
                    for name, each in settings.endpoints.items()
                )
            )
            ways = [_way(stream, each) for each in settings.endpoints.values()]
            return [
                each for pair in zip(found, ways, strict=True) for each in pair if each is not None
            ]
        finally:
            await stream.aclose()

    return asyncio.run(ask())


async def _endpoint(
    stream: Stream, endpoint: Endpoint, missing_key: str | None, clock: Clock
) -> CheckResult:
    about = f"endpoint {endpoint.name}"
    if missing_key:
        return broken(about, missing_key)
    if endpoint.embedded:
        return await _embedded(about, endpoint)
    try:
        names = await _listed(stream, endpoint)
    except Unreachable as error:
        return broken(about, error.message, _start(endpoint))
    except SpoolError as error:
        if error.http_status not in _MAY_NOT_SAY:
            return _refused(about, endpoint, error)
        names = None
    return await _canary(about, stream, endpoint, names, clock)


async def _canary(
    about: str, stream: Stream, endpoint: Endpoint, names: list[str] | None, clock: Clock
) -> CheckResult:
    """Ask for one token, as a worker does when something fails: does a prompt come through?"""
    patience_seconds = min(endpoint.first_frame_timeout_seconds, _CANARY_SECONDS)
    patient = replace(endpoint, first_frame_timeout_seconds=patience_seconds)
    dialect = DIALECTS[endpoint.dialect]
    reply = await canary.send(stream, patient, dialect, endpoint.model, clock)
    if reply.kind is Kind.REFUSED and reply.is_generation:
        simpler = await canary.send(stream, patient, dialect, endpoint.model, clock, simple=True)
        reply = simpler if simpler.kind is Kind.ANSWERED else reply
    if reply.error is None:
        return _model(about, endpoint, names)
    if reply.kind is Kind.REFUSED and names is not None and not _has(endpoint, names):
        return broken(about, _lacks(endpoint, names), _model_cure(endpoint))
    if reply.kind is Kind.REFUSED:
        return _refused(about, endpoint, reply.error)
    return _in_vain(about, endpoint, reply.kind, reply.error, patience_seconds)


def _in_vain(
    about: str, endpoint: Endpoint, kind: Kind, error: SpoolError, patience_seconds: float
) -> CheckResult:
    """A canary that was not refused, and not answered as it should be."""
    place = f"{endpoint.dialect} at {endpoint.shown_url}"
    if kind is Kind.ANSWERED:
        return broken(about, f"{place} answers, but not to the end: {error.message}")
    if kind is Kind.BUSY:
        said = f"{place} is there, and asks for patience: {error.message}"
        return doubtful(about, said, "its prompts wait until it has room")
    if error.code is ErrorCode.FIRST_FRAME_TIMEOUT:
        said = f"{place} took a request, and said nothing for {patience_seconds:g} s"
        return doubtful(about, said, "it may be loading its model, or be busy; try again later")
    return broken(about, error.message, _start(endpoint))


def _refused(about: str, endpoint: Endpoint, error: SpoolError) -> CheckResult:
    """What no prompt would come through, with what to mend."""
    if error.code is ErrorCode.UNAUTHORIZED:
        said = f"{endpoint.shown_url} refuses the key: {error.message}"
        return broken(about, said, "check its api_key_env or api_key_file")
    said = f"{endpoint.dialect} at {endpoint.shown_url} would refuse every prompt: {error.message}"
    return broken(about, said, "correct its base_url, dialect, model, headers or options")


def _way(stream: Stream, endpoint: Endpoint) -> CheckResult | None:
    """Through which proxy of the environment its requests go; None if they go direct."""
    proxy = None if endpoint.embedded else stream.proxy(endpoint)
    if proxy is None:
        return None
    return ok(
        f"endpoint {endpoint.name}",
        f"is asked through the proxy {proxy}, which HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names;"
        " NO_PROXY exempts hosts",
    )


async def _embedded(about: str, endpoint: Endpoint) -> CheckResult:
    from worker.embedded import library, model_path

    try:
        path = model_path(endpoint.model)
        await library.check()
    except SpoolError as error:
        return broken(about, error.message)
    return ok(about, f"embedded, with the model {path.name}; llama.cpp can be loaded")


def _start(endpoint: Endpoint) -> str:
    return "`ollama serve` starts Ollama" if endpoint.dialect.startswith("ollama") else ""


async def _listed(stream: Stream, endpoint: Endpoint) -> list[str] | None:
    """The models that the server offers; None if it does not say."""
    family = _FAMILIES.get(endpoint.dialect.partition("-")[0])
    if family is None:
        return None
    request = Request(
        url=url_for(endpoint.base_url, family.path), body=b"", headers=family.headers, method="GET"
    )
    patient = replace(endpoint, first_frame_timeout_seconds=_PATIENCE_SECONDS)
    async with stream.open(request, patient, DIALECTS[endpoint.dialect]) as reader:
        body = await reader.beginning(_LIST_BYTES, seconds=_PATIENCE_SECONDS)
    try:
        return family.names(json.loads(body))
    except ValueError:
        return None


def _model(about: str, endpoint: Endpoint, names: list[str] | None) -> CheckResult:
    place = f"{endpoint.dialect} at {endpoint.shown_url}"
    if endpoint.canary == canary.PLAIN_GET:
        place += " (asked by a plain GET)"
    if names is None:
        return ok(about, f"{place} answers; it does not say which models it has")
    if _has(endpoint, names):
        return ok(about, f"{place} answers and has {endpoint.model}")
    if endpoint.canary != canary.PLAIN_GET:
        return ok(about, f"{place} answers as {endpoint.model}, which it does not list")
    return doubtful(about, _lacks(endpoint, names), _model_cure(endpoint))


def _has(endpoint: Endpoint, names: list[str]) -> bool:
    return bool({endpoint.model, f"{endpoint.model}:latest"} & set(names))


def _lacks(endpoint: Endpoint, names: list[str]) -> str:
    offered = ", ".join(names[:_SHOWN_MODELS]) + (", ..." if len(names) > _SHOWN_MODELS else "")
    return (
        f"{endpoint.dialect} at {endpoint.shown_url} answers, but has no model {endpoint.model}"
        f" (it has: {offered or 'none'})"
    )


def _model_cure(endpoint: Endpoint) -> str:
    if endpoint.dialect.startswith("ollama"):
        return f"`ollama pull {endpoint.model}`, or change model"
    return "change model, unless the server knows it by another name"
