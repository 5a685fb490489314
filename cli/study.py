"""`p2p study`: train a grid of runs side by side, and tabulate the results."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
from click.shell_completion import CompletionItem

from p2p.core.errors import Interrupted, P2PError, UsageError
from p2p.core.names import did_you_mean

from .analysis import Files
from .interrupt import interrupts
from .notices import note
from .options import DURATION, FOLDER, WholeRange, source_options
from .text.terminal import can_redraw

if TYPE_CHECKING:
    from collections.abc import Generator

    from p2p.study import Engine, Plan, PlannedRun, Results

    from .study_views import StudyView

STUDIES = Path("runs/studies")
ENGINES = ("local", "slurm")
EXAMPLES = """\b
Examples:
  p2p study learning
  p2p study my-study.toml --jobs 4 --out runs/studies/mine
  p2p study fig4 --budget paper
  p2p study fig4 --only task=hopper --only seed=0,1
  p2p study learning --results-only --markdown
  p2p study fig4 --engine slurm --time 4h --slurm partition=cpu

A study file is a grid of runs:

\b
  name = "example"
  [settings]                  # of every run
  total_steps = 1_000_000
  [[grid]]                    # one or more; lists are axes
  task = ["hopper", "ant"]
  method = "p2pdrl"
  seed = [0, 1, 2]
  [evaluate]                  # tests after training, as by p2p eval
  eps_te = "0:1:0.1"
  [surface]                   # a surface of each run, as by p2p surface
  grid = 15
  [budget.paper]              # replaces these values with --budget paper
  total_steps = 16_000_000
"""


def _complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    from p2p.study.grid import shipped_studies

    shipped = [CompletionItem(name) for name in shipped_studies() if name.startswith(begun)]
    return [*shipped, CompletionItem(begun, type="file")]


def _parse_only(
    ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> dict[str, list[str]]:
    """Return the values that are asked for by setting, as text."""
    from p2p.core.config import setting_names
    from p2p.core.foreign import COMMAND_LINE

    wanted: dict[str, list[str]] = {}
    for one in given:
        name, _, values = one.partition("=")
        name = COMMAND_LINE.get(name, name)
        if name not in (known := setting_names()):
            raise UsageError(f"--only {one}: unknown setting {name!r}{did_you_mean(name, known)}")
        if not values:
            raise UsageError(f"--only {one}: give its values, as in seed=0,1")
        wanted.setdefault(name, []).extend(values.split(","))
    return wanted


@click.command(epilog=EXAMPLES)
@click.argument("study", metavar="STUDY", shell_complete=_complete)
@click.option(
    "--out",
    type=FOLDER,
    metavar="DIR",
    help="Folder [default: runs/studies/ and its name, or the folder that it names].",
)
@click.option("--budget", metavar="NAME", help="One of the study's budgets [default: small].")
@click.option(
    "--only",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_parse_only,
    help="Train only the runs with this setting, as in task=hopper or seed=0,1; give it as often "
    "as you like.",
)
@click.option(
    "--jobs",
    type=WholeRange(min=1),
    help="Runs at a time, sharing all cores [default: as many as leave each peer a core]; on "
    "Slurm, jobs of an array at a time [all].",
)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="local",
    help="Where runs are trained: here, or on a Slurm cluster, where they are submitted, a job "
    "each; the same command then shows how they do, and goes on [local].",
)
@click.option(
    "--time",
    type=DURATION,
    metavar="TIME",
    help="Slurm: a job's time limit, as in 4h or 90m; at its end it saves and queues again.",
)
@click.option(
    "--slurm",
    "parameters",
    multiple=True,
    metavar="KEY=VALUE",
    help="Slurm: another parameter, by submitit's name, as in partition=cpu or account=me.",
)
@click.option("--retry", is_flag=True, help="Slurm: submit failed runs again, too.")
@click.option("--results-only", is_flag=True, help="Train nothing; tabulate the complete runs.")
@click.option("--markdown", is_flag=True, help="Print the summary as a Markdown table.")
@click.option(
    "--save",
    type=FOLDER,
    metavar="DIR",
    help="Save DIR/<name>.csv, <name>-curves.csv and, of [surface], <name>-surfaces.csv after each "
    "run; runs that have a row there, of this version, are not trained again.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object an event on stdout.")
@click.option("--plain", is_flag=True, help="Plain lines, on a terminal too.")
@source_options
def study(
    study: str,
    out: Path | None,
    budget: str | None,
    only: dict[str, list[str]],
    jobs: int | None,
    engine: str,
    time: int | None,
    parameters: tuple[str, ...],
    retry: bool,
    results_only: bool,
    markdown: bool,
    save: Path | None,
    as_json: bool,
    plain: bool,
) -> None:
    """Train and test the runs of STUDY, a .toml file or the name of a shipped study.

    Complete runs are skipped and interrupted ones are resumed: to continue a study, repeat
    the command.
    """
    if as_json and markdown:
        raise UsageError("--json and --markdown both write to stdout; choose one")
    with interrupts.loading():
        from p2p.study import find_study, plan_study, read_study

    described = read_study(find_study(study), budget)
    plan = plan_study(described, out or STUDIES / described.folder, save)
    plan.choose(only)
    where = _engine(engine, jobs, time, parameters, retry=retry, look_only=results_only)
    views = _views(plan, where, as_json=as_json, plain=plain, markdown=markdown)
    files = Files()
    failed: list[PlannedRun] = []
    if not results_only or not where.stays:
        try:
            failed = _train(plan, where, views, save, files)
        except Interrupted as stopped:
            again = shlex.join(["p2p", *sys.argv[1:]])
            raise Interrupted(f"{stopped}; continue with: {again}", stopped.signum) from None
    _tabulate(plan, views, save, files, trained=not results_only)
    files.raise_failed()
    if failed:
        raise _failure(failed, plan, "" if where.stays else "; --retry submits failed runs again")


def _failure(failed: list[PlannedRun], plan: Plan, advice: str) -> P2PError:
    """Return the error of a study of which runs failed: the first one's, with its exit code."""
    first = failed[0]
    error = P2PError(
        f"{len(failed)} of {len(plan.chosen)} runs failed, first {first.name}: "
        f"{first.error}{advice}"
    )
    error.exit_code = first.exit_code
    return error


def _engine(
    name: str, jobs: int | None, time: int | None, parameters: tuple[str, ...], *, retry: bool,
    look_only: bool,
) -> Engine:  # fmt: skip
    """Return where the runs are trained.

    Raises:
        UsageError: an option is of another engine, or wrong.
    """
    from p2p.study import LocalEngine

    if name == "local":
        given = {"--time": time, "--slurm": parameters, "--retry": retry}
        if words := ", ".join(option for option, value in given.items() if value):
            raise UsageError(f"{words}: only with --engine slurm")
        return LocalEngine(jobs)
    from p2p.study.slurm import SlurmEngine, read_parameters

    return SlurmEngine(jobs, time, read_parameters(parameters), retry=retry, look_only=look_only)


def _train(
    plan: Plan, engine: Engine, views: list[StudyView], save: Path | None, files: Files
) -> list[PlannedRun]:
    """Train the plan's runs; return those that failed, in the order of failing."""
    from p2p.study import State, collect_results

    failed = {run.name: run for run in plan.runs if run.state is State.FAILED}
    results = collect_results(plan)
    with ExitStack() as stack:
        stack.callback(_show_submitted, engine, views)  # at last, also if the rest was refused
        for view in views:
            stack.enter_context(view)
        changes = stack.enter_context(closing(cast("Generator[PlannedRun]", engine.run(plan))))
        for run in changes:
            for view in views:
                view.changed(run)
            if run.state is State.FAILED:
                failed[run.name] = run
            if run.state is State.COMPLETE and engine.stays:  # now: a kill loses no results
                known = {r.run: r for r in results.runs if r.run not in results.untested}
                results = collect_results(plan, known)
                with files.writing("the next run that ends writes it again", asked=False):
                    results.write(plan)
                    if save:
                        _save(plan, results, save)
    return [run for run in failed.values() if run.state is State.FAILED]


def _show_submitted(engine: Engine, views: list[StudyView]) -> None:
    for submission in engine.submitted:
        for view in views:
            view.submitted(submission)


def _tabulate(
    plan: Plan, views: list[StudyView], save: Path | None, files: Files, *, trained: bool
) -> None:
    """Write and show the results of the complete runs.

    Args:
        trained: failing to write the table is an error; else it is a note.
    """
    from p2p.study import State, collect_results

    results: Results = collect_results(plan)
    written: list[Path] = []
    if results.runs:
        advice = "fix that, then use --results-only" if trained else "it is shown, not kept"
        with files.writing(advice, asked=trained):
            results.write(plan)
            written.append(plan.table)
    if save and (results.runs or plan.count(State.FAILED)):
        with files.writing("name another with --save", asked=True):
            written += _save(plan, results, save)
    for view in views:
        view.finished(results, written)


def _save(plan: Plan, results: Results, folder: Path) -> list[Path]:
    """Write the tables of results and curves into `folder`; return the files."""
    from p2p.study.saving import save_tables

    written, kept = save_tables(plan, results, folder)
    if kept:
        files = ", ".join(map(str, kept))
        note(f"rows of {written[0]} are not of this study's finished runs; kept as {files}")
    return written


def _views(
    plan: Plan, engine: Engine, *, as_json: bool, plain: bool, markdown: bool
) -> list[StudyView]:
    """Return the views: JSON or Markdown on stdout, or lines or a table for people."""
    from .study_views import StudyJson, StudyLines, StudyMarkdown, StudyTable

    stream = sys.stderr if as_json or markdown else sys.stdout
    views: list[StudyView] = [StudyJson(sys.stdout)] if as_json else []
    views += [StudyMarkdown(sys.stdout)] if markdown else []
    if plain or not can_redraw(stream) or (stream is sys.stderr and sys.stdout.isatty()):
        return [*views, StudyLines(stream, plan, engine)]
    return [*views, StudyTable(stream, plan, engine)]
