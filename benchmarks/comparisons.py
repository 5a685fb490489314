"""Groups of runs that are compared, and what the tests of docs/protocol.md say of them.

claims.py has the claims; here is what they share.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from p2p.analysis.statistics import (
    LEVEL,
    holm,
    holm_levels,
    improvement_interval,
    probability_of_improvement,
    welch,
)

Row = Mapping[str, str]
Scores = dict[str, list[float]]  # by task, one a seed
OURS = "p2pdrl"
STRENGTHS = [f"{tenths / 10:g}" for tenths in range(3, 11)]


class Comparison(NamedTuple):
    """Two groups of runs that are compared, of the same tasks."""

    where: str
    against: str
    ours: Scores
    theirs: Scores

    @property
    def seeds(self) -> str:
        """How many on either side, of the task that has least."""
        return f"{min(map(len, self.ours.values()))}, {min(map(len, self.theirs.values()))}"


def mean_return(row: Row, test: str = "") -> float:
    """Return the mean over the strengths 0.3 to 1.0 of the return in test domains."""
    return float(np.mean([float(row[f"{test}eps_te={eps}"]) for eps in STRENGTHS]))


def dynamics_return(row: Row) -> float:
    """Return the same in the domains without their start pose."""
    return mean_return(row, "dynamics:")


def training_return(row: Row) -> float:
    """Return the training return over the last tenth of training."""
    return float(row["train"])


def scores(rows: Sequence[Row], measure: Callable[[Row], float], **where: str) -> Scores:
    """Return the measure of the rows that have these cells, by task and in the order of seeds."""
    found: Scores = {}
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        if all(row.get(name, "") == value for name, value in where.items()):
            found.setdefault(row.get("task", ""), []).append(measure(row))
    return found


def against_each(
    rows: Sequence[Row], measure: Callable[[Row], float], tasks: Sequence[str]
) -> Iterator[Comparison]:
    """Yield P2PDRL beside each other method, over all of `tasks` together."""
    ours = scores(rows, measure, method=OURS)
    for method in dict.fromkeys(row["method"] for row in rows if row["method"] != OURS):
        theirs = scores(rows, measure, method=method)
        yield Comparison(named(tasks), method, of_tasks(ours, tasks), of_tasks(theirs, tasks))


def against_the_best(
    rows: Sequence[Row], measure: Callable[[Row], float], tasks: Sequence[str]
) -> Iterator[Comparison]:
    """Yield P2PDRL beside the best of the others on each task, by the mean."""
    for task in tasks:
        (*others,) = against_each(rows, measure, [task])
        yield max(others, key=lambda other: np.mean(other.theirs[task]))


def named(tasks: Sequence[str]) -> str:
    """Return what a table calls these tasks."""
    return ", ".join(tasks) if len(tasks) < 3 else f"{len(tasks)} tasks"


def of_tasks(found: Scores, tasks: Sequence[str]) -> Scores:
    """Return the scores of these tasks."""
    return {task: found[task] for task in tasks}


def table(
    claim: str, comparisons: Sequence[Comparison], *, decides: bool = True, so_far: bool = False,
    tolerated: float = 0.0, lower: bool = False,
) -> list[str]:  # fmt: skip
    """Return a claim's rows in Markdown.

    Args:
        lower: the claim is that P2PDRL's numbers are lower.
        decides: correct for the number of comparisons, and say what is shown.
        so_far: say that tasks are missing, which can turn it over.
        tolerated: share of the competitor's mean whose loss still counts as "as good as".
    """
    found = [(c, welch(c.ours, c.theirs)) for c in comparisons]
    tests = [(c, difference) for c, difference in found if difference is not None]
    p_values = [difference.p_value for _, difference in tests]
    adjusted = holm(p_values) if decides else np.full(len(tests), np.nan)
    levels = holm_levels(p_values) if decides else np.full(len(tests), LEVEL)
    lines = []
    for (c, difference), p, q, level in zip(tests, p_values, adjusted, levels, strict=True):
        low, high = difference.interval(float(level))
        least = -tolerated * float(np.mean([np.mean(v) for v in c.theirs.values()]))
        sides = (c.theirs, c.ours) if lower else (c.ours, c.theirs)
        better = float(probability_of_improvement(*sides))
        b_low, b_high = improvement_interval(*sides)
        found_on = (-high, -low) if lower else (low, high)
        cells = [
            claim, c.where, c.against, c.seeds, number(difference.estimate),
            f"{number(low)} to {number(high)}", p_value(p), p_value(q) if decides else "",
            f"{better:.2f} ({b_low:.2f} to {b_high:.2f})",
            verdict(*found_on, least) + ", so far" * so_far if decides else "described",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def number(value: float) -> str:
    """Return a difference with its sign: returns whole, logarithms with two decimals."""
    return f"{value:+.0f}" if abs(value) >= 100 else f"{value:+.2f}"


def p_value(p: float) -> str:
    """Return a p with three decimals, and none as 0."""
    return f"{p:.3f}" if p >= 0.0005 else "<0.001"


def verdict(low: float, high: float, least: float = 0.0) -> str:
    """Return what an interval on the side of the claim shows.

    Args:
        least: the lowest difference that still counts as "as good as", 0 or below.
    """
    if low > 0:
        return "**shown**"
    if high < 0:
        return "**the opposite is shown**"
    return "**shown**: as good as" if low > least else "not shown"


HEADER = [
    "| claim | where | against | seeds | minus it | interval | p | Holm's p "
    "| P(on the claim's side), 95 % | verdict |",
    "|---|---|---|---:|---:|---:|---:|---:|---:|---|",
]


def whole_tasks(rows: Sequence[Row]) -> list[str]:
    """Return the tasks of which every method has as many seeds as the method with most.

    There are none if P2PDRL, or all else, is missing.
    """
    seeds: dict[str, dict[str, int]] = {}
    for row in rows:
        by_method = seeds.setdefault(row["task"], {})
        by_method[row["method"]] = by_method.get(row["method"], 0) + 1
    methods = {row["method"] for row in rows}
    if OURS not in methods or len(methods) < 2:
        return []
    return [
        task for task, by_method in seeds.items()
        if by_method.keys() == methods and len(set(by_method.values())) == 1
    ]  # fmt: skip


def read(folder: Path, study: str) -> list[Row]:
    """Return the rows of a study's table; none if there is no such table.

    Raises:
        ClickException: its rows are of several versions of p2p.
    """
    file = folder / f"{study}.csv"
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        rows: list[Row] = list(csv.DictReader(lines))
    if len(versions := sorted({row.get("version", "") for row in rows})) > 1:
        raise click.ClickException(
            f"{file} has rows of versions {', '.join(versions)}; docs/protocol.md asks for one"
        )
    return rows
