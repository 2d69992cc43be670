"""How to install a package beside this program, as the person who reads a message can do it."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec


def install_command(*requirements: str, dependencies: bool = True) -> str:
    """The command that installs `requirements` for the Python that runs this program.

    It is the same for a clone, a wheel and a virtual environment, and works in every directory.
    An environment that uv made has no pip of its own; then it is uv that installs.
    """
    python = shlex.quote(sys.executable)
    pip = f"{python} -m pip install" if find_spec("pip") else f"uv pip install --python {python}"
    options = [] if dependencies else ["--no-deps"]
    return " ".join([pip, *options, *map(shlex.quote, requirements)])
