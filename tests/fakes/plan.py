"""How the fake server shall misbehave: by a directive in the prompt or by a seeded plan.

A directive is part of the prompt text, ``[[fault=cut after=5 times=1 tokens=30]]``:
any test can ask for anything through the ordinary way in.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_type_hints

from tests.fakes.words import words

FAULTS = (
    "none",
    "cut",  # the connection closes inside a chunk (or frame, or before the announced length)
    "reset",  # the connection is reset (RST)
    "no-done",  # a clean end of the body without the done frame
    "stall",  # nothing more is sent until the client leaves
    "error",  # an error frame, then a clean end
    "error-done",  # an error frame, then the done frame
    "garbage",  # a frame that is no JSON, then the answer goes on
    "huge",  # one line of `size` bytes of text, then the answer goes on
    "double-done",  # the done frame comes twice
    "text-after-done",  # another token follows the done frame
    "pings",  # nothing but pings until the client leaves
    "bad-chunk",  # a chunk whose size is no number
    "disconnect",  # the connection closes before the headers
    "reset-early",  # the connection is reset before the headers
    "silent",  # no headers until the client leaves
    "redirect",  # 307 to another host
    "down",  # reset, and no connection is accepted for `seconds`
)  # and every status of three digits: 500, 503, 429, 404, ...

_DIRECTIVE = re.compile(r"\[\[([^\]]*)\]\]")


@dataclass(frozen=True)
class Behaviour:
    """What to do with one request.

    Attributes:
        fault: one of FAULTS or a status of three digits.
        after: tokens of text before the fault.
        times: how many requests with the same prompt suffer it; 0 = all.
        tokens: of text in the whole answer, `thinking`: of reasoning before it.
        rate: tokens per second; 0 = as fast as the socket takes them.
        delay: seconds before the headers.
        framing: of the body.
        split: bytes of body per chunk; 0 = one chunk per frame.
        gzip: compress the body, though nobody asked; cut or corrupt: badly.
        keep: whether the connection stays open afterwards.
        retry_after: the header of that name on error statuses.
        size: bytes of the huge line.
        seconds: how long the server is down.
        own: whether each request gets words of its own, so that the text of one request can be
            told from that of another with the same prompt.
        voice: what makes the words differ; set by the server where they are to be its own.
    """

    fault: str = "none"
    after: int = 3
    times: int = 0
    tokens: int = 20
    thinking: int = 0
    rate: float = 0.0
    delay: float = 0.0
    framing: Literal["chunked", "length", "close"] = "chunked"
    split: int = 0
    gzip: Literal["", "yes", "cut", "corrupt"] = ""
    keep: bool = True
    retry_after: str = ""
    size: int = 20 * 1024 * 1024
    seconds: float = 1.0
    own: bool = False
    voice: str = ""

    def __post_init__(self) -> None:
        if self.fault not in FAULTS and not re.fullmatch(r"[3-5]\d\d", self.fault):
            raise ValueError(f"no such fault: {self.fault!r}; there are {', '.join(FAULTS)}")

    def told(self, prompt: str) -> Behaviour:
        """The same with what the directives in a prompt ask for."""
        asked: dict[str, str] = {}
        for directive in _DIRECTIVE.findall(prompt):
            asked.update(item.split("=", 1) for item in directive.split())
        types = get_type_hints(Behaviour)
        if unknown := set(asked) - set(types):
            raise ValueError(f"no such directive: {unknown}; there are {', '.join(types)}")
        values: dict[str, Any] = {
            name: _convert(types[name], value) for name, value in asked.items()
        }
        return dataclasses.replace(self, **values)


def _convert(kind: object, value: str) -> object:
    if kind is bool:
        return value.lower() in {"1", "true", "yes"}
    return kind(value) if kind in {int, float} else value


@dataclass
class Plan:
    """Decides about each request; the same prompt, asked as often, suffers the same fate."""

    default: Behaviour = Behaviour()
    seed: int = 0
    chances: Mapping[str, float] = field(default_factory=dict)  # fault or directive -> probability
    _asked: Counter[str] = field(default_factory=Counter)

    def decide(self, prompt: str) -> Behaviour:
        """What to do with the next request of this prompt."""
        self._asked[prompt] += 1
        times = self._asked[prompt]
        behaviour = self.default.told(prompt)
        if behaviour.fault == "none" and self.chances:
            dice = random.Random(f"{self.seed}:{times}:{prompt}")
            drawn = dice.choices(
                [*self.chances, "none"],
                [*self.chances.values(), max(0.0, 1 - sum(self.chances.values()))],
            )[0]
            after = dice.randrange(behaviour.tokens + 1)
            directive = drawn if "=" in drawn else f"fault={drawn}"
            behaviour = dataclasses.replace(behaviour, after=after).told(f"[[{directive}]]")
        if behaviour.times and times > behaviour.times:
            behaviour = dataclasses.replace(behaviour, fault="none")
        return behaviour


def expected_text(prompt: str, tokens: int | None = None) -> str:
    """The whole text that a prompt gets; `tokens` where neither directive nor default say it."""
    behaviour = Behaviour(tokens=tokens) if tokens is not None else Behaviour()
    return "".join(words(prompt, behaviour.told(prompt).tokens))


def expected_thinking(prompt: str) -> str:
    """The reasoning that a prompt gets, as its directives ask."""
    return "".join(words(prompt, Behaviour().told(prompt).thinking, kind="thinking"))
