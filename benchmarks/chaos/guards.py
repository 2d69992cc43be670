"""The guards that durability stands on, how each is taken away, and the test that notices.

`benchmarks/mutants.py` takes them away one at a time; `docs/durability.md` lists them for people.
"""

from __future__ import annotations

from benchmarks.chaos.guard import Mutant
from benchmarks.chaos.lease_guards import LEASES

COMMITS = "worker/store/commits.py"
RESCUE = "worker/store/rescue.py"
CLAIMS = "worker/store/claims.py"
SIDE = "worker/store/worker_side.py"
FENCE = "tests/store/test_fence.py"
RACE = f"{FENCE}::TestRace"

_HELD = """            among(runs.c.id, "ids"),
            runs.c.worker_id == bindparam("worker", type_=String()),
            standing(runs.c.status, STREAMING),
            *_carried(),
        )
        .order_by(runs.c.id)
"""
_NO_FENCE = """            among(runs.c.id, "ids"),
            bindparam("worker", type_=String()) != "",
        )
        .order_by(runs.c.id)
"""

MUTANTS = (
    *LEASES,
    Mutant(
        "The fence as a whole: whoever has the number of a run may write to it",
        COMMITS,
        _HELD,
        _NO_FENCE,
        "tests/crash/test_zombie.py::test_a_zombie_writes_nothing[sqlite-goes-on]",
    ),
    Mutant(
        "The fence asks whether the run is still streaming",
        COMMITS,
        _HELD,
        _HELD.replace("            standing(runs.c.status, STREAMING),\n", ""),
        f"{RACE}::test_a_commit_that_waited_for_a_rescue_finds_the_run_gone",
    ),
    Mutant(
        "The fence asks whether the run is this worker's",
        COMMITS,
        _HELD,
        _HELD.replace("runs.c.worker_id == bindparam", "runs.c.worker_id != bindparam"),
        f"{FENCE}::test_nobody_writes_to_the_run_of_another",
    ),
    Mutant(
        "The fence asks whether the prompt is still carried by this run",
        COMMITS,
        "        prompts.c.run_id == runs.c.id,\n        standing(prompts.c.status, CARRIED),\n",
        "        standing(prompts.c.status, CARRIED),\n",
        f"{FENCE}::TestChangedByHand::test_queued_again_by_hand",
    ),
    Mutant(
        "The fence asks whether the prompt is still running",
        COMMITS,
        "        prompts.c.run_id == runs.c.id,\n        standing(prompts.c.status, CARRIED),\n",
        "        prompts.c.run_id == runs.c.id,\n",
        f"{FENCE}::TestChangedByHand::test_cancelled_by_hand",
    ),
    Mutant(
        "A flush locks its runs against a rescue (FOR SHARE)",
        COMMITS,
        "    return statement.with_for_update(of=runs, read=True)",
        "    return statement",
        f"{RACE}::test_a_flush_under_way_keeps_the_rescue_off",
    ),
    Mutant(
        "An ending locks its run and its prompt",
        COMMITS,
        "        return statement.with_for_update(of=[runs, prompts], key_share=True)",
        "        return statement",
        f"{RACE}::test_a_flush_under_way_keeps_the_rescue_off",
    ),
    Mutant(
        "A chunk that is there already is left alone (SQLite)",
        COMMITS,
        "return rows.on_conflict_do_nothing(index_elements=key)",
        "return rows",
        "tests/store/test_commits.py::TestSentAgain::test_chunks_that_were_stored_are_not_doubled",
    ),
    Mutant(
        "A chunk that is there already is left alone (PostgreSQL)",
        COMMITS,
        "select(*given.values()).where(~there), False)",
        "select(*given.values()), False)",
        "tests/store/test_commits.py::TestSentAgain::test_chunks_that_were_stored_are_not_doubled",
    ),
    Mutant(
        "A chunk that is there with another text is an error",
        SIDE,
        "            if text != texts[seq]:",
        "            if text is None:",
        "tests/store/test_commits.py::TestSentAgain"
        "::test_another_text_under_the_same_number_is_an_error_not_a_silent_loss",
    ),
    Mutant(
        "The last words and the ending are one transaction",
        SIDE,
        "            self._insert(connection, [chunk for chunk in chunks if chunk.run_id in live])",
        "        with self._work_db.writing() as connection:\n"
        "            self._insert(connection, [chunk for chunk in chunks if chunk.run_id in live])",
        "tests/crash/test_kill.py"
        "::test_a_worker_killed_at_any_step_loses_no_prompt_and_no_flushed_word"
        "[sqlite-between end and words]",
    ),
    Mutant(
        "A stream that ends without its done frame is no completion",
        "worker/pipeline.py",
        "events = decoder.close() if data is None else decoder.feed(data)  # decode",
        'events = [Done("stop")] if data is None else decoder.feed(data)  # decode',
        "tests/test_pipeline.py::test_a_clean_end_without_a_done_frame_is_no_completion",
    ),
    Mutant(
        "The store refuses a completion without a done frame",
        SIDE,
        "        if end.run_event is RunEvent.COMPLETE and not end.done_frame",
        "        if end.run_event is RunEvent.CANCEL and not end.done_frame",
        "tests/store/test_commits.py::test_only_a_done_frame_completes",
    ),
    Mutant(
        "A claim asks whether the worker has a lease",
        CLAIMS,
        "        .where(*_ready(), leased(worker), _apart(worker))",
        "        .where(*_ready(), _apart(worker))",
        "tests/store/test_claims.py::test_without_a_lease_nothing_is_claimed",
    ),
    Mutant(
        "A claim passes over what another claim has in its hands (SKIP LOCKED)",
        CLAIMS,
        "        .with_for_update(key_share=True, skip_locked=True)\n    )\n    columns",
        "        .with_for_update(key_share=True)\n    )\n    columns",
        "tests/store/test_claims.py::test_a_prompt_that_somebody_else_locks_is_passed_over",
    ),
    Mutant(
        "The attempt is counted in the claim",
        CLAIMS,
        "            attempts=prompts.c.attempts + 1,",
        "            attempts=prompts.c.attempts,",
        "tests/store/test_claims.py::test_the_attempt_is_counted_in_the_claim",
    ),
    Mutant(
        "A write to SQLite begins with the lock (BEGIN IMMEDIATE)",
        "worker/store/engine.py",
        '_BEGIN_WRITING = "BEGIN IMMEDIATE"',
        '_BEGIN_WRITING = "BEGIN"',
        "tests/store/test_engine.py::TestSqlite::test_a_write_takes_the_lock_at_once",
    ),
    Mutant(
        "No worker is given two suspects",
        CLAIMS,
        "    return (prompts.c.crashes < suspect_from) | (first & carries_none)",
        "    return (prompts.c.crashes < suspect_from) | first | ~first",
        "tests/store/test_suspects.py::test_only_the_guilty_one_is_failed",
    ),
    Mutant(
        "A rescue takes only from workers without a lease",
        RESCUE,
        "            ~leased(runs.c.worker_id),\n            runs.c.worker_id != bindparam",
        "            runs.c.worker_id != bindparam",
        "tests/store/test_rescue.py::test_runs_of_the_living_do_not_hide_orphans",
    ),
    Mutant(
        "A rescue asks for the lease once more in the UPDATE itself",
        RESCUE,
        "            standing(runs.c.status, STREAMING),\n"
        "            ~leased(runs.c.worker_id),\n        )\n        .values(",
        "            standing(runs.c.status, STREAMING),\n        )\n        .values(",
        "tests/store/test_rescue.py::test_a_lease_that_is_renewed_in_between_counts",
    ),
    Mutant(
        "A rescue moves only a prompt that the dead run carries",
        RESCUE,
        '            among(prompts.c.run_id, "ids"),\n',
        "",
        "tests/store/test_rescue.py"
        "::test_the_orphan_of_a_prompt_that_another_run_carries_is_only_ended",
    ),
    Mutant(
        "A rescue leaves alone what somebody has changed by hand",
        RESCUE,
        '            among(prompts.c.id, "prompt_ids"),\n'
        "            standing(prompts.c.status, CARRIED),\n",
        '            among(prompts.c.id, "prompt_ids"),\n',
        "tests/store/test_rescue.py::test_a_prompt_that_was_changed_by_hand_keeps_its_change",
    ),
    Mutant(
        "A crash charges no attempt",
        RESCUE,
        "            attempts=less(prompts.c.attempts, 1),",
        "            attempts=prompts.c.attempts,",
        "tests/store/test_rescue.py::test_crashes_and_attempts_are_counted_apart",
    ),
    Mutant(
        "What its owner gave up is not queued again",
        COMMITS,
        "    unwanted = queued & prompts.c.cancel_requested_at.is_not(None)",
        "    unwanted = queued & prompts.c.cancel_requested_at.is_(None)",
        "tests/store/test_commits.py::test_a_prompt_that_its_owner_gave_up_is_not_queued_again",
    ),
    Mutant(
        "A run has one flush under way, so that its text keeps its order",
        "worker/committer.py",
        "        if self._flight is None and (self.buffer.due(at=at) or self.buffer.full):",
        "        if self.buffer.due(at=at) or self.buffer.full:",
        "tests/test_committer.py::test_a_run_has_at_most_one_flush_under_way",
    ),
    Mutant(
        "A flush that failed is sent again before anything newer",
        "worker/committer.py",
        "        self._unstored += self.buffer.take()",
        "        self._unstored = self.buffer.take()",
        "tests/test_committer.py::test_a_failed_flush_goes_first_into_the_next",
    ),
    Mutant(
        "One text that cannot be stored takes no other with it",
        "worker/committer.py",
        "        if error.verdict is not Verdict.RETRY_HERE and len(group) > 1:",
        "        if error.verdict is Verdict.YIELD and len(group) > 1:",
        "tests/test_committer.py::test_one_item_that_cannot_be_stored_takes_no_other_with_it",
    ),
    Mutant(
        "A worker hands back rows that it owns without carrying them",
        "worker/rescue.py",
        "        if not orphans:",
        "        if orphans:",
        "tests/test_loop.py::test_a_claim_whose_answer_was_lost_is_handed_back",
    ),
    Mutant(
        "A worker lets go of what is not its own any more, though it is silent",
        "worker/rescue.py",
        "if run_id not in owned or run_id in strays",
        "if run_id in owned and run_id in strays",
        "tests/test_loop_on_store.py"
        "::test_a_prompt_that_somebody_takes_away_closes_a_stream_that_is_silent",
    ),
    Mutant(
        "An outage of the endpoint charges nobody",
        "worker/finish.py",
        "    return await control.is_outage(counted=counted)",
        "    return False",
        "tests/test_loop_on_store.py::test_an_outage_of_the_endpoint_uses_up_nothing",
    ),
    Mutant(
        "An outage is remembered for the runs that it met",
        "worker/outage.py",
        "            return (doubt.done() or asking.result()) and since > self._out_at\n",
        "            return doubt.done() or asking.result()\n",
        "tests/test_outage.py::test_an_outage_that_is_noticed_while_we_ask_counts",
    ),
    Mutant(
        "An outage that a stream has outlived is no excuse",
        "worker/carriers.py",
        "since=max(began_at, (heard_at or 0.0) - READ_LATE_SECONDS)",
        "since=began_at",
        "tests/test_carriers.py::test_an_outage_that_a_stream_has_outlived_is_no_excuse",
    ),
    Mutant(
        "A prompt under which the endpoint goes down each time is not tried for ever",
        "worker/finish.py",
        "    told.charged = run.deaths >= DEATHS_FORGIVEN\n",
        "",
        "tests/test_loop_on_store.py"
        "::test_a_prompt_that_takes_the_endpoint_down_each_time_is_given_up",
    ),
    Mutant(
        "An endpoint that goes down under a long answer is not held against it",
        "worker/finish.py",
        "down_at - begun_at <= YOUNG_SECONDS",
        "down_at >= begun_at",
        "tests/test_pipeline.py::test_only_what_went_down_under_a_young_answer_counts",
    ),
    Mutant(
        "Whoever breaks off together with most others is not charged",
        "worker/outage.py",
        "        return not self._breaks.most_of(under_way, at=failed_at, counted=counted)\n",
        "        return True\n",
        "tests/test_carriers.py::test_streams_that_break_off_together_are_nobodys_fault",
    ),
    Mutant(
        "Streams that are cut for their age do not excuse each other",
        "worker/outage.py",
        " or oldest - youngest > AGES_APART_SECONDS\n",
        " or oldest >= youngest\n",
        "tests/test_carriers.py::test_streams_that_break_off_together_are_nobodys_fault",
    ),
    Mutant(
        "Who was turned away often, or lost long answers, has killed no server",
        "worker/store/claims.py",
        """        literal_column("earlier.error_code") == literal_column(f"'{ErrorCode.ENDPOINT_DIED}'"),
""",
        "",
        "tests/test_loop_on_store.py"
        "::test_only_the_deaths_of_the_endpoint_are_held_against_a_prompt",
    ),
    Mutant(
        "Whoever is refused where everybody is refused is not failed",
        "worker/finish.py",
        "not answer.begun and control.turned_away(error)",
        "control.turned_away(error) and answer.begun",
        "tests/test_carriers.py::test_a_key_that_expired_at_night_does_not_fail_the_whole_queue",
    ),
    Mutant(
        "A thread for which the database answers does not speak for the others",
        "worker/committer.py",
        "        if thread not in self._waiting:\n"
        "            return\n"
        "        with self._lock:\n"
        "            self._waiting.discard(thread)\n",
        "        if not self._waiting:\n"
        "            return\n"
        "        with self._lock:\n"
        "            self._waiting.clear()\n",
        "tests/test_loop.py::test_a_full_disk_is_told_once_though_what_only_reads_goes_through",
    ),
    Mutant(
        "A stumble of the database at the end is not the end",
        "worker/loop.py",
        "self._in_store(self._leave, give_up=enough)",
        "self._in_store(self._leave)",
        "tests/test_loop.py::test_a_stumble_of_the_database_at_the_end_leaves_no_row_behind",
    ),
    Mutant(
        "A shutdown charges nobody",
        "worker/loop.py",
        'ShutDown("handed back: the worker was told to stop", charged=False)',
        'ShutDown("handed back: the worker was told to stop")',
        "tests/crash/test_signals.py"
        "::test_a_signal_in_the_middle_of_a_stream_flushes_and_hands_back",
    ),
    Mutant(
        "Time that this process slept is not the server's silence",
        "worker/deadlines.py",
        "    return wait_seconds is not None and took_seconds > wait_seconds + OVERSLEPT_SECONDS",
        "    return False",
        "tests/test_deadlines.py::test_a_process_that_slept_gives_the_server_its_time_again",
    ),
)
