"""A command of the owner's that runs when a batch has finished."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping

from worker.cli.output import talk

_STANDARD_ERROR = 2  # the number that every process has for it


def run_command(command: str, facts: Mapping[str, object]) -> bool:
    """Run the command in a shell, as its owner wrote it; whether it ended with 0.

    What became of the batch stands in the environment alone (`BATCH_NAME`, `BATCH_COMPLETED` and so
    on): no name of a batch or file can become a part of the command.  What it prints goes to
    standard error, because standard output may hold the answers.
    """
    told = {f"BATCH_{name.upper()}": str(value) for name, value in facts.items()}
    sys.stdout.flush()
    code = asyncio.run(_ended(command, {**os.environ, **told}))
    if code:
        talk(f"--on-complete ended with {code}: the answers are written all the same")
    return not code


async def _ended(command: str, environment: Mapping[str, str]) -> int:
    shell = await asyncio.create_subprocess_shell(
        command, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=_STANDARD_ERROR
    )
    return await shell.wait()
