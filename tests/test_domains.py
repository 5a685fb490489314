"""Domains as values, and the distribution that Table 1 gives them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.core.errors import UsageError
from p2p.envs.domain import Domain
from p2p.envs.randomisation import Factor, Randomisation, sample_domain, table_1
from p2p.envs.simulation import domains_of, pack

HALF_WIDTHS = {
    "wind": 5.0,
    "gravity": 0.25,
    "friction": 0.30,
    "mass": 0.50,
    "initial_position": 1.0,
}  # at strength 1, as the paper prints them
NOMINAL = {"wind": 0.0, "gravity": 1.0, "friction": 1.0, "mass": 1.0, "initial_position": 0.0}

finite = st.floats(allow_nan=False, allow_infinity=False)
several = st.lists(finite, min_size=1, max_size=17).map(tuple)
names = st.text(min_size=1, max_size=9).filter(
    lambda name: name.isprintable() and not set(name) & set(",=/ ")
)
domains = st.dictionaries(names, several, max_size=6).map(lambda factors: Domain(**factors))


def deviations(domain: Domain) -> dict[str, float]:
    """Return how far each factor lies from nominal."""
    return {name: values[0] - NOMINAL[name] for name, values in domain.items()}


@given(domains)
def test_the_printed_form_reads_back_exactly(domain: Domain):
    """A domain in a journal or an `info` is the domain itself, to the last bit."""
    read = Domain.parse(str(domain))
    assert read == domain
    assert list(read) == list(domain)
    assert hash(read) == hash(domain)


@given(st.lists(domains, min_size=2, max_size=4))
def test_a_checkpoint_gives_every_envs_domain_back_exactly(packed: list[Domain]):
    """Whatever the factors are called, and however many values each has; equal ones once."""
    packed.append(Domain(one=1.0))  # so that not all are equal
    packed.append(Domain(two=(2.0, 3.0)))
    assert domains_of({"domains": pack(packed)}) == packed
    assert domains_of({"domains": pack([packed[0]] * 3)}) == [packed[0]]


def test_a_checkpoint_of_p2p_0_2_reads_as_a_domain_of_table_1():
    """There a row was `[wind, gravity, friction, number of masses, *masses, *offsets]`.

    Rows of domains that were shorter than the longest ended in NaN.
    """
    rows = np.full((2, 9), np.nan)
    rows[0] = [1.5, 1.1, 0.9, 2.0, 0.8, 1.2, 0.1, -0.2, 0.3]
    rows[1, :7] = [-2.0, 1.0, 1.0, 1.0, 1.3, 0.4, 0.5]
    several = Domain(
        wind=1.5, gravity=1.1, friction=0.9, mass=(0.8, 1.2), initial_position=(0.1, -0.2, 0.3)
    )
    one = Domain(wind=-2.0, gravity=1.0, friction=1.0, mass=1.3, initial_position=(0.4, 0.5))
    assert domains_of({"domains": rows}) == [several, one]
    assert domains_of({"domains": rows[:1]}) == [several]
    for domain in (several, one):
        assert table_1().complete(domain) is domain  # its factors, in their order


def test_numpys_numbers_are_taken_as_numbers():
    """Else their repr would stand in what is saved and parsed."""
    wind, mass = np.linspace(-5, 5, 3)[0], np.float32(0.5)
    domain = Domain(wind=wind, gravity=np.float64(1), mass=mass, initial_position=np.zeros(2))
    assert domain == Domain(wind=-5.0, gravity=1.0, mass=(0.5,), initial_position=(0.0, 0.0))
    assert {type(value) for values in domain.values() for value in values} == {float}
    assert Domain.parse(str(domain)) == domain


def test_factors_left_out_are_nominal():
    """A person names only what differs; spaces do no harm."""
    given = Domain.parse(" wind=3, mass = 0.8/1.1 ")
    assert given == Domain(wind=3.0, mass=(0.8, 1.1))
    assert Domain.parse("") == Domain()
    assert dict(table_1().complete(given)) == {
        **{name: (value,) for name, value in NOMINAL.items()},
        "wind": (3.0,),
        "mass": (0.8, 1.1),
    }


def test_a_complete_domain_has_its_factors_in_the_order_of_the_distribution():
    """Else its text, and with it the hash of a set of test domains, would depend on the order."""
    turned = Domain(initial_position=0.0, wind=1.0)
    assert tuple(table_1().complete(turned)) == tuple(HALF_WIDTHS)
    assert str(table_1().complete(turned)) == str(table_1().complete(Domain(wind=1.0)))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("wind=strong", "'wind=strong' is not a number; write wind=1.5"),
        ("mass=1/", "not a number"),
        ("gravity=nan", "not a number"),
        ("wind=inf", "not a number"),
        ("wind", "not a number"),
        ("wind=", "not a number"),
        ("=3", "'=3' names no factor"),
        ("wind=1=2", "not a number"),
    ],
)
def test_a_wrong_domain_is_refused_by_name(text: str, complaint: str):
    """The message shows what was written, not where the parser stood."""
    with pytest.raises(UsageError, match=complaint):
        Domain.parse(text)


def test_an_unknown_factor_is_refused_where_the_domain_meets_its_distribution():
    """With the name that was probably meant, and those that there are."""
    message = (
        "unknown factor 'winds'; did you mean 'wind'?; "
        "known: wind, gravity, friction, mass, initial_position"
    )
    for domain in (Domain(winds=3.0), Domain(winds=3.0, **dict.fromkeys(HALF_WIDTHS, 1.0))):
        with pytest.raises(UsageError) as error:
            table_1().complete(domain)
        assert str(error.value) == message
    with pytest.raises(UsageError, match="unknown factor 'wind'; nothing is randomised"):
        Randomisation().complete(Domain(wind=3.0))


@pytest.mark.parametrize(
    ("readings", "complaint"),
    [
        (("root_y", "global"), "initial_position='root_y': use 'joints' or 'root_x'"),
        (("joints", "some"), "mass_randomisation='some': use 'global' or 'per_link'"),
    ],
)
def test_table_1_has_no_other_readings(readings: tuple[str, str], complaint: str):
    """A misspelt one must not be taken for the default."""
    with pytest.raises(UsageError, match=complaint):
        table_1(*readings)


@pytest.mark.parametrize("seed", range(5))
def test_strength_0_is_the_nominal_domain(seed: int):
    """Exactly, not nearly: eps 0 must be Gymnasium bit for bit."""
    drawn = sample_domain(np.random.default_rng(seed), 0.0)
    assert drawn == Domain(**NOMINAL)
    assert drawn == table_1().complete(Domain())


@pytest.mark.parametrize("eps", [0.2, 1.0])
def test_factors_fill_the_ranges_of_table_1(eps: float):
    """Wind +-5, gravity +-25 %, friction +-30 %, mass +-50 %, position +-1, times eps."""
    rng = np.random.default_rng(0)
    drawn = [deviations(sample_domain(rng, eps)) for _ in range(4000)]
    for factor, width in HALF_WIDTHS.items():
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
    assert np.abs(correlation - np.eye(len(HALF_WIDTHS))).max() < 0.06


def test_strength_scales_the_same_draw():
    """Equal streams give the same direction at each strength, so studies over eps compare."""
    weak = deviations(sample_domain(np.random.default_rng(3), 0.1))
    strong = deviations(sample_domain(np.random.default_rng(3), 1.0))
    for factor in HALF_WIDTHS:
        assert strong[factor] == pytest.approx(10 * weak[factor])


def test_each_link_and_joint_draws_its_own():
    """Per-link masses and per-joint offsets differ from each other."""
    domain = sample_domain(np.random.default_rng(0), 0.5, num_links=7, num_joints=6)
    assert len(set(domain["mass"])) == 7
    assert len(set(domain["initial_position"])) == 6


@pytest.mark.parametrize("eps", [-0.1, 1.1, math.nan])
def test_strength_outside_0_to_1_is_refused(eps: float):
    """Beyond 1 friction and mass could become negative."""
    with pytest.raises(UsageError, match="outside"):
        sample_domain(np.random.default_rng(0), eps)


def test_the_summary_has_one_number_a_factor():
    """The mean of factors, and the size of offsets without their signs cancelling."""
    domain = table_1().complete(
        Domain(wind=2.0, mass=(0.5, 1.5, 1.3), initial_position=(0.3, -0.3))
    )
    summary = table_1().summary(domain)
    assert list(summary) == list(HALF_WIDTHS)
    assert summary["wind"] == 2.0
    assert summary["mass"] == pytest.approx(1.1)
    assert summary["initial_position"] == pytest.approx(0.3)
    assert table_1().summary(Domain(initial_position=(-0.2,)))["initial_position"] == -0.2


def test_the_summary_goes_by_what_a_factor_is_not_by_its_name():
    """Of a payload that is added to several bodies it is the root mean square: 5, not -1."""
    added = Factor("mass", "mass", scales=False, low=-9.0, high=9.0, each=True)
    scaled = Factor("legs", "mass", scales=True, low=-0.5, high=0.5, each=True)
    domain = Domain(mass=(-7.0, 5.0, -1.0), legs=(0.5, 1.5, 1.0))
    assert Randomisation((added, scaled)).summary(domain) == {"mass": 5.0, "legs": 1.0}
