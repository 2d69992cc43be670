"""The guards that durability stands on, how each is taken away, and the test that notices.

`benchmarks/mutants.py` takes them away one at a time; `docs/durability.md` lists them for people.
"""

from __future__ import annotations

from benchmarks.chaos.fence_guards import FENCE, FENCE_MUTANTS, FENCED, NO_FENCE, OWN, RACE
from benchmarks.chaos.guard import Mutant
from benchmarks.chaos.lease_guards import LEASES
from benchmarks.chaos.splice_guards import SPLICES

COMMITS = "worker/store/statements/commit.py"
RESCUE = "worker/store/statements/rescue.py"
CLAIMS = "worker/store/statements/claim.py"
SIDE = "worker/store/worker_store.py"

_CARRIED = "        prompts.c.run_id == runs.c.id,\n        in_states(prompts.c.status, CARRIED),\n"

MUTANTS = (
    *LEASES,
    *SPLICES,
    Mutant(
        "The fence as a whole: whoever has the number of a run may write to it",
        FENCED,
        OWN,
        NO_FENCE,
        "tests/crash/test_zombie.py::test_a_zombie_writes_nothing[sqlite-goes-on]",
    ),
    Mutant(
        "The fence asks whether the run is still streaming",
        FENCED,
        OWN,
        OWN.replace("in_states(runs.c.status, STREAMING).is_(true())", "true()"),
        f"{RACE}::test_a_commit_that_met_a_rescue_finds_the_run_gone",
    ),
    Mutant(
        "The fence asks whether the run is this worker's",
        FENCED,
        OWN,
        OWN.replace("runs.c.worker_id == bindparam", "runs.c.worker_id != bindparam"),
        f"{FENCE}::test_nobody_writes_to_the_run_of_another",
    ),
    Mutant(
        "The fence asks whether the prompt is still carried by this run",
        FENCED,
        _CARRIED,
        "        in_states(prompts.c.status, CARRIED),\n",
        f"{FENCE}::TestChangedByHand::test_queued_again_by_hand",
    ),
    Mutant(
        "The fence asks whether the prompt is still running",
        FENCED,
        _CARRIED,
        "        prompts.c.run_id == runs.c.id,\n",
        f"{FENCE}::TestChangedByHand::test_cancelled_by_hand",
    ),
    Mutant(
        "A flush locks its runs against a rescue (FOR SHARE)",
        FENCED,
        "        .with_for_update(of=runs, read=True, skip_locked=True)\n",
        "",
        f"{RACE}::test_a_flush_under_way_keeps_the_rescue_off",
    ),
    Mutant(
        "An ending locks its run and its prompt",
        COMMITS,
        "        .with_for_update(of=[runs, prompts], key_share=True, skip_locked=True)\n",
        "",
        f"{RACE}::test_an_ending_that_met_a_cancellation_by_hand_gives_way",
    ),
    *FENCE_MUTANTS,
    Mutant(
        "A chunk that is there already is left alone (SQLite)",
        COMMITS,
        "(bound(CHUNK)))\n        return rows.on_conflict_do_nothing(index_elements=key)",
        "(bound(CHUNK)))\n        return rows",
        "tests/store/statements/test_commit.py::TestSentAgain::test_chunks_that_were_stored_are_not_doubled",
    ),
    Mutant(
        "A chunk that is there already is left alone (PostgreSQL)",
        COMMITS,
        "select(*given.values()).where(~there), False)",
        "select(*given.values()), False)",
        "tests/store/statements/test_commit.py::TestSentAgain::test_chunks_that_were_stored_are_not_doubled",
    ),
    Mutant(
        "A chunk that is there with another text is an error",
        SIDE,
        "            if text != texts[seq]:",
        "            if text is None:",
        "tests/store/statements/test_commit.py::TestSentAgain"
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
        "worker/run/pipeline.py",
        "events = decoder.close() if data is None else decoder.feed(data)  # decode",
        'events = [Done("stop")] if data is None else decoder.feed(data)  # decode',
        "tests/run/test_pipeline.py::test_a_clean_end_without_a_done_frame_is_no_completion",
    ),
    Mutant(
        "The store refuses a completion without a done frame",
        "worker/store/ending_rows.py",
        "        if end.run_event is RunEvent.COMPLETE and not end.done_frame",
        "        if end.run_event is RunEvent.CANCEL and not end.done_frame",
        "tests/store/statements/test_commit.py::test_only_a_done_frame_completes",
    ),
    Mutant(
        "A claim asks whether the worker has a lease",
        CLAIMS,
        "        .where(leased(worker), suspects.apart(worker)",
        "        .where(suspects.apart(worker)",
        "tests/store/statements/test_claim.py::test_without_a_lease_nothing_is_claimed",
    ),
    Mutant(
        "A claim passes over what another claim has in its hands (SKIP LOCKED)",
        CLAIMS,
        "        .with_for_update(key_share=True, skip_locked=True)\n    )\n    columns",
        "        .with_for_update(key_share=True)\n    )\n    columns",
        "tests/store/statements/test_claim.py::test_a_prompt_that_somebody_else_locks_is_passed_over",
    ),
    Mutant(
        "The attempt is counted in the claim",
        CLAIMS,
        "            attempts=_one_more(prompts.c.attempts),",
        "            attempts=prompts.c.attempts,",
        "tests/store/statements/test_claim.py::test_the_attempt_is_counted_in_the_claim",
    ),
    Mutant(
        "A write to SQLite begins with the lock (BEGIN IMMEDIATE)",
        "worker/store/database/engine.py",
        '_BEGIN_WRITING = "BEGIN IMMEDIATE"',
        '_BEGIN_WRITING = "BEGIN"',
        "tests/store/database/test_engine.py::TestSqlite::test_a_write_takes_the_lock_at_once",
    ),
    Mutant(
        "No worker is given two suspects",
        "worker/store/statements/suspects.py",
        "    return (prompts.c.crashes < suspect_from) | (first & carries_none)",
        "    return (prompts.c.crashes < suspect_from) | first | ~first",
        "tests/store/statements/test_suspects.py::test_only_the_guilty_one_is_failed",
    ),
    Mutant(
        "A rescue takes only from workers without a lease",
        RESCUE,
        "            ~leased(runs.c.worker_id),\n            runs.c.worker_id != bindparam",
        "            runs.c.worker_id != bindparam",
        "tests/store/statements/test_rescue.py::test_runs_of_the_living_do_not_hide_orphans",
    ),
    Mutant(
        "A rescue asks for the lease once more in the UPDATE itself",
        RESCUE,
        "            in_states(runs.c.status, STREAMING),\n"
        "            ~leased(runs.c.worker_id),\n        )\n        .values(",
        "            in_states(runs.c.status, STREAMING),\n        )\n        .values(",
        "tests/store/statements/test_rescue.py::test_a_lease_that_is_renewed_in_between_counts",
    ),
    Mutant(
        "A rescue moves only a prompt that the dead run carries",
        RESCUE,
        '            in_list(prompts.c.run_id, "ids"),\n',
        "",
        "tests/store/statements/test_rescue.py"
        "::test_the_orphan_of_a_prompt_that_another_run_carries_is_only_ended",
    ),
    Mutant(
        "A rescue leaves alone what somebody has changed by hand",
        RESCUE,
        '            in_list(prompts.c.id, "prompt_ids"),\n'
        "            in_states(prompts.c.status, CARRIED),\n",
        '            in_list(prompts.c.id, "prompt_ids"),\n',
        "tests/store/statements/test_rescue.py::test_a_prompt_that_was_changed_by_hand_keeps_its_change",
    ),
    Mutant(
        "A crash charges no attempt",
        RESCUE,
        "            attempts=less(prompts.c.attempts, 1),",
        "            attempts=prompts.c.attempts,",
        "tests/store/statements/test_rescue.py::test_crashes_and_attempts_are_counted_apart",
    ),
    Mutant(
        "What its owner gave up is not queued again",
        COMMITS,
        "    unwanted = queued & prompts.c.cancel_requested_at.is_not(None)",
        "    unwanted = queued & prompts.c.cancel_requested_at.is_(None)",
        "tests/store/statements/test_commit.py::test_a_prompt_that_its_owner_gave_up_is_not_queued_again",
    ),
    Mutant(
        "A run has one flush under way, so that its text keeps its order",
        "worker/run/writer.py",
        "        if self._flight is None and (self.buffer.due(at=at) or self.buffer.full):",
        "        if self.buffer.due(at=at) or self.buffer.full:",
        "tests/run/test_writer.py::test_a_run_has_at_most_one_flush_under_way",
    ),
    Mutant(
        "A flush that failed is sent again before anything newer",
        "worker/run/writer.py",
        "        self._unstored += taken",
        "        self._unstored = taken",
        "tests/run/test_writer.py::test_a_failed_flush_goes_first_into_the_next",
    ),
    Mutant(
        "One text that cannot be stored takes no other with it",
        "worker/supervisor/committer.py",
        "        if error.verdict is not Verdict.RETRY_HERE and len(group) > 1:",
        "        if error.verdict is Verdict.YIELD and len(group) > 1:",
        "tests/supervisor/test_committer.py::test_one_item_that_cannot_be_stored_takes_no_other_with_it",
    ),
    Mutant(
        "A worker hands back rows that it owns without carrying them",
        "worker/supervisor/rescue.py",
        "        if not orphans:",
        "        if orphans:",
        "tests/supervisor/test_worker.py::test_a_claim_whose_answer_was_lost_is_handed_back",
    ),
    Mutant(
        "A worker lets go of what is not its own any more, though it is silent",
        "worker/supervisor/rescue.py",
        "            if not _is(owned.get(run_id), nonce) or run_id in strays\n",
        "            if not _is(owned.get(run_id), nonce)\n",
        "tests/test_loop_on_store.py"
        "::test_a_prompt_that_somebody_takes_away_closes_a_stream_that_is_silent",
    ),
    Mutant(
        "Where the canary is refused as well, the endpoint is to blame",
        "worker/run/attribution.py",
        "    if finding.evidence in (Evidence.DOWN, Evidence.CROWDED):\n",
        "    if finding.evidence is Evidence.CROWDED:\n",
        "tests/test_loop_on_store.py::test_an_outage_of_the_endpoint_uses_up_nothing",
    ),
    Mutant(
        "A canary that was never answered counts only in the words of the run",
        "worker/endpoints/canaries.py",
        "        return model in self.answered or says_the_same(reply.error, error)\n",
        "        return True\n",
        "tests/endpoints/test_monitor.py"
        "::test_a_canary_that_was_never_answered_counts_only_if_it_is_refused_in_the_same_words",
    ),
    Mutant(
        "A stream that began before is no answer to a refusal",
        "worker/endpoints/monitor.py",
        "        return self._alive_at.get(control.run.model, -inf) > since\n",
        "        return self._answered_at > -inf\n",
        "tests/endpoints/test_monitor.py"
        "::test_a_stream_that_began_before_the_key_expired_is_no_answer",
    ),
    Mutant(
        "Those that break off together use up no attempt",
        "worker/endpoints/runs.py",
        "            if cut.is_company:\n                return Evidence.DOWN\n",
        "",
        "tests/endpoints/test_monitor.py"
        "::test_those_that_break_off_together_while_another_goes_on_excuse_each_other",
    ),
    Mutant(
        "A frame that came at once is no sign that a neighbour went on",
        "worker/endpoints/cuts.py",
        "WENT_ON_SECONDS = 1.0",
        "WENT_ON_SECONDS = 0.0",
        "tests/endpoints/test_monitor.py"
        "::test_a_neighbour_that_went_on_shows_that_the_endpoint_was_well",
    ),
    Mutant(
        "A cut is excused by progress and by an age that others share",
        "worker/run/attribution.py",
        "        excused = finding.shares_age or _progressed(facts)\n",
        "        excused = False\n",
        "tests/run/test_attribution.py"
        "::test_a_cut_is_excused_by_progress_and_by_an_age_that_others_share",
    ),
    Mutant(
        "Words that an answer has disproved use up no attempt",
        "worker/run/attribution.py",
        "        excused = finding.disproved\n",
        "        excused = False\n",
        "tests/run/test_attribution.py::test_words_that_an_answer_has_disproved_use_up_no_attempt",
    ),
    Mutant(
        "The answer of a prompt disproves what it was refused with",
        "worker/endpoints/monitor.py",
        "        self._refusals.answered(control.run.prompt_id)\n",
        "",
        "tests/endpoints/test_monitor.py"
        "::test_what_a_prompt_was_refused_with_is_disproved_by_its_answer",
    ),
    Mutant(
        "Without evidence and progress there is an end",
        "worker/run/attribution.py",
        "in_vain >= facts.max_runs",
        "in_vain >= 10**6",
        "tests/test_loop_on_store.py"
        "::test_a_prompt_that_takes_the_endpoint_down_each_time_is_given_up",
    ),
    Mutant(
        "Rate limits and missing connections are not held against a prompt",
        "worker/run/attribution.py",
        "    elif facts.failure.nature is not Nature.EVENT:\n        fell_with_it = False\n",
        "",
        "tests/test_loop_on_store.py"
        "::test_only_runs_without_evidence_and_progress_are_held_against_a_prompt",
    ),
    Mutant(
        "A refusal is final only the second time",
        "worker/run/attribution.py",
        "    return _refuses_request(facts) and facts.failure.sent and is_new\n",
        "    return False\n",
        "tests/run/test_attribution.py"
        "::test_a_refusal_is_final_when_it_is_repeated_and_uses_up_nothing_before",
    ),
    Mutant(
        "A shut door is known at the next start",
        "worker/endpoints/telling.py",
        "        monitor.open(refusal, refuses=True)\n",
        "        pass\n",
        "tests/supervisor/test_worker.py::test_five_starts_at_a_shut_door_spend_prompts_once",
    ),
    Mutant(
        "Suspects go on by halves",
        "worker/endpoints/cuts.py",
        "            self._most_suspects = min(self._most_suspects, cut.suspects // 2)\n",
        "            pass\n",
        "tests/endpoints/test_cuts.py::test_suspects_go_on_by_halves",
    ),
    Mutant(
        "A claim takes no more suspects than the worker asks for",
        "worker/store/statements/claim.py",
        "suspects.apart(worker), suspects.few(), *without",
        "suspects.apart(worker), *without",
        "tests/store/statements/test_suspects.py::test_a_claim_takes_no_more_suspects_than_it_is_asked_for",
    ),
    Mutant(
        "A thread for which the database answers does not speak for the others",
        "worker/supervisor/availability.py",
        "        if thread not in self._waiting:\n"
        "            return\n"
        "        with self._lock:\n"
        "            self._waiting.discard(thread)\n",
        "        if not self._waiting:\n"
        "            return\n"
        "        with self._lock:\n"
        "            self._waiting.clear()\n",
        "tests/supervisor/test_worker.py::test_a_full_disk_is_told_once_though_what_only_reads_goes_through",
    ),
    Mutant(
        "A stumble of the database at the end is not the end",
        "worker/supervisor/worker.py",
        "self._in_store(self._leave, give_up=enough)",
        "self._in_store(self._leave)",
        "tests/supervisor/test_worker.py::test_a_stumble_of_the_database_at_the_end_leaves_no_row_behind",
    ),
    Mutant(
        "A shutdown charges nobody",
        "worker/supervisor/worker.py",
        'ShutDown("handed back: the worker was told to stop", charged=False)',
        'ShutDown("handed back: the worker was told to stop")',
        "tests/crash/test_signals.py"
        "::test_a_signal_in_the_middle_of_a_stream_flushes_and_hands_back",
    ),
    Mutant(
        "Time that this process slept is not the server's silence",
        "worker/clock.py",
        "    return wait_seconds is not None and took_seconds > wait_seconds + OVERSLEPT_SECONDS",
        "    return False",
        "tests/run/test_deadlines.py::test_a_process_that_slept_gives_the_server_its_time_again",
    ),
)
