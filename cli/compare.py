"""`p2p compare`: which of several groups of runs is better, and whether that is shown."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p.analysis.evaluation.config import EvalConfig, parse_strengths
from p2p.core.errors import UsageError

from .analysis import (
    Files,
    how_far,
    leave_out_folders,
    no_save_option,
    output_options,
    progress,
    show,
)
from .options import FILE, setting_option, source_options, with_flags
from .terminal import columns

if TYPE_CHECKING:
    from p2p.analysis.comparison.results import Comparison

OF_EVALUATION = ("domains", "domain_seed", "episodes", "sampled")
EXAMPLES = """\b
Examples:
  p2p compare runs/studies/fig4/*/                  final scores
  p2p compare runs/studies/fig4/*/ --eps-te 0.5     in test domains
  p2p compare runs/* --against ppo --figure compare.png
"""


def _options() -> list[click.Parameter]:
    """Return the options that say what is compared; those of an evaluation that make sense here."""
    strength = click.Option(
        ["--eps-te"],
        metavar="EPS",
        help="Compare returns in test domains of this strength; what is missing is evaluated on "
        "all cores and kept beside the runs [default: compare the final scores].",
    )
    return [
        strength,
        *(setting_option(name, EvalConfig.model_fields[name]) for name in OF_EVALUATION),
    ]


@click.command(params=_options(), epilog=EXAMPLES)
@click.argument(
    "runs", nargs=-1, required=True, metavar="RUNS...", type=click.Path(path_type=Path),
    callback=leave_out_folders,
)  # fmt: skip
@click.option(
    "--against", metavar="GROUP", help="Compare only with this group [default: each pair]."
)
@click.option("--figure", type=FILE, metavar="FILE.png", help="Draw scores and profiles.")
@click.option("--out", type=FILE, metavar="FILE.h5", help="Keep all of it in this HDF5 file.")
@no_save_option
@output_options
@click.pass_context
@source_options
def compare(
    ctx: click.Context,
    /,
    runs: tuple[Path, ...],
    eps_te: str | None,
    against: str | None,
    figure: Path | None,
    out: Path | None,
    no_save: bool,
    as_json: bool,
    plain: bool,
    **settings: Any,
) -> None:
    """Compare RUNS, run folders, in groups of one method and setting.

    Seeds are the unit. A difference counts as shown only if the interval of the difference of
    means excludes 0, corrected for the number of tests.
    """
    strength = _strength(ctx, eps_te)
    from p2p.analysis.comparison.compare import compare as compare_runs

    try:
        if strength is None:
            found = compare_runs(runs, against=against)
        else:
            with progress("evaluating", how_far, plain=plain) as report:
                found = compare_runs(
                    runs, strength, against=against, save=not no_save, report=report, **settings
                )
    except UsageError as error:
        raise UsageError(with_flags(str(error), EvalConfig)) from None
    files = Files()
    written = _write(found, figure, out, files)
    from .compare_tables import report as tables

    show(found, lambda: tables(found, columns()), written, as_json=as_json, plain=plain)
    files.raise_failed()


def _strength(ctx: click.Context, eps_te: str | None) -> float | None:
    """Return the strength of the test domains, if that is what is compared.

    Raises:
        UsageError: it is none, or several; or a setting of the evaluation is given without it.
    """
    if eps_te is not None:
        strengths = parse_strengths(eps_te)
        if len(strengths) != 1:
            raise UsageError(f"--eps-te {eps_te}: runs are compared at one strength at a time")
        return strengths[0]
    for name in (*OF_EVALUATION, "no_save"):
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(f"--{name.replace('_', '-')} is of test domains; give --eps-te too")
    return None


def _write(
    found: Comparison, figure: Path | None, out: Path | None, files: Files
) -> dict[str, str | None]:
    """Write what is asked for, and return where it lies."""
    from p2p.analysis.comparison import file as hdf5
    from p2p.plots import comparison as figures

    written = {}
    for kind, path, encode in (
        ("figure", figure, figures.scores_and_profiles),
        ("out", out, hdf5.encode),
    ):
        if path is not None:
            advice = f"name another with --{kind}"
            written[kind] = files.write(path, partial(encode, found), kind, advice, asked=True)
    return written
