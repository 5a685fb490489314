"""The verdicts on the paper's claims, by the tests of docs/protocol.md, from committed rows.

    python benchmarks/claims.py data/results

reads what is there of fig4.csv (A1, A2), fig7.csv and fig8a.csv (A3), fig8bc.csv with its curves
(gradient variance), fig9.csv (cohort size), learning-rate.csv and rollout.csv (confounders).
A row is a comparison: P2PDRL minus another method, or a method at one value of a confounder minus
the same at another. The first p is that of Welch's t, the second Holm's over the comparisons of
the claim; the interval is at the level that agrees with the second. Rows marked "described" have
their own 95 % interval, and decide nothing: so have all of a claim whose studies are not whole yet,
but for fig4, of which each task is tested once it is whole, and whose verdicts are "so far" until
all are.
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
from p2p.study.grid import find_study, read_study

Row = Mapping[str, str]
Scores = dict[str, list[float]]  # by task, one a seed
OURS = "p2pdrl"
STRENGTHS = [f"{tenths / 10:g}" for tenths in range(3, 11)]
ACTIONS = {"ant": 8, "humanoid": 17}
TOLERATED = 0.05  # of the competitor's mean: a loss within it is "as good as" (A1)


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
        if all(row.get(name) == value for name, value in where.items()):
            found.setdefault(row.get("task", ""), []).append(measure(row))
    return found


def against_each(
    rows: Sequence[Row], measure: Callable[[Row], float], tasks: Sequence[str]
) -> Iterator[Comparison]:
    """Yield P2PDRL beside each other method, over all of `tasks` together."""
    ours = scores(rows, measure, method=OURS)
    for method in dict.fromkeys(row["method"] for row in rows if row["method"] != OURS):
        theirs = scores(rows, measure, method=method)
        yield Comparison(_named(tasks), method, _of(ours, tasks), _of(theirs, tasks))


def against_the_best(
    rows: Sequence[Row], measure: Callable[[Row], float], tasks: Sequence[str]
) -> Iterator[Comparison]:
    """Yield P2PDRL beside the best of the others on each task, by the mean."""
    for task in tasks:
        (*others,) = against_each(rows, measure, [task])
        yield max(others, key=lambda other: np.mean(other.theirs[task]))


def _named(tasks: Sequence[str]) -> str:
    return ", ".join(tasks) if len(tasks) < 3 else f"{len(tasks)} tasks"


def _of(found: Scores, tasks: Sequence[str]) -> Scores:
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
            f"{number(low)} to {number(high)}", f"{p:.3f}", f"{q:.3f}" if decides else "",
            f"{better:.2f} ({b_low:.2f} to {b_high:.2f})",
            verdict(*found_on, least) + ", so far" * so_far if decides else "described",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def number(value: float) -> str:
    """Return a difference with its sign: returns whole, logarithms with two decimals."""
    return f"{value:+.0f}" if abs(value) >= 100 else f"{value:+.2f}"


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


def fig4_lines(rows: Sequence[Row], *, whole: bool = True) -> list[str]:
    """Return A1 and A2, over the tasks that are whole; `whole` says whether all are."""
    tasks = whole_tasks(rows)
    if not tasks:
        return []
    trained = list(against_the_best(rows, training_return, tasks))
    lines = table("A1", trained, so_far=not whole, tolerated=TOLERATED)
    for claim, measure in (("A2", mean_return), ("A2, dynamics", dynamics_return)):
        lines += table(claim, list(against_each(rows, measure, tasks)), so_far=not whole)
        for task in tasks if len(tasks) > 1 else ():
            lines += table(claim, list(against_each(rows, measure, [task])), decides=False)
    return lines


def confounder_lines(rows: Sequence[Row], setting: str) -> list[str]:
    """Return A1's and A2's differences at each value of a setting, where all methods have it.

    Then those of A2 within each method, between the first of two values and the second.
    """
    lines = []
    values = sorted({row[setting] for row in rows})
    for value in values:
        some = [row for row in rows if row[setting] == value]
        tasks = whole_tasks(some)
        for claim, measure in (("A1", training_return), ("A2", mean_return)):
            for where in ([tasks] if len(tasks) > 1 else []) + [[task] for task in tasks]:
                compared = list(against_each(some, measure, where))
                lines += table(f"{claim}, {setting} {value}", compared, decides=False)
    for method in dict.fromkeys(row["method"] for row in rows) if len(values) == 2 else ():
        one, other = (scores(rows, mean_return, method=method, **{setting: v}) for v in values)
        both = [task for task in one if task in other]
        for where in ([both] if len(both) > 1 else []) + [[task] for task in both]:
            c = Comparison(
                _named(where), f"{method} at {values[1]}", _of(one, where), _of(other, where)
            )
            lines += table(f"A2, {method} at {values[0]}", [c], decides=False)
    return lines


def is_whole(study: str, rows: Sequence[Row]) -> bool:
    """Say whether each run that the protocol asks for, those of the small budget, has its row."""
    return len(rows) >= len(read_study(find_study(study)).configs)


def a3_lines(fig7: Sequence[Row], fig8a: Sequence[Row], *, decides: bool = True) -> list[str]:
    """Return A3: beside self-KL on Humanoid, and each coefficient of the entropy bonus."""
    compared = [c for c in _all(fig7, mean_return) if c.against == "self-kl"]
    ours = scores(fig8a, mean_return, method=OURS)
    bonuses = [row for row in fig8a if row["method"] == "entropy"]
    for coefficient in dict.fromkeys(row["entropy_coef"] for row in bonuses if ours):
        theirs = scores(bonuses, mean_return, entropy_coef=coefficient)
        compared.append(Comparison("walker2d", f"entropy {coefficient}", ours, theirs))
    return table("A3", compared, decides=decides)


def _all(rows: Sequence[Row], measure: Callable[[Row], float]) -> list[Comparison]:
    """Return P2PDRL beside each other method, on each task that is whole."""
    return [c for task in whole_tasks(rows) for c in against_each(rows, measure, [task])]


def fig8bc_lines(rows: Sequence[Row], curves: Sequence[Row], *, decides: bool = True) -> list[str]:
    """Return the gradient's variance at its last measurement, on each task beside PPO.

    ln Var, and the same plus twice the mean log-std: the gradient by a Gaussian's mean goes with
    1 / std, so that a policy that acts more at random has a smaller one for that alone.
    """
    last: dict[str, tuple[int, float]] = {}  # by run: steps, ln Var
    for point in curves:
        if value := point.get("log_grad_variance"):
            steps = int(float(point["steps"]))
            last[point["run"]] = max(last.get(point["run"], (-1, 0.0)), (steps, float(value)))

    def variance(row: Row) -> float:
        return last[row["run"]][1]

    def without_std(row: Row) -> float:
        # entropy = sum of log-stds + A / 2 ln(2 pi e)
        mean_log_std = float(row["entropy"]) / ACTIONS[row["task"]] - 0.5 * np.log(2 * np.pi * np.e)
        return variance(row) + 2 * float(mean_log_std)

    compared = _all(rows, variance)
    compared += [c._replace(where=f"{c.where}, without the std") for c in _all(rows, without_std)]
    return table("gradient variance", compared, decides=decides, lower=True)


def fig9_lines(rows: Sequence[Row], *, decides: bool = True) -> list[str]:
    """Return K = 4 beside K = 1 at strength 0.5, by what was equal."""
    compared = []
    for each, equal in ((True, "equal steps a peer"), (False, "equal steps in all")):
        # 4M steps of all peers, or 2M of each: 2M of one, 8M of four.
        counted = [r for r in rows if (3e6 < int(r["steps"]) < 6e6) != each]

        def of(K: str, counted: Sequence[Row] = tuple(counted)) -> Scores:
            return scores(counted, lambda row: float(row["eps_te=0.5"]), num_peers=K)

        if of("4") and of("1"):
            compared.append(Comparison(f"ant, {equal}", "K = 1", of("4"), of("1")))
    return table("cohort size", compared, decides=decides)


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


CONFOUNDERS = {"learning-rate": "learning_rate", "rollout": "domain_schedule"}  # what they vary


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(folder: Path) -> None:
    """Print the verdicts that the rows in FOLDER allow, as a table in Markdown."""
    tables = {study: read(folder, study) for study in ("fig4", "fig7", "fig8a", "fig8bc", "fig9")}
    whole = {study: is_whole(study, rows) for study, rows in tables.items()}
    lines = fig4_lines(tables["fig4"], whole=whole["fig4"])
    a3 = whole["fig7"] and whole["fig8a"]
    lines += a3_lines(tables["fig7"], tables["fig8a"], decides=a3)
    curves = read(folder, "fig8bc-curves")
    lines += fig8bc_lines(tables["fig8bc"], curves, decides=whole["fig8bc"])
    lines += fig9_lines(tables["fig9"], decides=whole["fig9"])
    for study, setting in CONFOUNDERS.items():
        lines += confounder_lines(read(folder, study), setting)
    print("\n".join([*HEADER, *lines]))


if __name__ == "__main__":
    main()
