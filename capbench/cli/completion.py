"""``capbench completion``: the script that makes a shell complete commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from capbench.cli.common import completes
from cohorts.errors import unknown_name

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", metavar="|".join(SHELLS), shell_complete=completes(lambda: SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the shell's completion script.

    \b
    To install it for good:
      bash  capbench completion bash >> ~/.bashrc
      zsh   capbench completion zsh >> ~/.zshrc
      fish  capbench completion fish > ~/.config/fish/completions/capbench.fish
    """
    if shell not in SHELLS:
        raise unknown_name("shell", shell, SHELLS)
    maker = get_completion_class(shell)
    if maker is None:  # every shell of SHELLS comes with click
        raise unknown_name("shell", shell, SHELLS)
    # not .source(): it asks the installed bash for its version, and the script is the same
    made = maker(ctx.find_root().command, {}, "capbench", "_CAPBENCH_COMPLETE")
    click.echo(made.source_template % made.source_vars(), nl=False)
