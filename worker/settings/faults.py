"""What is wrong with the settings, in words: which file, which key, what to do.

pydantic knows what it expected but not where a value came from; ``Origins``
knows that a key was set by `spool.toml`, by a variable or by a flag.  A fault
joins the two.  Values are repeated to the reader only where they cannot be
secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails

from worker.suggest import did_you_mean

Path = tuple[str, ...]  # ("endpoints", "default", "model")

_SECRET = ("database_url", "base_url", "headers", "api_key_env", "api_key_file")
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class SettingsProblem:
    """One thing that is wrong."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where} {self.what}"


class Origins:
    """Which layer set which key, and what the key is called there."""

    def __init__(self) -> None:
        self._names: dict[Path, str] = {}
        self._kinds: dict[Path, str] = {}

    def record(self, kind: str, path: Path, name: str) -> None:
        """`name` is how the layer spells the key; the last layer to set it wins."""
        self._names[path] = name
        self._kinds[path] = kind

    def name(self, path: Path) -> str:
        """The key as its writer knows it: `spool.toml: lease_seconds`, or `SPOOL_LEASE_SECONDS`."""
        for length in range(len(path), 0, -1):
            if (known := self._names.get(path[:length])) is not None:
                return ".".join((known, *path[length:])) if length < len(path) else known
        file = self._file_around(path)
        return f"{file}: {'.'.join(path)}" if file else ".".join(path)

    def _file_around(self, path: Path) -> str:
        """The file that set the neighbours of a key which nobody set."""
        for length in range(len(path), 0, -1):
            for known, name in self._names.items():
                if known[:length] == path[:length] and self._kinds[known] == "file":
                    return name.partition(": ")[0]
        return ""

    def kind(self, path: Path) -> str:
        """`file`, `env`, `flag` or `default`."""
        for length in range(len(path), 0, -1):
            if (kind := self._kinds.get(path[:length])) is not None:
                return kind
        return "default"


def leaves(tree: Mapping[str, Any], depth: int = 3, path: Path = ()) -> Iterable[tuple[Path, Any]]:
    """Every key that holds a value; `options` and `headers` (depth 3) count as values."""
    for key, value in tree.items():
        here = (*path, key)
        if isinstance(value, Mapping) and value and depth > 1:
            yield from leaves(value, depth - 1, here)
        else:
            yield here, value


def translated(error: ErrorDetails, known: Sequence[str]) -> str:
    """What pydantic found, as a sentence with its cure; `known` are the keys of that table."""
    path = tuple(str(part) for part in error["loc"])
    key, given = path[-1], error["input"]
    context = error.get("ctx", {})
    kind = error["type"]
    shown = "" if any(part in _SECRET for part in path) else f", not {_shown(given)}"
    if kind == "extra_forbidden":
        return _unknown(key, known)
    if kind == "literal_error":
        words = str(context["expected"]).replace("'", "")
        return f"must be one of {words}{shown}{_meant(str(given), words)}"
    bounds = {
        "greater_than_equal": ("ge", "at least"),
        "greater_than": ("gt", "more than"),
        "less_than_equal": ("le", "at most"),
        "less_than": ("lt", "less than"),
    }
    if kind in bounds:
        name, words = bounds[kind]
        return f"must be {words} {context[name]:g}{_unit(key)}{shown}"
    wanted = {
        "int": f"a whole number{_unit(key, ' of')}",
        "float": f"a number{_unit(key, ' of')}",
        "finite": "a finite number",
        "bool": "true or false",
        "string": "text",
        "dict": 'a table (in the environment a JSON object such as {"temperature": 0})',
        "model": "a table of its own, such as [endpoints.default]",
    }.get(kind.partition("_")[0], error["msg"])
    return f"must be {wanted}{shown}"


def _unknown(key: str, known: Sequence[str]) -> str:
    if key in {"api_key", "key", "token"} and "api_key_env" in known:
        return (
            "is not a setting, and keys are not written into files: put the key into an"
            " environment variable and its name into api_key_env"
        )
    return f"is not a setting{did_you_mean(key, known) or ': remove it'}"


def _meant(given: str, listed: str) -> str:
    return did_you_mean(given.lower(), listed.replace(" or ", ", ").split(", "))


def _unit(key: str, before: str = "") -> str:
    _, underscore, last = key.rpartition("_")
    units = {"seconds": "seconds", "bytes": "bytes", "ms": "milliseconds"}
    return f"{before} {units[last]}" if underscore and last in units else ""


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
