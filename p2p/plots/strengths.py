"""Returns over the strength of the test or training domains: Figs. 2, 4, 6 and 7."""

from __future__ import annotations

from functools import partial
from typing import Any

from p2p.plots import lines
from p2p.plots.captions import EPS_TE, EPS_TR, TEST, TRAIN, how_tested, how_trained, strength_text
from p2p.plots.data import Data
from p2p.plots.method_styles import TASKS
from p2p.plots.panels import Layout, Panel
from p2p.plots.selection import (
    main_test_column,
    need,
    need_tests,
    task_groups,
    test_columns,
    values_by,
)
from p2p.plots.training import learning_panel


def _strength_panel(axes: Any, data: Data, task: str) -> dict[str, int]:
    counts = {}
    for look, rows in task_groups(data, task):
        points: lines.Points = {}
        for name in test_columns(data):
            values = [v for row in rows if (v := row.number(name)) is not None]
            if values:
                points[float(name.partition("=")[2])] = values
        lines.band(axes, points, look)
        if points:
            counts[look.label] = min(map(len, points.values()))
    return counts


def _test_panel(data: Data, task: str) -> Panel:
    return Panel(TASKS[task], EPS_TE, TEST, partial(_strength_panel, data=data, task=task))


def _tested(data: Data) -> list[str]:
    """Return the tasks of which a run is tested."""
    columns = test_columns(data)
    need_tests(data, columns)
    there = {r.task for r in data.rows if any(r.number(name) is not None for name in columns)}
    return [task for task in data.tasks if task in there]


def test_curves(data: Data) -> Layout:
    """Fig. 4: test return over the strength of the test domains, a panel a task."""
    panels = [_test_panel(data, task) for task in _tested(data)]
    return Layout([panels], f"{how_trained(data)} {how_tested(data)}")


def regularised(data: Data) -> Layout:
    """Fig. 7: learning curves on the left, test return over the strength on the right."""
    need(data, data.curves.get("return", {}), "training curves")
    rows = [
        [learning_panel(data, task, "return", TRAIN), _test_panel(data, task)]
        for task in _tested(data)
    ]
    return Layout(rows, f"{how_trained(data)} {how_tested(data)}")


def over_training_strength(data: Data) -> Layout:
    """Figs. 2 and 6: test return (above) and training return (below) over eps_tr."""
    column = main_test_column(data)
    need(data, (r for r in data.rows if r.number("eps_tr") is not None), "runs by eps_tr",
         "several values of eps_tr")  # fmt: skip

    def panel(axes: Any, task: str, y: str) -> dict[str, int]:
        counts = {}
        for look, rows in task_groups(data, task, "eps_tr"):
            points = values_by(rows, "eps_tr", y)
            lines.band(axes, points, look)
            if points:
                counts[look.label] = min(map(len, points.values()))
        return counts

    test = f"test return, {strength_text(column)}"
    rows = [
        [Panel(TASKS[task], EPS_TR, label, partial(panel, task=task, y=y)) for task in data.tasks]
        for y, label in ((column, test), ("train", TRAIN))
    ]
    end = "Training return: sampled actions, the last tenth of training."
    return Layout(rows, f"{how_trained(data)} {how_tested(data)} {end}")
