"""How a run ends: on its done frame, or before it; and what is stored of it then.

On the done frame the last chunks, the usage and both states go into one
transaction.  Before it, the text is kept.  What becomes of the prompt is decided here, once, from
top to bottom: what kind of failure it is, what is known of the endpoint (`RunHandle.finding`), and
what follows from both (`attribution.attribute`).
"""

from __future__ import annotations

import dataclasses
import traceback
from pathlib import Path

from msgspec.structs import replace

from worker.clock import Clock
from worker.errors import (
    ErrorCode,
    LeaseLost,
    Refused,
    SpoolError,
    StoreError,
    StreamError,
    Verdict,
    WireError,
)
from worker.records import Ending, Run, Usage
from worker.run.attribution import Evidence, Facts, Failure, Finding, Nature, attribute, nature_of
from worker.run.context import Answer, Outcome, RunHandle, as_ended
from worker.run.continuation import Plan
from worker.run.writer import RunWriter
from worker.states import PromptEvent, RunEvent
from worker.wire.events import Done
from worker.wire.finish_reason import AT_LENGTH


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
    if longer := longer_from(done, answer, writer):
        ending = _with_facts(longer, answer, writer, clock)
        frames = answer.decoder.frames if answer.decoder else None
        counted = done.usage.completion_tokens is not None
        ending = replace(ending, usage=done.usage, frames=None if counted else frames)
        return await _store(ending, None, answer, writer, clock)
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


def longer_from(done: Done, answer: Answer, writer: RunWriter) -> Ending | None:
    """The end of a run whose answer ended at its length limit, and is to be longer; or None."""
    place, decoder = answer.endpoint, answer.decoder
    if place is None or decoder is None or not place.continue_at_length_tokens:
        return None
    own = done.usage.completion_tokens or decoder.frames
    if not (
        done.finish_reason in AT_LENGTH
        and done.done_frame
        and place.continue_interrupted != "off"
        and writer.only_text
        and writer.own_chars > 0
        and writer.buffer.chars >= place.continue_min_chars
        and writer.carried_tokens + own < place.continue_at_length_tokens
    ):
        return None
    return Ending(
        run_id=answer.run.id,
        prompt_id=answer.run.prompt_id,
        run_event=RunEvent.INTERRUPT,
        prompt_event=PromptEvent.REQUEUE,
        done_frame=True,
        error_code=ErrorCode.LENGTH_CONTINUED,
        error="the answer ended at its length limit, and goes on (continue_at_length_tokens)",
        charged=False,
        runs_without_progress=0,
    )


async def finish_as_it_is(plan: Plan, answer: Answer, writer: RunWriter, clock: Clock) -> Outcome:
    """The text of an earlier run, which its done frame had ended, is the whole answer."""
    writer.begin(plan.beginning)
    writer.follow()
    return await finish(Done(plan.ended_by, Usage(0, 0)), answer, writer, clock)


async def end_early(
    error: SpoolError, answer: Answer, writer: RunWriter, clock: Clock, control: RunHandle
) -> Outcome:
    """No done frame: keep the text, find out whose fault it is, and store what follows from it."""
    control.failed_at = clock.monotonic()
    if answer.reader and isinstance(error, WireError):  # it may echo the key that it was sent
        error = error.but(message=answer.reader.redact(error.message))
    error = as_ended(error, answer.decoder)
    done = _tail(answer, writer, at=control.failed_at)
    if done and isinstance(error, StreamError):
        return await finish(done, answer, writer, clock)
    if isinstance(error, StoreError):
        return await _without_text(error, answer, writer, clock)
    if error.verdict is Verdict.YIELD:
        return Outcome(None, error, answer.begun)
    facts = Facts(
        run=answer.run,
        failure=Failure(
            error,
            nature_of(error, begun=answer.begun),
            sent=answer.reader is not None or not _is_local(error),
        ),
        finding=Finding(Evidence.NONE),
        chars=writer.buffer.chars,
        max_runs=control.max_runs,
        chance=clock.random(),
    )
    if facts.failure.nature is not Nature.OWN:
        writer.flush()  # the verdict may take seconds
        facts = dataclasses.replace(facts, finding=await control.finding(facts.failure))
    ending = _with_facts(ending_of(facts), answer, writer, clock)
    if answer.decoder is not None and ending.usage.completion_tokens is None:
        ending = replace(ending, frames=answer.decoder.frames or None)
    return await _store(ending, error, answer, writer, clock)


def ending_of(facts: Facts) -> Ending:
    """The row of a run that failed."""
    verdict, error = attribute(facts), facts.failure.error
    return Ending(
        run_id=facts.run.id,
        prompt_id=facts.run.prompt_id,
        run_event=verdict.run_event,
        prompt_event=verdict.prompt_event,
        error_code=verdict.code,
        error=verdict.message,
        http_status=error.http_status,
        request_id=error.request_id,
        charged=verdict.charged,
        delay_seconds=verdict.delay_seconds,
        runs_without_progress=verdict.runs_without_progress,
        cut_id=verdict.cut_id,
        nonce=facts.run.nonce,
    )


def ending_without_evidence(run: Run, error: SpoolError, clock: Clock) -> Ending:
    """The row of a run about which nobody has to be asked."""
    nature = nature_of(error, begun=True)
    finding = Finding(Evidence.NONE)
    return ending_of(Facts(run, Failure(error, nature), finding, chance=clock.random()))


def _is_local(error: SpoolError) -> bool:
    """Whether the request could not even be written."""
    return isinstance(error, Refused) and error.http_status is None


def _tail(answer: Answer, writer: RunWriter, *, at: float) -> Done | None:
    """What the decoder still holds; a done frame that only lacked its newline is one."""
    if answer.decoder is None:
        return None
    try:
        return writer.keep(answer.decoder.close(), at=at)
    except SpoolError as later:
        later.with_traceback(None)  # the decoder keeps it
        return None  # the reason for ending early is known already, and is the better one


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
    ending = ending_without_evidence(answer.run, failure, clock)
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
