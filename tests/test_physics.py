"""What a domain does to a model and to a start pose, judged by MuJoCo itself."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import mujoco
import numpy as np
import pytest
from made import TASKS

from p2p.core.errors import UsageError
from p2p.envs.domain import Domain
from p2p.envs.model import load_model
from p2p.envs.randomisation import table_1
from p2p.envs.robot import Robot
from p2p.envs.task import Task
from p2p.envs.trimming import trim
from p2p.envs.vector import RandomisedEnvs

every_task = pytest.mark.parametrize("task", TASKS)
ROOT_Z = {"hopper": 1, "walker2d": 1, "halfcheetah": 1, "ant": 2, "humanoid": 2}  # in qpos


def numbers(model: mujoco.MjModel) -> dict[str, Any]:
    """Return every array and physical option of a model by name."""
    found = {}
    for prefix, part in (("", model), ("opt.", model.opt), ("stat.", model.stat)):
        for name in dir(part):
            value = getattr(part, name)
            if isinstance(value, np.ndarray | float) and not name.startswith("_"):
                found[prefix + name] = np.array(value)
    return found


def recompiled(task: type[Task], domain: Domain, trimmed: bool) -> mujoco.MjModel:
    """Compile Gymnasium's model file with `domain` written into its XML."""
    tree = ET.fromstring(task.model_path().read_text())
    nominal = load_model(task)

    option = tree.find("option")
    assert option is not None
    option.set("gravity", f"0 0 {-9.81 * domain['gravity'][0]!r}")

    default = tree.find("default/geom")
    assert default is not None
    default.set("friction", default.get("friction", "1 0.005 0.0001"))
    for geom in tree.iter("geom"):
        if "friction" in geom.attrib:
            sliding, *rest = geom.attrib["friction"].split()
            geom.set("friction", " ".join([repr(float(sliding) * domain["friction"][0]), *rest]))

    density = float(default.get("density", "1000"))
    bodies = list(tree.iter("body"))
    for body, factor in zip(bodies, np.broadcast_to(domain["mass"], len(bodies)), strict=True):
        for geom in body.findall("geom"):
            geom.set("density", repr(float(geom.get("density", density)) * float(factor)))
    compiler = tree.find("compiler")
    if compiler is not None and "settotalmass" in compiler.attrib:
        total = float(np.sum(nominal.body_mass[1:] * np.array(domain["mass"])))
        compiler.set("settotalmass", repr(total))

    xml = ET.tostring(tree, encoding="unicode")
    own = mujoco.MjModel.from_xml_string
    model = trim(mujoco.MjSpec.from_string(xml)) if trimmed else own(xml)
    model.opt.jacobian = nominal.opt.jacobian
    return model


@every_task
@pytest.mark.parametrize("links", ["global", "per_link"])
@pytest.mark.parametrize("trimmed", [False, True])
def test_a_domain_is_what_the_compiler_would_have_made(task: str, links: str, trimmed: bool):
    """Every number of the model, derived ones too, equals that of an edited and compiled MJCF."""
    robot = Robot(TASKS[task], table_1(mass_randomisation=links), trimmed=trimmed)
    domain = robot.binding.sample(np.random.default_rng(1), 1.0)
    assert (len(domain["mass"]) > 1) == (links == "per_link")
    model = robot.binding.new_model()
    robot.binding.apply(domain, model)
    ours, theirs = numbers(model), numbers(recompiled(TASKS[task], domain, trimmed))
    assert len(ours) > 300
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-12, atol=1e-14, err_msg=name)
    changed = {n for n, v in numbers(robot.model).items() if not np.array_equal(v, ours[n])}
    assert {"dof_invweight0", "body_subtreemass", "stat.meaninertia"} <= changed


@every_task
def test_applying_twice_does_not_compound(task: str):
    """Each domain starts from nominal values, and the way back leads to them exactly."""
    robot = Robot(TASKS[task])
    binding = robot.binding
    domain = Domain(wind=2.0, gravity=1.2, friction=0.8, mass=1.4, initial_position=0.3)
    once, twice = binding.new_model(), binding.new_model()
    binding.apply(domain, once)
    for _ in range(2):
        binding.apply(domain, twice)
    np.testing.assert_equal(numbers(twice), numbers(once))
    binding.apply(binding.check(Domain()), twice)
    np.testing.assert_equal(numbers(twice), numbers(load_model(TASKS[task], trimmed=True)))


@every_task
def test_strength_0_leaves_the_model_unchanged(task: str):
    """Not a bit of it differs from what the compiler made."""
    robot = Robot(TASKS[task])
    model = robot.binding.new_model()
    robot.binding.apply(robot.binding.sample(np.random.default_rng(0), 0.0), model)
    np.testing.assert_equal(numbers(model), numbers(load_model(TASKS[task], trimmed=True)))


def flying(task: str, domain: Domain) -> tuple[RandomisedEnvs, Any, Any]:
    """Return an env at rest high in the air, its model and its data."""
    envs = RandomisedEnvs(task, 1)
    envs.set_domains([domain])
    model, data = envs.simulation(0)
    data.qpos[:], data.qvel[:] = model.qpos0, 0.0
    data.qpos[ROOT_Z[task]] += 10.0
    mujoco.mj_forward(model, data)
    return envs, model, data


@every_task
def test_mass_by_half_more_weighs_half_more(task: str):
    """The force that holds the robot up, not the number in the model."""
    weights = []
    for mass in (1.0, 1.5):
        _, _, data = flying(task, Domain(mass=(mass,)))
        weights.append(data.qfrc_bias[ROOT_Z[task]])
    assert weights[1] == pytest.approx(1.5 * weights[0])
    assert weights[0] > 1.0


def fall(task: str, domain: Domain, steps: int = 3) -> Any:
    """Return the velocity of the centre of mass after a fall, m/s [3]."""
    envs, model, data = flying(task, domain)
    for _ in range(steps):
        envs.advance(np.zeros((1, envs.action_dim), np.float32))  # too high to be "healthy"
    mujoco.mj_forward(model, data)  # velocities lag by a substep
    mujoco.mj_subtreeVel(model, data)
    return data.subtree_linvel[0] / (steps * envs.dt)


@every_task
def test_wind_accelerates_by_force_over_mass(task: str):
    """F/m along x, whatever the joints do; twice the mass, half the acceleration."""
    mass = load_model(TASKS[task]).body_mass.sum()
    calm = fall(task, Domain())
    windy = fall(task, Domain(wind=3.0)) - calm
    assert windy == pytest.approx([3.0 / mass, 0.0, 0.0], rel=1e-3, abs=1e-4 * 3.0 / mass)
    heavy = fall(task, Domain(wind=3.0, mass=(2.0,))) - calm
    assert heavy[0] == pytest.approx(1.5 / mass, rel=1e-3)


@every_task
def test_gravity_scales_the_fall(task: str):
    """1.25 g."""
    assert fall(task, Domain(gravity=1.25))[2] == pytest.approx(-1.25 * 9.81, rel=1e-3)


@pytest.mark.parametrize("task", ["ant", "humanoid"])
def test_wind_is_not_observed_as_a_contact_force(task: str):
    """In the air nothing touches the robot, and so says `cfrc_ext`, which the policy sees."""
    envs, _, data = flying(task, Domain(wind=5.0))
    envs.advance(np.zeros((1, envs.action_dim), np.float32))
    assert data.qfrc_applied[0] == 5.0
    assert not data.cfrc_ext.any()


@every_task
@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_friction_changes_what_a_contact_gets(task: str, factor: float):
    """MuJoCo takes the larger of the two geoms: scaling the floor down would change nothing."""
    sliding = []
    for friction in (1.0, factor):
        _, model, data = flying(task, Domain(friction=friction))
        data.qpos[ROOT_Z[task]] -= 10.5  # into the floor
        mujoco.mj_forward(model, data)
        on_floor = (model.geom_bodyid[data.contact.geom] == 0).any(axis=1)
        sliding.append(data.contact.friction[on_floor, :2].copy())
    assert sliding[0].min() > 0
    assert sliding[1] == pytest.approx(factor * sliding[0])


def depth(envs: RandomisedEnvs, env: int) -> float:
    """Return how deep anything is in the floor, m; negative if nothing is."""
    model, data = envs.simulation(env)
    on_floor = (model.geom_bodyid[data.contact.geom] == 0).any(axis=1)
    return float(-data.contact.dist[on_floor].min(initial=np.inf))


ONE_SIDED = {  # joints whose nominal angle lies at the end of their range or outside it
    "hopper": {"thigh_joint", "leg_joint"},
    "walker2d": {"thigh_joint", "leg_joint", "thigh_left_joint", "leg_left_joint"},
    "halfcheetah": set(),
    "ant": {"ankle_1", "ankle_2", "ankle_3", "ankle_4"},
    "humanoid": {"right_knee", "left_knee"},
}


def starts(task: str, eps: float, draws: int = 400) -> tuple[list[str], Any, Any]:
    """Return the actuated joints, and by draw their shift [draws, joints] and that of root z."""
    robot, rng = Robot(TASKS[task]), np.random.default_rng(0)
    data = mujoco.MjData(robot.model)
    joints = robot.model.actuator_trnid[:, 0]
    columns = robot.model.jnt_qposadr[joints]
    nominal = robot.binding.check(Domain())
    shifts, lifts = [], []
    for n in range(draws):
        positions = []
        for domain in (nominal, robot.binding.sample(rng, eps)):
            robot.start(robot.model, data, domain, np.random.default_rng(n))
            positions.append(data.qpos.copy())
        shifts.append((positions[1] - positions[0])[columns])
        lifts.append((positions[1] - positions[0])[ROOT_Z[task]])
    return [robot.model.joint(int(j)).name for j in joints], np.array(shifts), np.array(lifts)


@pytest.fixture
def noiseless(monkeypatch: pytest.MonkeyPatch) -> None:
    for task in TASKS.values():
        monkeypatch.setattr(task, "reset_noise", 0.0)


@every_task
@pytest.mark.parametrize("eps", [0.001, 0.2])
@pytest.mark.usefixtures("noiseless")
def test_each_joint_starts_within_eps_of_its_nominal_angle_and_spreads(task: str, eps: float):
    """U(-eps, eps), of which a one-sided joint takes the half that its range allows.

    The half of U(-1, 1) below 0, with the other half at 0, has variance 1/6 - 1/16.
    """
    names, shifts, lifts = starts(task, eps)
    assert np.abs(shifts).max() <= eps
    assert (lifts >= 0).all()
    assert lifts.max() <= 3 * eps  # as much as the feet come down: legs are shorter than 3 m
    for name, shift in zip(names, shifts.T, strict=True):
        one_sided = name in ONE_SIDED[task]
        std = np.sqrt(1 / 6 - 1 / 16) if one_sided else np.sqrt(1 / 3)
        # Humanoid's hips end 0.09 rad from 0, within the strength of 0.2.
        assert 0.65 * std < shift.std() / eps < 1.1 * std, name
        assert (shift == 0).mean() == pytest.approx(0.5 if one_sided else 0.0, abs=0.1), name
        assert shift.min() < -0.3 * eps or shift.max() > 0.3 * eps


@every_task
def test_a_start_of_small_offsets_is_the_start_without(task: str):
    """Also with reset noise, which drives some robots into the floor or past a joint's range."""
    _, shifts, lifts = starts(task, 1e-9, 50)
    assert np.abs(shifts).max() < 1e-8
    assert np.abs(lifts).max() < 1e-8


@every_task
def test_no_offset_leads_past_a_joints_range_or_deeper_into_the_floor(task: str):
    """At full strength, after reset noise, in many domains."""
    rng = np.random.default_rng(0)
    envs = RandomisedEnvs(task, 20)
    model, _ = envs.simulation(0)
    joints = model.actuator_trnid[:, 0]
    columns = model.jnt_qposadr[joints]
    low, high = model.jnt_range[joints].T
    lifted = 0
    for n in range(5):
        envs.reset(np.random.default_rng(n))
        before = [(depth(envs, e), envs.simulation(e)[1].qpos.copy()) for e in range(20)]
        envs.set_domains([envs.binding.sample(rng, 1.0) for _ in range(20)])
        envs.reset(np.random.default_rng(n))
        for env, (nominal_depth, nominal) in enumerate(before):
            position = envs.simulation(env)[1].qpos
            assert depth(envs, env) < max(nominal_depth, 0.0) + 1e-9
            assert (position[columns] >= np.minimum(low, nominal[columns])).all()
            assert (position[columns] <= np.maximum(high, nominal[columns])).all()
            lifted += position[ROOT_Z[task]] > nominal[ROOT_Z[task]]
        envs.set_domains([Domain()])
    assert lifted or task in ("ant", "humanoid")  # whose feet never come down so far


def test_the_initial_position_shifts_actuated_joints_only():
    """By its own offset each; root x is a no-op on a flat floor and stays."""
    envs = RandomisedEnvs("halfcheetah", 1)
    _, data = envs.simulation(0)
    envs.reset(np.random.default_rng(0))
    plain = data.qpos.copy()
    offset = (0.1, -0.1, 0.05, -0.2, 0.2, 0.0)
    envs.set_domains([Domain(initial_position=offset)])
    envs.reset(np.random.default_rng(0))
    assert data.qpos[3:] - plain[3:] == pytest.approx(offset)
    assert (data.qpos[[0, 2]] == plain[[0, 2]]).all()
    assert data.qpos[1] >= plain[1]


def test_root_x_moves_the_robot_and_nothing_else():
    """The literal reading of Table 1: unobserved, so episodes do not differ."""
    root_x = table_1("root_x")
    plain, shifted = (RandomisedEnvs("hopper", 1, randomisation=root_x) for _ in range(2))
    shifted.set_domains([Domain(initial_position=(0.5,))])
    assert shifted.binding.sizes["initial_position"] == 1
    for envs in (plain, shifted):
        envs.reset(np.random.default_rng(0))
    assert shifted.simulation(0)[1].qpos[0] == plain.simulation(0)[1].qpos[0] + 0.5
    assert (shifted.obs == plain.obs).all()


@pytest.mark.parametrize(
    ("domain", "complaint"),
    [
        (Domain(mass=(1.0, 1.0)), "mass has 2 values: give 1, or one for each of 4$"),
        (Domain(initial_position=(0.1, 0.1)), "has 2 values: give 1, or one for each of 3$"),
        (Domain(wind=(1.0, 1.0)), "wind has 2 values: give 1$"),
        (Domain(friction=(1.0, 1.0)), "friction has 2 values: give 1"),
        (Domain(mass=(0.0,)), "mass must leave all masses positive"),
        (Domain(mass=(1.0, 1.0, -1.0, 1.0)), "mass must leave all masses positive"),
        (Domain(friction=-0.1), "friction must not be negative"),
        (Domain(winds=3.0), "unknown factor 'winds'; did you mean 'wind'"),
        (Domain(wind=float("nan")), "not finite"),
    ],
)
def test_a_domain_that_fits_no_robot_is_refused(domain: Domain, complaint: str):
    """Before anything of it is applied."""
    envs = RandomisedEnvs("hopper", 2)
    nominal = table_1().complete(Domain())
    for domains in ([domain], [Domain(), domain]):
        with pytest.raises(UsageError, match=complaint):
            envs.set_domains(domains)
        assert envs.domains == [nominal, nominal]
