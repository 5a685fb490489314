"""A comparison as a picture, PNG. Needs the extra `figures` (matplotlib)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from p2p.analysis.comparison.results import Comparison, Summary
from p2p.plots.method_styles import METHODS, group_colours
from p2p.plots.style import RETURN, add_caption, picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = ("-", "--", ":", "-.")  # in turn: groups of one method may share a colour


def scores_and_profiles(found: Comparison) -> bytes:
    """Draw each task's scores by group, and the performance profiles of the groups.

    Raises:
        UsageError: matplotlib is not installed.
    """
    labels = [group.label for group in found.groups]
    panels = len(found.tasks) + bool(found.profiles)

    def draw(figure: Figure) -> None:
        all_axes = np.atleast_1d(figure.subplots(1, panels))
        for axes, task in zip(all_axes, found.tasks, strict=False):
            rows = {row.group: row for row in found.summaries if row.task == task}
            _scores(axes, found, task, labels, rows)
            axes.tick_params(labelleft=axes is all_axes[0])
        if found.profiles:
            _profiles(all_axes[-1], found, labels)
            figure.legend(loc="outside upper center", ncols=3, frameon=False)
        for axes in all_axes:
            axes.spines[["top", "right"]].set_visible(False)
        add_caption(figure, f"Scores: {found.measure}. {_marks(found)}")

    return picture(draw, 3.6 * panels, 2.6 + 0.25 * len(labels))


def _marks(found: Comparison) -> str:
    """Say what the marks are, and over how many seeds."""
    numbers = sorted({row.seeds for row in found.summaries})
    seeds = " to ".join(str(number) for number in dict.fromkeys((numbers[0], numbers[-1])))
    return f"Rings: seeds ({seeds} a group); diamonds: their mean; bars: Student's 95% interval."


def _scores(
    axes: Any, found: Comparison, task: str, labels: list[str], rows: dict[str, Summary]
) -> None:
    """Draw a row a group: a ring a seed, the mean, and its interval."""
    for n, label in enumerate(labels):
        if label not in rows:
            continue
        row, colour = rows[label], group_colours(labels)[n]
        values = next(group.scores[task] for group in found.groups if group.label == label)
        axes.plot(values, [n] * len(values), "o", ms=5, mfc="none", mec=colour, alpha=0.6)
        if row.mean_ci is not None:
            axes.plot(row.mean_ci, [n, n], color=colour, lw=2)
        axes.plot(row.mean, n, "D", ms=6, color=colour)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set(xlabel=RETURN, title=f"{task}: seeds, mean, 95% CI")
    axes.title.set_fontsize("medium")


def _profiles(axes: Any, found: Comparison, labels: list[str]) -> None:
    for label, profile in found.profiles.items():
        n = labels.index(label)
        colour, line = group_colours(labels)[n], LINES[n // len(METHODS) % len(LINES)]
        style = {"color": colour, "drawstyle": "steps-post"}
        axes.plot(profile.thresholds, profile.share, ls=line, label=label, **style)
        axes.fill_between(
            profile.thresholds,
            profile.low,
            profile.high,
            step="post",
            color=colour,
            alpha=0.12,
            lw=0,
        )
    unit = "normalised score" if found.scale is not None else RETURN
    axes.set(xlabel=f"threshold, {unit}", ylabel="share of runs above", ylim=(-0.02, 1.02))
    axes.set_title("performance profiles, 95% bands", fontsize="medium")
