"""What happened, on standard error: one line an event, for people or for programs.

``Event`` is the list of everything that can be reported, with its level and a
sentence each; `docs/operations.md` prints it.  A ``Logger`` is a callable of an
event and its values, which is all that lower rooms know of it (they name a
``Log`` Protocol of that shape and never import this module).  ``bind`` adds
values such as `worker_id` to every line that follows.

Nothing is configured globally: ``make`` builds a logger, the front door hands
it down.  Secrets are taken out of every value on the way, whether they arrive
under a telling name or inside the words of an error.  A log that cannot be
written must not end a run, so a closed stream is ignored here and only here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Collection, Mapping, MutableMapping
from enum import StrEnum
from typing import Any, Literal, Protocol, Self

import structlog

from worker.clock import Clock, SystemClock
from worker.moments import iso

Format = Literal["auto", "console", "json"]
Level = Literal["debug", "info", "warning", "error"]

_RANKS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_TELLING = ("api_key", "authorization", "password", "secret", "cookie", "x-api-key")
_HIDDEN = "***"
LOGGER_NAME = "promptspool"  # in the standard library's `logging`
_SECRET_CHARS_MIN = 4  # shorter ones would blot out ordinary words

Values = MutableMapping[str, Any]


class Out(Protocol):
    """Where lines go: a text stream."""

    def write(self, text: str, /) -> object:
        """Write text."""
        ...

    def flush(self) -> None:
        """Let it be seen."""
        ...

    def isatty(self) -> bool:
        """Whether people read it."""
        ...


class Event(StrEnum):
    """Everything that is reported."""

    level: Level
    meaning: str

    def __new__(cls, word: str, level: Level, meaning: str) -> Self:
        """A word that carries its level and its meaning."""
        event = str.__new__(cls, word)
        event._value_ = word
        event.level = level
        event.meaning = meaning
        return event

    WORKER_STARTED = "worker_started", "info", "A worker registered and begins to claim."
    WORKER_WAITING = (
        "worker_waiting",
        "info",
        "It streams nothing: what it waits for, and until when.",
    )
    WORKER_DRAINING = (
        "worker_draining",
        "info",
        "Told to stop: it claims nothing more and lets its streams run for the grace time.",
    )
    WORKER_STOPPED = "worker_stopped", "info", "It handed everything back and signed off."
    WORKER_STOPPED_WITHOUT_DATABASE = (
        "worker_stopped_without_database",
        "warning",
        "It was told to stop before the database could be reached even once.",
    )
    SIGN_OFF_FAILED = (
        "sign_off_failed",
        "warning",
        "The database did not take the goodbye; others see the lease run out instead.",
    )
    RUN_CLAIMED = "run_claimed", "debug", "A prompt was claimed; its run begins to stream."
    RUN_COMPLETED = "run_completed", "info", "The done frame arrived and everything is stored."
    RUN_INTERRUPTED = (
        "run_interrupted",
        "warning",
        "It ended without a done frame; the text is kept and the prompt is queued again.",
    )
    RUN_FAILED = (
        "run_failed",
        "error",
        "Another attempt cannot help, or none is left; the text is kept, the prompt has failed.",
    )
    RUN_CANCELLED = "run_cancelled", "info", "Its owner cancelled the prompt; the text is kept."
    RUN_LOST = (
        "run_lost",
        "warning",
        "Another worker has the prompt now; this one stopped and wrote nothing more.",
    )
    RUN_UNSTORED = (
        "run_unstored",
        "error",
        "The database did not take the last words of a run before the worker had to end.",
    )
    PROMPTS_RESCUED = (
        "prompts_rescued",
        "warning",
        "Prompts of a worker whose lease ran out were taken back.",
    )
    PROMPTS_ORPHANED = (
        "prompts_orphaned",
        "warning",
        "Runs that this worker owned without carrying them were handed back.",
    )
    LEASE_RENEWAL_FAILED = (
        "lease_renewal_failed",
        "warning",
        "The lease could not be renewed; it still holds, and the renewal is tried again.",
    )
    LEASE_RENEWED_AGAIN = "lease_renewed_again", "info", "The lease is renewed as before."
    LEASE_LAPSED = (
        "lease_lapsed",
        "error",
        "The lease may be over: nothing is claimed, and streams go on until it is renewed.",
    )
    DATABASE_UNAVAILABLE = (
        "database_unavailable",
        "error",
        "The database takes no writes: reading waits, nothing is lost, and it is tried again.",
    )
    RUN_WAITS_FOR_ROW = (
        "run_waits_for_row",
        "warning",
        "Another transaction holds the rows of a run: it is tried each second; all others go on.",
    )
    DATABASE_BACK = "database_back", "info", "The database takes writes again."
    BREAKER_OPENED = (
        "breaker_opened",
        "error",
        "An endpoint is down or refuses everybody: it gets no prompts, and no attempt is used up.",
    )
    CANARY_SENT = (
        "canary_sent",
        "debug",
        "A request for one token was sent to an endpoint; `outcome` says what became of it.",
    )
    CANARY_USELESS = (
        "canary_useless",
        "warning",
        "The canary is refused in other words than prompts are, so it proves nothing here.",
    )
    REVIVAL_FAILED = (
        "revival_failed",
        "error",
        "An embedded server that died could not be started again; it is tried again.",
    )
    ENDPOINT_CROWDED = (
        "endpoint_crowded",
        "warning",
        "An endpoint has no room for so many streams: it is asked for fewer at a time.",
    )
    BATCH_HELD = (
        "batch_held",
        "error",
        "Every prompt of a batch fails with the same code: it goes on one prompt at a time.",
    )
    BATCH_RELEASED = (
        "batch_released",
        "info",
        "A prompt of a batch that was held is answered: the batch goes on as before.",
    )
    BREAKER_CLOSED = "breaker_closed", "info", "The endpoint answers again."
    EMBEDDED_SERVER_STARTED = (
        "embedded_server_started",
        "info",
        "The bundled llama.cpp server has loaded its model and answers.",
    )
    EMBEDDED_SERVER_STOPPED = (
        "embedded_server_stopped",
        "info",
        "The bundled llama.cpp server has ended.",
    )
    LISTENER_LOST = (
        "listener_lost",
        "warning",
        "The connection for notifications is gone; polling goes on alone meanwhile.",
    )
    LISTENER_BACK = "listener_back", "info", "Notifications arrive again."
    SETTINGS_HINT = (
        "settings_hint",
        "warning",
        "A setting is allowed, but probably a mistake.",
    )


class Logger:
    """Reports events: `log("run_completed", run_id=7, chars=512)`."""

    def __init__(self, bound: structlog.typing.FilteringBoundLogger, least: int) -> None:
        self._bound = bound
        self._least = least

    def __call__(self, event: str, **values: object) -> None:
        """Write one line, if the event is important enough; an unknown event always is."""
        known = _EVENTS.get(event)
        level = known.level if known else "warning"
        if _RANKS[level] >= self._least:
            self._bound.info(str(event), level=level, **values)

    def bind(self, **values: object) -> Logger:
        """A logger that adds these values to every line."""
        return Logger(self._bound.bind(**values), self._least)


_EVENTS: Mapping[str, Event] = {str(event): event for event in Event}


def make(
    *,
    log_format: Format = "auto",
    level: Level = "info",
    secrets: Collection[str] = (),
    stream: Out | None = None,
    clock: Clock | None = None,
) -> Logger:
    """A logger that writes to `stream` (standard error by default).

    Args:
        log_format: `auto` is for people on a terminal and for programs elsewhere.
        level: events below it are not written.
        secrets: texts that must never appear, whatever they are part of.
        stream: where to write, instead of standard error.
        clock: whose time the lines carry.
    """
    out = stream or sys.stderr
    people = log_format == "console" or (log_format == "auto" and out.isatty())
    render: structlog.typing.Processor = _console(out) if people else _json_line
    bound = structlog.wrap_logger(
        _Lines(out),
        processors=[
            _Stamp(clock or SystemClock(), for_people=people),
            _Redaction(secrets),
            *([_escape_controls] if people else []),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=False,
    )
    return Logger(bound, _RANKS[level])


def to_logging(*, secrets: Collection[str] = ()) -> Logger:
    """A logger for programs: the standard library's `logging`, under the name `promptspool`.

    The program decides what is shown, where and how; the values of an event are in its message,
    and as a dict in the attribute `spool` of the record.
    """
    bound = structlog.wrap_logger(
        _Standard(),
        processors=[_Redaction(secrets), _as_record],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=False,
    )
    return Logger(bound, _RANKS["debug"])


class _Standard:
    """The logger of the standard library, with the one method that structlog calls."""

    def __init__(self) -> None:
        self._logger = logging.getLogger(LOGGER_NAME)

    def info(self, level: int, words: str, values: Mapping[str, Any]) -> None:
        self._logger.log(level, "%s", words, extra={"spool": values})


def _as_record(_logger: object, _name: str, values: Values) -> tuple[Any, ...]:
    level, event = values.pop("level"), values.pop("event")
    words = " ".join([event, *(f"{name}={value!r}" for name, value in values.items())])
    return (_RANKS[level], words, {"event": event, **values}), {}


class _Lines:
    """Whole lines, one at a time, from any thread."""

    def __init__(self, stream: Out) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def info(self, line: str) -> None:
        # Best effort on purpose: nothing is lost but the report of it.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()


class _Stamp:
    """Adds the time: of day for people, whole and in UTC for programs."""

    def __init__(self, clock: Clock, *, for_people: bool) -> None:
        self._clock = clock
        self._for_people = for_people

    def __call__(self, _logger: object, _name: str, values: Values) -> Values:
        now = self._clock.now()
        if self._for_people:
            values["timestamp"] = f"{now.astimezone():%H:%M:%S}"
        else:
            values["timestamp"] = iso(now)
        return values


class _Redaction:
    """Takes secrets out of every value, by name and by content."""

    def __init__(self, secrets: Collection[str]) -> None:
        # Longest first: one secret may be the beginning of another.
        self._secrets = sorted(
            {secret for secret in secrets if len(secret) >= _SECRET_CHARS_MIN},
            key=len,
            reverse=True,
        )

    def __call__(self, _logger: object, _name: str, values: Values) -> Values:
        return {key: self._clean(key, value) for key, value in values.items()}

    def _clean(self, key: str, value: Any) -> Any:
        if any(word in key.lower() for word in _TELLING) and value is not None:
            return _HIDDEN
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, _HIDDEN)
            return value
        if isinstance(value, Mapping):
            return {str(name): self._clean(str(name), item) for name, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._clean("", item) for item in value]
        if value is None or isinstance(value, (bool, int, float)):
            return value
        return self._clean("", str(value))


def _escape_controls(_logger: object, _name: str, values: Values) -> Values:
    """What a server wrote must not move a person's cursor or forge a line."""
    return {
        key: _visible(value) if isinstance(value, str) else value for key, value in values.items()
    }


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _json_line(_logger: object, _name: str, values: Values) -> str:
    first = {key: values.pop(key) for key in ("timestamp", "level", "event")}
    return json.dumps({**first, **values}, ensure_ascii=False, default=str)


def _console(out: Out) -> structlog.typing.Processor:
    return structlog.dev.ConsoleRenderer(
        colors=out.isatty() and not os.environ.get("NO_COLOR"),
        pad_event_to=24,
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
    )
