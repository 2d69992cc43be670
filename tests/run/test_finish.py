"""What nobody foresaw ends a run like any other error; how runs end is in test_pipeline.py."""

from __future__ import annotations

import pytest

from worker.errors import ErrorCode, Stalled, Verdict
from worker.run.finish import as_error


def test_an_error_of_ours_stays_what_it_is() -> None:
    """Only what is not in the tree is translated."""
    error = Stalled("silence")
    assert as_error(error) is error


def test_a_fault_is_charged_has_a_code_and_names_its_place() -> None:
    """So that it ends after `max_attempts`, and somebody can find it."""
    with pytest.raises(KeyError) as caught:
        {}["choices"]
    error = as_error(caught.value)
    assert error.code is ErrorCode.INTERNAL_ERROR
    assert error.verdict is Verdict.RETRY_LATER
    assert error.charged
    assert error.message.startswith("internal error: KeyError: 'choices' (test_finish.py:")


def test_a_fault_that_was_never_raised_has_no_place() -> None:
    """There is nothing to point at, and that is no second fault."""
    assert as_error(ValueError("x")).message == "internal error: ValueError: x"
