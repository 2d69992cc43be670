"""Deltas in, chunks out; says when a flush is due, and is told the time.

A buffer belongs to one run.  It keeps the order in which the output arrived:
neighbouring deltas of one kind become one chunk, a change of kind begins the
next.  `take` hands out everything as numbered chunks, and the numbers never
come back: a flush that has to be sent again is sent with the same chunks, and
newer text waits behind it (`Limits.stream_bytes` is how much may wait).  What the
decoder of the run holds is charged to the same budget.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from worker.records import Chunk, ExtraPiece, Kind

MAX_CHUNK_CHARS = 65_536  # keeps one row, one parameter, and a page of what is read, small


class Budget:
    """What all runs of a worker hold together; shared by their buffers.

    Attributes:
        used_bytes: text that is not stored yet, and what decoders hold.
        held_bytes: the part of it that decoders hold, most of it unfinished frames.
        holders: runs whose decoders hold anything.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.used_bytes = 0
        self.held_bytes = 0
        self.holders = 0

    def is_exceeded_by(self, held_bytes: int) -> bool:
        """Whether a run holds so much that it has to give it up.

        Text goes away when it is stored, what decoders hold only with its frame.  So half of the
        budget is for the latter, and who holds more than the average gives way first.
        """
        if self.held_bytes <= self._limit_bytes // 2:
            return False
        return held_bytes * self.holders >= self.held_bytes

    @property
    def exhausted(self) -> bool:
        """Whether the runs together hold all that they may hold."""
        return self.used_bytes >= self._limit_bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """When to flush, and how much may wait.

    Attributes:
        flush_seconds: a flush is due when the oldest waiting text is this old ...
        flush_bytes: ... or when this much UTF-8 waits.
        stream_bytes: with this much waiting the socket is read no further.
    """

    flush_seconds: float = 1.0
    flush_bytes: int = 8192
    stream_bytes: int = 262_144


class Buffer:
    """The output of one run that is not yet on its way to the database."""

    def __init__(
        self, run_id: int, limits: Limits, budget: Budget, *, nonce: int | None = None
    ) -> None:
        self._run_id = run_id
        self._nonce = nonce
        self._limits = limits
        self._budget = budget
        self._pieces: list[tuple[Kind, list[str]]] = []
        self._extras: list[ExtraPiece] = []
        self._next_extra = 0
        self._oldest_at: float | None = None
        self._next_seq = 0
        self._flying_bytes = 0
        self._held_bytes = 0
        self.waiting_bytes = 0
        self.produced_bytes = 0  # of the whole run, of every kind
        self.chars = 0
        self.first_text_at: float | None = None

    def follow(self, *, chunks: int, chars: int, size_bytes: int) -> None:
        """So much is stored before what comes; there is a chunk for it even if nothing comes."""
        self._next_seq = chunks
        self.chars, self.produced_bytes = chars, size_bytes
        self._pieces.append((Kind.TEXT, [""]))

    def add(self, kind: Kind, text: str, *, at: float) -> None:
        """Keep output that arrived at `at` (monotonic seconds)."""
        if not text:
            return
        if self._oldest_at is None:
            self._oldest_at = at
        if self.first_text_at is None:
            self.first_text_at = at
        if self._pieces and self._pieces[-1][0] is kind:
            self._pieces[-1][1].append(text)
        else:
            self._pieces.append((kind, [text]))
        # Half a surrogate pair is for the database to refuse, by name, not for the books.
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        self.waiting_bytes += size
        self.produced_bytes += size
        self._budget.used_bytes += size
        if kind is Kind.TEXT:
            self.chars += len(text)

    def hold(self, held_bytes: int) -> bool:
        """Charge what the decoder holds now; whether it is too much."""
        budget, change = self._budget, held_bytes - self._held_bytes
        budget.used_bytes += change
        budget.held_bytes += change
        budget.holders += bool(held_bytes) - bool(self._held_bytes)
        self._held_bytes = held_bytes
        return bool(held_bytes) and budget.is_exceeded_by(held_bytes)

    def add_extra(self, kind: str, data: str, *, at: float) -> None:
        """Keep what belongs to the answer and is no text; it is stored with the text around it."""
        if self._oldest_at is None:
            self._oldest_at = at
        self._extras.append(ExtraPiece(self._run_id, self._next_extra, kind, data))
        self._next_extra += 1
        size = len(data.encode("utf-8", "surrogatepass"))
        self.waiting_bytes += size
        self.produced_bytes += size
        self._budget.used_bytes += size

    @property
    def chunks(self) -> int:
        """Chunks handed out so far."""
        return self._next_seq

    @property
    def due_at(self) -> float | None:
        """When the waiting text is old enough to be flushed; None while nothing waits."""
        return None if self._oldest_at is None else self._oldest_at + self._limits.flush_seconds

    def due(self, *, at: float) -> bool:
        """Whether what waits is old enough, or long enough, to be flushed now."""
        due_at = self.due_at
        return due_at is not None and (
            at >= due_at or self.waiting_bytes >= self._limits.flush_bytes
        )

    @property
    def full(self) -> bool:
        """Whether so much is unflushed, here or on its way, that nothing more may be read."""
        unflushed = self.waiting_bytes + self._flying_bytes
        return unflushed >= self._limits.stream_bytes or self._budget.exhausted

    def take(self) -> list[Chunk]:
        """Everything that waits, as chunks with fresh numbers; the buffer is empty afterwards."""
        chunks: list[Chunk] = []
        if self._extras and not self._pieces:
            self._pieces.append((Kind.TEXT, [""]))  # no text came with them
        for kind, parts in self._pieces:
            text = "".join(parts)
            for start in range(0, max(len(text), 1), MAX_CHUNK_CHARS):
                piece = text[start : start + MAX_CHUNK_CHARS]
                chunks.append(Chunk(self._run_id, self._next_seq, kind, piece, self._nonce))
                self._next_seq += 1
        if self._extras:
            chunks[-1] = replace(chunks[-1], extras=tuple(self._extras))
        self._forget()
        return chunks

    def landed(self) -> None:
        """What was taken is stored, or given up: it needs no room any more."""
        self._budget.used_bytes -= self._flying_bytes
        self._flying_bytes = 0

    def discard(self) -> None:
        """Forget everything: the run is lost, and another worker has the prompt."""
        self._forget()
        self.landed()
        self.hold(0)

    def _forget(self) -> None:
        self._pieces.clear()
        self._extras.clear()
        self._oldest_at = None
        self._flying_bytes += self.waiting_bytes
        self.waiting_bytes = 0
