"""Every promise, checked: the tables against what the server says that it sent.

Nothing here knows the worker.  A finding is a broken promise; the experiment has to end
with none.  What each word means:

wrongly completed
    A run is `completed` although its request got no done frame, or an error came before
    it; a prompt has two completed runs, or is completed without one, or by a run that it
    does not name; the token count is not the server's.

text lost
    A completed run lacks characters that its request sent before the done frame; a run
    that ended for the server's reasons (cut, error, stall, ...) lacks characters sent before
    that; a run whose worker was killed lacks text that was older than the flush interval
    and `GRACE_SECONDS` when it died, while neither database nor worker had been disturbed
    (a process that is stopped in the middle of a write to SQLite disturbs all others);
    anything is gone that the watcher has seen; numbers of chunks have a gap; or a run does
    not hold what was counted when it ended, as if somebody had written to it later.

another prompt's text
    A run holds the answer to another prompt.


text doubled
    A run holds characters that its request did not send, or not there: the text is no
    prefix of what was sent.

stuck
    A prompt is not final although everything was drained; a run still streams; a prompt
    that was added is not there; one that was to be cancelled is queued.

attempts charged wrongly
    `prompts.attempts` is not the number of runs that count by the rules (a completed or
    cancelled run counts, and one that the server spoilt may, by what it said to others at that
    time; an outage, a 429 or 503, a shutdown, a lost lease, a forgotten commit or a crash does
    not), `prompts.crashes` not the number of runs that ended with `lease_expired` (after
    progress they may count or not), `prompts.runs` not the number of runs; a pause whose worker
    came back, or a planned stop, stands there as a crash; a prompt gave up before its attempts
    or runs were used up; a run names a cause that the server did not give it.

living worker robbed
    A run was taken for a dead worker's although its worker was neither killed nor paused nor
    without a database.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from benchmarks.chaos import plan
from benchmarks.chaos.evidence import (
    WHOLE,
    Evidence,
    got_further,
    overlaps,
    thoughts_of,
)
from benchmarks.chaos.tables import PromptRow, RunRow, Tables
from tests.fakes.connection import Served, said_by
from worker.errors import ErrorCode
from worker.run.splice import HELD_CHARS

WRONGLY_COMPLETED = "wrongly completed"
LOST = "text lost"
DOUBLED = "text doubled"
FOREIGN = "another prompt's text"
STUCK = "stuck"
CHARGED = "attempts charged wrongly"
ROBBED = "living worker robbed"
PROMISES = (WRONGLY_COMPLETED, LOST, DOUBLED, FOREIGN, STUCK, CHARGED, ROBBED)

SLACK_CHARS = 16  # white space in front is not counted
GRACE_SECONDS = 2.0  # what a busy machine of two cores may add to a flush interval
EXAMPLES = 8

NEVER_CHARGED = {
    "lease_expired",
    "lease_lost",
    "shutdown",
    "orphaned",
    "handed_back",
    "commits_forgotten",
    "endpoint_died",
    "unreachable",
    "not_continued",
    "rate_limited",
    "overloaded",
}
# What a run may blame, and the faults of the server that justify it.
CAUSES = {
    "connection_lost": {"cut", "reset", "disconnect", "reset-early", "bad-chunk", "down"},
    "no_done_frame": {"no-done", "cut"},
    "idle_timeout": {"stall", "pings", "bad-chunk"},
    "first_frame_timeout": {"silent", "stall", "pings", "bad-chunk"},
    "server_error": {"error", "error-done", "500"},
    "overloaded": {"503"},
    "rate_limited": {"429"},
    "malformed_frame": {"garbage", "bad-chunk"},
    "frame_too_large": {"huge"},
}
PATIENCE = {
    "idle_timeout": plan.IDLE_TIMEOUT_SECONDS,
    "first_frame_timeout": plan.FIRST_FRAME_TIMEOUT_SECONDS,
}
SAID_SECONDS = 1.5  # a worker that was told to stop has written so by then
MAX_RUNS = 20  # that a prompt may use up without evidence, by default
COMPANY_SECONDS = 2.5  # between the ends of runs that broke off together, as they are stored
READ_LATE_SECONDS = 30.0  # what is read may have left the server so long before
LATE_SECONDS = 1.5  # how late a busy worker may see what the server sent
BY_OUTAGE = {"connection_lost", "no_done_frame", "idle_timeout", "first_frame_timeout"}
# These faults let everything arrive that was sent before them.
GENTLE = {"cut", "no-done", "stall", "error", "error-done", "pings"}


@dataclass
class Audit:
    """What was found."""

    tables: Tables
    evidence: Evidence
    findings: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    loss_seconds: list[float] = field(default_factory=list)  # age of text lost at each kill

    def check(self) -> Audit:
        """Check everything."""
        self._nothing_missing()
        for run in self.tables.runs.values():
            self._text(run)
            self._blame(run)
            self._robbery(run)
            self._crash(run)
        for prompt in self.tables.prompts.values():
            runs = self.tables.runs_of(prompt.id)
            self._final(prompt, runs)
            self._completed(prompt, runs)
            self._charges(prompt, runs)
        return self

    @property
    def broken(self) -> int:
        """How many promises were broken, counted by case."""
        return sum(map(len, self.findings.values()))

    def _find(self, promise: str, what: str) -> None:
        self.findings[promise].append(what)

    # --- nothing is gone --------------------------------------------------------------------

    def _nothing_missing(self) -> None:
        count = len(self.tables.prompts)
        if count != self.evidence.added:
            self._find(STUCK, f"{self.evidence.added} prompts were added, {count} are there")
        for run_id, (chunks, chars) in self.evidence.seen.items():
            stored = self.tables.chunks.get(run_id, [])
            if len(stored) < chunks or sum(len(chunk.text) for chunk in stored) < chars:
                self._find(
                    LOST, f"run {run_id}: {chunks} chunks were seen, {len(stored)} are there"
                )
        for run_id in self.evidence.completed:
            if run_id not in self.tables.runs or self.tables.runs[run_id].status != "completed":
                self._find(LOST, f"run {run_id} was seen completed and is not any more")

    # --- texts ------------------------------------------------------------------------------

    def _text(self, run: RunRow) -> None:
        chunks = self.tables.chunks.get(run.id, [])
        text = self.tables.text(run.id)
        if [chunk.seq for chunk in chunks] != list(range(len(chunks))):
            self._find(LOST, f"run {run.id}: chunk numbers {[chunk.seq for chunk in chunks]}")
        if run.finished_at is not None and (run.chars, run.chunks) != (len(text), len(chunks)):
            said, stored = (run.chars, run.chunks), (len(text), len(chunks))
            self._find(LOST, f"run {run.id} ({run.error_code}) says {said}, holds {stored}")
        request = self.evidence.request_of(run, self.tables)
        if request is None:
            if text or run.status == "completed":
                self._find(WRONGLY_COMPLETED, f"run {run.id}: {run.request_id} was never served")
            return
        if request.prompt != self.tables.prompts[run.prompt_id].prompt:
            self._find(FOREIGN, f"run {run.id}: {request.request_id} is another prompt's")
            return
        self._carried(run, text)
        said = said_by(request)
        if request.carried and not text and request.chars_sent < HELD_CHARS + SLACK_CHARS:
            return  # it is looked at first whether the server goes on
        if not said.startswith(text):
            self._find(DOUBLED, f"run {run.id}: {text[-60:]!r} is not what was sent")
        if not thoughts_of(request).startswith(self.tables.text(run.id, "thinking")):
            self._find(DOUBLED, f"run {run.id}: its thinking is not what was sent")
        self._enough(run, request, text, said)

    def _carried(self, run: RunRow, text: str) -> None:
        """What a run carries over is what the earlier run had received, byte for byte."""
        if run.carried_chars and run.continues_run_id:
            source = self.tables.text(run.continues_run_id)
            if text[: run.carried_chars] != source[: run.carried_chars]:
                self._find(DOUBLED, f"run {run.id} begins otherwise than {run.continues_run_id}")

    def _enough(self, run: RunRow, request: Served, text: str, said: str) -> None:
        missing = len(said) - len(text)
        if run.status == "completed":
            whole = run.done_frame and request.done_sent and request.fault in WHOLE
            if not whole or request.prompt != self.tables.prompts[run.prompt_id].prompt:
                self._find(WRONGLY_COMPLETED, f"run {run.id}: {request.request_id} {request.fault}")
            if run.completion_tokens != request.tokens_sent:
                counts = f"{run.completion_tokens} of {request.tokens_sent} tokens"
                self._find(WRONGLY_COMPLETED, f"run {run.id}: {counts}")
            if missing > 0:
                self._find(LOST, f"run {run.id} is completed and lacks {missing} of {len(said)}")
        elif request.fault in GENTLE and (
            run.error_code == ErrorCode.ENDPOINT_DIED
            or request.fault in CAUSES.get(run.error_code or "", ())
        ):
            if missing > 0 and not self._outage_near(run):
                why = f"{run.error_code}, {request.fault}"
                self._find(LOST, f"run {run.id} ({why}) lacks {missing} of {len(said)}")
        elif run.error_code == "lease_expired":
            self._at_death(run, request, text)

    def _at_death(self, run: RunRow, request: Served, text: str) -> None:
        """At most one flush interval of text is lost when a worker falls silent."""
        pid = self.tables.pids.get(run.worker_id, 0)
        ended = run.finished_at or 0.0
        before = [harm for harm in self.evidence.harms_of(pid) if harm.began <= ended]
        if not before or self.evidence.was_put_back_under(run):
            return
        # Killed for good, or paused so long that it was taken for dead.
        silent = max(before, key=lambda harm: harm.began).began
        window = plan.FLUSH_SECONDS + GRACE_SECONDS
        others = [(h.began, h.ended) for h in before if h.began < silent]
        if overlaps([*self.evidence.database_away, *others], silent - 2 * window, silent):
            return
        if self.evidence.sent_by(request, silent) <= len(text):
            self.loss_seconds.append(0.0)
            return
        age = silent - self.evidence.sent_at(request, len(text))
        self.loss_seconds.append(age)
        if age > window:
            told = f"{len(text)} stored, {request.request_id} of {len(said_by(request))}"
            self._find(LOST, f"run {run.id}: text {age:.2f} s old was lost by a kill ({told})")

    # --- ends -------------------------------------------------------------------------------

    def _final(self, prompt: PromptRow, runs: list[RunRow]) -> None:
        if prompt.finished_at is None:
            why = f"{prompt.status}, {prompt.error_code}, {len(runs)} runs"
            self._find(STUCK, f"prompt {prompt.id} is {why}")
        for run in runs:
            if run.finished_at is None:
                self._find(STUCK, f"run {run.id} of prompt {prompt.id} ({prompt.status}) streams")
        if prompt.cancel_requested_at and prompt.status == "queued":
            self._find(STUCK, f"prompt {prompt.id} was to be cancelled and waits")

    def _completed(self, prompt: PromptRow, runs: list[RunRow]) -> None:
        completed = [run.id for run in runs if run.status == "completed"]
        if prompt.id in self.evidence.cancelled_by_hand and not completed:
            return
        expected = [prompt.run_id] if prompt.status == "completed" else []
        if completed != expected:
            state = f"{prompt.status} by {prompt.run_id}"
            self._find(WRONGLY_COMPLETED, f"prompt {prompt.id} is {state}, completed: {completed}")

    # --- attempts ---------------------------------------------------------------------------

    def _charges(self, prompt: PromptRow, runs: list[RunRow]) -> None:
        if [run.attempt for run in runs] != list(range(1, prompt.runs + 1)):
            self._find(CHARGED, f"prompt {prompt.id}: {prompt.runs} runs, {len(runs)} rows")
        by_hand = prompt.id in self.evidence.cancelled_by_hand
        counted = [run for run in runs if not (by_hand and run.id == prompt.run_id)]
        died = [run for run in counted if run.error_code == "lease_expired"]
        least = sum(self._charge(run) == (True,) for run in counted)
        most = sum(True in self._charge(run) for run in counted) + (len(runs) - len(counted))
        fewest = sum(not got_further(run, runs) for run in died)
        if not fewest <= prompt.crashes <= len(died) and not by_hand:
            told = f"{prompt.crashes} crashes, not {fewest} to {len(died)}"
            self._find(CHARGED, f"prompt {prompt.id}: {told}")
        codes = Counter(run.error_code or run.status for run in runs)
        if not least <= prompt.attempts <= most:
            told = f"{prompt.attempts} attempts, not {least} to {most}: {dict(codes)}"
            self._find(CHARGED, f"prompt {prompt.id}: {told}")
        spent = prompt.attempts >= plan.MAX_ATTEMPTS
        if "(max_runs)" in (prompt.error or ""):
            spent = prompt.runs >= MAX_RUNS
        if prompt.error_code == "too_many_crashes":
            spent = prompt.crashes >= self.evidence.max_crashes
        if prompt.status == "failed" and runs[-1].status != "failed" and not spent:
            self._find(CHARGED, f"prompt {prompt.id} gave up after {prompt.attempts}: {codes}")

    def _charge(self, run: RunRow) -> tuple[bool, ...]:
        """Whether the run counts: (True,), (False,), or both where either may be right."""
        if run.error_code in NEVER_CHARGED:
            return (False,)
        # It goes by what the server said to others at that time, which also went wrong at random.
        return (True, False) if run.error_code in CAUSES else (True,)

    def _in_company(self, run: RunRow) -> bool:
        """Whether another run of its worker broke off with it: together they may be an outage."""
        codes, ended = BY_OUTAGE | {"server_error", ErrorCode.ENDPOINT_DIED}, run.finished_at or 0.0
        return any(
            other.worker_id == run.worker_id
            and other.id != run.id
            and other.error_code in codes
            and abs((other.finished_at or 0.0) - ended) <= COMPANY_SECONDS
            for other in self.tables.runs.values()
        )

    def _met_outage(self, run: RunRow) -> bool:
        """Whether it was under way during one, by the worker's rule: what it reads may be late."""
        ended = run.finished_at or run.started_at
        since = max(run.started_at, ended - READ_LATE_SECONDS)
        return self._outage_near(run) or overlaps(self.evidence.server_outages, since, ended)

    def _outage_near(self, run: RunRow) -> bool:
        request = self.evidence.request_of(run, self.tables)
        times = [run.finished_at or run.started_at]
        if request is not None:
            times.append(self.evidence.ended_at(request))
        return overlaps(self.evidence.server_outages, min(times) - 2.0, max(times) + 1.0)

    def _blame(self, run: RunRow) -> None:
        """A run may only name a cause that the server gave it."""
        if run.error_code == ErrorCode.ENDPOINT_DIED:
            if not (self._met_outage(run) or self._in_company(run)):
                self._find(CHARGED, f"run {run.id} tells of an outage that was none")
            return
        causes = CAUSES.get(run.error_code or "")
        if causes is None:
            return
        request = self.evidence.request_of(run, self.tables)
        if run.error_code in BY_OUTAGE and self._outage_near(run):
            return
        if run.error_code in PATIENCE and self._silent(run, request):
            return
        if request is None or request.fault not in causes:
            fault = request.fault if request else "no request"
            self._find(CHARGED, f"run {run.id}: {run.error_code} ({run.error}) for {fault}")

    def _silent(self, run: RunRow, request: Served | None) -> bool:
        """Whether the server really said nothing for so long, though nobody told it to.

        It runs on the same busy machine, and may not even get round to accepting.
        """
        if request is None:
            return run.error_code == "first_frame_timeout"
        times = [run.started_at - self.evidence.offset, request.asked_at]
        times += [*(at for at, _ in request.progress), request.ended_at or 0.0]
        longest = max(after - before for before, after in pairwise(times))
        return longest > PATIENCE[run.error_code or ""] - LATE_SECONDS

    def _crash(self, run: RunRow) -> None:
        """A pause whose worker came back in time, and a planned stop, are no crashes."""
        if run.error_code != "lease_expired" or run.finished_at is None:
            return
        ended, near = run.finished_at, 2 * plan.LEASE_SECONDS
        final_at = self.tables.prompts[run.prompt_id].finished_at or float("inf")
        if overlaps(self.evidence.database_away, ended - near, ended + near):
            return
        harms = self.evidence.harms_of(self.tables.pids.get(run.worker_id, 0))
        kills = [harm.began for harm in harms if harm.kind == "kill"]
        for harm in harms:
            back_by = harm.ended + near
            was_paused = harm.kind == "pause" and harm.began <= ended <= harm.ended
            stayed = not any(harm.began <= at <= back_by for at in kills)
            if was_paused and stayed and final_at > back_by:
                self._find(CHARGED, f"run {run.id}: a pause counts as a crash")
            was_told = harm.kind == "term" and run.started_at < harm.began
            if was_told and any(harm.began + SAID_SECONDS <= at <= ended for at in kills):
                self._find(CHARGED, f"run {run.id}: a planned stop counts as a crash")

    def _robbery(self, run: RunRow) -> None:
        if run.error_code != "lease_expired" or run.finished_at is None:
            return
        pid = self.tables.pids.get(run.worker_id, 0)
        harms = self.evidence.harms_of(pid)
        if any(harm.kind == "kill" and harm.began <= run.finished_at for harm in harms):
            return
        harmed = [(harm.began, harm.ended) for harm in harms]
        since = run.finished_at - 3 * plan.LEASE_SECONDS
        if not overlaps([*harmed, *self.evidence.database_away], since, run.finished_at):
            self._find(ROBBED, f"run {run.id} of worker {run.worker_id}, pid {pid}")
