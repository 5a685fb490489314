"""`p2p completion SHELL`: print the script by which a shell completes `p2p`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .main import p2p

WHERE = """\b
To load it in every new shell:
  bash   p2p completion bash >> ~/.bashrc
  zsh    p2p completion zsh >> ~/.zshrc
  fish   p2p completion fish > ~/.config/fish/completions/p2p.fish
"""


@click.command(epilog=WHERE)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL."""
    script = get_completion_class(shell)
    assert script is not None  # click knows all three
    click.echo(script(p2p, {}, "p2p", "_P2P_COMPLETE").source())
