"""A group of commands that imports a command when it is called, and ends in words.

Every failure that this program foresees arrives here as a ``SpoolError`` and
leaves as one sentence on standard error and an exit code.  The options of the
group may be given before or after the command, as people do both.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from worker.cli.output import talk
from worker.cli.session import Session
from worker.errors import SettingsError, SpoolError
from worker.suggest import nearest

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE: the reader had enough
_LIKENESS_OF_COMMANDS = 0.5  # of 1: there are few, and to be sent to the wrong one costs nothing
# Of standard output, which has no name: the disk is full or failing.
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})

Function = TypeVar("Function", bound=Callable[..., Any])


class LazyGroup(click.Group):
    """Knows its commands by name and by one line of help; imports none to list them."""

    def __init__(
        self, *args: Any, commands_of: tuple[str, Mapping[str, str]], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._package, self._summaries = commands_of

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """In the order in which a new user meets them."""
        return list(self._summaries)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, and let it take the group's options as well."""
        if cmd_name not in self._summaries:
            return None
        command = import_module(f"{self._package}.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"{self._package}.{cmd_name}.command is not a command")
        if not any(option.name == "config" for option in command.params):
            command.params += _options(hidden=True)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a misspelt one is answered with the nearest."""
        name = args[0]
        if name in self._summaries or name.startswith("-"):
            return super().resolve_command(ctx, args)
        close = nearest(name, self._summaries, likeness=_LIKENESS_OF_COMMANDS)
        advice = f"did you mean `spool {close}`?" if close else "see `spool --help`"
        raise click.UsageError(f"there is no command {name!r}; {advice}", ctx)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list under `--help`, from the summaries alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._summaries.items()))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and turn every ending into an exit code."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        session = Session()
        _open_what_is_closed()
        try:
            code = super().main(
                args, prog_name, complete_var, standalone_mode=False, obj=session, **extra
            )
            sys.stdout.flush()
        except SystemExit as error:
            # Click ends so by itself when the reader of a pipe has gone, or to complete a line.
            sys.exit(EXIT_BROKEN_PIPE if error.code == EXIT_FAILED else error.code)
        except BaseException as error:  # noqa: BLE001 - the one place where everything ends
            _end(error, session)
        sys.exit(code if isinstance(code, int) else 0)


def _open_what_is_closed() -> None:
    """A shell may close a stream (`>&-`): what is written to it goes nowhere, and is no fault."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def _say_usage(error: click.ClickException) -> None:
    """Wrong usage in one line, with where to read on."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return
    words = " ".join(error.format_message().split()).removesuffix(".")
    if isinstance(error, click.NoSuchOption) and error.ctx and error.ctx.info_name:
        from worker.cli.misplaced_options import meant

        if advice := meant(error.ctx.info_name, error.option_name):
            words = f"no such option {error.option_name!r}: {advice}"
    if words.partition(" ")[0][1:].islower():  # a sentence, which begins with no name
        words = words[:1].lower() + words[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None and "--help`" not in words:
        words += f" (see `{context.command_path} --help`)"
    talk(words)


def _end(error: BaseException, session: Session) -> NoReturn:
    """Say what happened and exit; `-v` adds the traceback."""
    if isinstance(error, click.ClickException):
        _say_usage(error)
        sys.exit(error.exit_code)
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        sys.exit(EXIT_INTERRUPTED)
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        _write_no_more()
        sys.exit(EXIT_BROKEN_PIPE)
    if session.verbose:
        traceback.print_exception(error)
    if isinstance(error, SpoolError):
        talk(str(error))
        sys.exit(EXIT_USAGE if isinstance(error, SettingsError) else EXIT_FAILED)
    if isinstance(error, OSError) and (error.filename or error.errno in _UNWRITABLE):
        if not error.filename:
            _write_no_more()
        talk(f"{error.filename or 'the output cannot be written'}: {error.strerror}")
        sys.exit(EXIT_FAILED)
    hint = "" if session.verbose else "; -v shows where"
    talk(f"a fault of this program: {type(error).__name__}: {error}{hint}")
    sys.exit(EXIT_FAILED)


def _write_no_more() -> None:
    """What is left in the buffer goes nowhere: the interpreter, as it ends, would write it again,
    complain, and exit with a code of its own.
    """
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def global_options(function: Function) -> Function:
    """Add the options that every command shares."""
    for option in reversed(_options(hidden=False)):
        function.__dict__.setdefault("__click_params__", []).append(option)
    return function


def _options(*, hidden: bool) -> list[click.Option]:
    return [
        click.Option(
            ["--config"],
            metavar="FILE",
            expose_value=False,
            hidden=hidden,
            callback=_remember,
            help="Settings file, instead of ./spool.toml.",
        ),
        click.Option(
            ["--database-url"],
            metavar="URL",
            expose_value=False,
            hidden=hidden,
            callback=_remember,
            help="sqlite:///file.db or postgresql://user@host/database.",
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            default=None,
            expose_value=False,
            hidden=hidden,
            callback=_remember,
            help="Say more; show where a failure came from.",
        ),
    ]


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None and param.name:
        setattr(ctx.ensure_object(Session), param.name, value)
