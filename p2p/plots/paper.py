"""A function for each figure of the paper: it lays out panels and says what they show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from p2p.analysis.statistics import bootstrap_interval, mean
from p2p.core import registry
from p2p.core.config import TrainConfig
from p2p.core.errors import UsageError
from p2p.methods import find_method
from p2p.plots import lines
from p2p.plots.data import Data, Row, command
from p2p.plots.looks import METHODS, TASKS, Look, group_colours
from p2p.plots.panels import Drawn, Layout, Panel, compose

MILLION = 1e6
STEPS = "environment steps (millions)"
TRAIN = "training return (undiscounted)"
TEST = "test return (undiscounted)"
EPS_TE = r"test randomisation strength $\epsilon^{te}$"
EPS_TR = r"training randomisation strength $\epsilon^{tr}$"


def draw(figure: str, data: Data) -> Drawn:
    """Draw one of `FIGURES`; equal data gives equal bytes.

    Raises:
        UsageError: the data holds nothing of what the figure shows, or matplotlib is missing.
    """
    return compose(FIGURES[figure](data))


def _need(data: Data, found: Iterable[object], what: str) -> None:
    if not any(True for _ in found):
        raise UsageError(f"{data.source} has no {what}; make it with: {command(data.study)}")


# Curves ----------------------------------------------------------------------


def _curve_panel(
    axes: Any,
    data: Data,
    groups: Sequence[tuple[Look, Sequence[Row]]],
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


def _groups(data: Data, task: str, *shown: str) -> list[tuple[Look, list[Row]]]:
    """Return the runs of a task that differ in their seed alone, each group with its look.

    Args:
        shown: settings that part no runs, since the figure shows them in another way.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for method in data.methods:
        configs = [config for config in data.study.configs if config.method == method]
        parting = [
            name for name in data.study.varying
            if name not in shown and len({config.get(name) for config in configs}) > 1
        ]  # fmt: skip
        for row in data.select(lambda r, m=method: r.method == m):  # type: ignore[misc]
            settings = "".join(f", {name}={_shown(row.cells.get(name))}" for name in parting)
            groups.setdefault((method, settings), []).append(row)
    colours = group_colours([method + settings.replace(",", " ") for method, settings in groups])
    looks = {look.colour: look for look in METHODS.values()}
    return [
        (
            looks[colour]._replace(label=METHODS[method].label + settings),
            [row for row in rows if row.task == task],
        )
        for ((method, settings), rows), colour in zip(groups.items(), colours, strict=True)
    ]


def _shown(value: float | str | None) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _learning_panel(data: Data, task: str, quantity: str, ylabel: str) -> Panel:
    groups = _groups(data, task)
    return Panel(TASKS[task], STEPS, ylabel, partial(
        _curve_panel, data=data, groups=groups, quantity=quantity
    ))  # fmt: skip


def learning_curves(data: Data) -> Layout:
    """Fig. 3: training return over steps, a panel a task."""
    _need(data, data.curves.get("return", {}), "training curves")
    panels = [_learning_panel(data, task, "return", TRAIN) for task in data.tasks]
    return Layout([panels], f"{_trained(data)} Sampled actions, training domains.")


def gradient_variance(data: Data) -> Layout:
    """Fig. 8b, c: log variance of the gradient over steps, a panel a task."""
    _need(
        data, data.curves.get("log_grad_variance", {}),
        "variance of the gradient, which runs with grad_variance_every have",
    )  # fmt: skip
    ylabel = "log Var of the gradient\n(natural log, mean over parameters)"
    panels = [_learning_panel(data, task, "log_grad_variance", ylabel) for task in data.tasks]
    return Layout([panels], f"{_trained(data)} Of the loss that each method minimises.")


# Over the strength -------------------------------------------------------------


def _over(rows: Iterable[Row], x: str, y: str) -> lines.Points:
    """Return the values of `y` by those of `x`, of the rows that have both."""
    points: lines.Points = {}
    for row in rows:
        at, value = row.number(x), row.number(y)
        if at is not None and value is not None:
            points.setdefault(at, []).append(value)
    return points


def _strengths(data: Data) -> list[str]:
    """Return the columns of test returns, by strength."""
    names = {name for row in data.rows for name in row.cells if name.startswith("eps_te=")}
    return sorted((n for n in names if "peer" not in n), key=lambda n: float(n.partition("=")[2]))


def _strength_panel(axes: Any, data: Data, task: str) -> dict[str, int]:
    counts = {}
    for look, rows in _groups(data, task):
        points: lines.Points = {}
        for name in _strengths(data):
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
    columns = _strengths(data)
    _need(data, columns, "test returns")
    there = {r.task for r in data.rows if any(r.number(name) is not None for name in columns)}
    return [task for task in data.tasks if task in there]


def test_curves(data: Data) -> Layout:
    """Fig. 4: test return over the strength of the test domains, a panel a task."""
    panels = [_test_panel(data, task) for task in _tested(data)]
    return Layout([panels], f"{_trained(data)} {_tests(data)}")


def regularised(data: Data) -> Layout:
    """Fig. 7: learning curves on the left, test return over the strength on the right."""
    _need(data, data.curves.get("return", {}), "training curves")
    rows = [
        [_learning_panel(data, task, "return", TRAIN), _test_panel(data, task)]
        for task in _tested(data)
    ]
    return Layout(rows, f"{_trained(data)} {_tests(data)}")


def _test_column(data: Data) -> str:
    """Return the column of test returns nearest the paper's eps_te 0.5."""
    names = _strengths(data)
    _need(data, names, "test returns")
    return min(names, key=lambda name: abs(float(name.partition("=")[2]) - 0.5))


def over_training_strength(data: Data) -> Layout:
    """Figs. 2 and 6: test return (above) and training return (below) over eps_tr."""
    column = _test_column(data)
    _need(data, (r for r in data.rows if r.number("eps_tr") is not None), "runs by eps_tr")

    def panel(axes: Any, task: str, y: str) -> dict[str, int]:
        counts = {}
        for look, rows in _groups(data, task, "eps_tr"):
            points = _over(rows, "eps_tr", y)
            lines.band(axes, points, look)
            if points:
                counts[look.label] = min(map(len, points.values()))
        return counts

    test = f"test return, {_eps(column)}"
    rows = [
        [Panel(TASKS[task], EPS_TR, label, partial(panel, task=task, y=y)) for task in data.tasks]
        for y, label in ((column, test), ("train", TRAIN))
    ]
    end = "Training return: sampled actions, the last tenth of training."
    return Layout(rows, f"{_trained(data)} {_tests(data)} {end}")


# Others ------------------------------------------------------------------------


def entropy_scatter(data: Data) -> Layout:
    """Fig. 8a: test return over the policy's entropy; a faint mark a run, a full one a setting."""
    column = _test_column(data)

    def points(axes: Any, task: str) -> dict[str, int]:
        settings: dict[tuple[str, float | None], list[tuple[float, float]]] = {}
        for row in data.rows:
            at, value = row.number("entropy"), row.number(column)
            if row.task == task and at is not None and value is not None:
                coef = row.number("entropy_coef") if row.method == "entropy" else None
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
        return counts

    ylabel = f"test return, {_eps(column)}"
    panels = [Panel(TASKS[t], "policy entropy (nats)", ylabel, partial(points, task=t))
              for t in data.tasks]  # fmt: skip
    end = "Numbers: entropy coefficient c. Entropy: mean over the last tenth of training."
    return Layout([panels], f"{_trained(data)} {_tests(data)} {end}")


def cohort_size(data: Data) -> Layout:
    """Fig. 9: learning curves by K, steps counted for each peer (left) or over all (right)."""
    _need(data, data.curves.get("return", {}), "training curves")
    looks = {
        1.0: METHODS["ppo"]._replace(label="K = 1 (PPO)"),
        2.0: METHODS["p2pdrl"]._replace(label="K = 2"),
        4.0: METHODS["p2pdrl"]._replace(
            label="K = 4", colour="#003B5C", dash=(0, (6, 1.5, 1, 1.5))
        ),
    }

    def groups(per_peer: bool) -> list[tuple[Look, list[Row]]]:
        def belongs(row: Row, peers: float) -> bool:
            steps = row.number("steps_per_iteration")
            wanted = 2048 * peers if per_peer else 4096
            return row.number("num_peers") == peers and steps == wanted

        return [(look, data.select(lambda r, k=k: belongs(r, k))) for k, look in looks.items()]  # type: ignore[misc]

    _need(data, (r for each in (True, False) for _, g in groups(each) for r in g),
          "runs by num_peers and steps_per_iteration")  # fmt: skip
    panels = [
        Panel(f"{steps} steps an iteration {of}", f"steps {of} (millions)", TRAIN, partial(
            _curve_panel, data=data, groups=groups(each), per_peer=each
        ))
        for steps, of, each in ((2048, "of each peer", True), (4096, "over all peers", False))
    ]  # fmt: skip
    tasks = ", ".join(TASKS[task] for task in data.tasks)
    return Layout([panels], f"{tasks}, P2PDRL. Sampled actions, training domains.")


def sweep(data: Data) -> Layout:
    """Appendix A.2: test return over each hyperparameter, the others as the paper chose them."""
    column = _test_column(data)
    axes_of = {
        "learning_rate": r"learning rate $\beta$",
        "steps_per_iteration": "steps an iteration, over all peers",
        "distill_coef": r"distillation coefficient $\alpha$",
    }
    swept = [name for name in axes_of if name in data.study.varying]
    _need(data, swept, f"runs by {', '.join(axes_of)}")

    def others_chosen(row: Row, swept: str) -> bool:
        chosen = TrainConfig(method=row.method)
        return all(row.number(n) in (None, getattr(chosen, n)) for n in axes_of if n != swept)

    def swept_groups(task: str, name: str) -> Iterator[tuple[Look, list[Row], lines.Points]]:
        for look, rows in _groups(data, task, *axes_of):
            points = _over((r for r in rows if others_chosen(r, name)), name, column)
            if len(points) > 1:  # swept for this method
                yield look, rows, points

    each = [(task, name) for task in data.tasks for name in swept]
    _need(data, (g for pair in each for g in swept_groups(*pair)), "tested runs at two values")

    def panel(axes: Any, task: str, name: str) -> dict[str, int]:
        counts = {}
        for look, rows, points in swept_groups(task, name):
            lines.band(axes, points, look)
            chosen = float(getattr(TrainConfig(method=rows[0].method), name))
            if chosen in points:
                at = float(mean(points[chosen]))
                axes.plot(chosen, at, "o", ms=9, mfc="none", mec=look.colour)
            counts[look.label] = min(map(len, points.values()))
        axes.set_xscale("log", base=2 if name == "steps_per_iteration" else 10)
        return counts

    ylabel = f"test return, {_eps(column)}"
    rows = [
        [Panel(TASKS[task], axes_of[name], ylabel, partial(panel, task=task, name=name))
         for name in swept]
        for task in data.tasks
    ]  # fmt: skip
    return Layout(rows, f"{_trained(data)} {_tests(data)} Ringed: the paper's choice.")


def _eps(column: str) -> str:
    return rf"$\epsilon^{{te}}$ = {column.partition('=')[2]}"


def _trained(data: Data) -> str:
    """Say how the runs were trained, as far as it is the same for all."""
    steps = sorted({f"{(row.number('steps') or 0) / MILLION:.2g}" for row in data.rows}, key=float)
    parts = [f"{' to '.join(dict.fromkeys((steps[0], steps[-1])))}M steps a run"]
    strength = {config.eps_tr for config in data.study.configs}
    if len(strength) == 1:
        parts.append(f"trained at strength {strength.pop():g}")
    rates = {row.number("learning_rate") for row in data.rows}
    own = [row.number("learning_rate") == rate_of(row.method) for row in data.rows]
    if all(own):
        parts.append("each method's own learning rate")
    elif len(rates) == 1 and (rate := rates.pop()) is not None:
        parts.append(f"learning rate {rate:g}")
    return ", ".join(parts) + "."


def _tests(data: Data) -> str:
    one = data.study.evaluate
    if one is None:
        return "Tests: mean action."
    domains = f"{one.domains} domains" if one.domains > 1 else "one domain"
    action = "sampled actions" if one.sampled else "mean action"
    return f"Tests: {action}, {domains} a strength, the same for all; mean over a run's peers."


FIGURES: dict[str, Callable[[Data], Layout]] = {
    "fig2": over_training_strength,
    "fig3": learning_curves,
    "fig4": test_curves,
    "fig6": over_training_strength,
    "fig7": regularised,
    "fig8a": entropy_scatter,
    "fig8bc": gradient_variance,
    "fig9": cohort_size,
    "a2": sweep,
}


def rate_of(method: str) -> float | None:
    """Return a method's default learning rate; None of one that is not loaded."""
    return find_method(method).learning_rate if registry.is_known("method", method) else None
