"""`p2p methods`: what there is to choose from."""

from __future__ import annotations

from typing import Any

import click

from p2p.core import registry
from p2p.core.config import TrainConfig
from p2p.methods import Method, find_method

from .options import flag
from .tables import as_text, print_lines, prose_table
from .text.terminal import columns

METHODS = [(name, find_method(name)) for name in registry.BUILT_IN["method"]]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def methods(as_json: bool) -> None:
    """List the methods: what each minimises, what its peers show one another, its source.

    Then the settings that a method has of its own, with their defaults and where those are from.
    """
    if as_json:
        import json

        for name, method in METHODS:
            click.echo(json.dumps(_described(name, method)))
        return
    rows = []
    for name, method in METHODS:
        least, most = method.peers
        allowed = f"{least}" if least == most else f"{method.num_peers} ({least}+)"
        rows.append([name, method.objective, method.exchanges, allowed, method.source])
    own = [
        [name if n == 0 else "", flag(setting), text(default(method, setting)), source]
        for name, method in METHODS
        for n, (setting, source) in enumerate(method.default_sources.items())
    ]
    width = columns()
    print_lines(
        [
            *prose_table(["method", "minimises", "peers show", "K", "source"], rows, width),
            as_text(),
            *prose_table(["method", "setting", "default", "source"], own, width),
        ]
    )


def _described(name: str, method: type[Method]) -> dict[str, Any]:
    """Return what there is to know of a method, as JSON has it."""
    facts = ("label", "learning_rate", "num_peers", "peers", "exchanges", "objective", "source",
             "penalty_kl", "end_counts")  # fmt: skip
    own = [
        {"setting": setting, "default": default(method, setting), "source": source}
        for setting, source in method.default_sources.items()
    ]
    return {"method": name, **{fact: getattr(method, fact) for fact in facts}, "settings": own}


def default(method: type[Method], setting: str) -> Any:
    """Return a setting's default in a method."""
    field = method.Settings.model_fields.get(setting) or TrainConfig.model_fields[setting]
    return field.default if field.default_factory is None else getattr(method, setting)


def text(value: Any) -> str:
    """Write a default: learning rates as 1e-4."""
    small = isinstance(value, float) and value < 1e-2
    return f"{value:.0e}".replace("e-0", "e-") if small else str(value)
