"""What can go wrong, as one tree; each class carries the verdict on it.

    SpoolError
    ├── SettingsError          STOP         a setting, a file or a URL is wrong
    ├── InputError             FAIL         a prompt file or one of its lines cannot be used
    ├── NotFound               FAIL         no such prompt, run or batch
    ├── ImpossibleTransition   STOP         a fault of this program: the state table forbids it
    ├── StreamError                         the way to the server and back
    │   ├── Unreachable        RETRY_HERE   no connection: nothing was sent, nothing was written
    │   ├── Stalled            RETRY_LATER  a deadline passed: first frame, idle, or total
    │   └── Broken             RETRY_LATER  the connection ended inside the response
    ├── WireError                           what the server said
    │   ├── Truncated          RETRY_LATER  the stream ended without its done frame
    │   │   └── Unfinished     RETRY_LATER  ... though it gave a finish reason, and ended cleanly
    │   ├── Malformed          RETRY_LATER  a complete frame that is not what the protocol says
    │   ├── FrameTooLarge      RETRY_LATER  one frame above `max_frame_bytes`
    │   ├── OutputTooLarge     FAIL         one answer above `max_output_bytes`
    │   ├── Busy               RETRY_LATER  429, 503 and their kin; may say how long to wait
    │   ├── ServerFailed       RETRY_LATER  the server reports a fault of its own
    │   │   └── Crashed        RETRY_LATER  ... namely that what worked on the answer went away
    │   ├── NotContinued       RETRY_LATER  the server did not go on with the text that it was given
    │   └── Refused            FAIL         the server says that this request can never work
    ├── StoreError
    │   ├── StoreBusy          RETRY_HERE   connection lost, disk full, write lock
    │   │   └── StoreContended RETRY_HERE   another transaction holds a row: deadlock, time-out
    │   │   └── StaleSession   RETRY_HERE   this session cannot write any more, another one may
    │   └── StoreBroken        STOP         wrong or missing schema, no permission
    ├── LeaseLost              YIELD        the run is not ours any more: write nothing
    ├── ShutDown               RETRY_LATER  this worker was told to stop: hand back, charge nothing
    └── Cancelled              FAIL         its owner no longer wants the prompt

An error is a fact and does not change; `but` makes another one of it.  What becomes of the prompt
is decided in one place (``attribution.attribute``), from the error and from what is known of the
endpoint.  ``code`` is what is stored in ``error_code`` and is one of ``ErrorCode``; ``charged`` is
False for what cannot be the prompt's fault whatever else is known (a rate limit, a shutdown).
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Any, Self


class Verdict(Enum):
    """What to do about an error."""

    RETRY_HERE = "retry here"  # nothing was written yet: try again in place
    RETRY_LATER = "retry later"  # keep the text, queue the prompt again with a delay
    FAIL = "fail"  # another attempt cannot help
    YIELD = "yield"  # another worker has it
    STOP = "stop"  # this process cannot work


class ErrorCode(StrEnum):
    """The fixed list behind the `error_code` columns of `runs` and `prompts`."""

    UNREACHABLE = "unreachable"
    CONNECTION_LOST = "connection_lost"
    ENDPOINT_DIED = "endpoint_died"
    FIRST_FRAME_TIMEOUT = "first_frame_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    NO_DONE_FRAME = "no_done_frame"
    MALFORMED_FRAME = "malformed_frame"
    FRAME_TOO_LARGE = "frame_too_large"
    OUTPUT_TOO_LARGE = "output_too_large"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    GENERATION_ABORTED = "generation_aborted"
    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    CONTEXT_EXCEEDED = "context_exceeded"
    QUOTA_EXHAUSTED = "quota_exhausted"
    LEASE_EXPIRED = "lease_expired"
    LEASE_LOST = "lease_lost"
    COMMITS_FORGOTTEN = "commits_forgotten"
    HANDED_BACK = "handed_back"
    NOT_CONTINUED = "not_continued"
    LENGTH_CONTINUED = "length_continued"
    SHUTDOWN = "shutdown"
    CANCELLED = "cancelled"
    TOO_MANY_CRASHES = "too_many_crashes"
    UNSTORABLE = "unstorable"
    UNCLAIMABLE = "unclaimable"
    NOTHING_GENERATED = "nothing_generated"  # the one code that a completed run can have
    INTERNAL_ERROR = "internal_error"


EARLIER_CODES = {"orphaned": ErrorCode.HANDED_BACK}  # in rows of version 0.1.0


def spellings(code: str) -> list[str]:
    """Every word that rows may have for this code, whichever of them is given."""
    today = EARLIER_CODES.get(code, code)
    return [str(today), *(earlier for earlier, now in EARLIER_CODES.items() if now == today)]


class SpoolError(Exception):
    """Root of the tree; never raised itself.

    Attributes:
        code: what `error_code` becomes, or None for errors that no run can have.
        charged: whether the attempt counts against the prompt's `max_attempts`.
        retry_after_seconds: the server's own wish, obeyed before our back-off.
        http_status: of the response that carried the error, if there was one.
        request_id: what the server calls the request, for its operators.
    """

    verdict: Verdict = Verdict.STOP
    code: ErrorCode | None = None
    message: str
    charged: bool
    retry_after_seconds: float | None
    http_status: int | None
    request_id: str | None

    def __init__(
        self,
        message: str,
        *,
        code: ErrorCode | None = None,
        verdict: Verdict | None = None,
        charged: bool = True,
        retry_after_seconds: float | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        facts: dict[str, Any] = {
            "message": message,
            "charged": charged,
            "retry_after_seconds": retry_after_seconds,
            "http_status": http_status,
            "request_id": request_id,
            "code": code or self.code,
            "verdict": verdict or self.verdict,
        }
        self.__dict__.update(facts)

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("__"):  # traceback, cause and context are the interpreter's
            raise AttributeError(f"an error does not change ({name}): make another with but()")
        super().__setattr__(name, value)

    def but(self, **changes: object) -> Self:
        """The same error with other facts: `message`, `code`, `verdict`, `charged` and so on."""
        known = {name: value for name, value in vars(self).items() if not name.startswith("__")}
        other = type(self)(**{**known, **changes})
        other.__cause__ = self.__cause__
        return other

    def __str__(self) -> str:
        return self.message


class SettingsError(SpoolError):
    """A setting, a file or a URL is wrong; the message names every fault and its cure."""

    verdict = Verdict.STOP


class InputError(SpoolError):
    """A prompt file, or one line of it, cannot be used."""

    verdict = Verdict.FAIL


class NotFound(SpoolError):
    """No such prompt, run or batch."""

    verdict = Verdict.FAIL

    @classmethod
    def prompt(cls, prompt_id: object) -> NotFound:
        """That there is no prompt with this id, and how to find one that there is."""
        return cls(f"there is no prompt {prompt_id}: `spool list` shows them")


class ImpossibleTransition(SpoolError):
    """The state table does not allow it: a fault of this program."""

    verdict = Verdict.STOP
    code = ErrorCode.INTERNAL_ERROR


class StreamError(SpoolError):
    """Between here and the server."""

    verdict = Verdict.RETRY_LATER
    code = ErrorCode.CONNECTION_LOST


class Unreachable(StreamError):
    """No connection could be made; nothing was sent."""

    verdict = Verdict.RETRY_HERE
    code = ErrorCode.UNREACHABLE


class Stalled(StreamError):
    """A deadline passed; `code` says which."""

    code = ErrorCode.IDLE_TIMEOUT


class Broken(StreamError):
    """The connection ended inside the response."""

    code = ErrorCode.CONNECTION_LOST


class WireError(SpoolError):
    """What the server said, or failed to say."""

    verdict = Verdict.RETRY_LATER
    code = ErrorCode.SERVER_ERROR


class Truncated(WireError):
    """The stream ended without its done frame."""

    code = ErrorCode.NO_DONE_FRAME


class Unfinished(Truncated):
    """A finish reason and a clean end, but no done frame: some servers never send one."""


class Malformed(WireError):
    """A complete frame that the protocol does not allow: text may be missing."""

    code = ErrorCode.MALFORMED_FRAME


class FrameTooLarge(WireError):
    """One frame is longer than `max_frame_bytes`; the message names both sizes."""

    code = ErrorCode.FRAME_TOO_LARGE


class OutputTooLarge(WireError):
    """One answer is longer than `max_output_bytes` of its endpoint; what came of it is kept."""

    verdict = Verdict.FAIL
    code = ErrorCode.OUTPUT_TOO_LARGE


class Busy(WireError):
    """The server asks for patience; never charged."""

    code = ErrorCode.OVERLOADED


class ServerFailed(WireError):
    """The server reports a fault of its own."""

    code = ErrorCode.SERVER_ERROR


class Crashed(ServerFailed):
    """The server says that what worked on the answer went away: a runner crashed, a client left."""


class NotContinued(WireError):
    """The server did not go on with the text of an earlier run; uncharged, as we asked for it."""

    code = ErrorCode.NOT_CONTINUED


class Refused(WireError):
    """The server says that this request can never work."""

    verdict = Verdict.FAIL
    code = ErrorCode.BAD_REQUEST


class StoreError(SpoolError):
    """The database."""


class StoreBusy(StoreError):
    """The database cannot take it now: lock, lost connection, disk full."""

    verdict = Verdict.RETRY_HERE


class StaleSession(StoreBusy):
    """The session cannot write any more; another one may."""


class StoreContended(StoreBusy):
    """Another transaction holds a row that this one needs; other rows are free."""


class StoreBroken(StoreError):
    """The database can never take it as things are: schema, permissions."""

    verdict = Verdict.STOP


class LeaseLost(SpoolError):
    """The run is not this worker's any more."""

    verdict = Verdict.YIELD
    code = ErrorCode.LEASE_LOST


class ShutDown(SpoolError):
    """The worker was told to stop; the prompt goes back at once and is not charged."""

    verdict = Verdict.RETRY_LATER
    code = ErrorCode.SHUTDOWN


class Cancelled(SpoolError):
    """The owner of the prompt no longer wants it."""

    verdict = Verdict.FAIL
    code = ErrorCode.CANCELLED
