"""`spool run` that kills itself with SIGKILL at a chosen step: `python -m tests.crash.dying`.

    python -m tests.crash.dying STEP NTH --config spool.toml run

The process is a real worker; only, at the NTH time that it comes by the step, it is dead, at
once and without any goodbye: a finally block, a buffer or a socket gets no chance.
"""

from __future__ import annotations

import functools
import inspect
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from worker.http.stream import Reader, Stream
from worker.store import Store, claiming
from worker.store.statements import rescue
from worker.store.worker_store import WorkerStore

Calls = Callable[[tuple[Any, ...], Any], bool]


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _always(_given: tuple[Any, ...], _result: Any) -> bool:
    return True


def _some(_given: tuple[Any, ...], result: Any) -> bool:
    return bool(result)


def _flushes(given: tuple[Any, ...], _result: Any) -> bool:
    return bool(given[2]) and not given[3]


def _ends(given: tuple[Any, ...], _result: Any) -> bool:
    return bool(given[3])


def _poisons(given: tuple[Any, ...], _result: Any) -> bool:
    return b"poison" in given[1].body


_ended: set[int] = set()  # by the commit under way


def _watch_ends() -> None:
    real = WorkerStore._end

    def watched(*given: Any, **named: Any) -> set[int]:
        _ended.clear()
        _ended.update(real(*given, **named))
        return set(_ended)

    WorkerStore._end = watched


def _after_an_end(_given: tuple[Any, ...], _result: Any) -> bool:
    return bool(_ended)


# Step -> owner, function, whether after it (or before), and which calls count.
STEPS: dict[str, tuple[Any, str, bool, Calls]] = {
    "registered": (Store, "register", True, _always),
    "inside claim": (claiming, "_take", True, _some),
    "claimed": (Store, "claim", True, _some),
    "before request": (Stream, "_send", False, _always),
    "poisoned": (Stream, "_send", False, _poisons),
    "after headers": (Stream, "_send", True, _always),
    "reading": (Reader, "read", True, _some),
    "before flush": (Store, "commit", False, _flushes),
    "inside flush": (WorkerStore, "_insert", True, _always),
    "after flush": (Store, "commit", True, _flushes),
    "before finish": (Store, "commit", False, _ends),
    "inside finish": (WorkerStore, "_end", True, _some),
    "between end and words": (WorkerStore, "_insert", False, _after_an_end),
    "after finish": (Store, "commit", True, _ends),
    "inside rescue": (rescue, "requeue_orphans", False, _always),
    "renewing": (Store, "renew", False, _always),
    "before goodbye": (Store, "sign_off", False, _always),
}


def arm(step: str, nth: int) -> None:
    """From now on, the nth passage of the step is the end."""
    _watch_ends()
    owner, name, afterwards, counts = STEPS[step]
    real = getattr(owner, name)
    left = nth

    def passed(given: tuple[Any, ...], result: Any) -> None:
        nonlocal left
        if counts(given, result):
            left -= 1
            if left == 0:
                _die()

    @functools.wraps(real)
    def plain(*given: Any, **named: Any) -> Any:
        if not afterwards:
            passed(given, None)
        result = real(*given, **named)
        if afterwards:
            passed(given, result)
        return result

    @functools.wraps(real)
    async def waiting(*given: Any, **named: Any) -> Any:
        if not afterwards:
            passed(given, None)
        result = await real(*given, **named)
        if afterwards:
            passed(given, result)
        return result

    setattr(owner, name, waiting if inspect.iscoroutinefunction(real) else plain)


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]))
    from worker.cli import main

    sys.argv[1:3] = []
    main()
