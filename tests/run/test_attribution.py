"""Whose fault a failure is, and what becomes of the prompt: a table, read row by row."""

from __future__ import annotations

import pytest

from tests.fakes.scripted_stream import run
from worker.errors import (
    Broken,
    Busy,
    Cancelled,
    Crashed,
    ErrorCode,
    FrameTooLarge,
    LeaseLost,
    Malformed,
    Refused,
    ServerFailed,
    SettingsError,
    ShutDown,
    SpoolError,
    Stalled,
    StoreError,
    Truncated,
    Unfinished,
    Unreachable,
    Verdict,
)
from worker.run.attribution import (
    IN_VAIN_TIMES,
    LATER_SECONDS_MAX,
    PAUSE_SECONDS_MAX,
    Attribution,
    Blame,
    Evidence,
    Facts,
    Failure,
    Finding,
    Nature,
    attribute,
    nature_of,
    same_sentence,
)
from worker.states import PromptEvent, RunEvent

BAD_REQUEST = Refused("HTTP 400: no such option", http_status=400)
WRONG_KEY = Refused("HTTP 401: wrong key", code=ErrorCode.UNAUTHORIZED, http_status=401)
OF_NO_PROMPT = [
    ShutDown("stop", charged=False),
    LeaseLost("lapsed", verdict=Verdict.RETRY_LATER, charged=False),
    Busy("later", charged=False),
    Unreachable("refused", charged=False),
    SettingsError("bad URL"),
]


def judged(
    error: SpoolError,
    evidence: Evidence = Evidence.NONE,
    *,
    begun: bool = False,
    sent: bool = True,
    chars: int = 0,
    max_runs: int = 20,
    chance: float = 1.0,
    finding: dict[str, object] | None = None,
    **changes: object,
) -> Attribution:
    failure = Failure(error, nature_of(error, begun=begun), sent=sent)
    found = Finding(evidence, **(finding or {}))
    return attribute(
        Facts(run(**changes), failure, found, chars=chars, max_runs=max_runs, chance=chance)
    )


@pytest.mark.parametrize(
    ("error", "begun", "nature"),
    [
        (ShutDown("stop"), True, Nature.OWN),
        (StoreError("disk"), True, Nature.OWN),
        (Stalled("we slept", charged=False), True, Nature.OWN),
        (SettingsError("bad"), False, Nature.OWN),
        (Busy("wait", charged=False), True, Nature.PATIENCE),
        (Unreachable("no route", charged=False), False, Nature.UNREACHABLE),
        (ServerFailed("502", code=ErrorCode.UNREACHABLE), False, Nature.UNREACHABLE),
        (Stalled("total", code=ErrorCode.TOTAL_TIMEOUT), True, Nature.REQUEST),
        (Stalled("total", code=ErrorCode.TOTAL_TIMEOUT), False, Nature.EVENT),
        (ServerFailed("loop", code=ErrorCode.GENERATION_ABORTED), True, Nature.REQUEST),
        (Malformed("bug", code=ErrorCode.INTERNAL_ERROR), True, Nature.REQUEST),
        (Broken("reset"), False, Nature.EVENT),
        (Broken("reset"), True, Nature.EVENT),
        (Crashed("runner"), False, Nature.EVENT),
        (Truncated("cut"), True, Nature.EVENT),
        (Truncated("empty"), False, Nature.STATE),
        (Unfinished("no done frame"), True, Nature.STATE),
        (ServerFailed("oops"), True, Nature.EVENT),
        (ServerFailed("500"), False, Nature.STATE),
        (Malformed("a page"), False, Nature.STATE),
        (FrameTooLarge("giant"), True, Nature.STATE),
        (BAD_REQUEST, False, Nature.STATE),
    ],
)
def test_the_nature_of_each_failure(error, begun, nature):
    """A state would be the same a second later; an event is over; the rest needs no evidence."""
    assert nature_of(error, begun=begun) is nature


@pytest.mark.parametrize(
    "error", [BAD_REQUEST, WRONG_KEY, ServerFailed("HTTP 502", http_status=502)], ids=str
)
def test_words_that_an_answer_has_disproved_use_up_no_attempt(error):
    """A replica of several that is wrong says them to every third; `max_runs` is the bound."""
    before = {"last_code": error.code, "last_error": error.message, "attempts": 5}
    verdict = judged(error, Evidence.WELL, finding={"disproved": True}, **before)
    assert (verdict.blame, verdict.charged) == (Blame.UNKNOWN, False)
    assert (verdict.prompt_event, verdict.runs_without_progress) == (PromptEvent.REQUEUE, 1)
    last = judged(
        error, Evidence.WELL, finding={"disproved": True}, runs_without_progress=19, **before
    )
    assert last.prompt_event is PromptEvent.FAIL


@pytest.mark.parametrize("evidence", list(Evidence))
@pytest.mark.parametrize("error", OF_NO_PROMPT, ids=lambda each: type(each).__name__)
def test_some_failures_use_up_no_attempt_whatever_is_known(error, evidence):
    """Shutdowns, lapses, rate limits, overload, no connection, wrong settings."""
    verdict = judged(error, evidence, attempts=5)
    assert (verdict.charged, verdict.prompt_event) == (False, PromptEvent.REQUEUE)
    assert verdict.runs_without_progress is None


@pytest.mark.parametrize(
    ("error", "evidence", "blame", "charged", "in_vain"),
    [
        (WRONG_KEY, Evidence.WELL, Blame.PROMPT, True, None),
        (WRONG_KEY, Evidence.DOWN, Blame.ENDPOINT, False, None),
        (WRONG_KEY, Evidence.NONE, Blame.UNKNOWN, False, 1),
        (WRONG_KEY, Evidence.STOPPED, Blame.WORKER, False, None),
        (ServerFailed("500"), Evidence.WELL, Blame.PROMPT, True, None),
        (ServerFailed("500"), Evidence.DOWN, Blame.ENDPOINT, False, None),
        (Malformed("a page"), Evidence.WELL, Blame.PROMPT, True, None),
        (Malformed("a page"), Evidence.DOWN, Blame.ENDPOINT, False, None),
        (FrameTooLarge("giant"), Evidence.WELL, Blame.PROMPT, True, None),
        (Broken("reset"), Evidence.WELL, Blame.PROMPT, True, None),
        (Broken("reset"), Evidence.DOWN, Blame.ENDPOINT, False, 1),
        (Broken("reset"), Evidence.NONE, Blame.UNKNOWN, False, 1),
        (Broken("reset"), Evidence.STOPPED, Blame.WORKER, False, None),
        (
            Stalled("no frame", code=ErrorCode.FIRST_FRAME_TIMEOUT),
            Evidence.CROWDED,
            Blame.ENDPOINT,
            False,
            None,
        ),
    ],
)
def test_evidence_decides_about_the_rest(error, evidence, blame, charged, in_vain):
    """Only where the endpoint is seen to be well, an attempt is used up."""
    verdict = judged(error, evidence)
    assert (verdict.blame, verdict.charged, verdict.runs_without_progress) == (
        blame,
        charged,
        in_vain,
    )
    assert (verdict.run_event, verdict.prompt_event) == (RunEvent.INTERRUPT, PromptEvent.REQUEUE)


def test_a_refusal_is_final_when_it_is_repeated_and_uses_up_nothing_before():
    """One replica of several may be wrong; what differs in the sentence are ids and numbers."""
    first = judged(BAD_REQUEST, Evidence.WELL)
    assert (first.charged, first.prompt_event) == (False, PromptEvent.REQUEUE)
    known = {"last_code": str(first.code), "last_error": first.message}
    second = judged(BAD_REQUEST, Evidence.WELL, **known)
    assert (second.charged, second.prompt_event) == (True, PromptEvent.FAIL)
    other = Refused("HTTP 400: quite another reason", http_status=400)
    third = judged(other, Evidence.WELL, **known)
    assert (third.charged, third.prompt_event) == (True, PromptEvent.REQUEUE)


def test_a_refusal_that_was_the_endpoints_fault_does_not_count_as_the_first():
    """No answer came in between: the same door was shut both times."""
    shut = judged(BAD_REQUEST, Evidence.DOWN)
    again = judged(BAD_REQUEST, Evidence.WELL, last_code=str(shut.code), last_error=shut.message)
    assert again.prompt_event is PromptEvent.REQUEUE


@pytest.mark.parametrize("status", [401, 404, 402, 307])
def test_what_is_said_of_keys_and_places_never_fails_at_once(status):
    """It is said to everybody, or by one wrong replica: another attempt may help."""
    codes = {
        401: ErrorCode.UNAUTHORIZED,
        404: ErrorCode.NOT_FOUND,
        402: ErrorCode.QUOTA_EXHAUSTED,
        307: ErrorCode.BAD_REQUEST,
    }
    error = Refused("no", code=codes[status], http_status=status)
    known = {"last_code": str(error.code), "last_error": error.message}
    verdict = judged(error, Evidence.WELL, **known)
    assert (verdict.charged, verdict.prompt_event) == (True, PromptEvent.REQUEUE)


def test_what_could_not_even_be_written_is_final_at_once():
    """No server was asked; nothing can differ the next time."""
    verdict = judged(Refused("stream = false cannot work"), Evidence.WELL, sent=False)
    assert (verdict.charged, verdict.prompt_event) == (True, PromptEvent.FAIL)


@pytest.mark.parametrize("excuse", [{"finding": {"shares_age": True}}, {"chars": 500}])
def test_a_cut_is_excused_by_progress_and_by_an_age_that_others_share(excuse):
    """A proxy that cuts each answer after a minute, and an answer that comes nearer to its end."""
    verdict = judged(Broken("reset"), Evidence.WELL, begun=True, **excuse)
    assert (verdict.blame, verdict.charged) == (Blame.UNKNOWN, False)


def test_the_only_one_that_is_always_there_uses_up_attempts():
    """Until it is shown, its company is excused together with it."""
    verdict = judged(Broken("reset"), Evidence.DOWN, finding={"alone": True})
    assert (verdict.blame, verdict.charged) == (Blame.PROMPT, True)


def test_whoever_outlived_others_begins_its_count_anew():
    """It did not take the server down where they broke off."""
    cut = {"finding": {"outlived": True}}
    verdict = judged(Broken("reset"), Evidence.DOWN, runs_without_progress=4, **cut)
    assert verdict.runs_without_progress == 1


@pytest.mark.parametrize(
    ("error", "had_answered", "in_vain"),
    [
        (ServerFailed("502"), True, 3),
        (ServerFailed("502"), False, None),
        (WRONG_KEY, True, None),
    ],
)
def test_a_gateway_that_loses_its_server_under_a_prompt_counts(error, had_answered, in_vain):
    """The prompt may have killed it; a door that is shut already is no sign of that."""
    verdict = judged(
        error, Evidence.DOWN, finding={"had_answered": had_answered}, runs_without_progress=2
    )
    assert (verdict.runs_without_progress, verdict.charged) == (in_vain, False)


def test_without_evidence_and_progress_there_is_an_end():
    """`max_runs`; the sentence names it."""
    last = judged(Broken("reset"), max_runs=3, runs_without_progress=2)
    assert last.prompt_event is PromptEvent.FAIL
    assert last.message == "gave up after 3 runs without progress (max_runs); the last: reset"
    moving = judged(Broken("reset"), max_runs=3, runs_without_progress=2, chars=500)
    assert (moving.prompt_event, moving.runs_without_progress) == (PromptEvent.REQUEUE, 0)


def test_the_last_attempt_fails_the_prompt():
    """With the number and the last reason."""
    verdict = judged(Broken("reset"), Evidence.WELL, attempts=5, max_attempts=5)
    assert verdict.prompt_event is PromptEvent.FAIL
    assert verdict.message == "gave up after 5 attempts; the last one: reset"


def test_a_cancelled_prompt_is_cancelled():
    """Whatever else is known."""
    verdict = judged(Cancelled("cancelled by its owner"))
    assert (verdict.run_event, verdict.prompt_event) == (RunEvent.CANCEL, PromptEvent.CANCEL)


@pytest.mark.parametrize(("asked", "granted"), [(7.0, 7.0), (10**6, PAUSE_SECONDS_MAX)])
@pytest.mark.parametrize("attempt", [1, 900])
def test_a_server_that_says_how_long_is_obeyed_as_it_is(asked, granted, attempt):
    """However many runs there were before."""
    error = Busy("wait", charged=False, retry_after_seconds=asked)
    assert judged(error, attempt=attempt, chance=0.1).delay_seconds == granted


@pytest.mark.parametrize(("failures", "seconds"), [(1, 1), (2, 2), (5, 16), (99, 300)])
def test_a_pause_grows_with_the_endpoints_own_failures(failures, seconds):
    """Not with what the prompt met elsewhere before: its tenth run may be its first 503."""
    error = Busy("overloaded", charged=False)
    found = {"finding": {"failures": failures}}
    verdict = judged(error, Evidence.CROWDED, attempt=50, attempts=9, **found)
    assert verdict.delay_seconds == seconds
    assert judged(error, chance=0.5, **found).delay_seconds == seconds / 2


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 1), (3, 4), (5, 16)])
def test_a_pause_grows_with_the_attempts_that_were_used_up(attempts, seconds):
    """Exponential, with a random part."""
    verdict = judged(Broken("reset"), Evidence.WELL, attempts=attempts, max_attempts=99)
    assert verdict.delay_seconds == seconds


def test_a_prompt_that_may_kill_servers_leaves_them_to_the_others():
    """Each cut without evidence doubles its own pause."""
    waits = [
        judged(Broken("reset"), Evidence.DOWN, finding={"cut_id": 1}, runs_without_progress=n)
        for n in range(12)
    ]
    assert [each.delay_seconds for each in waits[:4]] == [1, 2, 4, 8]
    assert waits[-1].delay_seconds == IN_VAIN_TIMES * LATER_SECONDS_MAX


def test_what_this_worker_ended_goes_on_at_once():
    """A shutdown is no reason to wait."""
    assert judged(ShutDown("stop", charged=False)).delay_seconds == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("HTTP 400: bad (request req_1a2b)", "HTTP 400: bad (request req_9f8e)", True),
        ("limit 4096, you asked 5000", "limit 4096, you asked 7312", True),
        ("wrong key", "Wrong  key", True),
        ("wrong key", "no such model", False),
        (None, "wrong key", False),
        (None, None, False),
    ],
)
def test_sentences_are_compared_without_what_varies(one, other, same):
    """Ids, times and counts differ in sentences that are the same."""
    assert same_sentence(one, other) is same


def test_the_runs_without_evidence_outlast_an_outage_of_an_hour():
    """Whoever has no neighbour waits longer each time: twenty runs take more than an hour."""
    waits = [
        judged(Broken("reset"), Evidence.NONE, runs_without_progress=before, chance=0.5)
        for before in range(19)
    ]
    assert sum(each.delay_seconds for each in waits) > 3600
    assert all(each.prompt_event is PromptEvent.REQUEUE for each in waits)
