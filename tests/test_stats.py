"""Statistics of few runs: against rliable, against slow transcriptions, and by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from p2p.analysis import statistics as stats

FINITE = st.integers(-40, 40).map(lambda n: n / 4)  # exact, and often equal


def matrices(seeds: int | None = None, tasks: int | None = None) -> st.SearchStrategy[Any]:
    """Draw [seeds, tasks] scores with ties among them."""
    n = st.integers(1, 9) if seeds is None else st.just(seeds)
    m = st.integers(1, 4) if tasks is None else st.just(tasks)
    return st.tuples(n, m).flatmap(lambda shape: arrays(float, shape, elements=FINITE))


PAIRS = st.integers(1, 4).flatmap(lambda m: st.tuples(matrices(tasks=m), matrices(tasks=m)))


@given(matrices())
def test_iqm_is_the_mean_of_the_middle_half(scores: np.ndarray) -> None:
    """Agarwal et al., section 4.3: drop the bottom and the top 25% of all runs of all tasks."""
    pooled = sorted(Fraction(x) for x in scores.ravel())
    cut = len(pooled) // 4
    middle = pooled[cut : len(pooled) - cut]
    assert float(stats.iqm(scores)) == pytest.approx(float(sum(middle) / len(middle)), abs=1e-12)


@given(PAIRS)
def test_improvement_counts_pairs_of_runs(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """Agarwal et al., section 4.3: the mean over tasks of S(x, y) = 1, 1/2 or 0 over all pairs."""
    x, y = pair
    by_task = []
    for m in range(x.shape[1]):
        wins = [Fraction(int(a > b) * 2 + int(a == b), 2) for a in x[:, m] for b in y[:, m]]
        by_task.append(sum(wins) / len(wins))
    expected = float(sum(by_task) / len(by_task))
    assert float(stats.probability_of_improvement(x, y)) == pytest.approx(expected, abs=1e-12)


@given(matrices(), st.lists(FINITE, min_size=1, max_size=5))
def test_a_profile_counts_runs_above_each_threshold(scores: np.ndarray, taus: list[float]) -> None:
    """Agarwal et al., eq. 1, with a strict inequality."""
    profile = stats.performance_profile(scores, taus, resamples=20)
    for tau, share, low, high in zip(*profile, strict=True):
        above = [sum(x > tau for x in column) / len(column) for column in scores.T]
        assert share == pytest.approx(sum(above) / len(above))
        assert 0 <= low <= high <= 1


@given(PAIRS)
def test_point_estimates_equal_rliables(pair: tuple[np.ndarray, np.ndarray]) -> None:
    from rliable import metrics

    x, y = pair
    assert float(stats.iqm(x)) == pytest.approx(metrics.aggregate_iqm(x), abs=1e-12)
    assert float(stats.mean(x)) == pytest.approx(metrics.aggregate_mean(x), abs=1e-12)
    theirs = metrics.probability_of_improvement(x, y)
    assert float(stats.probability_of_improvement(x, y)) == pytest.approx(theirs, abs=1e-12)


@pytest.fixture
def rliable() -> ModuleType:
    try:
        from rliable import library
    except TypeError:
        pytest.skip("rliable's arch needs pandas < 3, as constraints.txt has it")
    np.random.seed(0)  # noqa: NPY002 - the generator that rliable draws from
    return library


def test_intervals_and_bands_are_rliables(rliable: ModuleType) -> None:
    """Both draw at random: their ends agree within the error that 4000 resamples leave."""
    from rliable import metrics

    rng = np.random.default_rng(1)
    x, y = rng.normal(1, 0.3, (7, 3)), rng.normal(0.8, 0.3, (5, 3))
    taus = np.linspace(0, 2, 9)
    many = {"resamples": 4000}
    _, theirs = rliable.get_interval_estimates(
        {"iqm": x}, lambda s: np.array([metrics.aggregate_iqm(s)]), reps=4000
    )
    ours = stats.bootstrap_interval(x, stats.iqm, **many)
    assert ours == pytest.approx(theirs["iqm"].ravel(), abs=0.012)
    _, theirs = rliable.get_interval_estimates(
        {"p": (x, y)}, lambda *s: np.array([metrics.probability_of_improvement(*s)]), reps=1500
    )
    assert stats.improvement_interval(x, y, **many) == pytest.approx(theirs["p"].ravel(), abs=0.03)
    shares, bands = rliable.create_performance_profile({"x": x}, taus, reps=2000)
    profile = stats.performance_profile(x, taus, **many)
    assert profile.share == pytest.approx(shares["x"])
    assert np.array([profile.low, profile.high]) == pytest.approx(bands["x"], abs=0.05)


STATISTICS: list[Callable[..., Any]] = [stats.iqm, stats.mean]


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_bootstrap_is_the_one_over_all_resamples_within_tasks(
    statistic: Callable[..., Any],
) -> None:
    """Three seeds of two tasks have 27^2 equally likely resamples: here are all of them."""
    scores = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    draws = list(itertools.product(range(3), repeat=3))
    exact = [
        float(statistic(np.stack([scores[list(a), 0], scores[list(b), 1]], axis=1)))
        for a in draws
        for b in draws
    ]
    drawn = stats.bootstrap([scores], statistic, resamples=40_000)
    assert drawn.mean() == pytest.approx(np.mean(exact), rel=0.01)
    assert drawn.std() == pytest.approx(np.std(exact), rel=0.02)
    low, high = np.quantile(exact, [0.025, 0.975])
    interval = stats.bootstrap_interval(scores, statistic, resamples=40_000)
    assert interval == pytest.approx((low, high), rel=0.03)


def test_tasks_are_never_mixed() -> None:
    """One task at 0 and one at 1: whatever is drawn, the mean stays 1/2."""
    scores = np.array([[0.0, 1.0]] * 4)
    assert set(stats.bootstrap([scores], stats.mean)) == {0.5}


def test_groups_are_drawn_independently() -> None:
    """A group against itself: drawn together, every resample would be a tie in the mean."""
    x = np.arange(5.0)
    drawn = stats.bootstrap([x, x], lambda a, b: stats.mean(a) - stats.mean(b), resamples=4000)
    assert drawn.std() == pytest.approx(math.sqrt(2 * x.var() / 5), rel=0.05)


def test_equal_seeds_give_equal_bits_and_others_do_not() -> None:
    x = np.random.default_rng(0).normal(size=(6, 2))
    first = stats.bootstrap_interval(x, stats.iqm, seed=3)
    assert stats.bootstrap_interval(x, stats.iqm, seed=3) == first
    assert stats.bootstrap_interval(x, stats.iqm, seed=4) != first


def test_a_higher_level_is_wider() -> None:
    x = np.arange(10.0)
    narrow, wide = (stats.bootstrap_interval(x, stats.iqm, level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_tasks_may_have_different_numbers_of_seeds() -> None:
    """The mean is over tasks, then seeds; the IQM is over runs, and so is left out what is far."""
    scores = {"hopper": [0.0, 2.0], "ant": [10.0, 10.0, 10.0, 10.0, 10.0, 100.0]}
    assert stats.mean(scores) == pytest.approx((1 + 25) / 2)
    assert stats.iqm(scores) == 10.0
    profile = stats.performance_profile(scores, [1.0, 50.0])
    assert profile.share == pytest.approx([(1 / 2 + 1) / 2, (0 + 1 / 6) / 2])


def test_equal_matrix_and_mapping_have_equal_bits() -> None:
    x = np.random.default_rng(0).normal(size=(5, 2))
    mapping = {"a": x[:, 0], "b": x[:, 1]}
    both = [stats.bootstrap_interval(scores, stats.iqm) for scores in (x, mapping)]
    assert both[0] == both[1]


@pytest.mark.parametrize(
    ("scores", "complaint"),
    [
        ([[1.0, math.nan]], "not finite"),
        ({"a": []}, "at least one"),
        ({}, "at least one"),
        (np.zeros((2, 2, 2)), "at least one"),
    ],
)
def test_what_is_no_score_is_refused(scores: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        stats.iqm(scores)


def test_improvement_needs_equal_tasks() -> None:
    with pytest.raises(ValueError, match="shorter"):
        stats.probability_of_improvement(np.ones((2, 2)), np.ones((2, 1)))


@settings(max_examples=50)
@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 10**6))
def test_welch_equals_scipys(n: int, m: int, key: int) -> None:
    rng = np.random.default_rng(key)
    x, y = rng.normal(0, 1, n), rng.normal(0.5, 3, m)
    theirs = scipy.stats.ttest_ind(x, y, equal_var=False)
    ours = stats.welch(x, y)
    assert ours is not None
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert ours.interval(0.9) == pytest.approx(tuple(theirs.confidence_interval(0.9)))


def test_over_tasks_the_variances_of_the_means_add_up() -> None:
    """The difference is 1 +- 1 and 3 +- 1, four seeds each: the mean 2, its error sqrt(4/3)/2."""
    group = np.array([-1.0, -1.0, 1.0, 1.0])  # variance 4/3, of the mean 1/3
    x = np.stack([group + 1, group + 3], axis=1)
    found = stats.welch(x, np.stack([group, group], axis=1))
    assert found is not None
    assert found.estimate == pytest.approx(2)
    assert found.error == pytest.approx(math.sqrt(4 / 3) / 2)
    assert found.freedom == pytest.approx(4 * 3)


def test_over_tasks_a_true_null_is_rejected_as_often_as_it_should_be() -> None:
    """Two tasks, four seeds, equal means and unlike spreads: 5% of 2000 studies, give or take."""
    rng = np.random.default_rng(0)
    spreads = np.array([1.0, 3.0])
    p = [
        found.p_value
        for _ in range(2000)
        if (found := stats.welch(rng.normal(0, spreads, (4, 2)), rng.normal(0, 1, (4, 2))))
    ]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.045, abs=0.015)


def test_without_spread_there_is_no_verdict() -> None:
    """Seeds that all score alike are no sample: a difference has no p-value, not that of 0."""
    assert stats.welch([2.0], [1.0, 3.0]) is None
    apart = stats.welch([2.0, 2.0], [1.0, 1.0])
    assert apart is not None
    assert math.isnan(apart.p_value)
    same = stats.welch([2.0, 2.0], [2.0, 2.0])
    assert same is not None
    assert same.p_value == 1.0


def test_mean_interval_is_students() -> None:
    """t(0.975, 2) = 4.30265; the values 1, 2, 3 have standard deviation 1."""
    half = 4.30265 / math.sqrt(3)
    assert stats.mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - half, 2 + half), abs=1e-4)
    assert stats.mean_interval([1.0]) is None


def test_holm_by_hand() -> None:
    """0.01 x 4; 0.02 x 3; then 0.03 x 2 and 0.04 x 1, which is raised to the one before."""
    assert stats.holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert stats.holm([0.005, 0.6, 0.9]) == pytest.approx([0.015, 1, 1])
    assert stats.holm([math.nan, 0.01]) == pytest.approx([1, 0.02])
    assert stats.holm([]).size == 0


def test_holm_rejects_by_the_step_down_procedure() -> None:
    """Holm (1979): go on while the k-th smallest of m is below alpha / (m - k + 1)."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = rng.uniform(0, 0.06, rng.integers(1, 6))
        rejected = set()
        for step, index in enumerate(np.argsort(p)):
            if p[index] >= 0.05 / (p.size - step):
                break
            rejected.add(int(index))
        assert set(np.flatnonzero(stats.holm(p) < 0.05)) == rejected


def test_an_interval_at_holms_level_excludes_0_just_where_holm_rejects() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        tests = [
            stats.welch(rng.normal(0, 1, 4), rng.normal(gap, 1, 5))
            for gap in rng.uniform(0, 4, rng.integers(1, 5))
        ]
        found = [test for test in tests if test is not None]
        p = [test.p_value for test in found]
        levels = stats.holm_levels(p)
        assert (levels >= 0.95).all()
        for test, level, adjusted in zip(found, levels, stats.holm(p), strict=True):
            low, high = test.interval(float(level))
            assert (adjusted < 0.05) == (low > 0 or high < 0)
            seen.add(bool(adjusted < 0.05))
    assert seen == {True, False}
