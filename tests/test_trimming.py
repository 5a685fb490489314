"""A trimmed model touches, is touched and moves as the model that it was made of, bit for bit."""

from __future__ import annotations

from collections import Counter
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import TASKS

import p2p  # noqa: F401  registers the envs
from p2p.envs.robot import Robot
from p2p.envs.trimming import FEW_PAIRS, find_pairs, trim

CONTACT = (
    "geom", "dist", "pos", "frame", "includemargin", "friction", "solref", "solreffriction",
    "solimp", "mu", "dim", "exclude", "efc_address",
)  # fmt: skip

HALVES = st.sampled_from([0.0, 0.25, 0.5, 1.0])
BITS = st.integers(0, 3)


@st.composite
def geoms(draw: st.DrawFn) -> str:
    """A geom of some kind near its body, with any say in what it touches and how."""
    kind, size = draw(
        st.sampled_from([("sphere", "0.25"), ("capsule", "0.125 0.25"), ("box", "0.25 0.125 0.2")])
    )
    place = " ".join(repr(draw(st.integers(-200, 200)) / 997) for _ in range(3))
    solref = draw(st.sampled_from(["0.03125 1", "0.0625 0.5", "-512 -16"]))
    solimp = draw(st.sampled_from(["0.75 0.9375 0.25", "0.5 0.75 0.125"]))
    friction = " ".join(repr(draw(HALVES) + 0.125) for _ in range(3))
    return (
        f'<geom type="{kind}" size="{size}" pos="{place}" contype="{draw(BITS)}" '
        f'conaffinity="{draw(BITS)}" priority="{draw(st.integers(0, 1))}" '
        f'solmix="{draw(HALVES)}" condim="{draw(st.sampled_from([1, 3, 4, 6]))}" '
        f'solref="{solref}" solimp="{solimp}" friction="{friction}" '
        f'margin="{draw(HALVES) / 8}" gap="{draw(HALVES) / 16}"/>'
    )


@st.composite
def bodies(draw: st.DrawFn, name: str = "b", depth: int = 3) -> str:
    """A body with up to 3 geoms, free or jointed or welded to its parent, and its children."""
    joint = "<freejoint/>" if depth == 3 else draw(st.sampled_from(["", "<joint/>"]))
    own = "".join(draw(st.lists(geoms(), min_size=1, max_size=3)))
    number = draw(st.integers(0, 2)) if depth > 1 else 0
    children = "".join(draw(bodies(f"{name}{i}", depth - 1)) for i in range(number))
    return f'<body name="{name}" pos="0.1 0 0.2">{joint}{own}{children}</body>'


@st.composite
def models(draw: st.DrawFn) -> str:
    """One or two robots on a floor with an obstacle; some pairs of bodies are excluded."""
    robots = draw(bodies("a")) + (draw(bodies("b")) if draw(st.booleans()) else "")
    plane = f'<geom type="plane" size="1 1 1" contype="{draw(BITS)}" margin="0.125"/>'
    obstacle = f'<body name="o" pos="0.3 0 0">{draw(geoms())}</body>'
    others = st.sampled_from(["", "o", "world"])
    out = f'<exclude body1="a" body2="{other}"/>' if (other := draw(others)) else ""
    switch = st.sampled_from(["enable", "disable"])
    flags = f'<flag filterparent="{draw(switch)}" midphase="{draw(switch)}"/>'
    return (
        f"<mujoco><option>{flags}</option><worldbody>{plane}{robots}"
        f"{obstacle}</worldbody><contact>{out}</contact></mujoco>"
    )


def follow(model: mujoco.MjModel, steps: int) -> tuple[list[Any], int]:
    """Return all contacts and positions of a fall from rest, and the number of contacts."""
    data = mujoco.MjData(model)
    seen: list[Any] = []
    number = 0
    for _ in range(steps):
        mujoco.mj_step(model, data)
        number += data.ncon
        seen += [getattr(data.contact, name).copy() for name in CONTACT]
        seen += [data.qpos.copy(), data.qvel.copy()]
    return seen, number


def check(xml: str, met: Counter[str]) -> None:
    """Compare a model with its trimmed self, and count what there was to get wrong."""
    own = mujoco.MjSpec.from_string(xml).compile()
    trimmed = trim(mujoco.MjSpec.from_string(xml))
    possible = len(find_pairs(own))
    assert trimmed.npair == (possible if possible <= FEW_PAIRS else 0)
    ours, number = follow(trimmed, 5)
    theirs, _ = follow(own, 5)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
    if trimmed.npair:
        assert not np.any([trimmed.body_contype, trimmed.body_conaffinity])
        met["contacts"] += number
        met["excluded"] += own.nexclude
        met["priorities"] += np.ptp(own.geom_priority) > 0
        met["stiffness given"] += bool((trimmed.pair_solref[:, 0] < 0).any())


def test_contacts_are_those_of_the_broadphase() -> None:
    """Of any geoms: which, in which order, and each number of each; and so the motion."""
    met: Counter[str] = Counter()
    fuzzed = settings(max_examples=200, deadline=None, derandomize=True)
    fuzzed(given(models())(lambda xml: check(xml, met)))()
    assert met["contacts"] > 500
    assert min(met.values()) > 10


def test_among_many_geoms_the_broadphase_stays() -> None:
    """All pairs of the Humanoid would cost as much."""
    assert Robot(TASKS["humanoid"]).model.npair == 0
    assert all(Robot(kind).model.npair for task, kind in TASKS.items() if task != "humanoid")


@pytest.mark.parametrize("task", TASKS)
def test_what_a_robot_does_not_need_is_gone(task: str) -> None:
    """Humanoid and HalfCheetah have springs."""
    model = Robot(TASKS[task]).model
    assert model.ncam == model.nlight == 0
    assert model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_FRICTIONLOSS
    sprung = not model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_SPRING
    assert sprung == (task in ("humanoid", "halfcheetah"))


def test_other_passive_forces_stay_where_damping_is_off() -> None:
    """Without both springs and dampers MuJoCo would leave out gravity compensation as well."""
    xml = (
        '<mujoco><option><flag damper="disable"/></option><worldbody>'
        '<body gravcomp="1"><joint type="slide"/><geom size="0.1"/></body></worldbody></mujoco>'
    )
    ours, _ = follow(trim(mujoco.MjSpec.from_string(xml)), 50)
    theirs, _ = follow(mujoco.MjSpec.from_string(xml).compile(), 50)
    np.testing.assert_array_equal(ours[-2], theirs[-2])


def test_a_sensor_keeps_its_camera() -> None:
    """And a geom may be named as one without a name might be."""
    spec = mujoco.MjSpec.from_string(
        '<mujoco><worldbody><camera name="c" resolution="8 8"/><geom size="0.1" name="geom 1"/>'
        '<body><freejoint/><geom size="0.1"/><site name="s"/></body></worldbody>'
        '<sensor><camprojection site="s" camera="c"/></sensor></mujoco>'
    )
    model = trim(spec)
    assert (model.ncam, model.npair) == (1, 1)


@pytest.mark.parametrize(
    "holds",
    ['frictionloss="100"', 'stiffness="1e4" damping="10"', 'stiffness="0 1e7" damping="10"'],
)
def test_what_holds_a_joint_stays(holds: str) -> None:
    """By dry friction or a spring it does not slide down; without, it falls half a metre."""
    body = '<body><joint type="slide" {}/><geom size="0.1"/></body>'
    robot = f"<mujoco><worldbody>{body}</worldbody></mujoco>"
    fallen = []
    for how in (holds, ""):
        model = trim(mujoco.MjSpec.from_string(robot.format(how)))
        data = mujoco.MjData(model)
        mujoco.mj_step(model, data, 160)
        fallen.append(-data.qpos[0])
    assert fallen[0] < 0.02
    assert fallen[1] > 0.5


def test_whoever_edits_a_gymnasium_env_is_heeded() -> None:
    """Its model is the file's own: a wrapper that sets a geom's friction changes the contact."""
    env: Any = gymnasium.make("p2p/Hopper-v5").unwrapped
    env.reset(seed=0)
    model, data = env.envs.simulation(0)
    model.geom_friction[:, 0] = 0.25
    data.qpos[1] -= 0.2
    mujoco.mj_forward(model, data)
    assert data.ncon
    assert set(data.contact.friction[:, 0]) == {0.25}
