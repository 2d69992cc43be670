"""What some servers send between their frames, and what is no frame at all.

A heartbeat may come as data (`data: ping`), and a proxy may answer with a line
of plain text and status 200.  The first is skipped, the second is quoted.
"""

from __future__ import annotations

import re

# One word that means a heartbeat, perhaps with a time behind it; or a comment inside data.
_NOISE = re.compile(
    rb"""
    ["']? (?: : .*
        | (?: ping | pong | keep[ _-]?alive | heart[ _-]?beat | hb ) \b [\d\s.:,+TZ-]* )
    ["']?
    """,
    re.IGNORECASE | re.VERBOSE,
)
_NOISE_BYTES_MAX = 200
_FIELD = re.compile(rb"(?:data|event|id|retry|error)?\s*:|[{\[<]")


def is_noise(frame: bytes) -> bool:
    """Whether a frame is a heartbeat and no output; `frame` without white space around it."""
    return len(frame) <= _NOISE_BYTES_MAX and _NOISE.fullmatch(frame) is not None


def plain_words(body: bytes) -> str:
    """The first line of a body that is plain text, "" if it may be a stream or JSON."""
    line = body.lstrip(b"\xef\xbb\xbf \t\r\n").partition(b"\n")[0].strip()
    if not line or _FIELD.match(line):
        return ""
    return line.decode("utf-8", "replace")
