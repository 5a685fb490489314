"""`p2p methods`: what there is to choose from."""

from __future__ import annotations

import sys
from typing import Any

import click

from p2p.core.config import TrainConfig
from p2p.core.method_facts import METHODS, MethodFacts

from .options import flag


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def methods(as_json: bool) -> None:
    """List the methods: what each minimises, what its peers show one another, its source.

    Then the settings that a method has of its own, with their defaults and where those are from.
    """
    if as_json:
        import json

        for name, facts in METHODS.items():
            own = [
                {"setting": setting, "default": default(facts, setting), "source": source}
                for setting, source in facts.settings
            ]
            click.echo(json.dumps({"method": name, **facts._asdict(), "settings": own}))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 200)  # a pipe: keep rows whole
    table = Table("method", "minimises", "peers show", "K", "source", box=None, pad_edge=False)
    for name, facts in METHODS.items():
        least, most = facts.peers
        allowed = f"{least}" if least == most else f"{facts.num_peers} ({least}+)"
        table.add_row(name, facts.objective, facts.exchanges, allowed, facts.source)
    console.print(table)
    console.print()
    table = Table("method", "setting", "default", "source", box=None, pad_edge=False)
    for name, facts in METHODS.items():
        label = name
        for setting, source in facts.settings:
            table.add_row(label, flag(setting), text(default(facts, setting)), source)
            label = ""
    console.print(table)


def default(facts: MethodFacts, setting: str) -> Any:
    """Return a setting's default in a method."""
    field = TrainConfig.model_fields[setting]
    return field.default if field.default_factory is None else getattr(facts, setting)


def text(value: Any) -> str:
    """Write a default: learning rates as 1e-4."""
    small = isinstance(value, float) and value < 1e-2
    return f"{value:.0e}".replace("e-0", "e-") if small else str(value)
