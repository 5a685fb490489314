"""How p2p sets MuJoCo up: what it leaves out changes no bit, and nobody hears of it."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import mujoco
import numpy as np
import pytest
from made import TASKS

import p2p
from p2p.envs.model import gymnasium_file, load_model, stop_timers

OLD = tuple(map(int, mujoco.__version__.split(".")[:2])) < (3, 14)
every_task = pytest.mark.parametrize("task", TASKS)


@every_task
@pytest.mark.parametrize("trimmed", [False, True])
def test_stages_that_are_left_out_change_no_bit(task: str, trimmed: bool):
    """500 steps of random torque, floor and joint limits hit: equal to the file's as it is."""
    file = TASKS[task].model
    ours = load_model(TASKS[task], trimmed=trimmed)
    whole = mujoco.MjModel.from_xml_path(str(gymnasium_file(file)))
    whole.opt.jacobian = ours.opt.jacobian
    left_out = mujoco.mjtDisableBit.mjDSBL_ISLAND | mujoco.mjtDisableBit.mjDSBL_MIDPHASE
    assert ours.opt.disableflags & left_out == left_out
    assert not whole.opt.disableflags & left_out
    one, other = mujoco.MjData(ours), mujoco.MjData(whole)
    islands = contacts = 0
    for control in np.random.default_rng(0).uniform(-1, 1, (500, ours.nu)):
        one.ctrl[:] = other.ctrl[:] = control
        mujoco.mj_step(ours, one)
        mujoco.mj_step(whole, other)
        islands += other.nisland
        contacts += other.ncon
    np.testing.assert_array_equal(one.qpos, other.qpos)
    np.testing.assert_array_equal(one.qvel, other.qvel)
    assert islands > 0  # there was something to find
    assert contacts > 0
    assert one.nisland == 0


def test_bodies_of_many_geoms_keep_their_trees(tmp_path: Any):
    """There the midphase pays."""
    geoms = "".join(f'<geom size="0.1" pos="{x} 0 0"/>' for x in range(9))
    file = tmp_path / "caterpillar.xml"
    file.write_text(f"<mujoco><worldbody><body><freejoint/>{geoms}</body></worldbody></mujoco>")
    robot = type("Robot", (p2p.Task,), {"model": str(file)})
    assert not load_model(robot).opt.disableflags & mujoco.mjtDisableBit.mjDSBL_MIDPHASE


@pytest.fixture
def timers() -> Any:
    """Leave MuJoCo's timers as `p2p.envs.model` has them: off."""
    yield
    mujoco.set_mjcb_time(None)
    stop_timers()


def timed(data: mujoco.MjData) -> float:
    """Return how long MuJoCo says that its steps took."""
    return float(data.timer[mujoco.mjtTimer.mjTIMER_STEP].duration)


@every_task
@pytest.mark.skipif(OLD, reason="its bindings set their clock again in every call")
def test_physics_without_timers_is_the_same(task: str, timers: Any):
    """MuJoCo reads no clock, and 200 steps are equal to the last bit to those where it does."""
    model = load_model(TASKS[task])
    without, filled = mujoco.MjData(model), mujoco.MjData(model)
    controls = np.random.default_rng(0).uniform(-1, 1, (200, model.nu))
    for data in (without, filled):
        for data.ctrl[:] in controls:
            mujoco.mj_step(model, data)
        mujoco.set_mjcb_time(None)  # the bindings' clock, from here on
    assert timed(without) == 0.0
    assert timed(filled) > 0.0
    np.testing.assert_array_equal(without.qpos, filled.qpos)
    np.testing.assert_array_equal(without.qvel, filled.qvel)


def test_a_clock_that_the_user_has_set_stays(timers: Any):
    ticks = itertools.count()
    mujoco.set_mjcb_time(lambda: float(next(ticks)))
    stop_timers()
    model = load_model(TASKS["hopper"])
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data)
    assert timed(data) > 0.0


def test_loading_prints_and_writes_nothing(tmp_path: Any):
    """half_cheetah.xml is deprecated, which MuJoCo would print and log into the cwd."""
    code = (
        "import p2p, p2p.envs.model as s;"
        "[s.load_model(p2p.task('halfcheetah'), trimmed=t) for t in (0, 1)]"
    )
    run = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")
    assert list(itertools.chain(tmp_path.iterdir())) == []
