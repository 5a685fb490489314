"""Learning curves as charts of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from p2p.analysis.learning import LearningGroup, label_of
from p2p.analysis.statistics import mean_interval
from p2p.plots.curves import ALONE, BANDS, group_curve, how_smoothed
from p2p.plots.method_styles import MethodStyle
from p2p.report.charts import Curve, line_chart
from p2p.report.crowds import BANDS_UP_TO, crowded, spotlights
from p2p.report.page import dash_of

STEPS = "environment steps"


def learning_charts(
    groups: Sequence[LearningGroup],
    measures: Sequence[str],
    looks: Mapping[str, MethodStyle],
    prefix: str = "",
) -> list[Markup]:
    """Return a chart a measure, of runs of one task.

    Args:
        looks: of all groups of the page, by label; a group's colour is the number of its look.
        prefix: before the measure, in the title.
    """
    charts = []
    slots = {label: n for n, label in enumerate(looks)}
    for measure in measures:
        curves: list[Curve] = []
        for group in groups:
            curves += _curves(group, measure, slots[group.label], looks[group.label])
        title = prefix + label_of(measure)
        charts.append(line_chart(crowded(curves), title=title, x_label=STEPS))
    return [chart for chart in charts if chart]


def spotlit(
    groups: Sequence[LearningGroup], measure: str, looks: Mapping[str, MethodStyle], prefix: str
) -> list[Markup]:
    """Return a chart a group with its band; the other groups are faint. None of few groups."""
    slots = {label: n for n, label in enumerate(looks)}
    curves = {
        group.label: _curves(group, measure, slots[group.label], looks[group.label])
        for group in groups
    }
    titles = {label: prefix + looks[label].label for label in curves}
    return spotlights(curves, titles, STEPS)


def _curves(group: LearningGroup, measure: str, slot: int, look: MethodStyle) -> list[Curve]:
    found = group_curve(group, measure)
    alone = [Curve(look.label, curve, slot=slot, faint=True) for curve in found.alone]
    if not found.points:
        return alone
    ends = [(x, mean_interval(values)) for x, values in sorted(found.points.items())]
    band = [(x, *interval) for x, interval in ends if interval is not None]
    several = f", mean of {found.seeds} seeds" if found.seeds > 1 else ""
    dash = dash_of(look)
    return [*alone, Curve(look.label + several, found.mean, band, slot, dash)]


def learning_caption(groups: Sequence[LearningGroup]) -> str:
    """Say what lines and bands are, and how many seeds they stand on."""
    counts = sorted({len(group.runs) for group in groups})
    if counts == [1]:
        lines = f"{ALONE}."
    else:
        seeds = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        lines = f"{BANDS}, cut at the ends of the axis; n = {seeds} seeds a line."
        if len({group.label for group in groups}) > BANDS_UP_TO:
            lines = f"Mean over seeds; n = {seeds} seeds a line."
    return (
        f"{lines} Sampled actions in the training domains. {how_smoothed(groups)} "
        "Return and length are estimated from all steps, by reward and terminations a step."
    )
