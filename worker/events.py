"""The events that a worker reports: their names, levels and meanings, and where they go.

`docs/operations.md` prints the list.  This module imports nothing of Spool, so that every room
can name an event.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Protocol, Self

Level = Literal["debug", "info", "warning", "error"]


class Log(Protocol):
    """Where events go."""

    def __call__(self, event: str, **values: object) -> None:
        """Record one event."""
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
    PROMPTS_HANDED_BACK = (
        "prompts_handed_back",
        "warning",
        "Runs that this worker owned without streaming them were handed back.",
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
