"""KEY=VALUE is read the same way everywhere; so are names of endpoints."""

from __future__ import annotations

import click
import pytest

from worker.cli.param_types import Seconds, WholeNumber, key_values, known_endpoint

PARAM = click.Option(["--option"])
CONTEXT = click.Context(click.Command("x"))


def test_a_value_is_json_if_it_can_be():
    """Numbers stay numbers, words need no quotes, and an equals sign may stand in a value."""
    given = ("a=0.2", "b=true", 'c=["x"]', "d=word", "e=x=y", 'f="3"', "g=", "h=NaN")
    assert key_values(CONTEXT, PARAM, given) == {
        "a": 0.2,
        "b": True,
        "c": ["x"],
        "d": "word",
        "e": "x=y",
        "f": "3",
        "g": "",
        "h": "NaN",
    }


@pytest.mark.parametrize("given", ["a", "=x", ""])
def test_what_is_no_pair_is_wrong_usage(given):
    """With what was typed."""
    with pytest.raises(click.BadParameter, match="is not KEY=VALUE"):
        key_values(CONTEXT, PARAM, (given,))


def test_only_configured_endpoints_are_known():
    """A prompt for any other would wait for ever."""
    known_endpoint(None, ["default"])
    known_endpoint("default", ["default"])
    with pytest.raises(click.UsageError, match="did you mean default") as caught:
        known_endpoint("defalt", ["default", "gpt"])
    assert "(there is: default, gpt)" in caught.value.message


def test_numbers_are_called_what_people_call_them():
    """`integer range` is a word of the library."""
    assert WholeNumber(1)("3") == 3
    assert Seconds(0.2)("0.5") == 0.5
    for kind, given in ((WholeNumber(1), "x"), (Seconds(0.2), "x"), (Seconds(0.2), "nan")):
        with pytest.raises(click.BadParameter, match=f"is not a valid {kind.name}"):
            kind(given)
