"""Learning curves of runs: `p2p plot`. Needs the extra `figures` (matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from p2p.analysis.learning import AXES, LearningGroup, label_of
from p2p.analysis.statistics import mean_interval
from p2p.plots import lines
from p2p.plots.captions import MILLION
from p2p.plots.method_styles import METHODS, TASKS, MethodStyle, group_styles
from p2p.plots.panels import Drawn, Layout, Panel, compose

BANDS = "Mean over seeds; bands: Student's t 95% intervals of the mean over seeds"
ALONE = "Lines: single runs"
COLUMNS = 3  # panels beside one another


class GroupCurve(NamedTuple):
    """A measure of a group over x.

    Attributes:
        points: values of the seeds at the x that all of them have reached.
        alone: what the seeds that went further have from there on, a curve each.
    """

    points: lines.Points
    alone: list[list[tuple[float, float]]]

    @property
    def mean(self) -> list[tuple[float, float]]:
        """The mean over seeds."""
        return [(x, float(np.mean(values))) for x, values in sorted(self.points.items())]

    @property
    def seeds(self) -> int:
        """How many seeds the mean is over; 0 if no x is common to all."""
        return max(map(len, self.points.values()), default=0)


def group_curve(group: LearningGroup, measure: str, x: str = "steps") -> GroupCurve:
    """Return a measure of a group, on the x of the seed with the most points."""
    curves = [curve for run in group.runs if (curve := run.curve(measure, x))]
    points = lines.on_common_steps(curves)
    if not points:
        return GroupCurve({}, curves)
    last = max(points)
    longer = [[point for point in curve if point[0] >= last] for curve in curves]
    return GroupCurve(points, [curve for curve in longer if len(curve) > 1])


def looks_of(groups: Sequence[LearningGroup]) -> dict[str, MethodStyle]:
    """Return how each group is drawn, by its label."""
    labels = {group.label: legend_of(group) for group in groups}
    return dict(zip(labels, group_styles(labels), strict=True))


def legend_of(group: LearningGroup) -> str:
    """Return what a group is called: the method as figures call it, and what differs."""
    method = group.runs[0].method
    name = METHODS[method].label if method in METHODS or ":" in method else method
    return name + group.label.removeprefix(method)


def draw_curves(
    groups: Sequence[LearningGroup], measures: Sequence[str], x: str = "steps"
) -> Drawn:
    """Draw a panel a task and measure; equal journals give equal bytes.

    Several tasks stand side by side, one has rows of `COLUMNS` measures.

    Args:
        x: one of `AXES`.

    Raises:
        UsageError: matplotlib is not installed.
    """
    looks = looks_of(groups)
    tasks = list(dict.fromkeys(group.task for group in groups))

    def panel(task: str, measure: str, title: str) -> Panel:
        here = [group for group in groups if group.task == task]
        draw = partial(_panel, groups=here, measure=measure, x=x, looks=looks)
        return Panel(title, _x_label(x), label_of(measure), draw)

    if len(tasks) > 1:
        rows = [[panel(task, measure, TASKS[task]) for task in tasks] for measure in measures]
    else:
        panels = [panel(tasks[0], m, "" if n else TASKS[tasks[0]]) for n, m in enumerate(measures)]
        rows = [panels[n : n + COLUMNS] for n in range(0, len(panels), COLUMNS)]
    several = any(group_curve(g, m, x).seeds > 1 for g in groups for m in measures)
    return compose(Layout(rows, how_smoothed(groups), BANDS if several else ALONE))


def how_smoothed(groups: Sequence[LearningGroup]) -> str:
    """Say what a point is, and which curves are of runs that are not finished."""
    sizes = sorted({run.size for group in groups for run in group.runs})
    each = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else f"{sizes[0]}"
    one = "iteration" if each == "1" else "iterations"
    stretch = f"{each} {one}" if sizes[-1] else "a stretch of training"
    said = [f"A point is the mean over {stretch} and over peers; nothing else is smoothed."]
    unfinished = sum(not run.finished for group in groups for run in group.runs)
    if unfinished:
        runs = "1 run is" if unfinished == 1 else f"{unfinished} runs are"
        said.append(f"{runs} not finished.")
    return " ".join(said)


def _x_label(x: str) -> str:
    return f"{AXES[x]} (millions)" if x == "steps" else AXES[x]


def _panel(
    axes: Any,
    groups: Sequence[LearningGroup],
    measure: str,
    x: str,
    looks: dict[str, MethodStyle],
) -> dict[str, int]:
    """Draw a measure over x, a line a group, and thin ones where seeds went on alone.

    Of a group without a common stretch, all lines are thin and each is a seed.
    """
    counts: dict[str, int] = {}
    per = MILLION if x == "steps" else 1.0
    lowest, highest = np.inf, -np.inf
    for group in groups:
        found, look = group_curve(group, measure, x), looks[group.label]
        points = {at / per: values for at, values in found.points.items()}
        lines.band(axes, points, look, markers=False, interval=mean_interval)
        label = None if points else look.label
        for curve in found.alone:
            xs, ys = zip(*curve, strict=True)
            axes.plot(np.array(xs) / per, ys, color=look.colour, lw=0.7, alpha=0.7, label=label)
            label = None  # one entry of the legend
        values = [v for each in points.values() for v in each]
        values += [y for curve in found.alone for _, y in curve]
        lowest, highest = min([lowest, *values]), max([highest, *values])
        if seeds := found.seeds or len(found.alone):
            counts[look.label] = seeds
    margin = 0.06 * (highest - lowest)
    if margin > 0:  # by the seeds: an interval of two seeds can be as wide as ten panels
        axes.set_ylim(lowest - margin, highest + margin)
    return counts
