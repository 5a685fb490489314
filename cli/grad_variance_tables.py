"""Tables and chart of a gradient's variance, as lines of text; plain without their styles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from .chart import Series, chart
from .eval_tables import _table
from .formats import NOTHING, compact, count, counted, fixed

if TYPE_CHECKING:
    from p2p.analysis.gradient_variance.results import Curve, GradVariance, MeasuredRun

WIDEST = 120  # of a chart


def report(found: GradVariance, width: int, *, braille: bool) -> list[Text]:
    """Return everything that is shown.

    Args:
        width: cells in a line; columns of least worth are left out where they do not fit.
        braille: whether the output knows braille.
    """
    curves = found.curves
    lines = [Text(_what(found), "dim"), Text()]
    if len(found.runs) == 1:
        (run,) = found.runs
        lines = [*_head(run), *lines, *_checkpoints(run, width), Text()]
    else:
        lines += [*_methods(curves), Text()]
    for task in dict.fromkeys(curve.task for curve in curves):
        drawn = chart(
            _series([curve for curve in curves if curve.task == task]), min(width, WIDEST),
            x_label="steps of training", braille=braille,
        )  # fmt: skip
        if drawn:
            lines += [Text(f"ln Var of the actor's gradient, {task}", "bold"), *drawn, Text()]
    return [*lines, *_notes(found, curves), _cost(found)]


def _what(found: GradVariance) -> str:
    steps, minibatches = found.config.steps, found.config.minibatches
    size = steps // minibatches
    return f"{steps} fresh steps a peer at each checkpoint, {minibatches} minibatches of {size}"


def _head(run: MeasuredRun) -> list[Text]:
    peers = counted(run.values.shape[1], "peer")
    about = f", {run.method}, {peers}, eps_tr {run.settings['eps_tr']:g}, seed {run.seed}"
    return [Text.assemble((run.task, "bold"), about), Text(run.path, "dim")]


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
        full = _table([*head, *(f"peer {k}" for k in range(own.shape[1]))], wider, left=0)
        if max(map(len, full)) <= width:
            return full
    return _table(head, rows, left=0)


def _methods(curves: Sequence[Curve]) -> list[Text]:
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
    return _table([*head, "trace", "SNR"], rows, left=2 if several else 1)


def _log(value: float) -> str:
    """Return three decimals: peers and parts differ in the second."""
    return f"{value:.3f}"


def _snr(value: float) -> str:
    return fixed(value, 3)


def _series(curves: Sequence[Curve]) -> list[Series]:
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
    return [Text(note, "dim") for note in notes]


def _cost(found: GradVariance) -> Text:
    kept = f"{counted(found.reused, 'checkpoint')} from grad-variance.h5" if found.reused else ""
    if not found.measured:
        return Text(f"{kept}, none to measure", "dim")
    now = counted(found.measured, "checkpoint")
    took = f"{now}, {count(found.steps)} steps in {found.seconds:.1f} s"
    return Text("; ".join(filter(None, [took, kept])), "dim")
