"""`spool completion`: the script that teaches a shell the commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from worker.cli.output import data

VARIABLE = "_SPOOL_COMPLETE"


@click.command(short_help="Shell completion for bash, zsh or fish.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    r"""Print the completion script of a shell.

    \b
    bash: echo 'eval "$(spool completion bash)"' >> ~/.bashrc
    zsh:  echo 'eval "$(spool completion zsh)"' >> ~/.zshrc
    fish: spool completion fish > ~/.config/fish/completions/spool.fish
    """
    script = get_completion_class(shell)
    if script is None:
        raise click.UsageError(f"Click knows no completion for {shell}")
    data(script(ctx.find_root().command, {}, "spool", VARIABLE).source())
