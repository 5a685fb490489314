"""What was typed on the command line, as against defaults."""

from __future__ import annotations

from collections.abc import Collection

import click
from click.core import ParameterSource

from p2p.core.errors import UsageError


def typed_flags(ctx: click.Context) -> dict[str, str]:
    """Return the flags of the options that were typed, by the names of their parameters."""
    return {
        param.name: param.opts[0]
        for param in ctx.command.params
        if param.name and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    }


def refuse_typed(ctx: click.Context, names: Collection[str], where: str) -> None:
    """Refuse options that have no effect beside the others.

    Args:
        names: of their parameters.
        where: they have none, and what to do: ends the sentence.

    Raises:
        UsageError: some of them were typed; names these by their flags.
    """
    typed = [flag for name, flag in typed_flags(ctx).items() if name in names]
    if typed:
        have = "has" if len(typed) == 1 else "have"
        raise UsageError(f"{', '.join(typed)} {have} no effect {where}")
