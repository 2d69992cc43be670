"""The guards of leases and rescues; `guards.py` has the others."""

from __future__ import annotations

from benchmarks.chaos.guard import Mutant

RESCUE = "worker/store/statements/rescue.py"
SIDE = "worker/store/worker_store.py"

LEASES = (
    Mutant(
        "The lease counts from when its renewal was sent",
        "worker/supervisor/lease.py",
        "            self._sent_at = sent_at\n",
        "            self._sent_at = sent_at + 1.0\n",
        "tests/supervisor/test_lease.py::test_it_counts_from_when_the_renewal_was_sent",
    ),
    Mutant(
        "An event loop that does not turn for a lease loses it",
        "worker/supervisor/lease.py",
        "        if self._still_seconds > max(self.lease.lease_seconds, STILL_SECONDS_MIN):\n",
        "        if self._still_seconds < 0:\n",
        "tests/supervisor/test_lease.py"
        "::test_an_event_loop_that_does_not_turn_for_a_lease_loses_it_and_a_busy_one_does_not",
    ),
    Mutant(
        "A lapse of the lease destroys no stream",
        "worker/supervisor/worker.py",
        "        self._must_ask = True\n",
        '        self._carriers.stop(LeaseLost("the lease was over"))\n',
        "tests/supervisor/test_worker.py::test_a_lapse_pauses_the_claims_and_destroys_no_stream",
    ),
    Mutant(
        "After a lapse a worker asks which runs are still its own",
        "worker/supervisor/worker.py",
        "        self._must_ask = True\n",
        "",
        "tests/supervisor/test_worker.py"
        "::test_after_a_lapse_it_asks_what_is_still_its_own_and_gives_up_the_others",
    ),
    Mutant(
        "The first sweep of a process is never fair",
        "worker/supervisor/rescue.py",
        "        if is_first or passed",
        "        if passed",
        "tests/supervisor/test_rescue.py::test_the_first_sweep_of_a_process_is_never_fair",
    ),
    Mutant(
        "A worker whose process is gone from this host is not waited for",
        "worker/supervisor/rescue.py",
        "                dead=dead,\n",
        "                dead=(),\n",
        "tests/crash/test_leases.py"
        "::test_a_worker_that_was_killed_on_this_host_is_not_waited_for[sqlite]",
    ),
    Mutant(
        "Nobody judges a process of another machine or container",
        "worker/supervisor/process_identity.py",
        "    if any(mine[name] != theirs.get(name) for name in",
        "    if all(mine[name] != theirs.get(name) for name in",
        "tests/supervisor/test_process_identity.py::test_nobody_judges_a_process_of_another_machine_or_container",
    ),
    Mutant(
        "What is killed after it was told to stop is no crash",
        RESCUE,
        "left_at.scalar_subquery().is_not(None)",
        "left_at.scalar_subquery().is_(None)",
        "tests/store/statements/test_workers.py::test_what_is_killed_after_it_was_told_to_stop_is_no_crash",
    ),
    Mutant(
        "A worker that was told to stop says so first",
        "worker/supervisor/worker.py",
        "            self._probes.add(asyncio.create_task(self._say_leaving()))\n",
        "",
        "tests/supervisor/test_worker.py::test_a_worker_that_was_told_to_stop_says_so_first",
    ),
    Mutant(
        "A worker that was signed off by hand recovers",
        "worker/store/statements/claim.py",
        ', "stopped_at": null()}',
        "}",
        "tests/store/statements/test_workers.py::test_a_worker_that_somebody_signed_off_by_hand_recovers",
    ),
    Mutant(
        "An SQLite file that was replaced is noticed",
        "worker/store/database/engine.py",
        "                    self._file.check()\n",
        "                    pass\n",
        "tests/store/database/test_sqlite_file.py"
        "::test_a_file_that_is_another_one_now_is_noticed_by_every_transaction",
    ),
    Mutant(
        "A session that turned read-only is thrown away",
        "worker/store/database/engine.py",
        "if isinstance(error, StaleSession) or",
        "if",
        "tests/store/database/test_sessions.py"
        "::test_a_session_that_turned_read_only_is_thrown_away_with_its_pool",
    ),
    Mutant(
        "Sessions that fail again and again are thrown away",
        "worker/store/database/engine.py",
        " or self._busy_in_a_row % BUSY_IN_A_ROW == 0:",
        ":",
        "tests/store/database/test_sessions.py::test_sessions_that_fail_again_and_again_are_thrown_away",
    ),
    Mutant(
        "A session asks for what the store relies on",
        "worker/store/database/sessions.py",
        "    asked = {**_FORMS, **_LIMITS}\n",
        "    asked = {**_LIMITS}\n",
        "tests/store/database/test_sessions.py::test_odd_defaults_of_a_database_change_nothing",
    ),
    Mutant(
        "A worker whose threads have died ends",
        "worker/supervisor/worker.py",
        "        if not all(each.is_alive() for each in self._threads):\n",
        "        if not all(each for each in self._threads):\n",
        "tests/supervisor/test_worker.py::test_a_worker_whose_threads_have_died_ends_instead_of_looking_well",
    ),
    Mutant(
        "A pause is no crash once its worker says that it lives",
        SIDE,
        "            _take_back_crashes(connection, worker_id, lost - blocked.keys())\n",
        "",
        "tests/store/statements/test_rescue.py::test_a_pause_is_no_crash_once_its_worker_says_that_it_lives",
    ),
    Mutant(
        "Before a prompt fails, only deaths count that were no pause",
        RESCUE,
        "(crashes - _survived() >= most)",
        "(crashes >= most)",
        "tests/store/statements/test_rescue.py"
        "::test_before_a_prompt_fails_only_deaths_count_that_were_no_pause",
    ),
    Mutant(
        "A death after progress is no crash",
        RESCUE,
        "        run.c.chars - PROGRESS_CHARS < furthest.scalar_subquery(),\n",
        "",
        "tests/store/statements/test_rescue.py::test_a_death_after_progress_is_no_crash",
    ),
    Mutant(
        "After an outage the living get a lease's time to come back",
        "worker/supervisor/rescue.py",
        "            self._fair_from = at + self._lease_seconds",
        "            self._fair_from = at",
        "tests/supervisor/test_rescue.py::test_after_something_held_the_sweeps_up_the_living_get_a_whole_lease",
    ),
    Mutant(
        "Leases that ran out at one stroke, by their own clock, are nobody's death",
        "worker/supervisor/rescue.py",
        "        passed = max(at - self._looked_at, by_theirs.total_seconds())\n",
        "        passed = at - self._looked_at\n",
        "tests/supervisor/test_rescue.py"
        "::test_leases_that_ran_out_at_one_stroke_are_noticed_by_their_own_clock",
    ),
)
