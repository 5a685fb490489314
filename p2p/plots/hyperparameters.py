"""Test returns over what hyperparameters set: Fig. 8a and appendix A.2."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from p2p.analysis.statistics import bootstrap_interval, mean
from p2p.core.config import TrainConfig
from p2p.plots import lines
from p2p.plots.captions import how_tested, how_trained, strength_text
from p2p.plots.data import Data, Row
from p2p.plots.method_styles import METHODS, TASKS, MethodStyle
from p2p.plots.panels import Layout, Panel
from p2p.plots.selection import main_test_column, need, task_groups, values_by

FAR = 100.0  # nats from 0, past which the axis of entropies is logarithmic


def entropy_scatter(data: Data) -> Layout:
    """Fig. 8a: test return over the policy's entropy; a faint mark a run, a full one a setting."""
    column = main_test_column(data)

    def points(axes: Any, task: str) -> dict[str, int]:
        settings: dict[tuple[str, float | None], list[tuple[float, float]]] = {}
        for row in data.rows:
            at, value = row.number("entropy"), row.number(column)
            if row.task == task and at is not None and value is not None:
                coef = entropy_coef(data, row)
                settings.setdefault((row.method, coef), []).append((at, value))
        counts: dict[str, int] = {}
        for (method, coef), pairs in settings.items():
            look, values = METHODS[method], np.array(pairs)
            style = {"color": look.colour, "marker": look.marker, "ls": ""}
            axes.plot(*values.T, ms=3, alpha=0.35, mew=0, **style)
            x, y = values.mean(axis=0)
            label = look.label if look.label not in counts else None
            if len(values) > 1:
                ends = np.array([bootstrap_interval(v, mean) for v in values.T])
                axes.plot(ends[0], (y, y), color=look.colour, lw=0.8)
                axes.plot((x, x), ends[1], color=look.colour, lw=0.8)
            axes.plot(x, y, ms=7, mec="white", mew=0.6, label=label, **style)
            if coef is not None:
                axes.annotate(
                    f"{float(f'{coef:.2g}'):g}",
                    (x, y),
                    (5, 4),
                    textcoords="offset points",
                    fontsize=6.5,
                )
            counts[look.label] = min(len(values), counts.get(look.label, len(values)))
        entropies = [at for pairs in settings.values() for at, _ in pairs]
        if max(map(abs, entropies), default=0.0) > FAR:  # of a bonus that widens without end
            axes.set_xscale("symlog", linthresh=FAR / 10)
            axes.margins(x=0.15)
        return counts

    ylabel = f"test return, {strength_text(column)}"
    panels = [Panel(TASKS[t], "policy entropy (nats)", ylabel, partial(points, task=t))
              for t in data.tasks]  # fmt: skip
    shown = (r for r in data.rows if None not in (r.number("entropy"), r.number(column)))
    numbers = any(entropy_coef(data, row) is not None for row in shown)
    end = "Numbers: entropy coefficient c. " if numbers else ""
    end += "Entropy: mean over the last tenth of training."
    return Layout([panels], f"{how_trained(data)} {how_tested(data)} {end}")


def entropy_coef(data: Data, row: Row) -> float | None:
    """Return the coefficient of a run's entropy bonus; None of a method that has none.

    Tables have a column of it where it varies; else it is the same for all of the method's runs.
    """
    if row.method != "entropy":
        return None
    fixed = {float(c.get("entropy_coef")) for c in data.study.configs if c.method == row.method}
    return fixed.pop() if len(fixed) == 1 else row.number("entropy_coef")


def sweep(data: Data) -> Layout:
    """Appendix A.2: test return over each hyperparameter, the others as the paper chose them."""
    column = main_test_column(data)
    axes_of = {
        "learning_rate": r"learning rate $\beta$",
        "steps_per_iteration": "steps an iteration, over all peers",
        "distill_coef": r"distillation coefficient $\alpha$",
    }
    swept = [name for name in axes_of if name in data.study.varying]
    need(data, swept, f"runs by {', '.join(axes_of)}", "several values of one of them")

    def others_chosen(row: Row, swept: str) -> bool:
        chosen = TrainConfig(method=row.method)
        return all(row.number(n) in (None, chosen.get(n)) for n in axes_of if n != swept)

    def swept_groups(task: str, name: str) -> Iterator[tuple[MethodStyle, list[Row], lines.Points]]:
        for look, rows in task_groups(data, task, *axes_of):
            points = values_by((r for r in rows if others_chosen(r, name)), name, column)
            if len(points) > 1:  # swept for this method
                yield look, rows, points

    each = [(task, name) for task in data.tasks for name in swept]
    need(data, (g for pair in each for g in swept_groups(*pair)), "tested runs at two values")

    def panel(axes: Any, task: str, name: str) -> dict[str, int]:
        counts = {}
        for look, rows, points in swept_groups(task, name):
            lines.band(axes, points, look)
            chosen = float(TrainConfig(method=rows[0].method).get(name))
            if chosen in points:
                at = float(mean(points[chosen]))
                axes.plot(chosen, at, "o", ms=9, mfc="none", mec=look.colour)
            counts[look.label] = min(map(len, points.values()))
        axes.set_xscale("log", base=2 if name == "steps_per_iteration" else 10)
        return counts

    ylabel = f"test return, {strength_text(column)}"
    rows = [
        [Panel(TASKS[task], axes_of[name], ylabel, partial(panel, task=task, name=name))
         for name in swept]
        for task in data.tasks
    ]  # fmt: skip
    return Layout(rows, f"{how_trained(data)} {how_tested(data)} Ringed: the paper's choice.")
