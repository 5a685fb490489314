"""What is said before work that takes longer than one expects."""

from __future__ import annotations

import click


def say_if_compiling(engine: str) -> None:
    """Say on stderr that it will take a while, if it will."""
    if engine == "fused":
        from p2p.core import jit

        if not jit.is_cached():
            click.echo("compiling the engine, once for this machine: some 20 s", err=True)
