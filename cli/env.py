"""`p2p env`: what a task is, how it is stepped, and how fast."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from p2p.core import registry
from p2p.core.errors import UsageError

from .options import WholeRange
from .tables import as_text, print_lines, table
from .text.formats import compact, count, counted
from .text.layout import wrap
from .text.terminal import columns

if TYPE_CHECKING:
    from rich.text import Text

EXAMPLES = """\b
Examples:
  p2p env hopper
  p2p env ./go2_walk.py:Go2Walk
"""


@click.command(epilog=EXAMPLES)
@click.argument("task")
@click.option("--steps", type=WholeRange(min=1), default=2000, show_default=True,
              help="Steps to measure the speed on.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def env(task: str, steps: int, as_json: bool) -> None:
    """Describe TASK: observations, actions, bounds, what steps it, and at what speed.

    The speed is that of two envs under random actions, beside a bare loop over mj_step through the
    same actions. Then two equal seeds are compared bit by bit.
    """
    try:
        name = registry.choose("task", registry.add("task", task))
    except ValueError as error:
        raise UsageError(str(error)) from None
    from p2p.envs.describe import describe

    found = describe(name, steps)
    if as_json:
        click.echo(json.dumps(found))
        return
    print_lines(_lines(found, columns()))


def _lines(found: dict[str, Any], width: int) -> list[Text]:
    rate = count(found["steps_per_second"])
    facts = [
        ["observation", counted(found["obs_dim"], "number")],
        ["action", counted(found["action_dim"], "number")],
        ["step", f"{found['dt'] * 1000:g} ms, {counted(found['frame_skip'], 'physics step')}"],
        ["time limit", counted(found["max_episode_steps"], "step")],
        ["stepped by", found["stepped_by"]],
        ["speed", f"{rate} steps/s, {found['share']:.2f} of bare mj_step"],
        ["equal seeds", "equal bits" if found["reproducible"] else "DIFFERENT BITS"],
    ]  # fmt: skip
    lines = [as_text(found["task"], "bold")]
    size = max(len(name) for name, _ in facts)
    lines += [
        as_text(part)
        for name, value in facts
        for part in wrap(f"{name.ljust(size)}  {value}", width, " " * (size + 2))
    ]
    rows = [[name, str(size)] for name, size in found["observations"].items()]
    lines += [as_text(), *table(["observation", "numbers"], rows, width=width)]
    rows = [[name, compact(low), compact(high)] for name, low, high in found["actions"]]
    return [*lines, as_text(), *table(["action", "low", "high"], rows, width=width)]
