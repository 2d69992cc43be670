"""What the keys of a source were taken for, so that `add` can say it."""

from __future__ import annotations

_NAMES_MAX = 200  # different keys that are remembered; a file may have others on each line
_SHOWN = 6
_METADATA = "metadata"


class Taken:
    """The different keys of one source, in the order in which they were met."""

    def __init__(self) -> None:
        self._uses: dict[tuple[str, str], None] = {}
        self.counts: dict[str, int] = {}
        self.data: set[str] = set()  # keys that are metadata in every row

    def note(self, name: str, use: str) -> None:
        """Remember that a key was taken for something else than its name says."""
        if (name, use) not in self._uses and len(self._uses) < _NAMES_MAX:
            self._uses[name, use] = None

    def kept(self, name: str) -> None:
        """Remember that a key was kept as metadata."""
        self.note(name, _METADATA)

    def is_data(self, name: str) -> None:
        """Remember that a key is metadata whatever stands beside it."""
        if len(self.data) < _NAMES_MAX:
            self.data.add(name)

    def count(self, what: str) -> None:
        """Count a prompt of which something has to be said."""
        self.counts[what] = self.counts.get(what, 0) + 1

    @property
    def uses(self) -> list[tuple[str, str]]:
        """Each key with what it became, metadata aside."""
        return [(name, use) for name, use in self._uses if use != _METADATA]

    @property
    def metadata(self) -> list[str]:
        """The keys that were kept as metadata."""
        return [name for name, use in self._uses if use == _METADATA]

    def __str__(self) -> str:
        """One line, or nothing if every key is what it is called."""
        parts = [f"{_printable(name)} -> {use}" for name, use in self.uses]
        shown = ", ".join(parts[:_SHOWN]) + (
            f" and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
        )
        clauses = [shown] if parts else []
        if names := self.metadata:
            clauses.append(_kept(names))
        clauses += [f"{number:,} {what}" for what, number in self.counts.items()]
        return "; ".join(clauses)


def _kept(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    number = "1 column" if len(names) == 1 else f"{len(names)} columns"
    return f"{number} kept as metadata ({', '.join(map(_printable, names[:_SHOWN]))}{more})"


def _printable(name: str) -> str:
    return name if name.isprintable() and name else ascii(name)
