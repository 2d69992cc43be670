"""What became of one source of `spool add`, in words and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.diagnosis.phrases import counted

if TYPE_CHECKING:
    from worker.ingest import BadLine
    from worker.ingest.taken_keys import Taken
    from worker.records import Added

_PLACES = {"-": "standard input", "-p": "the command line", "api": "Python"}


@dataclass(slots=True)
class AddReport:
    """What became of one source."""

    source: str
    batch: str | None
    good: int = 0
    added: int = 0
    existing: int = 0
    changed: int = 0
    replaced: int = 0
    other_source: str | None = None  # where the batch was first added from, if not from here
    bad: int = 0
    faults: list[BadLine] = field(default_factory=list)
    end: str | None = None  # why reading ended before the end
    layout: str = ""  # how the prompts stand in it, where that is not evident
    taken: Taken | None = None  # what its keys were taken for

    @property
    def failed(self) -> bool:
        """Whether anything of the source was left out."""
        return bool(self.bad or self.end or self.changed)

    def counted(self, found: Added) -> None:
        """Take over what the store found."""
        self.added, self.existing = found.added, found.existing
        self.changed, self.replaced = found.changed, found.replaced
        self.other_source = found.other_source

    def unit(self, number: int) -> str:
        """What the source is made of: lines, rows, requests, or prompts that were typed."""
        unit = self.faults[0].unit if self.faults else "line"
        return ("prompt" if unit == self.source else unit) + ("" if number == 1 else "s")


def located(fault: BadLine, source: str) -> str:
    """What is wrong, with the place: `-p 2 ...`, `a.jsonl: line 2 ...`, `folder/cat.png ...`."""
    place = f"{source.rstrip('/')}/{fault.file}" if fault.file else source
    if fault.unit == source:
        return str(fault)
    return f"{place}: {fault}" if fault.number else f"{place} {fault}"


def sentence(report: AddReport, *, strict: bool) -> str:
    """What was done."""
    where = f" to batch {report.batch}" if report.batch else ""
    if strict and report.failed:
        why = "bad line" if report.bad or report.end else "changed prompt"
        more = f" ({_left(report)})" if report.changed else ""
        return f"{report.source}: nothing was added, because --strict allows no {why}{more}"
    if not report.good and not report.failed:
        return f"{report.source} holds no prompts; nothing was added"
    if report.existing and not (report.added or report.changed or report.replaced):
        return (
            f"nothing new: {counted(report.existing, 'prompt')} of {report.source} are already in"
            f" batch {report.batch} (another --batch would take them again)"
        )
    if not report.good:
        return f"{report.source}: nothing was added"
    words = f"added {_laid_out(report)}{where}{_hint(report)}"
    if report.existing:
        words += f"; {report.existing:,} were there already"
    if report.replaced:
        words += f"; replaced {report.replaced:,}, which are queued anew"
    if report.changed:
        words += f"; {_left(report)}"
    if report.bad:
        words += f"; {report.bad:,} {report.unit(report.bad)} left out"
    return words


def _laid_out(report: AddReport) -> str:
    """How many prompts were added, and what each of them was."""
    number = counted(report.added, "prompt")
    if not report.layout or not report.added:
        return number
    return f"{number}, {report.layout}" + ("," if report.batch else "")


def _hint(report: AddReport) -> str:
    """A text of three lines may be meant as one prompt."""
    lines = report.layout == "one a line" and report.added > 1
    return "; --format text would make it one prompt" if lines else ""


def _left(report: AddReport) -> str:
    one = report.changed == 1
    return (
        f"{counted(report.changed, 'prompt')} {'is' if one else 'are'} in batch {report.batch} with"
        f" other content and left as {'it is' if one else 'they are'}: --replace queues"
        f" {'it' if one else 'them'} anew, another --batch keeps both"
    )


def foreseen(report: AddReport) -> str:
    """What would happen, for --dry-run."""
    words = f"{_laid_out(report).rstrip(',')} would be added{_hint(report)}"
    if report.existing:
        words += f", {report.existing:,} are there already"
    if report.replaced:
        words += f", {report.replaced:,} would be replaced"
    if report.changed:
        words += f", {report.changed:,} are there with other content (--replace queues them anew)"
    return f"{words}; nothing was"


def elsewhere(report: AddReport, *, named: bool) -> str:
    """Two files of the same name are one batch, which their owner may not have meant."""
    if report.other_source is None or (
        named and not (report.existing or report.changed or report.replaced)
    ):
        return ""
    first = _PLACES.get(report.other_source, report.other_source)
    return (
        f"batch {report.batch} was first added from {first}, which is another place than"
        f" {report.source}; if they do not belong together, use another --batch"
    )


def as_json(report: AddReport) -> dict[str, Any]:
    """The same for programs."""
    return {
        "source": report.source,
        "batch": report.batch,
        "added": report.added,
        "existing": report.existing,
        "changed": report.changed,
        "replaced": report.replaced,
        "other_source": report.other_source,
        "bad": report.bad,
        "errors": [
            {"unit": fault.unit, "number": fault.number, "reason": fault.reason}
            | ({"file": fault.file} if fault.file else {})
            for fault in report.faults
        ],
        "error": report.end,
        "taken": dict(report.taken.uses) if report.taken else {},
        "kept_as_metadata": report.taken.metadata if report.taken else [],
    }
