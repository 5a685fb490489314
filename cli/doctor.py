"""`p2p doctor`: what p2p needs of this machine and installation, and what to do where it lacks."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from .doctor_checks import Check

WIDTH = 79  # columns, also of a wider terminal: people paste it
COLOURS = {"ok": "green", "note": "yellow", "wrong": "red"}
EXAMPLES = """\b
Examples:
  p2p doctor                  paste what it prints into an issue
  p2p doctor --json
"""


@click.command(epilog=EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check this machine and installation: versions, cores, memory, rendering, limits.

    `ok` is fine, `note` works with less, `wrong` keeps p2p from working; then what to do about it.
    The exit code is 1 if something is wrong.
    """
    from .doctor_checks import run_checks

    found = run_checks()
    good = all(check.state != "wrong" for check in found)
    if as_json:
        click.echo(json.dumps({"ok": good, "checks": [check._asdict() for check in found]}))
    else:
        for check in found:
            for line in _lines(check):
                click.echo(line)
    ctx.exit(0 if good else 1)


def _lines(check: Check) -> list[str]:
    """Return a check as lines of at most `WIDTH` columns."""
    indent = " " * 17
    told = textwrap.wrap(check.found, WIDTH - len(indent), break_on_hyphens=False)
    lines = [f"{check.name:10} {told[0]}", *told[1:]]
    if check.advice:
        lines += textwrap.wrap(f"-> {check.advice}", WIDTH - len(indent), break_on_hyphens=False)
    state = click.style(f"{check.state:5}", fg=COLOURS[check.state])
    return [f"{state} {lines[0]}", *(indent + line for line in lines[1:])]
