"""`p2p bench`: how fast this machine trains, compared to bare mj_step."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from p2p.core.errors import NoRoom, UsageError

from .interrupt import interrupts
from .notices import say
from .options import FILE, FOLDER, WholeRange
from .tables import as_text, print_lines
from .text.terminal import can_redraw, columns
from .typed import refuse_typed

if TYPE_CHECKING:
    from p2p.bench import Results, Settings
    from p2p.bench.measure import Tell

EXAMPLES = """\b
Examples:
  p2p bench --quick                               test that all parts work
  p2p bench --save data/results/bench.json
  p2p bench --only physics,engine --tasks hopper --json
  p2p bench --from data/results/bench.json --markdown

Parts: physics, engine, exchange, train, scaling, envs, evaluate; and methods, only with --only.
Other trainers are measured by benchmarks/against.py, in p2p's repository.
"""
OF_MEASURING = ("only", "tasks", "rounds", "iterations", "runs", "quick")
BUSY = 0.5  # load average per core from which other programs affect the numbers


@click.command(epilog=EXAMPLES)
@click.option("--only", metavar="PART,...", help="Parts to measure [default: see below].")
@click.option("--tasks", metavar="TASK,...", help="Tasks [default: all five].")
@click.option("--rounds", type=WholeRange(min=1), help="Rounds, alternating [default: 5].")
@click.option(
    "--iterations", type=WholeRange(min=1),
    help="Timed iterations of training [default: 40].",
)  # fmt: skip
@click.option(
    "--run", "runs", type=FOLDER, multiple=True, metavar="RUN",
    help="Run whose policy acts in the parts physics and evaluate.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="One short round: a test, not a measurement.")
@click.option("--save", type=FILE, metavar="FILE.json", help="Save the results.")
@click.option(
    "--from", "source", type=FILE, metavar="FILE.json", help="Show saved results; measure nothing."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Markdown tables on stdout.")
@click.option(
    "--plot",
    type=FILE,
    metavar="FILE.png",
    help="Draw the results.",
)
@click.pass_context
def bench(
    ctx: click.Context,
    /,
    only: str | None,
    tasks: str | None,
    rounds: int | None,
    iterations: int | None,
    runs: tuple[Path, ...],
    quick: bool,
    save: Path | None,
    source: Path | None,
    as_json: bool,
    as_markdown: bool,
    plot: Path | None,
) -> None:
    """Measure speed on this machine: physics, engines, exchange, training, evaluation.

    The limit is mj_step in a bare loop. Efficiency is training's steps/s divided by the loop's, on
    as many cores. Programs that are compared run in turns. Each number says what it includes.
    """
    if as_json and as_markdown:
        raise UsageError("--json and --markdown both write to stdout; choose one")
    if source:
        refuse_typed(ctx, OF_MEASURING, "with --from, which measures nothing; leave out either")
        from p2p.bench import load_results

        results = load_results(source)
    else:
        _check_writable(save, plot)
        settings = _settings(only, tasks, rounds, iterations, runs, quick)
        if plot:
            from p2p.bench.figures import check_drawable

            check_drawable(settings.parts)
        results = _measure(settings)
    if save:
        results.save(save)
    _show(results, as_json=as_json, as_markdown=as_markdown)
    if plot:
        from p2p.bench.figures import draw
        from p2p.runs import write_atomically

        write_atomically(plot, draw(results), "figure")


def _check_writable(*files: Path | None) -> None:
    """Raise NoRoom now if a file could not be written after the measurements."""
    for file in files:
        if file and not file.parent.is_dir():
            raise NoRoom(f"cannot write {file}: there is no folder {file.parent}; create it")


def _settings(
    only: str | None, tasks: str | None, rounds: int | None, iterations: int | None,
    runs: tuple[Path, ...], quick: bool,
) -> Settings:  # fmt: skip
    """Turn options into settings.

    Raises:
        UsageError: one is wrong, or two runs are of one task.
        BadArtefact: there is no run.
    """
    with interrupts.loading():
        from p2p.bench import Settings
        from p2p.core.config import build_config
        from p2p.runs import RunFolder

    parts = _names(only) or Settings.parts
    chosen = tuple(build_config(task=name).task for name in _names(tasks)) or Settings.tasks
    policies: dict[str, Path] = {}
    for run in map(RunFolder.open, runs):
        task = run.config.task
        if task in policies:
            raise UsageError(f"--run {run.path}: another --run is of {task} too; give one a task")
        policies[task] = run.policy_path(0)
    wanted = rounds or (1 if quick else Settings.rounds)
    settings = Settings(parts, chosen, wanted, policies)
    settings = settings.quick() if quick else settings
    return replace(settings, iterations=iterations) if iterations else settings


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(","))) if text else ()


def _measure(settings: Settings) -> Results:
    # A default SIGTERM would leave the temporary run folder behind.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with interrupts.loading():
        from p2p.bench import run_bench

    with _progress() as tell:

        def tell_or_end(text: str) -> None:
            interrupts.check()  # libraries that compile or import may have swallowed it
            tell(text)

        return run_bench(settings, tell_or_end)


@contextmanager
def _progress() -> Iterator[Tell]:
    """Yield a function that shows progress on stderr: by a spinner, or in lines."""
    if not can_redraw(sys.stderr):
        yield lambda text: print(text, file=sys.stderr, flush=True)
        return
    from rich.console import Console

    with Console(stderr=True, highlight=False).status("") as status:
        yield status.update


def _show(results: Results, *, as_json: bool, as_markdown: bool) -> None:
    from .bench_tables import markdown, sheet_lines, sheets

    if as_json:
        print(json.dumps(results.to_dict(), allow_nan=False))
        return
    if as_markdown:
        print(markdown(results))
        return
    for sheet in sheets(results):
        print_lines([*sheet_lines(sheet, columns()), as_text()])
    print_lines([as_text(results.caption)])
    if results.machine["load"] > BUSY * results.machine["cpus"]:
        message = "warning: other programs were running; rely on the ratios alone"
        say(message)
