"""Each finish reason that servers are known to send has a meaning, and only one."""

import pytest

from worker.wire.finish_reason import FinishGroup, finish_group


@pytest.mark.parametrize(
    ("group", "reasons"),
    [
        (FinishGroup.NATURAL, "stop end_turn stop_sequence eos word eos_token completed STOP"),
        (FinishGroup.NATURAL, "COMPLETE"),
        (FinishGroup.TRUNCATED, "length max_tokens max_output_tokens limit model_length"),
        (FinishGroup.TRUNCATED, "model_context_window_exceeded repetition MAX_TOKENS incomplete"),
        (FinishGroup.TOOLS, "tool_calls function_call tool_use pause_turn"),
        (FinishGroup.REFUSED, "content_filter refusal SAFETY RECITATION PROHIBITED_CONTENT SPII"),
        (FinishGroup.BROKEN, "abort error insufficient_system_resource"),
        (FinishGroup.NOTHING, "load unload"),
        (FinishGroup.UNKNOWN, "Stop something_new"),
    ],
)
def test_groups(group, reasons):
    assert {finish_group(reason) for reason in reasons.split()} == {group}


def test_no_reason_is_unknown():
    assert finish_group(None) is finish_group("") is FinishGroup.UNKNOWN
