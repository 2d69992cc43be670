"""What the fake model says: the same words for the same prompt, in every process.

A test that knows the prompt knows every character that must be stored.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

# Everything that was ever lost on its way: separators, escapes, several bytes, several units.
_VOCABULARY = (
    "the rain in Spain falls mainly on a plain while seven quick foxes jump over lazy dogs "
    'naïve café Straße Ελλάδα привет 日本語 한국어 😊 👩\u200d👩\u200d👧 <b>&amp; "quoted" back\\slash {}[]'
)
_WORDS = _VOCABULARY.split()
_ENDINGS = (" ", " ", " ", " ", " ", ", ", ". ", "\n", "\r\n", "\t", "\u2028", "\u0085", "\n\n")


def words(prompt: str, count: int, *, kind: str = "text") -> list[str]:
    """The first `count` tokens of the answer; a longer answer begins with a shorter one."""
    return list(spoken(prompt, count, kind=kind))


def spoken(prompt: str, count: int, *, kind: str = "text") -> Iterator[str]:
    """The same, word by word: an answer may be longer than anybody will listen to."""
    seed = hashlib.sha256(f"{kind}:{prompt}".encode("utf-8", "surrogatepass")).digest()
    source = random.Random(seed)
    for _ in range(count):
        yield source.choice(_WORDS) + source.choice(_ENDINGS)
