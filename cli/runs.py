"""`p2p runs`: list the runs on disk, name the latest, remove some."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p.core.errors import BadArtefact, UsageError

from .live.summary import short_path
from .options import FOLDER
from .tables import as_text, print_lines, table
from .text.formats import NOTHING, ago, compact, count, counted
from .text.layout import shortened
from .text.terminal import columns

if TYPE_CHECKING:
    from rich.text import Text

    from p2p.runs.listing import ListedRun

EXAMPLES = """\b
Examples:
  p2p runs                                  those in runs/, newest first
  p2p runs runs/studies/fig4
  p2p eval $(p2p runs --latest)
  p2p runs rm runs/a runs/b
"""
HEAD = ("run", "task", "method", "steps", "score", "state", "age")
SHORTEST = 8  # cells of a task that is shortened


class Runs(click.Group):
    """A group whose command `list` need not be typed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments, as those of `list` unless another command is named."""
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write both forms."""
        formatter.write_usage(ctx.command_path, "[OPTIONS] [DIR]")
        formatter.write_usage(f"{ctx.command_path} rm", "[--yes] RUN...")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of `list`, then the commands."""
        self.commands["list"].format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group(cls=Runs, epilog=EXAMPLES)
def runs() -> None:
    """List the runs in DIR [runs/], newest first; a study's runs are counted.

    States: running; finished; interrupted, with a checkpoint of its last iteration; crashed, which
    ended otherwise and goes on from its last checkpoint; damaged.
    """


@runs.command("list")
@click.argument("folder", metavar="[DIR]", required=False, type=FOLDER)
@click.option("--latest", is_flag=True, help="Print the path of the latest finished run alone.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a run and line.")
def list_(folder: Path | None, latest: bool, as_json: bool) -> None:
    """List the runs in DIR [runs/]."""
    from p2p.runs.listing import ROOT, State, list_runs

    if folder is None and not ROOT.exists():
        raise BadArtefact(f"no run under {ROOT}; start one with `p2p train`, or name a folder")
    root = folder or ROOT
    found = list_runs(root)
    if latest:
        here = [run for run in found if run.state is State.FINISHED]
        near = [run for run in here if run.path.parent == root] or here
        if not near:
            raise BadArtefact(f"no run under {root} is finished")
        click.echo(near[0].path)
    elif as_json:
        for run in found:
            click.echo(json.dumps(_described(run)))
    else:
        print_lines(_lines(found, root, columns()))


@runs.command("rm")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=FOLDER)
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(runs: tuple[Path, ...], yes: bool) -> None:
    """Remove each RUN, a run folder with all that lies in it; never one that is running."""
    from p2p.runs.listing import check_removable, list_runs, remove_run

    for path in runs:
        check_removable(path)
    if not yes:
        if not _can_ask():
            raise UsageError("nobody can be asked here; give --yes to remove what was named")
        for path in runs:
            (run,) = list_runs(path)
            trained = f"{count(run.steps)} steps, {run.state}, {ago(time.time() - run.written)} old"
            click.echo(f"{short_path(path)}: {run.task}, {run.method}, {trained}")
        if not click.confirm(f"Remove {counted(len(runs), 'run')} for good?"):
            click.echo("nothing was removed")
            return
    for path in runs:
        remove_run(path)
        click.echo(f"removed {short_path(path)}")


def _can_ask() -> bool:
    return sys.stdin.isatty()


def _described(run: ListedRun) -> dict[str, Any]:
    return {
        "run": str(run.path), "task": run.task, "method": run.method, "seed": run.seed,
        "steps": run.steps, "total_steps": run.total_steps, "score": run.score,
        "state": run.state, "written": run.written, "problem": run.problem or None,
    }  # fmt: skip


def _lines(found: Sequence[ListedRun], root: Path, width: int) -> list[Text]:
    """Return a row a run, and a row a folder of runs below."""
    near = [run for run in found if run.path.parent == root or run.path == root]
    far: dict[Path, list[ListedRun]] = {}
    for run in found:
        if run not in near:
            far.setdefault(run.path.parent, []).append(run)
    lines = _runs(near, width) if near else []
    if far:
        rows = [[short_path(folder), str(len(runs)), _states(runs), _age(runs[0])]
                for folder, runs in far.items()]  # fmt: skip
        lines += [*([as_text()] if lines else []), *_folders(rows, width)]
    lines += [as_text(f"{run.path.name} is damaged: {run.problem}") for run in near if run.problem]
    return lines or [as_text(f"no run under {root}")]


def _runs(found: Sequence[ListedRun], width: int) -> list[Text]:
    rows = [
        [short_path(run.path), run.task, run.method, count(run.steps), compact(run.score),
         str(run.state), _age(run)]
        for run in found
    ]  # fmt: skip
    sizes = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]
    over = sum(size + 2 for size in sizes) - 2 - width
    if over > 0:  # a run's name begins with its task, as a rule
        rows = [[run.path.name, *row[1:]] for run, row in zip(found, rows, strict=True)]
        room = width - sum(size + 2 for size in sizes[2:])
        task = max(SHORTEST, min(sizes[1], room - max(len(row[0]) for row in rows) - 2))
        name = max(SHORTEST, room - task - 2)
        rows = [[shortened(row[0], name), shortened(row[1], task), *row[2:]] for row in rows]
    return table(HEAD, rows, left=3, width=width, keep=1)


def _folders(rows: Sequence[Sequence[str]], width: int) -> list[Text]:
    head = ["folder", "runs", "states", "age"]
    return table(head, rows, width=width)


def _states(runs: Sequence[ListedRun]) -> str:
    states = [run.state for run in runs]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _age(run: ListedRun) -> str:
    return ago(time.time() - run.written) if run.written else NOTHING
