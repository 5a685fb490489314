"""Statistics of few runs, and tests between groups of them.

IQM, probability of improvement, performance profiles and stratified bootstrap are those of
Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice".

Scores are a [seeds, tasks] array, or a mapping from each task to the scores of its seeds where
their numbers differ. Resampling is stratified: seeds are drawn with replacement within each task,
tasks are as they are, so intervals say what other seeds would have given, not other tasks.

With n seeds, percentile bootstrap intervals are too narrow by about sqrt((n - 1) / n), and they
lack the wide tails of Student's t: with fewer than about ten seeds a task, rest conclusions on
`mean_interval` and `welch`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Columns = tuple[Array, ...]
Scores = ArrayLike | Mapping[str, ArrayLike] | Columns

LEVEL = 0.95
RESAMPLES = 2000


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Profile(NamedTuple):
    """A performance profile, [thresholds] each.

    Attributes:
        share: of the runs that score above the threshold, mean over tasks.
        low, high: pointwise bootstrap band.
    """

    thresholds: Array
    share: Array
    low: Array
    high: Array


class Difference(NamedTuple):
    """A difference of means, as Welch's t test sees it.

    Attributes:
        estimate: x minus y.
        error: its standard error.
        freedom: degrees of freedom, of Welch and Satterthwaite.
    """

    estimate: float
    error: float
    freedom: float

    @property
    def p_value(self) -> float:
        """Return the two-sided p-value; NaN where no seed differs from another of its group."""
        if self.error == 0.0:
            return 1.0 if self.estimate == 0.0 else math.nan
        from scipy.special import stdtr  # takes 0.1 s to import

        return 2.0 * float(stdtr(self.freedom, -abs(self.estimate / self.error)))

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the interval that excludes 0 just where `p_value` is below 1 - `level`."""
        half = _student(self.freedom, level) * self.error
        return Interval(self.estimate - half, self.estimate + half)


def columns(scores: Scores) -> Columns:
    """Return the scores of each task, [seeds of it].

    A tuple is taken for that already, also with leading axes, [..., seeds]: this is what a
    statistic gets from `bootstrap`, all resamples at once.

    Raises:
        ValueError: a task has no score, or one that is not finite.
    """
    if isinstance(scores, tuple):
        return scores
    if isinstance(scores, Mapping):
        parts = [np.asarray(column, np.float64) for column in scores.values()]
    else:
        array = np.asarray(scores, np.float64)
        parts = list(array.T) if array.ndim > 1 else [array]
    if not parts or any(part.ndim != 1 or not part.size for part in parts):
        raise ValueError("scores are [seeds, tasks] with at least one of each")
    if not all(np.isfinite(part).all() for part in parts):
        raise ValueError("a score is not finite")
    return tuple(parts)


def iqm(scores: Scores) -> Array:
    """Return the interquartile mean: the mean of the middle half of all runs of all tasks.

    A quarter of the values, rounded down, is left out at each end, as `scipy.stats.trim_mean`
    does: of fewer than four values it is the mean. Each run counts alike, so scores of several
    tasks must be normalised, and tasks with more seeds weigh more.
    """
    values = np.sort(np.concatenate(columns(scores), axis=-1), axis=-1)
    n = values.shape[-1]
    middle: Array = values[..., n // 4 : n - n // 4].mean(axis=-1)
    return middle


def mean(scores: Scores) -> Array:
    """Return the mean over tasks of the mean over their seeds."""
    return _over_tasks([column.mean(axis=-1) for column in columns(scores)])


def probability_of_improvement(x: Scores, y: Scores) -> Array:
    """Return the mean over tasks of P(X > Y), for a run of each drawn at random; ties count half.

    Args:
        x, y: of the same tasks, in the same order.
    """
    x, y = columns(x), columns(y)
    return _over_tasks([_wins(a, b) for a, b in zip(x, y, strict=True)])


def bootstrap(
    groups: Sequence[Scores],
    statistic: Callable[..., Array],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Array:
    """Return `statistic` of each resample, [resamples, ...].

    Args:
        groups: resampled independently of one another.
        statistic: called once, with all resamples of each group: a tuple of one [resamples,
            seeds] array a task. It reduces the last axis and keeps the first.
        seed: equal seeds give equal bits.
    """
    rng = np.random.default_rng(seed)
    drawn = [
        tuple(part[rng.integers(part.size, size=(resamples, part.size))] for part in columns(group))
        for group in groups
    ]
    return statistic(*drawn)


def bootstrap_interval(
    scores: Scores,
    statistic: Callable[[Columns], Array],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of `statistic`, such as `iqm`, by the stratified bootstrap."""
    return _interval(bootstrap([scores], statistic, resamples=resamples, seed=seed), level)


def improvement_interval(
    x: Scores, y: Scores, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Return the bootstrap interval of `probability_of_improvement`, both groups resampled."""
    drawn = bootstrap([x, y], probability_of_improvement, resamples=resamples, seed=seed)
    return _interval(drawn, level)


def performance_profile(
    scores: Scores,
    thresholds: ArrayLike,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Profile:
    """Return the share of runs that score above each threshold (run-score distribution).

    Args:
        thresholds: [thresholds], in the scores' unit.
    """
    taus = np.asarray(thresholds, np.float64)

    def shares(drawn: Columns) -> Array:
        return _over_tasks([(c[..., None] > taus).mean(axis=-2) for c in drawn])

    drawn = bootstrap([scores], shares, resamples=resamples, seed=seed)
    low, high = np.quantile(drawn, _tails(level), axis=0)
    return Profile(taus, shares(columns(scores)), low, high)


def mean_interval(values: ArrayLike, level: float = LEVEL) -> Interval | None:
    """Return Student's t interval of the mean of `values`, one a seed; None for a single one.

    It is no bootstrap interval: with three to five values those are far too narrow.
    """
    (sample,) = columns(np.ravel(values))
    if sample.size < 2:
        return None
    half = _student(sample.size - 1, level) * float(sample.std(ddof=1)) / math.sqrt(sample.size)
    centre = float(sample.mean())
    return Interval(centre - half, centre + half)


def welch(x: Scores, y: Scores) -> Difference | None:
    """Return the difference of means between two groups, mean over tasks; None for a single seed.

    Welch's t test, which keeps its level with unequal variances and unequal numbers of seeds, and
    was found the most dependable of the usual tests on few runs (Colas et al. 2019, "A hitchhiker's
    guide to statistical comparisons of reinforcement learning algorithms"). The exact rank test is
    of no use here: with four seeds against four its p-value is never below 0.029, which no
    correction for several tests leaves significant.

    Args:
        x, y: of the same tasks, in the same order. Over several tasks the variances of the task
            means add up, and so do their degrees of freedom, by Satterthwaite.
    """
    x, y = columns(x), columns(y)
    parts = [part for pair in zip(x, y, strict=True) for part in pair]
    if any(part.size < 2 for part in parts):
        return None
    variances = np.array([part.var(ddof=1) / part.size for part in parts])
    freedoms = np.array([part.size - 1 for part in parts])
    total = float(variances.sum())
    freedom = total**2 / float((variances**2 / freedoms).sum()) if total else math.inf
    return Difference(float(mean(x) - mean(y)), math.sqrt(total) / len(x), freedom)


def holm(p_values: ArrayLike) -> Array:
    """Return Holm's adjusted p-values, in the order given (Holm 1979).

    All whose adjusted value is below alpha can be rejected together, with a chance of at most
    alpha of any false rejection, however the tests depend on one another. NaN counts as 1.
    """
    p = np.nan_to_num(np.asarray(p_values, np.float64), nan=1.0)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    return np.minimum(adjusted, 1.0)


def holm_levels(p_values: ArrayLike, level: float = LEVEL) -> Array:
    """Return the confidence level that each test's interval needs to agree with `holm`.

    Holm's procedure holds the smallest of m p-values against alpha / m, the next one against
    alpha / (m - 1), and stops at the first that is not below. An interval with that step's level
    excludes 0 just where the adjusted p-value is below alpha; those past the end have the level of
    the step that it stopped at.
    """
    p = np.nan_to_num(np.asarray(p_values, np.float64), nan=1.0)
    rejected = int((holm(p) < 1 - level).sum())
    rank = np.empty(p.size)
    rank[np.argsort(p, kind="stable")] = np.arange(p.size)
    levels: Array = 1 - (1 - level) / (p.size - np.minimum(rank, min(rejected, p.size - 1)))
    return levels


def _wins(x: Array, y: Array) -> Array:
    """Return the share of pairs, [..., seeds of x] with [..., seeds of y], that x wins."""
    difference = x[..., :, None] - y[..., None, :]
    share: Array = (np.sign(difference) / 2 + 0.5).mean(axis=(-2, -1))
    return share


def _over_tasks(by_task: Sequence[Array]) -> Array:
    average: Array = np.mean(by_task, axis=0)
    return average


def _interval(drawn: Array, level: float) -> Interval:
    low, high = np.quantile(drawn, _tails(level), axis=0)
    return Interval(float(low), float(high))


def _tails(level: float) -> tuple[float, float]:
    return (1 - level) / 2, (1 + level) / 2


def _student(freedom: float, level: float) -> float:
    """Return the two-sided quantile of Student's t."""
    from scipy.special import ndtri, stdtrit  # takes 0.1 s to import

    if math.isinf(freedom):
        return float(ndtri(0.5 + level / 2))
    return float(stdtrit(freedom, 0.5 + level / 2))
