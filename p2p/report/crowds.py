"""Charts of many groups: their bands would hide one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from p2p.report.charts import Curve, line_chart, y_span

BANDS_UP_TO = 3  # groups in a chart, whose bands can be told apart


def crowded(curves: Sequence[Curve]) -> list[Curve]:
    """Return the curves, without bands if there are too many."""
    many = sum(not curve.faint for curve in curves) > BANDS_UP_TO
    return [curve._replace(band=()) if many else curve for curve in curves]


def spotlights(
    curves: Mapping[str, Sequence[Curve]],
    titles: Mapping[str, str],
    x_label: str,
    *,
    zero: bool = False,
) -> list[Markup]:
    """Return a chart a group: it with its band, the others faint; none if a chart can hold all.

    Args:
        curves: of each group, by its label.
        titles: by label.
        zero: as of `line_chart`.
    """
    every = [curve for of_one in curves.values() for curve in of_one]
    if len(curves) <= BANDS_UP_TO or not every:
        return []
    span = y_span(every, zero=zero)
    charts = []
    for label, own in curves.items():
        faint = [
            curve._replace(band=(), faint=True, dash="")
            for other, of_one in curves.items() if other != label
            for curve in of_one
        ]  # fmt: skip
        chart = line_chart([*faint, *own], title=titles[label], x_label=x_label, span=span)
        charts.append(chart)
    return charts
