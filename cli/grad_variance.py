"""`p2p grad-variance`: how much the gradient varies through training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p.analysis.gradient_variance.config import GradVarianceConfig
from p2p.core.errors import UsageError

from .analysis import Files, leave_out_folders, output_options, progress, show, work_options
from .formats import counted
from .options import FILE, setting_option, source_options, with_flags
from .terminal import can_redraw, columns
from .train import say_if_compiling

if TYPE_CHECKING:
    from p2p.analysis.gradient_variance.results import GradVariance
    from p2p.analysis.session import Progress

UNSEEN = 80  # columns of a file or pipe
EXAMPLES = """\b
Examples:
  p2p grad-variance                                     the latest run
  p2p grad-variance runs/ppo-* runs/p2pdrl-* --figure fig8.png
  p2p grad-variance runs/a --json
"""


@click.command(
    "grad-variance",
    params=[setting_option(name, one) for name, one in GradVarianceConfig.model_fields.items()],
    epilog=EXAMPLES,
)
@click.argument(
    "runs", nargs=-1, metavar="[RUN]...", type=click.Path(path_type=Path),
    callback=leave_out_folders,
)  # fmt: skip
@work_options
@click.option(
    "--figure",
    type=FILE,
    metavar="FILE.png",
    help="Picture [default: in the run folder, if there is one RUN].",
)
@output_options
@source_options
def grad_variance(
    runs: tuple[Path, ...],
    workers: int | None,
    no_save: bool,
    figure: Path | None,
    as_json: bool,
    plain: bool,
    **settings: Any,
) -> None:
    """Measure the variance of the actor's gradient at the milestones of each RUN.

    Every peer collects fresh steps as the run did; the gradient is that of the loss that the
    run minimises, and beside it that of its PPO part alone. Numbers are kept in
    grad-variance.h5 beside the run, and what is there is not measured again. Runs that differ
    in their seed alone are one group. No RUN: the latest under runs/.
    """
    from p2p.analysis.gradient_variance.session import grad_variance as measure
    from p2p.runs import RunFolder

    folders = [RunFolder.open(path) for path in runs] or [RunFolder.latest()]
    for engine in sorted({folder.config.engine for folder in folders}):
        say_if_compiling(engine)
    try:
        with progress("measuring", _at, plain=plain) as report:
            found = measure(folders, save=not no_save, workers=workers, report=report, **settings)
    except UsageError as error:
        raise UsageError(with_flags(str(error), GradVarianceConfig)) from None
    files = Files()
    picture = _draw(found, figure, files, save=not no_save)
    from .grad_variance_tables import report as tables

    braille = can_redraw(sys.stdout) and not plain
    show(
        found, lambda: tables(found, columns(UNSEEN), braille=braille), {"figure": picture},
        as_json=as_json, plain=plain,
    )  # fmt: skip
    files.raise_failed()


def _at(now: Progress) -> str:
    return f"{now.done} of {counted(now.total, 'checkpoint')}"


def _draw(found: GradVariance, figure: Path | None, files: Files, *, save: bool) -> str | None:
    """Draw the curves, and return the picture's path."""
    from p2p.plots.gradient_variance import gradient_curves

    if figure is None and (not save or len(found.runs) > 1):
        return None
    path = figure or Path(found.runs[0].path) / "grad-variance.png"
    return files.write(
        path, lambda: gradient_curves(found), "figure", "name another with --figure",
        asked=figure is not None,
    )  # fmt: skip
