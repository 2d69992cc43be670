"""What a claim returns, as a run; or as its end, if it cannot be read."""

from __future__ import annotations

import json
from typing import Any

from worker.errors import ErrorCode
from worker.records import Ending, Run
from worker.states import PromptEvent, RunEvent


def as_run(row: tuple[Any, ...], nonce: int) -> Run | Ending:
    """A run from what the claim returns, or its end, if nobody can read what is asked."""
    (run_id, prompt_id, attempt, attempts, most, endpoint, model, custom_id, *asked) = row
    prompt, system, messages, options, batch_id, in_vain, last_code, last_error, best = asked
    try:
        messages = None if messages is None else json.loads(messages)
        options = {} if options is None else json.loads(options)
        _check(prompt, messages, options)
    except (ValueError, TypeError, RecursionError) as error:
        return Ending(
            run_id,
            prompt_id,
            RunEvent.FAIL,
            PromptEvent.FAIL,
            error_code=ErrorCode.BAD_REQUEST,
            error=f"what is asked cannot be read: {error}",
            nonce=nonce,
        )
    return Run(
        id=run_id,
        prompt_id=prompt_id,
        attempt=attempt,
        attempts=attempts,
        max_attempts=most,
        endpoint=endpoint,
        model=model,
        custom_id=custom_id,
        prompt=prompt,
        system=system,
        messages=messages,
        options=options,
        batch_id=batch_id,
        runs_without_progress=in_vain,
        last_code=last_code,
        last_error=last_error,
        best_chars=best,
        nonce=nonce,
    )


def _check(prompt: object, messages: object, options: object) -> None:
    """Raise ValueError or TypeError for what the constraints refuse, if they are ignored."""
    if (prompt is None) == (messages is None):
        raise ValueError("exactly one of prompt and messages is needed")
    if not isinstance(messages, list | None):
        raise TypeError("messages are not an array")
    if not isinstance(options, dict):
        raise TypeError("options are not an object")
