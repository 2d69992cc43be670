"""Builds the one part of Spool that is compiled, where there is a C compiler.

``worker/wire/pour.c`` reads fast streams with half to two thirds of the processor time that the
Python needs which does the same without it (docs/decisions/0014-a-part-in-c.md).  So whatever
prevents it, a compiler that is missing or Python's headers, is a warning (`pip -v` shows it) and a
whole Spool.  ``SPOOL_PURE=1`` asks for that; `spool doctor` says which one is installed.

An installation also gets the package ``promptspool``, the second import name
(`worker/import_name.py`).
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

MODULE = "worker.wire._pour"
FOLDER = Path("worker", "wire")
SOURCE = "pour.c"
FILE = "_pour.abi3.so"  # CPython's name on every POSIX system
STABLE_ABI = "cp311-abi3"
# No debug symbols, which would name the folder that it was built in.
FLAGS = ["-O2", "-g0", "-Wall", "-Wextra"]


class CompiledPart(BuildHookInterface[Any]):
    """Adds the extension to a wheel, or puts it beside its source for an editable install.

    Both also get the second import name of the package.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the wheel is put together."""
        self._scratch = TemporaryDirectory()
        self._add_import_name(version, build_data)
        built = self._compiled(Path(self._scratch.name))
        if version == "editable":
            _put(built, Path(self.root) / FOLDER / FILE)
        elif built:
            build_data["pure_python"] = False
            build_data["tag"] = f"{STABLE_ABI}-{_platform()}"
            build_data["force_include"][str(built)] = (FOLDER / FILE).as_posix()

    def _add_import_name(self, version: str, build_data: dict[str, Any]) -> None:
        """`from promptspool import Spool`: copies, since a file is packed under one name only."""
        folder = Path(self._scratch.name, "promptspool")
        folder.mkdir()
        shutil.copy(Path(self.root, "worker", "import_name.py"), folder / "__init__.py")
        shutil.copy(Path(self.root, "worker", "py.typed"), folder)
        kind = "force_include_editable" if version == "editable" else "force_include"
        build_data[kind][str(folder)] = folder.name

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called when the wheel is there."""
        del version, build_data, artifact_path
        self._scratch.cleanup()

    def _compiled(self, scratch: Path) -> Path | None:
        if os.environ.get("SPOOL_PURE", "0") != "0" or sys.implementation.name != "cpython":
            return None
        try:
            return _compile(Path(self.root) / FOLDER / SOURCE, scratch)
        except Exception as error:  # noqa: BLE001 - Spool is whole without it
            self.app.display_warning(
                f"Spool is built without its compiled part ({error}). It does the same, and takes"
                " up to twice the processor time for fast streams; to have it, install a C"
                " compiler and Python's headers (Debian: apt install gcc python3-dev)."
            )
            return None


def _compile(source: Path, scratch: Path) -> Path:
    """The extension, in the folder `scratch`; raises whatever setuptools raises."""
    from setuptools import Distribution, Extension  # noqa: PLC0415 - not needed by the pure
    from setuptools.command.build_ext import build_ext  # noqa: PLC0415

    shutil.copy(source, scratch)
    extension = Extension(MODULE, [SOURCE], extra_compile_args=FLAGS, py_limited_api=True)
    command = build_ext(Distribution({"name": "promptspool", "ext_modules": [extension]}))
    command.build_lib = command.build_temp = "."
    command.ensure_finalized()
    before = Path.cwd()
    os.chdir(scratch)  # setuptools wants its sources below, and compilers tell where they stood
    try:
        command.run()
    finally:
        os.chdir(before)
    return scratch / command.get_ext_fullpath(MODULE)


def _put(built: Path | None, target: Path) -> None:
    """In the place of an older one, at once: whoever imports it meanwhile gets either."""
    if built is None:
        target.unlink(missing_ok=True)
        return
    beside = target.with_suffix(f".{os.getpid()}")
    shutil.copy(built, beside)
    beside.replace(target)


def _platform() -> str:
    """As pip calls this machine; what was compiled here is not known to run on all of Linux."""
    if sys.platform != "linux":
        return sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return next(tag.platform for tag in sys_tags() if tag.platform.startswith("linux_"))
