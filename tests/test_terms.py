"""Terms of the catalogue, judged by MuJoCo's compiler: an edited model against an edited MJCF."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_physics import numbers

from p2p.core.errors import UsageError
from p2p.envs.binding import Binding
from p2p.envs.domain import Domain
from p2p.envs.domain_file import parse_domains
from p2p.envs.model import load_model
from p2p.envs.task import Task
from p2p.envs.terms import TERMS, find_term
from p2p.envs.terms import model_terms as terms

ROBOT = """<mujoco>
  <option timestep="0.002" gravity="0 0 -9.81"/>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 1" friction="0.9 0.005 0.0001"/>
    <body name="trunk" pos="0 0 1">
      <freejoint name="root"/>
      <geom name="chest" type="box" size="0.2 0.1 0.1" density="400"/>
      <body name="left_leg" pos="0.1 0.1 -0.1">
        <inertial pos="0.01 0 -0.2" mass="0.7" diaginertia="0.01 0.02 0.015"/>
        <joint name="left_knee" axis="0 1 0" damping="0.3" armature="0.02" frictionloss="0.1"
               stiffness="2" range="-60 60"/>
        <geom name="left_foot" size="0.05" pos="0 0 -0.4" friction="0.7 0.005 0.0001"/>
      </body>
      <body name="right_leg" pos="0.1 -0.1 -0.1">
        <inertial pos="0 0 -0.15" mass="0.9" diaginertia="0.02 0.01 0.01"/>
        <joint name="right_knee" axis="0 1 0" damping="0.2" armature="0.01" stiffness="1"
               actuatorfrcrange="-9 8"/>
        <geom name="right_foot" size="0.04" pos="0 0 -0.4"/>
      </body>
    </body>
  </worldbody>
  <contact><pair geom1="right_foot" geom2="floor" friction="0.6 0.5 0.004 0.0001 0.0002"/></contact>
  <actuator>
    <position name="servo" joint="left_knee" kp="20" kv="1.5" forcerange="-4 5"/>
    <motor name="motor" joint="right_knee" gear="3" ctrlrange="-1 1"/>
  </actuator>
</mujoco>"""
TIMESTEP = 0.002
PICTURES = {"stat.center", "stat.extent", "stat.meansize"}  # a viewer's, not of the motion

Edit = Callable[[mujoco.MjSpec, Any], None]


def bound(text: str, xml: str = ROBOT) -> Binding:
    """Return the factors of a domains file on a robot."""
    randomisation = parse_domains(text, "test.toml")
    spec = mujoco.MjSpec.from_string(xml)
    for factor in randomisation:
        prepare = find_term(factor.vary).prepare
        if prepare is not None:
            prepare(spec, factor)
    return Binding(randomisation, spec.compile(), {})


def applied(binding: Binding, *domains: Domain) -> mujoco.MjModel:
    """Return a model to which domains were applied one after the other."""
    model = binding.new_model()
    for domain in domains:
        binding.apply(binding.check(domain), model)
    return model


def assert_alike(ours: mujoco.MjModel, theirs: mujoco.MjModel, but: set[str] = frozenset()) -> None:
    """Compare every array and physical option of two models."""
    mine, its = numbers(ours), numbers(theirs)
    assert len(mine) > 300
    for name in mine.keys() - but:
        np.testing.assert_allclose(mine[name], its[name], rtol=1e-12, atol=1e-14, err_msg=name)


# One term, one edit of the MJCF


def scale_mass(spec: mujoco.MjSpec, f: float) -> None:
    spec.geom("chest").density *= f
    for leg in (spec.body("left_leg"), spec.body("right_leg")):
        leg.mass, leg.inertia = leg.mass * f, leg.inertia * f


def add_mass(spec: mujoco.MjSpec, v: float) -> None:
    leg = spec.body("left_leg")
    leg.inertia, leg.mass = leg.inertia * (leg.mass + v) / leg.mass, leg.mass + v


def mass_each(spec: mujoco.MjSpec, values: list[float]) -> None:
    trunk, left, right = values
    spec.geom("chest").density *= trunk
    for name, f in (("left_leg", left), ("right_leg", right)):
        leg = spec.body(name)
        leg.mass, leg.inertia = leg.mass * f, leg.inertia * f


def com_each(spec: mujoco.MjSpec, values: list[float]) -> None:
    for name, v in zip(("left_leg", "right_leg"), values, strict=True):
        spec.body(name).ipos[2] += v


def scale_friction(spec: mujoco.MjSpec, f: float) -> None:
    for geom in spec.geoms:
        geom.friction[0] *= f
    for pair in spec.pairs:
        pair.friction[:2] *= f


def add_friction(spec: mujoco.MjSpec, v: float) -> None:
    spec.geom("left_foot").friction[0] += v


def scale_gravity(spec: mujoco.MjSpec, f: float) -> None:
    spec.option.gravity = [0, 0, -9.81 * f]


def add_gravity(spec: mujoco.MjSpec, v: float) -> None:
    spec.option.gravity = [0, 0, -9.81 - v]


def incline(spec: mujoco.MjSpec, angle: float) -> None:
    """Uphill along y: what is let go rolls back, towards -y."""
    spec.option.gravity = [0, -9.81 * math.sin(angle), -9.81 * math.cos(angle)]


def knees(
    attribute: str, scale: bool, names: tuple[str, ...] = ("left_knee", "right_knee")
) -> Edit:
    """Return an edit of an attribute of joints, with one value for all or one each."""

    def edit(spec: mujoco.MjSpec, given: Any) -> None:
        for name, v in zip(names, np.broadcast_to(given, len(names)), strict=True):
            joint = spec.joint(name)
            old = getattr(joint, attribute)
            if isinstance(old, float):
                setattr(joint, attribute, old * v if scale else old + v)
            else:  # coefficients of a polynomial
                old[0] = old[0] * v if scale else old[0] + v

    return edit


def scale_kp(spec: mujoco.MjSpec, f: float) -> None:
    spec.actuator("servo").gainprm[0] = 20 * f
    spec.actuator("servo").biasprm[1] = -20 * f


def add_kd(spec: mujoco.MjSpec, v: float) -> None:
    spec.actuator("servo").biasprm[2] = -(1.5 + v)


def strength_each(spec: mujoco.MjSpec, values: list[float]) -> None:
    servo, motor = values
    spec.actuator("servo").gainprm[0] = 20 * servo
    spec.actuator("servo").biasprm[1:3] = [-20 * servo, -1.5 * servo]
    spec.actuator("motor").gainprm[0] = motor


def scale_limits(spec: mujoco.MjSpec, f: float) -> None:
    spec.actuator("servo").forcerange = [-4 * f, 5 * f]
    spec.joint("right_knee").actfrcrange = [-9 * f, 8 * f]


def add_limits(spec: mujoco.MjSpec, v: float) -> None:
    spec.actuator("servo").forcerange = [-4 - v, 5 + v]
    spec.joint("right_knee").actfrcrange = [-9 - v, 8 + v]


def delay_servo(spec: mujoco.MjSpec, v: float) -> None:
    for actuator in spec.actuators:
        actuator.nsample = 11  # of 0.02 s, and the one that has just come in
    spec.actuator("servo").delay = v


def solref(spec: mujoco.MjSpec, f: float) -> None:
    for name in ("left_foot", "right_foot"):
        spec.geom(name).solref[0] *= f


def viscosity(spec: mujoco.MjSpec, v: float) -> None:
    spec.option.viscosity += v


def gravity_x(spec: mujoco.MjSpec, v: float) -> None:
    spec.option.gravity[0] += v


def body_pos(spec: mujoco.MjSpec, f: float) -> None:
    spec.body("left_leg").pos[1] *= f


def body_pos_each(spec: mujoco.MjSpec, values: list[float]) -> None:
    for name, v in zip(("right_leg", "left_leg"), values, strict=True):
        spec.body(name).pos[0] += v


GIVEN = [  # a factor `x`, its number of values and their range, and the same in MJCF
    ("vary='mass'\nscale=0.5", 1, (0.5, 1.5), scale_mass),
    ("vary='mass'\nadd=0.5\nof='left_leg'", 1, (-0.5, 0.5), add_mass),
    ("vary='mass'\nscale=0.5\neach=true", 3, (0.5, 1.5), mass_each),
    ("vary='com'\nadd=0.1\nof='.*_leg'\naxis='z'\neach=true", 2, (-0.1, 0.1), com_each),
    ("vary='body_pos'\nscale=0.5\nof='left_leg'\naxis='y'", 1, (0.5, 1.5), body_pos),
    (
        "vary='body_pos'\nadd=0.05\nof=['right_leg', 'left_leg']\neach=true",
        2,
        (-0.05, 0.05),
        body_pos_each,
    ),
    ("vary='friction'\nscale=0.5", 1, (0.5, 1.5), scale_friction),
    ("vary='friction'\nadd=0.5\nof='left_.*'", 1, (-0.5, 0.5), add_friction),
    ("vary='gravity'\nscale=0.5", 1, (0.5, 1.5), scale_gravity),
    ("vary='gravity'\nadd=2", 1, (-2, 2), add_gravity),
    ("vary='slope'\nadd=0.3\naxis='y'", 1, (-0.3, 0.3), incline),
    ("vary='damping'\nscale=0.5", 1, (0.5, 1.5), knees("damping", scale=True)),
    (
        "vary='damping'\nadd=[0, 1]\nof='.*knee'\neach=true",
        2,
        (0, 1),
        knees("damping", scale=False),
    ),
    ("vary='armature'\nscale=0.5\neach=true\nof='.*knee'", 2, (0.5, 1.5), knees("armature", True)),
    (
        "vary='frictionloss'\nadd=[0, 1]\nof=['right_knee']",
        1,
        (0, 1),
        knees("frictionloss", False, ("right_knee",)),
    ),
    ("vary='stiffness'\nscale=0.5", 1, (0.5, 1.5), knees("stiffness", scale=True)),
    ("vary='kp'\nscale=0.5", 1, (0.5, 1.5), scale_kp),
    ("vary='kd'\nadd=[0, 1]\nof='servo'", 1, (0, 1), add_kd),
    ("vary='strength'\nscale=0.5\neach=true", 2, (0.5, 1.5), strength_each),
    ("vary='force_limit'\nscale=0.5", 1, (0.5, 1.5), scale_limits),
    ("vary='force_limit'\nadd=2", 1, (-2, 2), add_limits),
    ("vary='delay'\nadd=0.02\nof='servo'", 1, (0, 0.02), delay_servo),
    ("vary='geom_solref[0]'\nscale=0.5\nof='.*_foot'", 1, (0.5, 1.5), solref),
    ("vary='dof_damping'\nscale=0.5", 1, (0.5, 1.5), knees("damping", scale=True)),
    ("vary='opt.viscosity'\nadd=[0, 1]", 1, (0, 1), viscosity),
    ("vary='opt.gravity[0]'\nadd=1", 1, (-1, 1), gravity_x),
]


every_term = pytest.mark.parametrize(
    ("table", "size", "span", "edit"), GIVEN, ids=[table.replace("\n", " ") for table, *_ in GIVEN]
)


@every_term
@settings(max_examples=6)
@given(data=st.data())
def test_a_term_is_what_the_compiler_would_have_made(
    table: str, size: int, span: tuple[float, float], edit: Edit, data: st.DataObject
):
    """Every number of the model, derived ones too, equals that of an edited and compiled MJCF."""
    binding = bound(f"[x]\n{table}")
    assert binding.sizes == {"x": size}
    values = data.draw(st.lists(st.floats(*span), min_size=size, max_size=size))
    spec = mujoco.MjSpec.from_string(ROBOT)
    edit(spec, values if size > 1 else values[0])
    moves = binding.parts[0].term.name in ("com", "body_pos")
    assert_alike(applied(binding, Domain(x=values)), spec.compile(), PICTURES if moves else set())


def test_every_term_that_changes_the_model_is_in_that_comparison():
    """Whoever adds one to the catalogue adds its edit."""
    compared = {parse_domains(f"[x]\n{table}", "f")["x"].vary for table, *_ in GIVEN}
    assert {name for name, term in TERMS.items() if term.acts == "model"} <= compared
    assert {term.name for term in terms.TERMS} <= compared


@every_term
def test_a_term_at_its_nominal_value_changes_no_bit(
    table: str, size: int, span: tuple[float, float], edit: Edit
):
    """Nor does the way there and back: values are taken from the nominal model each time."""
    binding = bound(f"[x]\n{table}")
    far = Domain(x=[span[1]] * size)
    np.testing.assert_equal(numbers(applied(binding, Domain())), numbers(binding.nominal))
    there = applied(binding, far)
    np.testing.assert_equal(numbers(applied(binding, far, Domain())), numbers(binding.nominal))
    np.testing.assert_equal(numbers(applied(binding, Domain(), far, far)), numbers(there))
    changed = {n for n, v in numbers(there).items() if (v != numbers(binding.nominal)[n]).any()}
    assert changed >= set(binding.parts[0].term.fields) - {"pair_friction", "jnt_actfrcrange"}


def test_a_delay_of_several_servos_may_differ():
    """Each keeps the history that the longest needs: 20 ms are 10 steps, and the one just now."""
    binding = bound("[delay]\nadd = 0.02\neach = true")
    assert binding.nominal.actuator_history[:, 0].tolist() == [11, 11]
    model = applied(binding, Domain(delay=(0.004, 0.02)))
    assert model.actuator_delay.tolist() == [0.004, 0.02]


# Several factors on the same numbers

BOTH = """
[gravity]
scale = 0.5
[slope]
add = 0.5
[mass]
scale = 0.5
[payload]
vary = "mass"
of = "trunk"
add = 3
"""


def test_factors_on_the_same_numbers_compose_in_the_order_of_the_file():
    """Gravity 1.2 g down a slope of 0.3; a body of 0.5 of its mass carries 2 kg more."""
    binding = bound(BOTH)
    model = applied(binding, Domain(gravity=1.2, slope=0.3, mass=0.5, payload=2.0))
    g = 1.2 * 9.81
    assert model.opt.gravity == pytest.approx([-g * math.sin(0.3), 0, -g * math.cos(0.3)])
    own = binding.nominal.body_mass[1]
    assert model.body_mass.tolist() == pytest.approx([0, 0.5 * own + 2.0, 0.35, 0.45])
    share = (0.5 * own + 2.0) / own  # what is added is spread like the body's own mass
    assert model.body_inertia[1] == pytest.approx(share * binding.nominal.body_inertia[1])
    assert model.body_subtreemass[1] == pytest.approx(0.5 * own + 2.8)


drawn = st.builds(
    Domain,
    gravity=st.floats(0.5, 1.5),
    slope=st.floats(-0.5, 0.5),
    mass=st.floats(0.5, 1.5),
    payload=st.floats(-2, 3),
)


@settings(max_examples=15)
@given(st.lists(drawn, min_size=1, max_size=4), drawn)
def test_a_domain_does_not_depend_on_the_domains_before_it(before: list[Domain], last: Domain):
    """To the bit: nothing compounds where two factors change the same number."""
    binding = bound(BOTH)
    np.testing.assert_equal(
        numbers(applied(binding, *before, last)), numbers(applied(binding, last))
    )
    np.testing.assert_equal(numbers(applied(binding, *before, Domain())), numbers(binding.nominal))


# What a factor acts on


@pytest.mark.parametrize(
    ("of", "labels"),
    [
        ("", ("trunk", "left_leg", "right_leg")),  # bodies with mass: not the world
        ("of = '.*_leg'", ("left_leg", "right_leg")),
        ("of = 'leg'", None),  # a whole name, not a part of one
        ("of = ['right_leg', 'trunk']", ("right_leg", "trunk")),  # in the order of the list
    ],
)
def test_of_is_a_pattern_of_whole_names_or_a_list(of: str, labels: tuple[str, ...] | None):
    """And `each` gives a value to each of these, in that order; the others stay."""
    text = f"[mass]\nscale = 0.5\neach = true\n{of}"
    if labels is None:
        with pytest.raises(UsageError, match=r"\[mass\]: no body matches 'leg'; did you mean"):
            bound(text)
        return
    binding = bound(text)
    (part,) = binding.parts
    assert part.labels == labels
    assert binding.sizes == {"mass": len(labels)}
    values = dict(zip(labels, (0.6, 0.8, 1.4), strict=False))
    model = applied(binding, Domain(mass=list(values.values())))
    for body in range(1, model.nbody):
        factor = values.get(model.body(body).name, 1.0)
        assert model.body_mass[body] == pytest.approx(factor * binding.nominal.body_mass[body])
    one = applied(binding, Domain(mass=0.7))  # or one value for all of them
    changed = np.flatnonzero(one.body_mass != binding.nominal.body_mass)
    assert {one.body(int(body)).name for body in changed} == set(labels)


def test_a_binding_draws_a_value_for_each_of_what_it_acts_on():
    """And one for all without `each`; both are a domain that it takes."""
    binding = bound("[mass]\nscale = 0.5\neach = true\n[damping]\nscale = 0.5\n[wind]\nadd = 1")
    domain = binding.sample(np.random.default_rng(0), 1.0)
    assert [len(values) for values in domain.values()] == [3, 1, 1]
    assert len(set(domain["mass"])) == 3
    assert binding.check(domain) == domain


FIXED = """<mujoco><worldbody><body name="arm"><joint name="hinge" axis="0 1 0"/>
<geom size="0.1" pos="0.2 0 0"/></body></worldbody>
<actuator><motor name="motor" joint="hinge"/></actuator></mujoco>"""
PLANAR = """<mujoco><worldbody><body name="torso"><joint name="rootx" type="slide" axis="1 0 0"/>
<joint name="rootz" type="slide" axis="0 0 1"/><geom size="0.1"/><body name="leg">
<joint name="hip" axis="0 1 0"/><geom size="0.1" pos="0 0 -0.3"/></body></body></worldbody>
<actuator><motor name="motor" joint="hip"/></actuator></mujoco>"""


@pytest.mark.parametrize(
    ("xml", "table", "complaint"),
    [
        (FIXED, "[kp]\nscale = 0.2", "[kp]: the actuators have no position gain (kp), as torque"),
        (ROBOT, "[kp]\nscale = 0.2\nof = 'motor'", "[kp]: the actuators have no position gain"),
        (FIXED, "[kd]\nscale = 0.2", "[kd]: the actuators have no velocity gain (kd), as torque"),
        (FIXED, "[wind]\nadd = 1", "[wind]: wind needs a root that moves about"),
        (FIXED, "[push]\nadd = 1", "[push]: push needs a root that moves about"),
        (PLANAR, "[wind]\nadd = 1\naxis = 'y'", "[wind]: this robot's root does not move along y"),
        (
            FIXED,
            "[x]\nvary = 'start_pose'\nadd = 1\nof = 'x'",
            "[x]: this robot's root does not move along x",
        ),
        (
            PLANAR,
            "[x]\nvary = 'start_pose'\nadd = 1\nof = ['x', 'y']",
            "[x]: this robot's root does not move along y",
        ),
        (
            PLANAR,
            "[x]\nvary = 'start_pose'\nadd = 1\nof = 'yaw'",
            "[x]: this robot's root does not move along yaw",
        ),
        (
            ROBOT,
            "[x]\nvary = 'start_pose'\nadd = 1\nof = 'w'",
            "[x]: no axis matches 'w'; did you mean 'yaw'?; there are x, y, z, yaw",
        ),
        (
            ROBOT,
            "[damping]\nscale = 0.2\nof = 'left_nee'",
            "[damping]: no joint matches 'left_nee'; did you mean 'left_knee'?; there are root, ",
        ),
        (
            ROBOT,
            "[mass]\nscale = 0.2\nof = ['trunk', 'left_lag']",
            "[mass]: no body 'left_lag'; did you mean 'left_leg'?",
        ),
        (
            ROBOT,
            "[x]\nvary = 'tendon_stiffness'\nscale = 0.2",
            "[x]: this robot has no tendon that tendon_stiffness acts on",
        ),
        (
            ROBOT,
            "[body_pos]\nadd = 0.1\nof = 'world'",
            "[body_pos]: the world and bodies with a free joint",
        ),
        (
            ROBOT,
            "[x]\nvary = 'joint_offset'\nadd = 1\nof = 'root'",
            "[x]: a free or ball joint has no single angle",
        ),
    ],
)
def test_a_factor_that_cannot_act_on_a_robot_is_refused(xml: str, table: str, complaint: str):
    """Before anything runs, in one line that names the factor; else it would act on nothing."""
    with pytest.raises(UsageError) as error:
        bound(table, xml)
    assert str(error.value).startswith(complaint)
    assert len(str(error.value).splitlines()) == 1


def test_only_a_model_that_is_prepared_can_delay():
    """Without a history MuJoCo would take the delay and not heed it."""
    randomisation = parse_domains("[delay]\nadd = 0.02", "f")
    with pytest.raises(UsageError, match=r"\[delay\]: its actuators keep no history"):
        Binding(randomisation, mujoco.MjModel.from_xml_string(ROBOT), {})


# Trimmed models


def loaded(folder: Path, xml: str, text: str, trimmed: bool = True) -> Binding:
    """Return the factors of a domains file on the model that an env of them would have."""
    file = folder / "robot.xml"
    file.write_text(xml)
    randomisation = parse_domains(text, "test.toml")
    task = type("Own", (Task,), {"model": str(file)})
    model = load_model(task, randomisation, trimmed=trimmed)
    return Binding(randomisation, model, {})


SLIDER = """<mujoco><option gravity="0 0 -9.81"/><worldbody><body name="bob">
<joint name="rail" type="slide" axis="0 0 1"/><geom size="0.1"/></body></worldbody>
<actuator><motor name="motor" joint="rail"/></actuator></mujoco>"""


@pytest.mark.parametrize("how", ["frictionloss", "dof_frictionloss", "stiffness"])
def test_what_a_factor_adds_holds_a_joint_of_a_trimmed_model_too(how: str, tmp_path: Path):
    """By dry friction, 20 N against 41 N of weight, or a spring; the nominal model has neither."""
    fallen = {}
    for trimmed in (False, True):
        binding = loaded(tmp_path, SLIDER, f"[x]\nvary = '{how}'\nadd = [0, 100]", trimmed)
        for value in (0.0, 20.0):
            model = applied(binding, Domain(x=value))
            data = mujoco.MjData(model)
            mujoco.mj_step(model, data, 200)
            fallen[trimmed, value] = data.qpos[0]
    weight = 9.81 * binding.nominal.body_mass[1]
    assert weight == pytest.approx(41.1, abs=0.1)
    assert fallen[True, 0.0] == fallen[False, 0.0] == pytest.approx(-0.5 * 9.81 * 0.4**2, rel=0.02)
    assert fallen[True, 20.0] == fallen[False, 20.0]
    if "frictionloss" in how:  # as if it weighed 20 N less
        assert fallen[True, 20.0] == pytest.approx((1 - 20 / weight) * fallen[True, 0.0], rel=0.02)
    else:
        assert 0.6 < fallen[True, 20.0] / fallen[True, 0.0] < 0.95


BALL = """<mujoco><worldbody><geom name="floor" type="plane" size="5 5 1" friction="0.5"/>
<body name="torso" pos="0 0 0.1"><freejoint/><geom name="box" type="box" size="0.1 0.1 0.11"
friction="0.8"/><body name="foot" pos="0.3 0 -0.1"><joint name="hip"/><geom name="sole" size="0.02"
friction="0.6"/></body></body></worldbody><actuator><motor joint="hip"/></actuator></mujoco>"""


@pytest.mark.parametrize(
    ("table", "value", "sliding"),
    [
        ("vary = 'friction'\nscale = [0.1, 9]", 0.5, {0.4, 0.3}),
        ("vary = 'friction'\nscale = [0.1, 9]\nof = 'sole'", 3.0, {0.8, 1.8}),
        ("vary = 'friction'\nscale = [0.1, 9]\nof = 'floor'", 1.5, {0.8, 0.75}),
        ("vary = 'friction'\nscale = [0.1, 9]\neach = true", (1.0, 2.0, 1.0), {1.6, 0.6}),
        ("vary = 'geom_friction[0]'\nadd = [0, 1]\nof = 'box'", 0.3, {1.1, 0.6}),
    ],
)
def test_friction_of_any_geoms_reaches_the_contacts_of_a_trimmed_model(
    table: str, value: Any, sliding: set[float], tmp_path: Path
):
    """A contact takes the larger of two geoms' coefficients, also where pairs are listed."""
    binding = loaded(tmp_path, BALL, f"[x]\n{table}")
    lists_pairs = "of" not in table.split("\n")[-1] and "each" not in table
    assert (binding.nominal.npair > 0) == lists_pairs  # fast where it can be
    model = applied(binding, Domain(x=value))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    assert data.ncon > 4
    found = {round(float(v), 9) for v in data.contact.friction[:, 0]}
    assert found == sliding


def test_a_field_of_the_geoms_reaches_the_contacts_of_a_trimmed_model(tmp_path: Path):
    """Listed pairs would keep the mixture of the nominal values."""
    binding = loaded(tmp_path, BALL, "[x]\nvary = 'geom_solref[0]'\nscale = [0.5, 4]")
    model = applied(binding, Domain(x=2.0))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    assert data.ncon
    assert data.contact.solref[:, 0] == pytest.approx(0.04)


# Delays


CART = """<mujoco><option timestep="0.01" gravity="0 0 0"/><worldbody><body name="cart">
<joint name="rail" type="slide" axis="1 0 0"/><inertial pos="0 0 0" mass="2" diaginertia="1 1 1"/>
</body></worldbody><actuator><motor name="motor" joint="rail"/></actuator></mujoco>"""


@pytest.mark.parametrize("trimmed", [False, True])
@pytest.mark.parametrize(
    ("delay", "steps"), [(0.0, 0), (0.004, 1), (0.01, 1), (0.015, 2), (0.025, 3), (0.04, 4)]
)
def test_a_command_takes_effect_after_its_delay(
    delay: float, steps: int, trimmed: bool, tmp_path: Path
):
    """Of a force of 1 N on 2 kg the first step makes 0.01 s * 0.5 m/s2; it comes that much later.

    The delay is rounded up to whole steps of 0.01 s. What is asked for later comes later too.
    """
    model = applied(loaded(tmp_path, CART, "[delay]\nadd = 0.04", trimmed), Domain(delay=delay))
    data = mujoco.MjData(model)
    velocity = []
    for step in range(10):
        data.ctrl[0] = 1.0 if step < 3 else -2.0
        mujoco.mj_step(model, data)
        velocity.append(data.qvel[0])
    forces = [0.0] * steps + [1.0] * 3 + [-2.0] * (7 - steps)
    assert velocity == pytest.approx(np.cumsum(forces) * 0.01 / 2, abs=1e-12)
