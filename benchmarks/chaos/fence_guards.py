"""The guards of the fence: which run is whose, and what has to be stored of it before."""

from __future__ import annotations

from benchmarks.chaos.guard import Mutant

FENCE = "tests/store/statements/test_fence.py"
RACE = f"{FENCE}::TestRace"
FENCED = "worker/store/statements/fence.py"
OWN = """        runs.c.nonce.is_not_distinct_from(given["nonce"]),
        runs.c.worker_id == bindparam("worker", type_=String()),
        in_states(runs.c.status, STREAMING).is_(true()),  # hides the index of streaming runs
    )
"""
NO_FENCE = """        bindparam("worker", type_=String()) != "",
    )
"""

FENCE_MUTANTS = (
    Mutant(
        "The fence asks whether the run is of the claim that the worker knows",
        FENCED,
        OWN,
        OWN.replace('runs.c.nonce.is_not_distinct_from(given["nonce"])', "true()"),
        f"{FENCE}::TestTheSameIdAgain::test_the_old_run_writes_nothing_to_the_new_one",
    ),
    Mutant(
        "A flush asks whether the chunk before it is still stored",
        FENCED,
        "*carried(), _last_stored(given))",
        "*carried())",
        f"{FENCE}::TestForgotten"
        "::test_text_that_was_forgotten_is_never_written_over_by_what_follows",
    ),
    Mutant(
        "An ending asks whether all that was acknowledged is still stored",
        FENCED,
        "    return before.is_(None) | (before == _stored_before(given))",
        '    return before.is_(None) | (before >= literal_column("0"))',
        f"{FENCE}::TestForgotten::test_an_ending_without_text_of_its_own_asks_for_what_was_stored",
    ),
    Mutant(
        "A row that a stranger holds keeps no other run of its commit waiting (SKIP LOCKED)",
        FENCED,
        "(of=runs, read=True, skip_locked=True)",
        "(of=runs, read=True, nowait=True)",
        f"{RACE}::test_a_row_that_a_stranger_holds_keeps_no_other_run_waiting",
    ),
    Mutant(
        "A run whose id is carried already is not started",
        "worker/supervisor/active_runs.py",
        "        if run.id in self._carried:\n            return False\n",
        "",
        "tests/supervisor/test_active_runs.py::test_a_run_whose_id_is_carried_is_not_started",
    ),
)
