"""Quantities over the steps of training: Figs. 3, 8b-c and 9."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from p2p.plots import lines
from p2p.plots.captions import MILLION, STEPS, TRAIN, how_trained
from p2p.plots.data import Data, Row
from p2p.plots.method_styles import METHODS, TASKS, MethodStyle
from p2p.plots.panels import Layout, Panel
from p2p.plots.selection import need, task_groups


def _curve_panel(
    axes: Any,
    data: Data,
    groups: Sequence[tuple[MethodStyle, Sequence[Row]]],
    quantity: str = "return",
    per_peer: bool = False,
) -> dict[str, int]:
    """Draw a quantity over steps, a line a group."""
    counts = {}
    for look, rows in groups:
        known = data.curves.get(quantity, {})
        curves = [known[row.run] for row in rows if row.run in known]
        share = (rows[0].number("num_peers") or 1.0) if per_peer and rows else 1.0
        lines.band(axes, lines.on_common_steps(curves, MILLION * share), look, markers=False)
        if curves:
            counts[look.label] = len(curves)
    return counts


def learning_panel(data: Data, task: str, quantity: str, ylabel: str) -> Panel:
    """Return the panel of a quantity over the steps of training on a task."""
    groups = task_groups(data, task)
    return Panel(TASKS[task], STEPS, ylabel, partial(
        _curve_panel, data=data, groups=groups, quantity=quantity
    ))  # fmt: skip


def learning_curves(data: Data) -> Layout:
    """Fig. 3: training return over steps, a panel a task."""
    need(data, data.curves.get("return", {}), "training curves")
    panels = [learning_panel(data, task, "return", TRAIN) for task in data.tasks]
    return Layout([panels], f"{how_trained(data)} Sampled actions, training domains.")


def gradient_variance(data: Data) -> Layout:
    """Fig. 8b, c: log variance of the gradient over steps, a panel a task."""
    measured = any(config.grad_variance_every for config in data.study.configs)
    need(data, data.curves.get("log_grad_variance", {}), "variance of the gradient",
         "" if measured else "grad_variance_every = 25")  # fmt: skip
    ylabel = "log Var of the gradient\n(natural log, mean over parameters)"
    panels = [learning_panel(data, task, "log_grad_variance", ylabel) for task in data.tasks]
    return Layout([panels], f"{how_trained(data)} Of the loss that each method minimises.")


def cohort_size(data: Data) -> Layout:
    """Fig. 9: learning curves by K, steps counted for each peer (left) or over all (right)."""
    need(data, data.curves.get("return", {}), "training curves")
    looks = {
        1.0: METHODS["ppo"]._replace(label="K = 1 (single agent)"),
        2.0: METHODS["p2pdrl"]._replace(label="K = 2"),
        4.0: METHODS["p2pdrl"]._replace(
            label="K = 4", colour="#003B5C", dash=(0, (6, 1.5, 1, 1.5))
        ),
    }

    def groups(per_peer: bool) -> list[tuple[MethodStyle, list[Row]]]:
        def belongs(row: Row, peers: float) -> bool:
            steps = row.number("steps_per_iteration")
            wanted = 2048 * peers if per_peer else 4096
            return row.number("num_peers") == peers and steps == wanted

        return [(look, data.select(lambda r, k=k: belongs(r, k))) for k, look in looks.items()]  # type: ignore[misc]

    need(data, (r for each in (True, False) for _, g in groups(each) for r in g),
          "runs by num_peers and steps_per_iteration",
          "num_peers 1, 2, 4 at steps_per_iteration 4096, or 2048 of each peer,")  # fmt: skip
    panels = [
        Panel(f"{steps} steps an iteration {of}", f"steps {of} (millions)", TRAIN, partial(
            _curve_panel, data=data, groups=groups(each), per_peer=each
        ))
        for steps, of, each in ((2048, "of each peer", True), (4096, "over all peers", False))
    ]  # fmt: skip
    tasks = ", ".join(TASKS[task] for task in data.tasks)
    return Layout([panels], f"{tasks}, P2PDRL. Sampled actions, training domains.")
