"""The files beside the code are found in a clone; test_packaging.py does the same in a wheel."""

from pathlib import Path

from worker.installation import package_files

ROOT = Path(__file__).parent.parent.parent


def test_in_a_clone_they_are_found_at_the_top_level():
    """A developer edits `config/` and `migrations/`, and that is what the program reads."""
    assert package_files.config_dir() == ROOT / "config"
    assert package_files.migrations_dir() == ROOT / "migrations"


def test_inside_a_package_they_win(tmp_path, monkeypatch):
    """In a wheel the folders lie inside the package, and nothing beside it is looked at."""
    package = tmp_path / "worker"
    (package / "config").mkdir(parents=True)
    (tmp_path / "config").mkdir()
    (tmp_path / "migrations").mkdir()
    monkeypatch.setattr(package_files, "_PACKAGE", package)
    assert package_files.config_dir() == package / "config"
    assert package_files.migrations_dir() == tmp_path / "migrations"
