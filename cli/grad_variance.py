"""`p2p grad-variance`: how much the gradient varies through training."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p.analysis.gradient_variance.config import GradVarianceConfig

from .analysis import (
    Files,
    latest_run,
    leave_out_folders,
    output_options,
    progress,
    show,
    work_options,
)
from .interrupt import interrupts
from .notices import say_if_compiling
from .options import FILE, flags_in_messages, setting_option, source_options
from .tables import as_text, assembled, table
from .text.formats import NOTHING, compact, count, counted, fixed
from .text.terminal import can_redraw, columns

if TYPE_CHECKING:
    from rich.text import Text

    from p2p.analysis.gradient_variance.results import Curve, GradVariance, MeasuredRun
    from p2p.analysis.session import Progress

    from .text.chart import Series

UNSEEN = 80  # columns of a file or pipe
WIDEST = 120  # of a chart
EXAMPLES = """\b
Examples:
  p2p grad-variance                                   the latest finished run
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
    in their seed alone are one group. No RUN: the latest finished one under runs/.
    """
    with interrupts.loading():
        from p2p.analysis.gradient_variance.session import grad_variance as measure
        from p2p.runs import RunFolder

    folders = [RunFolder.open(path) for path in runs] or [latest_run()]
    for engine in sorted({folder.config.engine for folder in folders}):
        say_if_compiling(engine)
    with flags_in_messages(), progress("measuring", _at, plain=plain) as report:
        found = measure(folders, save=not no_save, workers=workers, report=report, **settings)
    files = Files()
    picture = _draw(found, figure, files, save=not no_save)
    braille = can_redraw(sys.stdout) and not plain
    show(
        found, lambda: render(found, columns(UNSEEN), braille=braille), {"figure": picture},
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


def render(found: GradVariance, width: int, *, braille: bool) -> list[Text]:
    """Return everything that is shown.

    Args:
        width: cells in a line; columns of least worth are left out where they do not fit.
        braille: whether the output knows braille.
    """
    from .text.chart import chart

    curves = found.curves
    lines = [as_text(_what(found), "dim"), as_text()]
    if len(found.runs) == 1:
        (run,) = found.runs
        lines = [*_head(run), *lines, *_checkpoints(run, width), as_text()]
    else:
        lines += [*_methods(curves, width), as_text()]
    for task in dict.fromkeys(curve.task for curve in curves):
        drawn = chart(
            _series([curve for curve in curves if curve.task == task]), min(width, WIDEST),
            x_label="steps of training", braille=braille,
        )  # fmt: skip
        if drawn:
            lines += [as_text(f"ln Var of the actor's gradient, {task}", "bold"), *drawn, as_text()]
    return [*lines, *_notes(found, curves), _cost(found)]


def _what(found: GradVariance) -> str:
    steps, minibatches = found.config.steps, found.config.minibatches
    size = steps // minibatches
    return f"{steps} fresh steps a peer at each checkpoint, {minibatches} minibatches of {size}"


def _head(run: MeasuredRun) -> list[Text]:
    peers = counted(run.values.shape[1], "peer")
    about = f", {run.method}, {peers}, eps_tr {run.settings['eps_tr']:g}, seed {run.seed}"
    return [assembled((run.task, "bold"), about), as_text(run.path, "dim")]


def _checkpoints(run: MeasuredRun, width: int) -> list[Text]:
    """Return a row a checkpoint: means over peers, and each peer's own where there is room."""
    own = run.of("log_variance")
    mean = {name: run.of(name).mean(axis=1).tolist() for name in ("trace", "snr")}
    head = ["iteration", "steps", "ln Var"]
    columns = [map(count, run.iterations), map(count, run.steps), map(_log, own.mean(axis=1))]
    if run.penalised:
        head.append("PPO part")
        columns.append(map(_log, run.of("ppo_log_variance").mean(axis=1)))
    head += ["trace", "SNR"]
    columns += [map(compact, mean["trace"]), map(_snr, mean["snr"])]
    rows = [list(row) for row in zip(*columns, strict=True)]
    if own.shape[1] > 1:
        wider = [[*row, *map(_log, peers)] for row, peers in zip(rows, own, strict=True)]
        full = table([*head, *(f"peer {k}" for k in range(own.shape[1]))], wider, left=0)
        if max(map(len, full)) <= width:
            return full
    return table(head, rows, left=0, width=width, keep=1)


def _methods(curves: Sequence[Curve], width: int) -> list[Text]:
    """Return a row a group and checkpoint; seeds are the unit."""
    penalised = any(curve.penalised for curve in curves)
    several = len({curve.task for curve in curves}) > 1
    rows = []
    for curve in curves:
        for point in curve.points:
            interval = point.ci["log_variance"]
            mean = point.mean
            ppo = [_log(mean["ppo_log_variance"]) if curve.penalised else NOTHING]
            rows.append(
                [
                    *([curve.task] if several else []), curve.label, count(point.steps),
                    str(len(point.seeds)), _log(mean["log_variance"]),
                    NOTHING if interval is None else f"{_log(interval[0])} to {_log(interval[1])}",
                    *(ppo if penalised else []), compact(mean["trace"]), _snr(mean["snr"]),
                ]
            )  # fmt: skip
    head = ["method", "steps", "seeds", "ln Var", "95% CI"]
    head = [*(["task"] if several else []), *head, *(["PPO part"] if penalised else [])]
    return table([*head, "trace", "SNR"], rows, left=2 if several else 1, width=width)


def _log(value: float) -> str:
    """Return three decimals: peers and parts differ in the second."""
    return f"{value:.3f}"


def _snr(value: float) -> str:
    return fixed(value, 3)


def _series(curves: Sequence[Curve]) -> list[Series]:
    from .text.chart import Series

    return [
        Series(curve.label, [(p.steps, p.mean["log_variance"]) for p in curve.points])
        for curve in curves
    ]


def _notes(found: GradVariance, curves: Sequence[Curve]) -> list[Text]:
    """Return what the columns mean."""
    noise = compact(1 / found.config.minibatches)
    notes = [
        "ln Var: ln of the variance over minibatches, mean over the actor's parameters",
        f"trace: its sum; SNR: |mean gradient|^2 / trace, {noise} of noise alone",
    ]
    if any(curve.penalised for curve in curves):
        notes.append("PPO part: the same minibatches without what the method adds to the loss")
    if any(curve.method == "dppo" for curve in curves):
        notes.append("dppo: of a peer's own gradient; its step takes the mean over peers")
    if len(found.runs) > 1:
        notes.append("95% CI: Student's t over seeds; peers are averaged within a seed")
    return [as_text(note, "dim") for note in notes]


def _cost(found: GradVariance) -> Text:
    kept = f"{counted(found.reused, 'checkpoint')} from grad-variance.h5" if found.reused else ""
    if not found.measured:
        return as_text(f"{kept}, none to measure", "dim")
    now = counted(found.measured, "checkpoint")
    took = f"{now}, {count(found.steps)} steps in {found.seconds:.1f} s"
    return as_text("; ".join(filter(None, [took, kept])), "dim")
