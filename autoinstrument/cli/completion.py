"""`autoinstrument completion`: print the lines with which a shell completes commands and options."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from autoinstrument.cli.examples import examples

_PROGRAM = "autoinstrument"
_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command(
    short_help="Print the lines by which a shell completes commands.",
    epilog=examples(
        'eval "$(autoinstrument completion bash)"  # in ~/.bashrc',
        'eval "$(autoinstrument completion zsh)"  # in ~/.zshrc',
        "autoinstrument completion fish | source  # in ~/.config/fish/config.fish",
    ),
)
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the lines with which SHELL completes commands and options when Tab is pressed."""
    complete = _SHELLS[shell](context.find_root().command, {}, _PROGRAM, f"_{_PROGRAM.upper()}_COMPLETE")
    click.echo(complete.source())
