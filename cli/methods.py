"""`p2p methods`: what there is to choose from."""

from __future__ import annotations

import click

from p2p.config import METHODS


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def methods(as_json: bool) -> None:
    """List the methods: what each minimises, what its peers show one another, its source."""
    if as_json:
        import json

        for name, facts in METHODS.items():
            click.echo(json.dumps({"method": name, **facts._asdict()}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("method", "minimises", "peers show", "K", "lr", "source", box=None)
    for name, facts in METHODS.items():
        least, most = facts.peers
        allowed = f"{least}" if least == most else f"{facts.num_peers} ({least}+)"
        rate = f"{facts.learning_rate:.0e}".replace("e-0", "e-")
        row = (name, facts.objective, facts.exchanges, allowed, rate, facts.source)
        table.add_row(*row)
    Console().print(table)
