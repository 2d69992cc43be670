"""What happened, on standard error: one line an event, for people or for programs.

`worker/events.py` has the list of everything that can be reported.  A ``Logger`` is a callable
of an event and its values; lower rooms know only the protocol ``Log`` of that shape.  ``bind`` adds
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
from typing import Any, Literal, Protocol

import structlog

from worker.clock import Clock, SystemClock, iso
from worker.events import Event, Level

Format = Literal["auto", "console", "json"]

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
