"""Text that every database can store.

JSON may carry half of a surrogate pair, and some gateways cut their deltas
between the halves.  PostgreSQL takes neither halves nor U+0000, SQLite takes no
halves.  So the halves of consecutive deltas are joined per channel (text,
thinking, the arguments of one tool call), a half that stays alone becomes
U+FFFD, and so does U+0000.  Nothing else is changed.
"""

from __future__ import annotations

REPLACEMENT = "\ufffd"
QUOTED_CHARS_MAX = 100  # of what a server sent, in a message about it


def storable(text: str) -> str:
    """The same text without lone surrogates and without U+0000."""
    if not text.isascii() and _has_surrogates(text):
        text = _pair_up(text)
    if "\x00" in text:
        text = text.replace("\x00", REPLACEMENT)
    return text


def clip(text: str, limit: int) -> str:
    """The start of a text as one storable line of at most `limit` characters."""
    line = " ".join(storable(text[: limit * 4]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


class Channel:
    """One strand of output; holds back a high half until its partner can have come."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    @property
    def holds_half(self) -> bool:
        """Whether a high half is waiting for its partner."""
        return bool(self._half)

    def join(self, text: str) -> str:
        """What can be stored now of everything joined so far; may be empty."""
        if not text:
            return ""
        if self._half:
            text = self._half + text
            self._half = ""
        if "\ud800" <= text[-1] <= "\udbff":
            self._half = text[-1]
            text = text[:-1]
        return storable(text)

    def end(self) -> str:
        """The half that was held back, now alone for good."""
        half, self._half = self._half, ""
        return REPLACEMENT if half else ""


def _has_surrogates(text: str) -> bool:
    # Encoding is several times faster than a regular expression over the text.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _pair_up(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
