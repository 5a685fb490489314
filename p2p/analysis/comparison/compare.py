"""Compare groups of runs: `compare`, the library's side of `p2p compare`.

Seeds are the unit. A difference counts as shown only if the interval of the difference of means
(Welch's, at the level of its step in Holm's procedure) excludes 0. Bootstrap intervals describe,
and decide nothing: with few seeds they are too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from p2p.analysis import statistics as stats
from p2p.analysis.comparison.results import Comparison, Group, Improvement, PairTest, Summary
from p2p.analysis.comparison.runs import (
    FINAL,
    ScoredRun,
    check_seeds,
    differences,
    evaluated_scores,
    final_scores,
)
from p2p.analysis.groups import label_runs
from p2p.analysis.session import Progress
from p2p.analysis.statistics import Profile
from p2p.core.errors import UsageError

ENOUGH = 5  # seeds; below it a warning is due
MAJOR, MINOR = 7, 10  # thresholds of a profile: about that many round steps, each in ten parts


def compare(
    runs: Sequence[str | PathLike[str]],
    eps_te: float | None = None,
    *,
    against: str | None = None,
    resamples: int = stats.RESAMPLES,
    save: bool = True,
    report: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Comparison:
    """Compare runs, in groups of one method and setting.

    Args:
        runs: run folders.
        eps_te: compare the return in test domains of this strength, evaluating what is missing;
            None: the final scores that the runs ended with.
        against: compare only with this group, its label or its method; None: every pair.
        resamples: of the bootstrap, whose seed is fixed.
        save: keep what is evaluated beside the runs, and use what is there.
        report: called with the evaluation's `Progress` now and then.
        settings: of the evaluation, fields of `EvalConfig`.

    Raises:
        UsageError: no run has a score, two are the same seed, or there is no such group.
        BadArtefact: there is no run there, or it is damaged.
        NoRoom, Interrupted, PeerLost: from the evaluation.
    """
    paths = [Path(run) for run in runs]
    if not paths:
        raise UsageError("nothing to compare: name run folders")
    if eps_te is None:
        scored, notes = final_scores(paths)
        measure, warnings = FINAL, list[str]()
    else:
        scored, measure, warnings, notes = evaluated_scores(
            paths, eps_te, report, save=save, **settings
        )
    return compare_scores(scored, measure, warnings, notes, against=against, resamples=resamples)


def compare_scores(
    runs: Sequence[ScoredRun],
    measure: str,
    warnings: Sequence[str] = (),
    notes: Sequence[str] = (),
    *,
    against: str | None = None,
    resamples: int = stats.RESAMPLES,
) -> Comparison:
    """Compare runs whose scores are known; arguments and errors as of `compare`."""
    labels = label_runs(runs)
    check_seeds(runs, labels)
    groups = _groups(runs, labels)
    tasks = tuple(dict.fromkeys(run.task for run in runs))
    pairs = _pairs(groups, against)
    whole = [group for group in groups if len(group.scores) == len(tasks)]
    scale = _scale(groups, tasks)
    several = len(tasks) > 1 and scale is not None
    tests = [
        _test(task, {task: 1.0}, *pair)
        for task in tasks
        for pair in pairs
        if all(task in group.scores for group in pair)
    ]
    among = [pair for pair in pairs if several and all(group in whole for group in pair)]
    summaries = [
        _summary(task, group, {task: 1.0}, resamples)
        for task in tasks
        for group in groups
        if task in group.scores
    ]
    divisor = scale or {}
    return Comparison(
        measure, tuple(runs), tuple(labels), tasks, tuple(groups), scale,
        tuple(group.label for group in whole),
        tuple(summaries),
        tuple(_summary(None, group, divisor, resamples) for group in whole if several),
        tuple(_corrected(tests)),
        tuple(_corrected([_test(None, divisor, *pair) for pair in among])),
        tuple(_improvements(pairs, tasks, resamples)),
        _profiles(whole, tasks, scale, resamples),
        resamples,
        (*warnings, *_warnings(groups, tasks)), (*notes, *differences(runs)),
    )  # fmt: skip


def _groups(runs: Sequence[ScoredRun], labels: Sequence[str]) -> list[Group]:
    found: dict[str, dict[str, dict[int, float]]] = {}
    for run, label in zip(runs, labels, strict=True):
        found.setdefault(label, {}).setdefault(run.task, {})[run.seed] = run.score
    return [
        Group(
            label,
            {task: tuple(seeds[s] for s in sorted(seeds)) for task, seeds in tasks.items()},
            {task: tuple(sorted(seeds)) for task, seeds in tasks.items()},
        )
        for label, tasks in found.items()
    ]


def _pairs(groups: Sequence[Group], against: str | None) -> list[tuple[Group, Group]]:
    """Return the pairs of groups that are compared."""
    if against is None:
        return list(combinations(groups, 2))
    chosen = [group for group in groups if group.label == against]
    chosen = chosen or [group for group in groups if group.label.split(" ")[0] == against]
    if len(chosen) != 1:
        what = f"is {len(chosen)} groups" if chosen else "is no group"
        known = "; ".join(group.label for group in groups)
        raise UsageError(f"--against {against} {what} of these: {known}")
    return [(group, chosen[0]) for group in groups if group is not chosen[0]]


def _scale(groups: Sequence[Group], tasks: Sequence[str]) -> dict[str, float] | None:
    best = {t: max(float(np.mean(g.scores[t])) for g in groups if t in g.scores) for t in tasks}
    return best if all(value > 0 for value in best.values()) else None


def _normalised(group: Group, scale: Mapping[str, float]) -> dict[str, Any]:
    """Return the group's scores on the tasks of `scale`, each divided by it."""
    return {task: np.array(group.scores[task]) / value for task, value in scale.items()}


def _summary(task: str | None, group: Group, scale: Mapping[str, float], resamples: int) -> Summary:
    scores = _normalised(group, scale)
    columns = list(scores.values())
    testable = all(len(column) > 1 for column in columns)
    spread = stats.welch(scores, {name: np.zeros(2) for name in scores})  # of its own mean
    return Summary(
        task,
        group.label,
        sum(len(column) for column in columns),
        float(stats.mean(scores)),
        float(columns[0].std(ddof=1)) if task is not None and testable else None,
        spread.interval() if spread is not None else None,
        float(stats.iqm(scores)),
        stats.bootstrap_interval(scores, stats.iqm, resamples=resamples) if testable else None,
    )


class _Tested(NamedTuple):
    """A test before Holm's correction."""

    task: str | None
    higher: Group
    lower: Group
    difference: float
    welch: stats.Difference | None


def _test(task: str | None, scale: Mapping[str, float], x: Group, y: Group) -> _Tested:
    means = [float(stats.mean(_normalised(group, scale))) for group in (x, y)]
    if means[0] < means[1]:
        x, y = y, x
    found = stats.welch(_normalised(x, scale), _normalised(y, scale))
    return _Tested(task, x, y, abs(means[0] - means[1]), found)


def _corrected(tested: Sequence[_Tested]) -> Iterator[PairTest]:
    """Correct for the number of tests, leaving out those that are impossible."""
    possible = [one for one in tested if one.welch is not None]
    p_values = [one.welch.p_value for one in possible if one.welch is not None]
    adjusted = iter(zip(p_values, stats.holm(p_values), stats.holm_levels(p_values), strict=True))
    for one in tested:
        test = PairTest(one.task, one.higher.label, one.lower.label, one.difference)
        if one.welch is not None:
            p, holm, level = map(float, next(adjusted))
            if not math.isnan(p):
                interval = one.welch.interval(level)
                test = test._replace(
                    level=level, interval=interval, p_value=p, p_holm=holm, shown=interval.low > 0
                )
        yield test


def _improvements(
    pairs: Sequence[tuple[Group, Group]], tasks: Sequence[str], resamples: int
) -> Iterator[Improvement]:
    for x, y in pairs:
        shared = [task for task in tasks if task in x.scores and task in y.scores]
        if not shared:
            continue
        one = dict.fromkeys(shared, 1.0)
        a, b = _normalised(x, one), _normalised(y, one)
        probability = float(stats.probability_of_improvement(a, b))
        if probability < 0.5:
            x, y, a, b, probability = y, x, b, a, 1.0 - probability
        testable = all(len(column) > 1 for column in (*a.values(), *b.values()))
        interval = stats.improvement_interval(a, b, resamples=resamples) if testable else None
        known = probability if testable else None
        yield Improvement(x.label, y.label, len(shared), known, interval)


def _profiles(
    groups: Sequence[Group],
    tasks: Sequence[str],
    scale: Mapping[str, float] | None,
    resamples: int,
) -> dict[str, Profile]:
    """Return each group's profile; of raw scores if a single task cannot be normalised.

    A group that has one seed on a task has none.
    """
    if scale is None:
        if len(tasks) > 1:
            return {}
        scale = dict.fromkeys(tasks, 1.0)
    scores = {
        group.label: _normalised(group, scale)
        for group in groups
        if all(len(group.scores[task]) > 1 for task in scale)
    }
    if not scores:
        return {}
    thresholds = _thresholds(
        [v for one in scores.values() for column in one.values() for v in column]
    )
    return {
        label: stats.performance_profile(one, thresholds, resamples=resamples)
        for label, one in scores.items()
    }


def _thresholds(values: Sequence[float]) -> stats.Array:
    """Return thresholds from below all values to where none is above, MINOR to a round step."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / MAJOR))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= span / MAJOR)
    first, last = math.ceil(low / step) - 1, math.ceil(high / step)
    thresholds: stats.Array = step * np.arange(first * MINOR, last * MINOR + 1) / MINOR
    return thresholds


def _warnings(groups: Sequence[Group], tasks: Sequence[str]) -> Iterator[str]:
    for task in tasks:
        counts = {g.label: len(g.scores[task]) for g in groups if task in g.scores}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{label} {n}" for label, n in counts.items())
            yield f"{task}: unequal numbers of seeds: {listed}"
        fewest = min(counts.values())
        if single := [label for label, n in counts.items() if n == 1]:
            yield f"{task}: nothing can be said from one seed, as of {', '.join(single)}"
        elif fewest < ENOUGH:
            yield (
                f"{task}: {fewest} seeds, fewer than {ENOUGH}; only large differences can be shown"
            )
    if len(groups) == 1:
        yield f"all runs are of one group, {groups[0].label}: there is nothing to compare it with"
    for group in groups:
        if missing := [task for task in tasks if task not in group.scores]:
            yield f"{group.label} has no run on {', '.join(missing)}: not in what is over all tasks"
