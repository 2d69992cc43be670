"""Builds the one part of Spool that is compiled, where there is a C compiler.

``worker/wire/pour.c`` reads streams two to four times as fast as the Python that does the same
without it (docs/decisions/0014-a-part-in-c.md).  So a machine without a compiler, or without
Python's headers, gets a warning and a whole Spool.  ``SPOOL_PURE=1`` asks for that.
"""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

MODULE = "worker.wire._pour"
SOURCE = "worker/wire/pour.c"
STABLE_ABI = "cp311-abi3"
# No debug symbols, which would name the folder that it was built in.
FLAGS = [] if os.name == "nt" else ["-O2", "-g0", "-Wall", "-Wextra"]


class CompiledPart(BuildHookInterface[Any]):
    """Adds the extension to a wheel, or puts it beside its source for an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the wheel is put together."""
        if os.environ.get("SPOOL_PURE"):
            return
        self._scratch = TemporaryDirectory()
        try:
            built = compiled(Path(self._scratch.name), in_place=version == "editable")
        except (BaseError, CCompilerError, OSError) as error:
            self.app.display_warning(
                f"Spool is built without its compiled part ({error}). It does the same, and reads"
                " fast streams with two to four times the processor time; to have it, install a C"
                " compiler and Python's headers (Debian: apt install gcc python3-dev)."
            )
            return
        if version != "editable":
            build_data["pure_python"] = False
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"{STABLE_ABI}-{platform}"
            build_data["force_include"][str(built)] = f"worker/wire/{built.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called when the wheel is there."""
        del version, build_data, artifact_path
        if hasattr(self, "_scratch"):
            self._scratch.cleanup()


def compiled(scratch: Path, *, in_place: bool) -> Path:
    """Compile, and return the file; raises what setuptools raises for whatever is missing."""
    extension = Extension(MODULE, [SOURCE], extra_compile_args=FLAGS, py_limited_api=True)
    command = build_ext(Distribution({"name": "promptspool", "ext_modules": [extension]}))
    command.inplace = in_place
    command.build_lib = command.build_temp = str(scratch)
    command.ensure_finalized()
    command.run()
    return Path(command.get_ext_fullpath(MODULE))
