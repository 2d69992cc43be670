"""Which prompts a command means: ids, batch, status, error code; the same words everywhere."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from worker.errors import EARLIER_CODES, ErrorCode, NotFound
from worker.states import PromptState
from worker.suggest import did_you_mean

if TYPE_CHECKING:
    from worker.store import Selection, Store

Function = TypeVar("Function", bound=Callable[..., Any])

_LARGEST_ID = 2**63 - 1  # what a database can hold


_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class PromptId(click.ParamType[int]):
    """The id of a prompt, as `spool status`, `export` and SQL show it."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """A number, or one sentence about what was meant."""
        if not str(value).isdecimal():
            self.fail(
                f"{value!r} is no id of a prompt, which is a number; `spool show --custom-id"
                f" {value}` finds one by the id that its owner chose",
                param,
                ctx,
            )
        if int(value) > _LARGEST_ID:
            raise NotFound.prompt(value)
        return int(value)


class OneOf(click.Choice[str]):
    """A word of a list; a misspelt one is answered with the nearest, not with a long list."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """What is wrong with the word."""
        if meant := did_you_mean(str(value), self.choices):
            return f"there is no {value!r}{meant}"
        return super().get_invalid_choice_message(value, ctx)


@dataclass(frozen=True, slots=True)
class SelectedPrompts:
    """What the options said."""

    ids: tuple[int, ...] = ()
    batch: str | None = None
    states: tuple[PromptState, ...] = ()
    error_code: str | None = None
    everything: bool = False

    def __bool__(self) -> bool:
        return bool(self.ids or self.batch or self.states or self.error_code or self.everything)

    def selection(
        self,
        *,
        otherwise: Sequence[PromptState] = (),
        endpoint: str | None = None,
        finished_before: datetime | None = None,
    ) -> Selection:
        """As the store takes it; `otherwise` are the states that are meant if none is named."""
        from worker.store import Selection

        return Selection(
            ids=self.ids,
            batch=self.batch,
            states=self.states or tuple(otherwise),
            error_code=self.error_code,
            endpoint=endpoint,
            finished_before=finished_before,
        )

    def check(self, store: Store) -> None:
        """Raise NotFound for an id or a batch that does not exist, before anything is changed."""
        from worker.client.results import existing
        from worker.store import Selection

        existing(store, Selection(ids=self.ids, batch=self.batch))


def choosing(*, everything: bool) -> Callable[[Function], Function]:
    """Add the options of a selection; the command gets them as `chosen`.

    With `everything` there is `--all`, and naming nothing is wrong usage: for what changes rows.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def command(
            *args: Any,
            ids: tuple[int, ...],
            batch: str | None,
            status: tuple[str, ...],
            error_code: str | None,
            everything: bool = False,
            **kwargs: Any,
        ) -> Any:
            states = tuple(PromptState(each) for each in status)
            chosen = SelectedPrompts(ids, batch, states, error_code, everything)
            if everything and (ids or batch or states or error_code):
                raise click.UsageError("--all leaves no choice: remove it or the others")
            return function(*args, chosen=chosen, **kwargs)

        options = [
            click.argument("ids", metavar="[ID]...", nargs=-1, type=PromptId()),
            click.option("--batch", metavar="NAME", help="Prompts of this batch."),
            click.option(
                "--status",
                multiple=True,
                type=OneOf([str(state) for state in PromptState]),
                help="Prompts in this state; may be repeated.",
            ),
            click.option(
                "--error-code",
                metavar="CODE",
                type=OneOf([*map(str, ErrorCode), *EARLIER_CODES]),
                help="Prompts that failed with this code, such as rate_limited.",
            ),
        ]
        if everything:
            options.append(
                click.option("--all", "everything", is_flag=True, help="Every prompt there is.")
            )
        decorated: Any = command
        for option in reversed(options):
            decorated = option(decorated)
        result: Function = decorated
        return result

    return decorate


def age(_ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:
    """A span of time as people write it; raises BadParameter for anything else."""
    if value is None:
        return None
    match = _AGE.fullmatch(value.strip().lower())
    if match is None:
        raise click.BadParameter(f"{value!r} is no age: write 90s, 30m, 12h, 7d or 2w", param=param)
    try:
        return timedelta(**{_UNITS[match[2]]: float(match[1])})
    except OverflowError:
        raise click.BadParameter(f"{value!r} is too long", param=param) from None


def required(chosen: SelectedPrompts) -> None:
    """Wrong usage if nothing was chosen."""
    if not chosen:
        raise click.UsageError("say which prompts: ids, --batch, --status, --error-code, or --all")
