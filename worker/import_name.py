"""The import name `promptspool`: `from promptspool import Spool`.

An installation has this file as `promptspool/__init__.py`.  Its modules are those of `worker`:
`promptspool.errors` is `worker.errors`, so a program may use both names.

A program may have a `worker.py` of its own, which Python then finds first, or has imported
already.  Spool's modules are loaded under the name `promptspool` there, and what they import
from `worker` is taken from `promptspool`; the program's own module stays what it is.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers, which do not run `install`
    from worker import (
        AsyncSpool,
        InputError,
        NewPrompt,
        NotFound,
        Result,
        Selection,
        SettingsError,
        Spool,
        SpoolError,
        StoreError,
        __version__,
    )

    __all__ = [
        "AsyncSpool",
        "InputError",
        "NewPrompt",
        "NotFound",
        "Result",
        "Selection",
        "SettingsError",
        "Spool",
        "SpoolError",
        "StoreError",
        "__version__",
    ]

NAME, FOLDER = "promptspool", "worker"
_MARK = "import_name.py"  # by which Spool's folder is told from another package of that name


def install() -> None:
    """Make `promptspool` and everything below it importable; called when it is first imported."""
    if _is_spools(_found_first()):
        sys.meta_path.insert(0, _SameModules())
        sys.modules[NAME] = import_module(FOLDER)
        return
    sys.meta_path.insert(0, _OwnModules())
    place = _folder() / "__init__.py"
    spec = spec_from_file_location(
        NAME,
        place,
        loader=_Renaming(NAME, str(place)),
        submodule_search_locations=[str(place.parent)],
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{place} cannot be loaded", name=NAME)
    module = sys.modules[NAME] = module_from_spec(spec)
    spec.loader.exec_module(module)


def _found_first() -> ModuleSpec | None:
    """What `import worker` would give, or has given."""
    try:
        return find_spec(FOLDER)
    except ValueError:  # it was imported in a way that left no trace of where it is
        return None


def _is_spools(spec: ModuleSpec | None) -> bool:
    places = spec.submodule_search_locations if spec else None
    return any((Path(place) / _MARK).is_file() for place in places or ())


def _folder() -> Path:
    """Spool's folder, wherever on the path it is."""
    for entry in sys.path:
        spec = PathFinder.find_spec(FOLDER, [entry])
        if _is_spools(spec) and spec is not None and spec.origin is not None:
            return Path(spec.origin).parent
    raise ImportError("Spool is not installed as a whole: install promptspool again", name=NAME)


class _SameModules(MetaPathFinder):
    """Gives `promptspool.x` as the module `worker.x` itself."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if not fullname.startswith(f"{NAME}."):
            return None
        same = import_module(FOLDER + fullname.removeprefix(NAME))
        return ModuleSpec(fullname, _Same(same), is_package=hasattr(same, "__path__"))


class _Same(Loader):
    """Hands out a module that is loaded already, as it is."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._own = {name: getattr(module, name, None) for name in ("__spec__", "__loader__")}

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module."""
        del spec
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Take back what the import wrote into it."""
        vars(module).update(self._own)


class _OwnModules(MetaPathFinder):
    """Finds `promptspool.x` in Spool's folder, and loads it under that name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{NAME}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Renaming(fullname, spec.loader.path)
        return spec


class _Renaming(SourceFileLoader):
    """Runs a module of Spool's so that its imports from `worker` mean `promptspool`."""

    def exec_module(self, module: ModuleType) -> None:
        """Run it with an `__import__` of its own."""
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import}
        super().exec_module(module)


def _import(
    name: str,
    globals: Mapping[str, Any] | None = None,  # noqa: A002 - the names of Python's own
    locals: Mapping[str, Any] | None = None,  # noqa: A002
    fromlist: Sequence[str] = (),
    level: int = 0,
) -> ModuleType:
    if not level and (name == FOLDER or name.startswith(f"{FOLDER}.")):
        name = NAME + name.removeprefix(FOLDER)
    return builtins.__import__(name, globals, locals, fromlist, level)


if __name__ == NAME:
    install()
