"""Domains as values, and the distribution that Table 1 gives them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.core.errors import UsageError
from p2p.envs.domain import FACTORS, TABLE_1, Domain, sample_domain

finite = st.floats(allow_nan=False, allow_infinity=False)
several = st.lists(finite, min_size=1, max_size=17).map(tuple)
domains = st.builds(Domain, finite, finite, finite, several, several)


def deviations(domain: Domain) -> dict[str, float]:
    """Return how far each factor lies from nominal."""
    nominal = Domain()
    return {
        "wind": domain.wind,
        "gravity": domain.gravity - nominal.gravity,
        "friction": domain.friction - nominal.friction,
        "mass": domain.mass[0] - 1.0,
        "initial_position": domain.initial_position[0],
    }


@given(domains)
def test_the_printed_form_reads_back_exactly(domain: Domain):
    """A domain in a journal or an `info` is the domain itself, to the last bit."""
    assert Domain.parse(str(domain)) == domain


@given(domains)
def test_the_vector_form_reads_back_exactly(domain: Domain):
    """So is one in a checkpoint, whatever the number of links and joints."""
    assert Domain.from_vector(domain.to_vector()) == domain


def test_numpys_numbers_are_taken_as_numbers():
    """Else their repr would stand in what is saved and parsed."""
    wind, mass = np.linspace(-5, 5, 3)[0], np.float32(0.5)
    domain = Domain(wind=wind, gravity=np.float64(1), mass=mass, initial_position=np.zeros(2))
    assert domain == Domain(wind=-5.0, mass=(0.5,), initial_position=(0.0, 0.0))
    assert Domain.parse(str(domain)) == domain


def test_factors_left_out_are_nominal():
    """A person names only what differs; spaces do no harm."""
    assert Domain.parse(" wind=3, mass = 0.8/1.1 ") == Domain(wind=3.0, mass=(0.8, 1.1))
    assert Domain.parse("") == Domain()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("winds=3", "unknown factor 'winds'"),
        ("wind=strong", "not a number"),
        ("mass=1/", "not a number"),
        ("gravity=nan", "not a number"),
        ("wind=inf", "not a number"),
        ("wind", "not a number"),
        ("friction=1/2", "takes one number"),
    ],
)
def test_a_wrong_domain_is_refused_by_name(text: str, complaint: str):
    """The message shows what was written, not where the parser stood."""
    with pytest.raises(UsageError, match=complaint):
        Domain.parse(text)


@pytest.mark.parametrize("seed", range(5))
def test_strength_0_is_the_nominal_domain(seed: int):
    """Exactly, not nearly: eps 0 must be Gymnasium bit for bit."""
    assert sample_domain(np.random.default_rng(seed), 0.0) == Domain()


@pytest.mark.parametrize("eps", [0.2, 1.0])
def test_factors_fill_the_ranges_of_table_1(eps: float):
    """Wind +-5, gravity +-25 %, friction +-30 %, mass +-50 %, position +-1, times eps."""
    half_width = {
        "wind": 5.0,
        "gravity": 0.25,
        "friction": 0.30,
        "mass": 0.50,
        "initial_position": 1.0,
    }
    rng = np.random.default_rng(0)
    drawn = [deviations(sample_domain(rng, eps)) for _ in range(4000)]
    for factor, width in half_width.items():
        values = np.array([d[factor] for d in drawn])
        bound = eps * width
        assert np.abs(values).max() <= bound * (1 + 1e-12)
        assert values.min() < -0.99 * bound
        assert values.max() > 0.99 * bound
        assert abs(values.mean()) < 0.03 * bound
        assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.03)  # of a uniform


def test_factors_are_independent():
    """No two of them share a draw."""
    rng = np.random.default_rng(0)
    drawn = [list(deviations(sample_domain(rng, 1.0)).values()) for _ in range(4000)]
    correlation = np.corrcoef(np.array(drawn).T)
    assert np.abs(correlation - np.eye(len(FACTORS))).max() < 0.06


def test_strength_scales_the_same_draw():
    """Equal streams give the same direction at each strength, so studies over eps compare."""
    weak = deviations(sample_domain(np.random.default_rng(3), 0.1))
    strong = deviations(sample_domain(np.random.default_rng(3), 1.0))
    for factor in FACTORS:
        assert strong[factor] == pytest.approx(10 * weak[factor])


def test_each_link_and_joint_draws_its_own():
    """Per-link masses and per-joint offsets differ from each other."""
    domain = sample_domain(np.random.default_rng(0), 0.5, num_links=7, num_joints=6)
    assert len(set(domain.mass)) == 7
    assert len(set(domain.initial_position)) == 6


@pytest.mark.parametrize("eps", [-0.1, 1.1, math.nan])
def test_strength_outside_0_to_1_is_refused(eps: float):
    """Beyond 1 friction and mass could become negative."""
    with pytest.raises(UsageError, match="outside"):
        sample_domain(np.random.default_rng(0), eps)


def test_the_summary_has_one_number_a_factor():
    """The mean of the masses, and the size of the offsets without their signs cancelling."""
    domain = Domain(wind=2.0, mass=(0.5, 1.5, 1.3), initial_position=(0.3, -0.3))
    summary = domain.summary()
    assert list(summary) == list(TABLE_1)
    assert summary["mass"] == pytest.approx(1.1)
    assert summary["initial_position"] == pytest.approx(0.3)
    assert Domain(initial_position=(-0.2,)).summary()["initial_position"] == -0.2
