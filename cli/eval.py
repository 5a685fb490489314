"""`p2p eval`: test the policies of runs, and show how good they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from p2p.analysis.evaluation.config import EvalConfig, build_eval_config, parse_strengths
from p2p.core.errors import UsageError

from .analysis import (
    Files,
    check_runs,
    how_far,
    latest_run,
    leave_out_folders,
    output_options,
    progress,
    show,
    work_options,
)
from .eval_tables import render
from .interrupt import interrupts
from .options import FILE, WHOLE, flags_in_messages, setting_option, source_options
from .text.terminal import columns
from .typed import refuse_typed

if TYPE_CHECKING:
    from p2p.analysis.evaluation.results import (
        EvaluatedRun,
        Evaluation,
    )

AS_TEXT = {"eps_te": "EPS", "grid": "FACTOR,FACTOR", "domain": "DOMAIN", "randomise": "FILE.toml"}
EXAMPLES = """\b
Examples:
  p2p eval                                the latest finished run, at 0.5
  p2p eval runs/* --eps-te 0:1:0.1 --json
  p2p eval runs/a --by-factor
  p2p eval runs/a --grid wind,mass --eps-te 1
  p2p eval runs/a --domain wind=3,mass=0.8 --episodes 20
"""


def _options() -> list[click.Parameter]:
    """Return an option for each field of EvalConfig."""
    options: list[click.Parameter] = []
    for name, field in EvalConfig.model_fields.items():
        if name in AS_TEXT:
            flag, several = "--" + name.replace("_", "-"), name == "eps_te"
            options.append(
                click.Option(
                    [flag, name], metavar=AS_TEXT[name], multiple=several, help=field.description,
                    default=("0.5",) if several else None, show_default=several,
                )
            )  # fmt: skip
        elif name == "episodes":  # the default depends on the others
            options.append(click.Option(["--episodes"], type=WHOLE, help=field.description))
        else:
            options.append(setting_option(name, field))
    return options


@click.command(params=_options(), epilog=EXAMPLES)
@click.argument(
    "runs", nargs=-1, metavar="[RUN]...", type=click.Path(path_type=Path),
    callback=leave_out_folders,
)  # fmt: skip
@work_options
@click.option(
    "--policies", type=click.Choice(["last", "best"]), default="last", show_default=True,
    help="Of each run the last policies, or those that did best in p2p train --test-every.",
)  # fmt: skip
@click.option(
    "--figure",
    type=FILE,
    metavar="FILE.png",
    help="Picture of --grid or --by-factor [default: in the run folder].",
)
@output_options
@click.pass_context
@source_options
def eval(
    ctx: click.Context,
    /,
    runs: tuple[Path, ...],
    policies: Literal["last", "best"],
    workers: int | None,
    no_save: bool,
    figure: Path | None,
    as_json: bool,
    plain: bool,
    eps_te: tuple[str, ...],
    grid: str | None,
    **settings: Any,
) -> None:
    """Test the policies of each RUN (run folder, policy file or bundle) in randomised domains.

    All runs meet the same test domains. Episodes are kept in eval.h5 beside the run, and what
    is there is not run again. No RUN: the latest finished one under runs/.
    """
    strengths = [eps for text in eps_te for eps in parse_strengths(text)]
    factors = grid.split(",") if grid else None
    _check(runs, figure, factors, by_factor=settings["by_factor"])
    _check_effect(ctx)
    with flags_in_messages():
        build_eval_config(eps_te=strengths, grid=factors, **settings)
    check_runs(runs)
    with interrupts.loading():
        from p2p.analysis.evaluation.session import evaluate

    chosen = runs or (latest_run().path,)
    with flags_in_messages(), progress("evaluating", how_far, plain=plain) as report:
        found = evaluate(
            chosen, strengths, policies=policies, save=not no_save, workers=workers, report=report,
            grid=factors, **settings,
        )  # fmt: skip
    files = Files()
    pictures = _draw(found, figure, files, save=not no_save)
    show(
        found, lambda: render(found, columns()), {"figures": pictures},
        as_json=as_json, plain=plain,
    )  # fmt: skip
    files.raise_failed()


def _check(
    runs: tuple[Path, ...], figure: Path | None, factors: list[str] | None, *, by_factor: bool
) -> None:
    """Raise UsageError for what can be seen to be wrong before anything is loaded."""
    if factors is not None and len(factors) != 2:
        raise UsageError(f"--grid {','.join(factors)}: name two factors, as in wind,mass")
    if figure is not None and not (factors or by_factor):
        raise UsageError("--figure draws what --grid or --by-factor measures; give one of them")
    if figure is not None and len(runs) > 1:
        raise UsageError(f"--figure names one picture, and there are {len(runs)} runs")


def _check_effect(ctx: click.Context) -> None:
    """Raise UsageError for an option that has no effect on the domains that are asked for."""
    swept = {"--by-factor": ctx.params["by_factor"], "--grid": ctx.params["grid"]}
    flags = [flag for flag, given in swept.items() if given]
    if ctx.params["domain"] is not None:
        unused = ("eps_te", "domains", "points")
        refuse_typed(ctx, unused, "with --domain, which gives the only domain; leave out either")
    elif flags:
        refuse_typed(ctx, ("domains",), f"with {flags[0]}; give --points, the values of a factor")
    else:
        refuse_typed(ctx, ("points",), "without --by-factor or --grid; give one of them")


def _draw(found: Evaluation, figure: Path | None, files: Files, *, save: bool) -> list[str]:
    """Draw what can be drawn, and return the pictures' paths."""
    if not (found.config.grid or found.config.by_factor) or not (figure or save):
        return []
    from p2p.plots import evaluation as figures

    name = "-".join(found.config.grid) if found.config.grid else "by-factor"
    draw: Callable[[EvaluatedRun, EvalConfig], bytes] = (
        figures.heat_map if found.config.grid else figures.factor_curves
    )
    advice = "name another with --figure" if len(found.runs) == 1 else "it is left out"
    pictures = []
    for run in found.runs:
        path = figure or Path(run.path) / f"eval-{name}.png"
        if figure is None and not Path(run.path).is_dir():
            continue
        pictures.append(
            files.write(
                path, partial(draw, run, found.config), "figure", advice, asked=figure is not None
            )
        )
    return [picture for picture in pictures if picture]
