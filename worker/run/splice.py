"""Where an answer that was cut goes on, and whether the server does go on: pure.

`choose` finds the earlier run whose text is worth going on with, or says why there is none.
`kept` cuts that text so that its end is the same tokens for the model.  `HoldBack` keeps the first
characters of the new text until it is clear that the server goes on: nothing of a server that
begins anew, or repeats what it was given, is ever put behind the old text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from worker.errors import ErrorCode
from worker.records import Earlier, Kind

WORD_CHARS = 64  # the last white space is looked for so far back
HELD_CHARS = 64  # of the new text, before it is put behind the old one
ECHO_CHARS_MIN = 16  # shorter texts may be equal by chance
SAME_PLACE_CHARS = 200
_REPLACED = "\ufffd"  # a character that was cut in the middle

# What ends a run before its time, without the server or the owner having meant it.  The last two
# are ends as well; but only a person queues such a prompt again, and wants the answer longer.
CUTS = frozenset(
    {
        *(ErrorCode.CONNECTION_LOST, ErrorCode.ENDPOINT_DIED, ErrorCode.NO_DONE_FRAME),
        *(ErrorCode.SERVER_ERROR, ErrorCode.OVERLOADED, ErrorCode.IDLE_TIMEOUT),
        *(ErrorCode.LEASE_EXPIRED, ErrorCode.LEASE_LOST, ErrorCode.SHUTDOWN, ErrorCode.HANDED_BACK),
        *(ErrorCode.COMMITS_FORGOTTEN, ErrorCode.CANCELLED, ErrorCode.OUTPUT_TOO_LARGE),
        ErrorCode.LENGTH_CONTINUED,
    }
)
_DEATHS = frozenset(
    {
        *(ErrorCode.CONNECTION_LOST, ErrorCode.ENDPOINT_DIED, ErrorCode.NO_DONE_FRAME),
        *(ErrorCode.SERVER_ERROR, ErrorCode.LEASE_EXPIRED),
    }
)
_FAILED_TO_GO_ON = frozenset(
    {ErrorCode.SERVER_ERROR, ErrorCode.MALFORMED_FRAME, ErrorCode.NO_DONE_FRAME}
)
# How templates begin a turn or a thought: in the middle of an answer they mean that it began anew.
_BEGINNINGS = ("<think", "<|", "<start_of_turn>", "[INST]", "[/INST]", "assistant\n", "assistant:")


@dataclass(frozen=True, slots=True)
class Choice:
    """The run to go on with, or why there is none; neither if no run has text to speak of.

    Both: an answer that had ended at its length limit, and cannot be made longer.

    Attributes:
        tokens: generated for its text by all runs of its chain, as far as known.
        seconds: that all runs of its chain took together.
    """

    source: Earlier | None = None
    why_not: str | None = None
    tokens: int | None = None
    seconds: float = 0.0


def choose(
    runs: Sequence[Earlier], *, request_hash: str, endpoint: str, dialect: str, min_chars: int
) -> Choice:
    """The earlier run whose text a new run of the same prompt goes on with."""
    worthwhile = [run for run in runs if run.chars >= min_chars and not _is_copied(run, runs)]
    if not worthwhile:
        return Choice()
    same = [run for run in worthwhile if run.request_hash == request_hash]
    if not same:
        return Choice(why_not="the earlier text answers another request")
    here = [run for run in same if (run.endpoint, run.dialect) == (endpoint, dialect)]
    if not here:
        return Choice(why_not="the earlier text is of another endpoint or dialect")
    best = max(here, key=lambda run: (run.chars, run.attempt))
    why_not = _why_not(best, runs)
    if why_not and not best.is_whole:
        return Choice(why_not=why_not)
    chain = list(_chain(best, runs))
    known = [best.tokens, best.carried_tokens]
    tokens = sum(filter(None, known)) or None
    return Choice(best, why_not, tokens, seconds=sum(run.seconds for run in chain))


def _why_not(best: Earlier, runs: Sequence[Earlier]) -> str | None:
    return next((words for words, fits in _reasons(best, runs) if fits), None)


def _reasons(best: Earlier, runs: Sequence[Earlier]) -> Iterator[tuple[str, bool]]:
    """What may stand against going on with it, each with whether it does."""
    later = [run for run in runs if run.attempt > best.attempt]
    wordless = [run for run in later if run.code in _FAILED_TO_GO_ON and not run.chars]
    stalled = [run for run in runs if run.code == ErrorCode.IDLE_TIMEOUT]
    yield f"the earlier run was not cut, but ended with {best.code}", best.code not in CUTS
    yield (
        f"the server had ended the earlier text with {best.finish_reason!r}",
        bool(best.finish_reason) and not best.is_whole,
    )
    yield (
        "the server did not go on with the earlier text when it was asked to",
        any(run.code == ErrorCode.NOT_CONTINUED for run in later),
    )
    yield (
        "two runs that were to go on with the earlier text failed without a word of it",
        len(wordless) > 1,
    )
    yield "the server fell silent twice", best in stalled and len(stalled) > 1
    yield (
        f"two runs ended within {SAME_PLACE_CHARS} characters of the same place",
        _died_here_twice(best, runs),
    )


def _is_copied(run: Earlier, runs: Sequence[Earlier]) -> bool:
    """Whether a later run has its text, of which it has kept its own part only."""
    heirs = (each for each in runs if each.continues_run_id == run.run_id)
    return bool(run.carried_chars) and any(each.carried_chars for each in heirs)


def _died_here_twice(best: Earlier, runs: Sequence[Earlier]) -> bool:
    """Whether it has to begin again for this reason: it does so once."""
    deaths = sorted(
        run.attempt
        for run in runs
        if run.code in _DEATHS and abs(run.chars - best.chars) < SAME_PLACE_CHARS
    )
    anew = [run.attempt for run in runs if run.chars and not run.carried_chars]
    return len(deaths) > 1 and max(anew, default=0) <= deaths[1]


def _chain(run: Earlier | None, runs: Sequence[Earlier]) -> Iterable[Earlier]:
    by_id = {each.run_id: each for each in runs}
    while run is not None:
        yield run
        before = by_id.pop(run.continues_run_id or 0, None)
        run = before if run.carried_chars else None


# --- the cut ----------------------------------------------------------------------------------


def kept(text: str, stops: Iterable[str] = ()) -> str:
    """The beginning of a text that a model can go on with.

    It ends before the last white space, so that its end becomes the same tokens as when it was
    generated.  No proper beginning of a stop text stands at its end: none can span the splice.
    """
    text = _to_a_word(text)
    again = True
    while again and text:
        again = False
        for stop in stops:
            if size := _begun(text, stop):
                text, again = _to_a_word(text[:-size]), True
    return text


def _to_a_word(text: str) -> str:
    at = max(
        (place for place, char in enumerate(text[-WORD_CHARS:]) if char.isspace()), default=None
    )
    if at is not None:
        text = text[: max(0, len(text) - WORD_CHARS) + at]
    while text and (text[-1].isspace() or text[-1] == _REPLACED):
        text = text[:-1]
    return text


def _begun(text: str, stop: str) -> int:
    """How much of a stop text stands at the end of a text."""
    sizes = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)


@dataclass(frozen=True, slots=True)
class Cut:
    """Which chunks of an earlier run are kept.

    Attributes:
        text: that is kept.
        dropped: what is left off at its end.
        chunks: so many are kept, the last of them perhaps in part; `last` is its text.
        bounds: where the copy may be interrupted: numbers of chunks, the last is `chunks`.
    """

    text: str
    dropped: str
    chunks: int
    last: str
    bounds: tuple[int, ...]


def cut(pieces: Sequence[str], stops: Iterable[str], *, slice_chars: int) -> Cut:
    """Cut the text that stands in these pieces, which are the chunks of a run in their order."""
    whole = "".join(pieces)
    text = kept(whole, stops)
    bounds: list[int] = []
    left, since, number, last = len(text), 0, 0, ""
    for number, piece in enumerate(pieces, 1):
        last = piece[:left]
        left -= len(last)
        since += len(last)
        if not left:
            break
        if since >= slice_chars:
            bounds.append(number)
            since = 0
    return Cut(text, whole[len(text) :], number, last, (*bounds, number))


def chunks_of(pieces: Sequence[str], chars: int) -> int:
    """How many of the first pieces hold so many characters."""
    number = 0
    while chars > 0 and number < len(pieces):
        chars -= len(pieces[number])
        number += 1
    return number


# --- the hold-back ----------------------------------------------------------------------------


class Verdict(Enum):
    """What the first characters of the new text show."""

    GOES_ON = "they follow the old text"
    IS_WHOLE = "they are the beginning of the old text: the answer is whole by itself"
    DISOBEYED = "the server began a new turn, or ended at once"


@dataclass(frozen=True, slots=True)
class Seam:
    """What the new text is compared with.

    Attributes:
        beginning: the first characters of the old text.
        end: the last ones that are kept.
        dropped: what stood behind them, and was left off.
        is_proved: the request was seen to end in the old text, so that a text which repeats itself
            is the model's own.
    """

    beginning: str
    end: str
    dropped: str
    is_proved: bool


def seam(cut: Cut, *, is_proved: bool) -> Seam:
    """What the text behind this cut is compared with."""
    beginning = cut.text.lstrip()[:HELD_CHARS]
    return Seam(beginning, cut.text[-HELD_CHARS:], cut.dropped, is_proved)


def judge(held: str, seam: Seam) -> Verdict:
    """What the first characters of the new text show, or all of it if it is shorter."""
    begun = held.lstrip()
    said_before = seam.dropped.lstrip()
    for mark in _BEGINNINGS:
        if begun.startswith(mark) and not said_before.startswith(mark):
            return Verdict.DISOBEYED
    if not begun and (said_before or not seam.is_proved):
        return Verdict.DISOBEYED  # it had said more, or may have closed the message
    if seam.is_proved:
        return Verdict.GOES_ON
    if len(begun) >= ECHO_CHARS_MIN and begun.startswith(seam.beginning[: len(begun)]):
        return Verdict.IS_WHOLE
    word = seam.end.split()[-1] if seam.end.split() else ""
    if held[:1].isspace() and begun.split()[:1] == [word] and said_before.split()[:1] != [word]:
        return Verdict.DISOBEYED
    return Verdict.GOES_ON


class HoldBack:
    """Keeps the first characters of the new text until they show something.

    Attributes:
        verdict: None until then.
    """

    def __init__(self, seam: Seam) -> None:
        self._seam = seam
        self._held = ""
        self.verdict: Verdict | None = None

    def add(self, kind: Kind, text: str) -> None:
        """Output arrived."""
        if kind is Kind.THINKING:
            self.verdict = Verdict.DISOBEYED  # a thought in the middle of an answer is a new one
        elif kind is Kind.TEXT:
            self._held += text
        if self.verdict is None and (
            kind is Kind.TOOL_CALLS or len(self._held.lstrip()) >= HELD_CHARS
        ):
            self.end()

    def end(self) -> None:
        """The answer is over, or something else begins: what is held has to be enough."""
        if self.verdict is None:
            self.verdict = judge(self._held, self._seam)
