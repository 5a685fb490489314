"""Domains files: Table 1 is what the paper prints, and a wrong file is told in one line."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from p2p.core.errors import BadArtefact, P2PError, UsageError
from p2p.envs.domain import Domain
from p2p.envs.domain_file import (
    MAX_BYTES,
    MAX_FACTORS,
    from_tables,
    parse_domains,
    read_domains,
    shipped,
    to_tables,
)
from p2p.envs.randomisation import DRAWS, Factor, Randomisation, is_table_1, sample_domain, table_1
from p2p.envs.terms import TERMS

FILE = Path(__file__).parents[1] / "data" / "domains" / "table1.toml"

strengths = st.floats(0.0, 1.0)
seeds = st.integers(0, 2**32 - 1)
below, above = st.floats(-0.99, 0.0), st.floats(0.0, 30.0)


def factors(draws: tuple[str, ...] = DRAWS) -> st.SearchStrategy[Factor]:
    """Factors of any kind that the reader lets through; their name and term do not matter."""
    made = st.builds(
        Factor, st.just("any"), st.just("mass"), st.booleans(), below, above,
        draw=st.sampled_from(draws), each=st.booleans(),
    )  # fmt: skip
    return made.filter(lambda f: f.scales or f.draw != "log-uniform")


# Table 1


def paper(rng: np.random.Generator, eps: float, links: int, joints: int) -> dict[str, Any]:
    """Table 1 as one would write it down: each nominal + eps * half-width * U(-1, 1)."""
    return {
        "wind": eps * 5.0 * rng.uniform(-1, 1),
        "gravity": 1.0 + eps * 0.25 * rng.uniform(-1, 1),
        "friction": 1.0 + eps * 0.30 * rng.uniform(-1, 1),
        "mass": [1.0 + eps * 0.50 * rng.uniform(-1, 1) for _ in range(links)],
        "initial_position": [eps * 1.0 * rng.uniform(-1, 1) for _ in range(joints)],
    }


@given(seeds, strengths, st.integers(1, 14), st.integers(1, 17))
def test_table_1_draws_what_the_paper_says(seed: int, eps: float, links: int, joints: int):
    """Equal bits from equal streams, which then stand where a plain transcription's stands."""
    ours, theirs = np.random.default_rng(seed), np.random.default_rng(seed)
    drawn = sample_domain(ours, eps, links, joints)
    expected = Domain(**paper(theirs, eps, links, joints))
    assert str(drawn) == str(expected)  # as all digits are in the text, and the order
    assert ours.random() == theirs.random()


def test_table_1_is_the_file_that_is_shipped():
    """By its name, by its path, and as the default; its readings count as Table 1 too."""
    assert "table1" in shipped()
    assert read_domains(Path("table1")) == read_domains(FILE) == table_1()
    root_x = table_1("root_x", "per_link")
    assert all(map(is_table_1, (table_1(), table_1("root_x"), root_x)))
    assert not is_table_1(Randomisation(table_1().factors[:4]))
    assert [f.each for f in table_1()] == [False, False, False, False, True]
    assert [f.each for f in root_x] == [False, False, False, True, False]
    assert (root_x["initial_position"].vary, root_x["initial_position"].of) == ("start_pose", "x")


# Reading and writing


@st.composite
def tables(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """What a person may write into a domains file."""
    label = st.text("abcXYZ_-.0123éλ", min_size=1, max_size=6).filter(lambda name: name != ".")
    found = {}
    for name in draw(st.lists(label, min_size=0, max_size=5, unique=True)):
        vary = draw(st.sampled_from([*TERMS, "geom_solref[0]", "opt.viscosity"]))
        term = TERMS.get(vary)
        owner = term.of if term else "geom" if vary.startswith("geom") else ""
        adds = [key for key in ("add", "scale") if term is None or getattr(term, f"{key}s")]
        key = draw(st.sampled_from(adds))
        low, high = draw(st.floats(0.01, 0.9)), draw(st.floats(1.0, 3.0))
        one_sided = term is not None and term.one_sided
        if draw(st.booleans()):
            value: Any = low
        else:
            value = [low, high] if key == "scale" else [0 if one_sided else -low, high]
        table: dict[str, Any] = {"vary": vary, key: value}
        if owner == "axis":
            table["of"] = draw(st.sampled_from(["x", "yaw", ["x", "y"], "[xy]"]))
        elif owner and draw(st.booleans()):
            table["of"] = draw(st.sampled_from(["trunk", "leg_[0-9]", ["left leg", "right leg"]]))
        if draw(st.booleans()):
            table["each"] = draw(st.booleans())
        if draw(st.booleans()):
            table["draw"] = draw(st.sampled_from(DRAWS if key == "scale" else ("normal",)))
        if term and "axis" in term.options and draw(st.booleans()):
            table["axis"] = draw(st.sampled_from("xy" if term.name == "slope" else "xyz"))
        if term and "every" in term.options and draw(st.booleans()):
            table["every"] = draw(st.floats(0.1, 9.0))
        found[name] = table
    return found


def as_toml(found: dict[str, dict[str, Any]]) -> str:
    """Return tables as the text of a domains file."""
    lines = []
    for name, table in found.items():
        lines.append(f"[{json.dumps(name, ensure_ascii=False)}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines)


@given(tables())
def test_what_a_file_says_is_what_is_kept(written: dict[str, dict[str, Any]]):
    """Names in their order, and of each table what it says, or the default that is documented."""
    read = parse_domains(as_toml(written), "any.toml")
    assert list(read.names) == list(written)
    for factor, table in zip(read, written.values(), strict=True):
        assert (factor.vary, factor.scales) == (table["vary"], "scale" in table)
        of = table.get("of")
        assert factor.of == (tuple(of) if isinstance(of, list) else of)
        assert factor.each == table.get("each", False)
        assert factor.draw == table.get("draw", "uniform")
        term = TERMS.get(factor.vary)
        defaults = dict(term.options) if term else {}
        assert dict(factor.options) == {key: table.get(key, d) for key, d in defaults.items()}
        value = table["scale" if factor.scales else "add"]
        low, high = value if isinstance(value, list) else (None, None)
        if low is None:  # half a width, or of a level the whole
            assert factor.high == value
            assert factor.low == (0.0 if term and term.one_sided else -value)
        else:
            assert factor.span(1.0) == pytest.approx((low, high))


@given(tables())
def test_the_tables_in_a_runs_settings_read_back_exactly(written: dict[str, dict[str, Any]]):
    """Through JSON too, which is how a run folder keeps them."""
    read = parse_domains(as_toml(written), "any.toml")
    kept = to_tables(read)
    assert from_tables(kept, "settings") == read
    assert from_tables(json.loads(json.dumps(kept)), "settings") == read


def test_the_name_of_a_table_is_its_term_unless_it_says_otherwise():
    """`[mass]` varies the mass; a second factor on it needs a name of its own."""
    short = parse_domains("[mass]\nscale = 0.5", "f")
    assert short.factors == (Factor("mass", "mass", True, -0.5, 0.5),)
    (own,) = parse_domains('[payload]\nvary = "mass"\nof = "torso"\nadd = [-1, 3]', "f").factors
    assert own == Factor("payload", "mass", False, -1.0, 3.0, of="torso")


def test_a_factor_may_have_any_name_that_is_no_part_of_a_domains_text():
    """Also one that Python has a use for."""
    for name in ("self", "cls", "a-b", "größe", "1"):
        varied = parse_domains(f'["{name}"]\nvary = "wind"\nadd = 1', "f")
        drawn = varied.sample(np.random.default_rng(0), 1.0)
        assert list(drawn) == [name]
        assert varied.complete(Domain.parse(str(drawn))) == drawn


# Draws


@given(factors(), seeds, st.integers(1, 5))
def test_strength_0_draws_exactly_the_nominal_value(factor: Factor, seed: int, size: int):
    """Whatever the draw, and however lopsided the range: 1 of what scales, 0 of what is added."""
    drawn = factor.sample(np.random.default_rng(seed), 0.0, size)
    assert drawn == (factor.nominal,) * size
    assert factor.span(0.0) == (factor.nominal, factor.nominal)


@given(factors(), seeds, strengths)
def test_values_lie_within_the_range_at_their_strength(factor: Factor, seed: int, eps: float):
    """To rounding; and the range at a strength lies in that at a greater one."""
    low, high = factor.span(eps)
    drawn = factor.sample(np.random.default_rng(seed), eps, 50)
    slack = 1e-12 * max(1.0, high)
    assert len(drawn) == 50
    assert low - slack <= min(drawn)
    assert max(drawn) <= high + slack
    least, most = factor.span(1.0)
    assert least - slack <= low <= factor.nominal <= high <= most + slack


@given(factors(), seeds)
def test_the_strength_of_a_draw_scales_the_same_direction(factor: Factor, seed: int):
    """Deviations are proportional to it; those of log-uniform factors in their logarithm."""
    half, whole = (
        np.array(factor.sample(np.random.default_rng(seed), eps, 9)) for eps in (0.5, 1.0)
    )
    if factor.draw == "log-uniform":
        half, whole = np.log(half), np.log(whole)
    else:
        half, whole = half - factor.nominal, whole - factor.nominal
    np.testing.assert_allclose(2 * half, whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("eps", [1.0, 0.5])
@pytest.mark.parametrize("draw", DRAWS)
def test_draws_have_the_distribution_that_they_are_named_for(draw: str, eps: float):
    """Of [0.5, 3]: even over the range, even over its logarithm, or a bell over its middle.

    A bell that is cut at two standard deviations has a standard deviation of
    sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)) of its own, with phi and Phi of the normal distribution.
    """
    factor = Factor("any", "mass", True, -0.5, 2.0, draw=draw)
    values = np.array(factor.sample(np.random.default_rng(0), eps, 40_000))
    low, high = factor.span(eps)
    if draw == "log-uniform":
        assert (low, high) == pytest.approx((0.5**eps, 3.0**eps))
        values, low, high = np.log(values), math.log(low), math.log(high)
    else:
        assert (low, high) == pytest.approx((1 - 0.5 * eps, 1 + 2 * eps))
    half, middle = (high - low) / 2, (low + high) / 2
    assert values.mean() == pytest.approx(middle, abs=0.02 * half)
    phi, within = math.exp(-2) / math.sqrt(2 * math.pi), math.erf(math.sqrt(2))
    bell = 0.5 * math.sqrt(1 - 4 * phi / within)
    assert values.std() == pytest.approx(half * (bell if draw == "normal" else 3**-0.5), rel=0.02)
    assert values.min() < low + 0.05 * half
    assert values.max() > high - 0.05 * half


@given(factors(), strengths, st.integers(2, 15))
def test_a_sweep_runs_from_end_to_end_and_meets_the_nominal_value(
    factor: Factor, eps: float, points: int
):
    """In order; a symmetric range has its nominal value in the middle, if there is a middle."""
    low, high = factor.span(eps)
    assume(high - low > 1e-3)
    values = factor.spread(eps, points)
    assert len(values) == points
    assert list(values) == sorted(values)
    symmetric = factor.low == -factor.high and factor.draw != "log-uniform"
    if points % 2 or not symmetric:
        assert factor.nominal in values
    gap = (high - low) / (points - 1)
    assert values[0] == pytest.approx(low, abs=gap / 2 + 1e-9)
    assert values[-1] == pytest.approx(high, abs=gap / 2 + 1e-9)
    if symmetric:
        assert (values[0], values[-1]) == pytest.approx((low, high), abs=1e-9)


# What is wrong with a file


BROKEN = {
    "[mass": "not TOML: Expected",
    "wind = 5": "[wind]=5 is no table: write [wind], then its keys",
    "[mass]": "[mass]: give scale or add, a number or [low, high]",
    "[mass]\nscale = 0.5\nadd = 1": "[mass]: give scale or add, a number or [low, high]",
    "[mas]\nscale = 0.5": "[mas]: unknown term 'mas'; did you mean 'mass'?; see p2p domains",
    "[x]\nvary = 'geom_solreff[0]'\nadd = 1": "[x]: unknown term 'geom_solreff[0]'",
    "[x]\nvary = 'geom_solref[2]'\nadd = 1": "'geom_solref[2]': geom_solref has 2 columns",
    "[x]\nvary = 'opt.timestep'\nscale = 0.1": "[x]: unknown term 'opt.timestep'",
    "[x]\nvary = ['mass']\nscale = 0.5": "[x] vary=['mass'] is no name of a term",
    "[mass]\nscal = 0.5": "[mass]: unknown key 'scal'; did you mean 'scale'?",
    "[wind]\nadd = 1\naxes = 'y'": "[wind]: unknown key 'axes'; did you mean 'axis'?",
    "[mass]\nscale = 0.5\naxis = 'y'": "[mass]: unknown key 'axis'",
    "[wind]\nscale = 0.5": "[wind]: wind takes add, not scale",
    "[strength]\nadd = 0.5": "[strength]: strength takes scale, not add",
    "[mass]\nscale = '0.5'": "[mass] scale='0.5': give a number, or [low, high]",
    "[mass]\nscale = [0.5, 1, 2]": "[mass] scale=[0.5, 1, 2]: give a number, or [low, high]",
    "[mass]\nscale = true": "[mass] scale=True: give a number, or [low, high]",
    "[mass]\nadd = inf": "[mass] add=inf: give a number, or [low, high]",
    "[mass]\nadd = nan": "[mass] add=nan: give a number, or [low, high]",
    "[mass]\nscale = [1.1, 1.5]": "[mass] scale=[1.1, 1.5] leaves out 1, the robot as it is",
    "[mass]\nadd = [1, 2]": "[mass] add=[1, 2] leaves out 0, the robot as it is",
    "[mass]\nscale = 1.5": "[mass] scale=1.5: a factor below 0 turns the quantity around",
    "[obs_noise]\nadd = [-1, 1]": "[obs_noise] add=[-1, 1]: obs_noise is not negative",
    "[mass]\nscale = 0.5\ndraw = 'gauss'": "draw='gauss': use uniform, log-uniform, normal",
    "[mass]\nadd = 0.5\ndraw = 'log-uniform'": "[mass]: log-uniform draws positive factors",
    "[mass]\nscale = 1.0\ndraw = 'log-uniform'": "[mass]: log-uniform draws positive factors",
    "[mass]\nscale = 0.5\neach = 'yes'": "[mass] each='yes': use true or false",
    "[mass]\nscale = 0.5\nof = 3": "[mass] of=3: give a regular expression, or a list of names",
    "[mass]\nscale = 0.5\nof = []": "[mass] of=[]: give a regular expression, or a list of names",
    "[mass]\nscale = 0.5\nof = 'leg_('": "[mass] of='leg_(' is no regular expression: missing )",
    "[gravity]\nscale = 0.2\nof = 'floor'": "gravity acts on the world as a whole; leave `of` out",
    "[start_pose]\nadd = 1": "[start_pose]: say of what: of = 'x', 'y', 'z' or 'yaw'",
    "[slope]\nadd = 0.1\naxis = 'z'": "[slope] axis='z': use 'x' or 'y'",
    "[push]\nadd = 1\nevery = 0": "[push] every=0: give a positive number",
    "['a=b']\nvary = 'mass'\nscale = 0.5": "[a=b]: a factor's name has no comma, equals sign",
    "['a b']\nvary = 'mass'\nscale = 0.5": "[a b]: a factor's name has no comma, equals sign",
    '["a\\nb"]\nvary = "mass"\nscale = 0.5': r"['a\nb']: a factor's name has no comma",
    "['.']\nvary = 'mass'\nscale = 0.5": "[.]: a factor's name has no comma",  # a path in run.h5
    "['']\nvary = 'mass'\nscale = 0.5": "[]: a factor's name has no comma",
}


@pytest.mark.parametrize(("text", "complaint"), BROKEN.items())
def test_a_wrong_file_is_told_in_one_line(text: str, complaint: str, tmp_path: Path):
    """With the file, the table, and what to do; the tables before it are in order."""
    file = tmp_path / "wrong.toml"
    file.write_text(f"[friction]\nscale = 0.3\n\n{text}" if text.startswith("[") else text)
    with pytest.raises(UsageError) as error:
        read_domains(file)
    message = str(error.value)
    assert message.startswith(f"{file}: ")
    assert complaint in message
    assert len(message.splitlines()) == 1


def test_a_term_of_the_users_that_is_not_loaded_is_never_imported(tmp_path: Path):
    """A file, as a run folder, may name code; it runs only if the user has named it too."""
    code = tmp_path / "mine.py"
    code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    text = f"[payload]\nvary = '{code}:payload'\nadd = 1"
    with pytest.raises(BadArtefact) as error:
        parse_domains(text, "mine.toml")
    assert str(error.value).startswith("mine.toml: [payload]: ")
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "ran").exists()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    """Whether it is missing, a folder, no text, or too large; in one line each."""
    binary, large, many = (tmp_path / f"{name}.toml" for name in ("binary", "large", "many"))
    binary.write_bytes(b"\xff\xfe\x00")
    large.write_text("#" * (MAX_BYTES + 1))
    several = (f"[f{n}]\nvary = 'wind'\nadd = 1" for n in range(MAX_FACTORS + 1))
    many.write_text("\n".join(several))
    missing = tmp_path / "missing.toml"
    for file, complaint in {
        missing: f"cannot read domains file {missing}: no such file; shipped: table1",
        tmp_path: f"cannot read domains file {tmp_path}: not a file; shipped: table1",
        binary: f"{binary}: not TOML: 'utf-8' codec can't decode",
        large: f"domains file {large} is larger than 1,000,000 bytes",
        many: f"{many}: 101 factors are more than 100",
    }.items():
        with pytest.raises(UsageError) as error:
            read_domains(file)
        assert str(error.value).startswith(complaint)
        assert len(str(error.value).splitlines()) == 1


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=4) | st.sampled_from(["vary", "of"]), inner)
            ),
            max_leaves=6,
        )
        | st.fixed_dictionaries(
            {"vary": st.sampled_from([*TERMS])},
            optional=dict.fromkeys(
                ("scale", "add", "of", "each", "draw", "axis", "every"),
                st.floats() | st.text(max_size=3) | st.lists(st.floats(), max_size=3),
            ),
        ),
        max_size=3,
    )
)
def test_no_table_is_worth_a_traceback(found: dict[str, Any]):
    """Whatever stands in a file or in a run's settings is read, or refused in one line."""
    message = None
    try:
        read = from_tables(found, "any.toml")
    except P2PError as error:
        message = str(error)
    if message is None:
        assert from_tables(to_tables(read), "any.toml") == read
    else:
        assert message.startswith("any.toml: ")
        assert len(message.splitlines()) == 1


def test_runs_in_other_domains_have_names_that_tell_them_apart():
    """A study over two files, and a comparison of its runs, show labels and not tables."""
    from p2p.analysis.groups import label_runs
    from p2p.core.config import TrainConfig
    from p2p.study.names import run_name

    configs = [TrainConfig(randomise={"mass": {"scale": width}}) for width in (0.2, 0.4)]
    names = {run_name(config, ("randomise",)) for config in configs}
    assert len(names) == 2
    assert all(re.fullmatch(r"hopper-p2pdrl-randomise=mass\+\w{6}-seed=0", name) for name in names)
    runs = [SimpleNamespace(task=c.task, method=c.method, settings=c.settings) for c in configs]
    labels = label_runs(runs)
    assert len(set(labels)) == 2
    assert all(len(label) < 40 for label in labels)
