"""Whose fault a failure is, and what becomes of its prompt: one function of named facts.

A failure is one of two things.  A *state* (a refusal, a page, nonsense, a 5xx) would be the same
a second later: the endpoint is asked for one token, and what it answers decides.  An *event* (a
cut, a silence, a crash) is over: the runs beside it decide.  `endpoints.monitor` finds the
evidence, `attribute` draws the conclusion, and nothing else does:

    what is known                        whose fault     attempt   what becomes of the prompt
    -----------------------------------  --------------  --------  ----------------------------
    this worker ended the run            the worker's    no        again at once
    429, overload, no connection         the endpoint's  no        again later
    endpoint was well, a state           the prompt's    yes       again later; a refusal of the
                                                                   request fails the second time
    endpoint was well, an event          the prompt's    yes       again later
    ... but the run made progress, or    unknown         no        again later
    answers are cut at one age
    ... but a prompt that was refused    unknown         no        again later
    in the same words was answered later
    endpoint was not well                the endpoint's  no        again as soon as it answers
    nobody can tell                      unknown         no        again later

A prompt fails when it has used up its attempts, or when `max_runs` runs of it in a row ended
without evidence and without progress.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from worker.errors import (
    Broken,
    Busy,
    Cancelled,
    Crashed,
    ErrorCode,
    LeaseLost,
    OutputTooLarge,
    ServerFailed,
    ShutDown,
    SpoolError,
    Stalled,
    StoreError,
    Truncated,
    Unfinished,
    Verdict,
)
from worker.records import Run
from worker.states import PROGRESS_CHARS, PromptEvent, RunEvent

LATER_SECONDS_MAX = 300.0
IN_VAIN_TIMES = 3  # as long without evidence: `max_runs` such pauses outlast an outage of an hour
PAUSE_SECONDS_MAX = 3600.0  # of a server's own wish
_OF_ALL = frozenset({ErrorCode.UNAUTHORIZED, ErrorCode.NOT_FOUND, ErrorCode.QUOTA_EXHAUSTED})
_REDIRECTS = range(300, 400)
_SENTENCE_CHARS = 300
_UNCLEAR = "it is not clear yet whose fault it is: "
_VARIES = re.compile(r"\S*\d\S*")  # ids, times and counts differ in sentences that are the same


class Nature(Enum):
    """What kind of failure it is, read from the failure alone."""

    OWN = "this worker ended the run, or cannot work"
    PATIENCE = "the server asks for patience"
    UNREACHABLE = "there was no connection, here or behind the gateway"
    REQUEST = "the request is known to be the reason"
    STATE = "it would be the same a second later"
    EVENT = "it is over"


class Evidence(Enum):
    """What is known of the endpoint around a failure."""

    WELL = "it answered a request that was sent later, or went on with one beside it"
    DOWN = "it refuses one token as well, answers nobody, or cut others in the same moment"
    CROWDED = "the run still waited in the server's own line"
    NONE = "nobody can tell"
    STOPPED = "this worker was told to stop before anybody could tell"


class Blame(Enum):
    """Whose fault it is."""

    PROMPT = "prompt"
    ENDPOINT = "endpoint"
    WORKER = "worker"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Failure:
    """What is asked about: one run has ended without its done frame.

    Attributes:
        sent: whether the request was sent; False if it could not even be written.
    """

    error: SpoolError
    nature: Nature
    sent: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """What the monitor of an endpoint knows about one failure.

    Attributes:
        failures: rounds of failures since the endpoint's last success, this one included.
        had_answered: whether it had answered since it was last known to be down.
        cut_id: names those that broke off together; None for what is no event.
        shares_age: answers of several prompts were cut at this age, at different times.
        outlived: the run went on where others broke off since it began.
        alone: it broke off as the only suspect under way, and had been kept apart for it.
        disproved: prompts that were refused with the same words were answered later.
    """

    evidence: Evidence
    failures: int = 1
    had_answered: bool = False
    cut_id: int | None = None
    shares_age: bool = False
    outlived: bool = False
    alone: bool = False
    disproved: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """All that decides.

    Attributes:
        chars: characters of text that the run produced.
        max_runs: runs in a row that may end without evidence and without progress.
        chance: a number between 0 and 1, by which the wait is multiplied.
    """

    run: Run
    failure: Failure
    finding: Finding
    chars: int = 0
    max_runs: int = 20
    chance: float = 1.0


@dataclass(frozen=True, slots=True)
class Attribution:
    """Whose fault a failure is, and what becomes of the prompt.

    Attributes:
        charged: whether the run uses up an attempt of the prompt.
        delay_seconds: how long the prompt waits before it may be claimed again.
        runs_without_progress: what the prompt's counter becomes; None: it stays.
        cut_id: names those that broke off together.
    """

    blame: Blame
    charged: bool
    run_event: RunEvent
    prompt_event: PromptEvent
    code: ErrorCode
    message: str
    delay_seconds: float = 0.0
    runs_without_progress: int | None = None
    cut_id: int | None = None


def nature_of(error: SpoolError, *, begun: bool) -> Nature:
    """What kind of failure it is; `begun`: whether the server sent any frame of an answer."""
    return next(nature for nature, fits in _natures(error, begun=begun) if fits)


def _natures(error: SpoolError, *, begun: bool) -> Iterator[tuple[Nature, bool]]:
    yield Nature.PATIENCE, isinstance(error, Busy)
    yield Nature.UNREACHABLE, error.code is ErrorCode.UNREACHABLE
    yield (
        Nature.OWN,
        isinstance(error, ShutDown | LeaseLost | Cancelled | StoreError | OutputTooLarge),
    )
    yield Nature.OWN, error.verdict is Verdict.STOP or not error.charged
    yield Nature.REQUEST, begun and error.code is ErrorCode.TOTAL_TIMEOUT
    yield Nature.REQUEST, error.code in (ErrorCode.INTERNAL_ERROR, ErrorCode.GENERATION_ABORTED)
    yield Nature.STATE, isinstance(error, Unfinished)
    yield Nature.EVENT, isinstance(error, Broken | Stalled | Crashed)
    yield Nature.EVENT, begun and isinstance(error, Truncated | ServerFailed)
    yield Nature.STATE, True


def attribute(facts: Facts) -> Attribution:
    """Whose fault a failure is, and what becomes of the prompt."""
    run, error = facts.run, facts.failure.error
    blame = _blame(facts)
    charged = _is_charged(facts, blame)
    code, message = _words(facts, blame)
    in_vain = _runs_without_progress(facts, blame)
    run_event, prompt_event, delay_seconds = RunEvent.INTERRUPT, PromptEvent.REQUEUE, 0.0
    if isinstance(error, Cancelled):
        run_event, prompt_event = RunEvent.CANCEL, PromptEvent.CANCEL
    elif _is_final(facts, blame):
        run_event, prompt_event = RunEvent.FAIL, PromptEvent.FAIL
    elif charged and run.attempts >= run.max_attempts:
        prompt_event = PromptEvent.FAIL
        message = f"gave up after {run.attempts} attempts; the last one: {message}"
    elif in_vain is not None and in_vain >= facts.max_runs:
        prompt_event = PromptEvent.FAIL
        message = f"gave up after {in_vain} runs without progress (max_runs); the last: {message}"
    else:
        delay_seconds = _delay(facts, blame, charged=charged)
    return Attribution(
        blame=blame,
        charged=charged,
        run_event=run_event,
        prompt_event=prompt_event,
        code=code,
        message=message,
        delay_seconds=delay_seconds,
        runs_without_progress=in_vain,
        cut_id=facts.finding.cut_id,
    )


def _blame(facts: Facts) -> Blame:
    finding = facts.finding
    if facts.failure.nature is Nature.OWN or finding.evidence is Evidence.STOPPED:
        return Blame.WORKER
    if facts.failure.nature in (Nature.PATIENCE, Nature.UNREACHABLE):
        return Blame.ENDPOINT
    if facts.failure.nature is Nature.REQUEST:
        return Blame.PROMPT
    if finding.evidence in (Evidence.DOWN, Evidence.CROWDED):
        return Blame.PROMPT if finding.alone and not _progressed(facts) else Blame.ENDPOINT
    if finding.evidence is Evidence.NONE:
        return Blame.UNKNOWN
    if facts.failure.nature is Nature.EVENT:
        excused = finding.shares_age or _progressed(facts)
    else:
        excused = finding.disproved
    return Blame.UNKNOWN if excused else Blame.PROMPT


def _is_charged(facts: Facts, blame: Blame) -> bool:
    if blame is Blame.WORKER:
        error = facts.failure.error
        stops = error.verdict is Verdict.STOP and error.code is None  # the settings are wrong
        return facts.failure.nature is Nature.OWN and error.charged and not stops
    return blame is Blame.PROMPT and not _is_first_refusal(facts)


def _refuses_request(facts: Facts) -> bool:
    """Whether the server says of this very request that it can never work.

    What it says of keys, accounts, models and places is said to everybody, or by one replica of
    several: that uses up an attempt, but another one may help.
    """
    error = facts.failure.error
    of_all = error.code in _OF_ALL or error.http_status in _REDIRECTS
    return facts.failure.nature is Nature.STATE and error.verdict is Verdict.FAIL and not of_all


def _is_first_refusal(facts: Facts) -> bool:
    """Whether the server refuses this request for the first time: one of its replicas may."""
    is_new = facts.run.last_code != facts.failure.error.code
    return _refuses_request(facts) and facts.failure.sent and is_new


def _is_final(facts: Facts, blame: Blame) -> bool:
    """Whether another attempt cannot help: the second time that the request is refused so.

    The endpoint has answered in between, or the first time would have been the endpoint's fault.
    What was refused here, before anything was sent, is final at once.
    """
    if facts.failure.nature is Nature.OWN:
        return facts.failure.error.verdict is Verdict.FAIL
    if blame is not Blame.PROMPT or not _refuses_request(facts):
        return False
    run, error = facts.run, facts.failure.error
    before = (run.last_error or "").removeprefix(_UNCLEAR)
    said_before = run.last_code == error.code and same_sentence(before, error.message)
    return said_before or not facts.failure.sent


def _progressed(facts: Facts) -> bool:
    return facts.chars >= facts.run.best_chars + PROGRESS_CHARS


def _runs_without_progress(facts: Facts, blame: Blame) -> int | None:
    """What the prompt's counter becomes; None: it stays as it is."""
    if _progressed(facts):
        return 0
    finding, run = facts.finding, facts.run
    unseen = blame is Blame.UNKNOWN
    fell_with_it = blame is Blame.ENDPOINT and finding.evidence is Evidence.DOWN
    if facts.failure.nature is Nature.STATE:
        fell_with_it = fell_with_it and finding.had_answered and _is_failure(facts.failure.error)
    elif facts.failure.nature is not Nature.EVENT:
        fell_with_it = False
    if not (unseen or fell_with_it):
        return None
    return 1 + (0 if finding.outlived else run.runs_without_progress)


def _is_failure(error: SpoolError) -> bool:
    return isinstance(error, ServerFailed | Truncated)


def _words(facts: Facts, blame: Blame) -> tuple[ErrorCode, str]:
    """The code and the sentence of the run; what varies in it is the server's own word."""
    error = facts.failure.error
    code, message = error.code or ErrorCode.INTERNAL_ERROR, error.message
    if blame is Blame.ENDPOINT and facts.finding.evidence is Evidence.DOWN:
        if facts.failure.nature is Nature.EVENT and not isinstance(error, Stalled):
            return ErrorCode.ENDPOINT_DIED, f"the endpoint went down: {message}"
        if facts.failure.nature is Nature.STATE:
            return code, f"the endpoint refuses everybody: {message}"
    if blame is Blame.UNKNOWN and facts.failure.nature is Nature.STATE:
        return code, _UNCLEAR + message
    return code, message


def _delay(facts: Facts, blame: Blame, *, charged: bool) -> float:
    """Seconds until the prompt may be claimed again."""
    error, run = facts.failure.error, facts.run
    if error.retry_after_seconds is not None:
        return min(error.retry_after_seconds, PAUSE_SECONDS_MAX)
    if blame is Blame.WORKER:
        return 0.0 if error.verdict is not Verdict.STOP else facts.chance
    times, most_seconds = facts.finding.failures, LATER_SECONDS_MAX
    if blame is Blame.PROMPT:
        times = run.attempts if charged else 1
    elif blame is Blame.UNKNOWN or facts.finding.cut_id is not None:
        times, most_seconds = 1 + run.runs_without_progress, IN_VAIN_TIMES * LATER_SECONDS_MAX
    return min(2.0 ** min(times - 1, 30), most_seconds) * facts.chance


def same_sentence(one: str | None, other: str | None) -> bool:
    """Whether two errors say the same, whatever ids, times and counts they name."""
    return one is not None and other is not None and _constant(one) == _constant(other)


def _constant(sentence: str) -> str:
    return " ".join(_VARIES.sub("#", sentence[:_SENTENCE_CHARS]).lower().split())
