"""How a run ends: on its done frame, or before it; and what is stored of it then.

On the done frame the last chunks, the usage and both states go into one
transaction.  Before it, the text is kept and the error's verdict decides what
becomes of the prompt (`retry.ending`), once it is clear who is to blame.
"""

from __future__ import annotations

import traceback
from copy import copy
from pathlib import Path

from msgspec.structs import replace

from worker import retry
from worker.carriage import YOUNG_SECONDS, Answer, Control, Outcome
from worker.clock import Clock
from worker.committer import RunWriter
from worker.errors import (
    Broken,
    ErrorCode,
    LeaseLost,
    Refused,
    ServerFailed,
    SpoolError,
    Stalled,
    StoreError,
    StreamError,
    Truncated,
    Verdict,
    WireError,
)
from worker.records import Ending, Run, Usage
from worker.states import PromptEvent, RunEvent
from worker.wire.events import Done

DEATHS_FORGIVEN = 5  # so often the endpoint may go down under a prompt by chance


def as_error(fault: Exception) -> SpoolError:
    """What nobody foresaw is a fault of this program: charged, so that it has an end.

    Tracebacks are let go, those of its causes as well: they hold the frames of the run, and these
    hold the error, if only as what their task ended with.
    """
    if isinstance(fault, SpoolError):
        _let_go(fault)
        return fault
    frames = traceback.extract_tb(fault.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return WireError(
        f"internal error: {type(fault).__name__}: {fault}{place}", code=ErrorCode.INTERNAL_ERROR
    )


def _let_go(error: BaseException | None) -> None:
    while error is not None and error.__traceback__ is not None:  # or it was here already
        error.__traceback__ = None
        if error.__context__ is not error.__cause__:
            _let_go(error.__context__)
        error = error.__cause__


async def finish(done: Done, answer: Answer, writer: RunWriter, clock: Clock) -> Outcome:
    """The done frame arrived: last chunks, usage and both states, in one transaction."""
    empty = not (writer.buffer.chunks or writer.buffer.waiting_bytes)
    ending = Ending(
        run_id=answer.run.id,
        prompt_id=answer.run.prompt_id,
        run_event=RunEvent.COMPLETE,
        prompt_event=PromptEvent.COMPLETE,
        done_frame=done.done_frame,
        error_code=ErrorCode.NOTHING_GENERATED if empty else None,
        error="the done frame arrived, but no output came before it" if empty else None,
    )
    ending = _with_facts(ending, answer, writer, clock)
    reason = _redacted(done.finish_reason, answer)
    ending = replace(ending, finish_reason=reason, usage=done.usage)
    return await _store(ending, None, answer, writer, clock)


async def end_early(
    error: SpoolError, answer: Answer, writer: RunWriter, clock: Clock, control: Control
) -> Outcome:
    """No done frame: keep the text and let the error's verdict decide about the prompt."""
    control.failed_at = clock.monotonic()
    if answer.reader and isinstance(error, WireError):  # it may echo the key that it was sent
        error.message = answer.reader.redact(error.message)
    done = _tail(answer, writer, at=control.failed_at)
    if done and isinstance(error, StreamError):
        return await finish(done, answer, writer, clock)
    if isinstance(error, StoreError):
        return await _without_text(error, answer, writer, clock)
    if error.verdict is Verdict.YIELD:
        return Outcome(None, error, answer.begun)
    if isinstance(error, Refused) and not answer.begun and control.turned_away(error):
        error.charged, error.verdict = False, Verdict.RETRY_LATER
    told = error  # what is said of the prompt; the error itself says how the endpoint stands
    may_be_death = _may_be_death(error, answer, control)
    if error.charged and await _is_nobodys_fault(error, control, writer, counted=may_be_death):
        error.charged = False
        if may_be_death and not control.is_stopped:
            told = _told_of_death(error, answer.run)
    ending = _with_facts(retry.ending(answer.run, told, clock), answer, writer, clock)
    return await _store(ending, error, answer, writer, clock)


def _tail(answer: Answer, writer: RunWriter, *, at: float) -> Done | None:
    """What the decoder still holds; a done frame that only lacked its newline is one."""
    if answer.decoder is None:
        return None
    try:
        return writer.keep(answer.decoder.close(), at=at)
    except SpoolError as later:
        later.with_traceback(None)  # the decoder keeps it
        return None  # the reason for ending early is known already, and is the better one


async def _is_nobodys_fault(
    error: SpoolError, control: Control, writer: RunWriter, *, counted: bool
) -> bool:
    """Whether no prompt can be blamed: the settings are wrong, or the endpoint is out.

    counted: whether it would count as a death of the endpoint.
    """
    if error.verdict is Verdict.STOP:
        return True
    if not isinstance(error, StreamError | ServerFailed | Truncated):
        return False
    writer.flush()  # the answer may take seconds
    return await control.is_outage(counted=counted)


def _may_be_death(error: SpoolError, answer: Answer, control: Control) -> bool:
    """Whether the endpoint, if it is out, took the request and went down under a young answer.

    No six-hour stream is blamed for a server that is restarted, and nobody whose request may
    never have arrived (docs/decisions/0012).  A server that hangs went down with its last frame.
    """
    said_so = isinstance(error, ServerFailed) and answer.reader is not None  # inside its stream
    fell_silent = isinstance(error, Stalled) and error.code is ErrorCode.IDLE_TIMEOUT
    if not (said_so or fell_silent or isinstance(error, Broken | Truncated)):
        return False
    if error.verdict is not Verdict.RETRY_LATER:
        return False  # the server has judged the prompt itself
    begun_at, down_at = control.begun_at, control.heard_at if fell_silent else control.failed_at
    return begun_at is None or down_at is None or down_at - begun_at <= YOUNG_SECONDS


def _told_of_death(error: SpoolError, run: Run) -> SpoolError:
    """Once is an outage; under the same prompt again and again it is charged."""
    told = copy(error)
    told.code = ErrorCode.ENDPOINT_DIED
    told.charged = run.deaths >= DEATHS_FORGIVEN
    times = "one run" if run.deaths == 1 else f"{run.deaths} runs"
    before = f", as in {times} of this prompt before" if run.deaths else ""
    told.message = f"the endpoint went down{before}: {error.message}"
    return told


async def _store(
    ending: Ending, error: SpoolError | None, answer: Answer, writer: RunWriter, clock: Clock
) -> Outcome:
    try:
        ending = await writer.finish(ending)
    except LeaseLost as failure:
        return Outcome(None, failure, answer.begun)
    except StoreError as failure:
        return await _without_text(failure, answer, writer, clock)
    return Outcome(ending, error, answer.begun)


async def _without_text(
    failure: StoreError, answer: Answer, writer: RunWriter, clock: Clock
) -> Outcome:
    """The database takes nothing, or, if the error has a code, only the text of this run not."""
    writer.abandon()
    if failure.code is None:
        return Outcome(None, failure, answer.begun)
    ending = retry.ending(answer.run, failure, clock)
    try:
        ending = await writer.finish(ending)
    except (StoreError, LeaseLost) as again:
        return Outcome(None, again, answer.begun)
    return Outcome(ending, failure, answer.begun)


def _with_facts(ending: Ending, answer: Answer, writer: RunWriter, clock: Clock) -> Ending:
    """Add what the run produced, however it ended."""
    decoder, reader = answer.decoder, answer.reader
    first_at = writer.buffer.first_text_at
    return replace(
        ending,
        finish_reason=_redacted(decoder.finish_reason, answer) if decoder else None,
        usage=decoder.usage if decoder else Usage(),
        http_status=ending.http_status or (reader.status if reader else None),
        request_id=_redacted(ending.request_id or (reader.request_id if reader else None), answer),
        first_text_seconds_ago=None if first_at is None else clock.monotonic() - first_at,
    )


def _redacted(word: str | None, answer: Answer) -> str | None:
    """What the server calls something, without the key that it may echo."""
    return answer.reader.redact(word) if word and answer.reader else word
