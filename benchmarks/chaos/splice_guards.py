"""The guards of answers that go on where they were cut; `guards.py` has the others."""

from __future__ import annotations

from benchmarks.chaos.guard import Mutant

SPLICES = (
    Mutant(
        "A server is not asked to go on without the proof",
        "worker/run/continuation.py",
        "            elif prompt.endswith(text):\n",
        "            else:\n",
        "tests/run/test_continuation.py::test_without_the_proof_it_begins_again",
    ),
    Mutant(
        "The first characters of a continuation are looked at",
        "worker/run/splice.py",
        "    if seam.is_proved:\n        return Verdict.GOES_ON\n",
        "    if seam:\n        return Verdict.GOES_ON\n",
        "tests/run/test_continuation.py::test_a_server_that_disobeys_doubles_no_word",
    ),
    Mutant(
        "The text of another request is not gone on with",
        "worker/run/splice.py",
        "    same = [run for run in worthwhile if run.request_hash == request_hash]\n",
        "    same = worthwhile\n",
        "tests/run/test_continuation.py::test_a_changed_prompt_and_other_answers_begin_again",
    ),
    Mutant(
        "A run that is lost copies nothing",
        "worker/store/worker_store.py",
        "            if each.run_id in live:\n",
        "            if each:\n",
        "tests/store/statements/test_continuation.py::test_a_run_that_is_lost_copies_nothing",
    ),
)
