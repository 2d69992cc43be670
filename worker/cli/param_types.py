"""KEY=VALUE options, numbers, names of endpoints: what several commands read in the same way."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from typing import Any

import click

from worker.suggest import did_you_mean


class WholeNumber(click.IntRange):
    """A whole number; Click would call it an integer range."""

    name = "whole number"


class Seconds(click.FloatRange):
    """A duration that ends."""

    name = "number of seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, unless it is none that a clock can count to."""
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a valid {self.name}.", param, ctx)
        return seconds


def key_values(
    _ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    """Repeated KEY=VALUE; a value is JSON if it can be (`0.2`, `true`, `["a"]`), else text."""
    pairs: dict[str, Any] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not (equals and key):
            raise click.BadParameter(
                f"{value!r} is not KEY=VALUE, such as temperature=0", param=param
            )
        try:
            pairs[key] = json.loads(text, parse_constant=_no_constant)
        except ValueError:
            pairs[key] = text
    return pairs


def known_endpoint(name: str | None, endpoints: Collection[str]) -> None:
    """Wrong usage unless the endpoint is configured; a prompt for another would wait for ever."""
    if name is None or name in endpoints:
        return
    meant, known = did_you_mean(name, endpoints), ", ".join(sorted(endpoints))
    raise click.UsageError(f"the endpoint {name!r} is not configured{meant} (there is: {known})")


def _no_constant(word: str) -> Any:
    # NaN and Infinity are words of Python's parser, not of JSON.
    raise ValueError(word)
