"""Tasks of a user's own robot: what the methods of `p2p.Task` are asked for, and when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import mujoco
import numpy as np
import pytest

import p2p
from p2p.core import registry
from p2p.core.config import TrainConfig
from p2p.core.errors import BadArtefact, UsageError
from p2p.envs.domain import Domain
from p2p.envs.domain_file import from_tables
from p2p.envs.robot import Robot
from p2p.envs.vector import RandomisedEnvs

MJCF = """
<mujoco>
  <compiler angle="radian"/>
  <option timestep="0.005"/>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 .1"/>
    <body name="trunk" pos="0 0 .5">
      <freejoint name="root"/>
      <geom name="box" type="box" size=".2 .1 .05" mass="3"/>
      <site name="imu"/>
      <body name="leg" pos="0 0 -.05">
        <joint name="hip" type="hinge" axis="0 1 0" range="-1 1" limited="true" damping=".1"/>
        <geom name="shin" type="capsule" fromto="0 0 0 0 0 -.3" size=".04" mass=".5"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor name="hip" joint="hip" ctrlrange="-10 10"/></actuator>
  <sensor><gyro name="gyro" site="imu"/></sensor>
  <keyframe><key name="home" qpos="0 0 .42 1 0 0 0 .2"/></keyframe>
</mujoco>
"""


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    """What a test has registered is gone after it."""
    monkeypatch.setattr(registry, "_added", {})


@pytest.fixture
def robot(tmp_path) -> type[p2p.Task]:
    """A trunk on one leg that is paid for its height, remembers its last action, and is servoed."""
    file = tmp_path / "robot.xml"
    file.write_text(MJCF)

    class Balance(p2p.Task):
        model = str(file)
        frame_skip, start, reset_noise = 4, "home", 0.01
        servo = p2p.Servo(kp=20.0, kd=1.0, scale=0.5)
        reads = ("qpos", "qvel", "sensordata")
        memory: ClassVar = {"last_action": 1, "command": 1}
        max_episode_steps = 50

        def observe(self, s: Any) -> Any:
            return {"gyro": s.sensor["gyro"], "hip": s.qpos[:, 7], "last": s.last_action}

        def reward(self, s: Any, action: Any) -> Any:
            rise = (s.qpos[:, 2] - s.before.qpos[:, 2]) / s.dt
            return {"height": s.qpos[:, 2], "rise": rise, "effort": -np.square(action).sum(axis=1)}

        def terminated(self, s: Any) -> Any:
            return s.qpos[:, 2] < 0.1

        def remember(self, s: Any, action: Any) -> None:
            s.last_action[:] = action

        def reset(self, s: Any, env: int, rng: Any) -> None:
            s.command[env] = rng.uniform()

    return Balance


def acted(envs: RandomisedEnvs, steps: int, seed: int = 0) -> list[np.ndarray]:
    """Return what is observed and earned over random actions."""
    rng, seen = np.random.default_rng(seed), []
    for _ in range(steps):
        envs.step(rng.uniform(-1, 1, (envs.num_envs, 1)).astype(np.float32))
        seen.append(np.hstack([envs.obs, envs.reward[:, None]]))
    return seen


def test_observations_stand_side_by_side_under_their_names(robot):
    envs = RandomisedEnvs(robot, 2)
    assert envs.binding.observations == {
        "gyro": slice(0, 3), "hip": slice(3, 4), "last": slice(4, 5)
    }  # fmt: skip
    envs.step(np.full((2, 1), 0.25, np.float32))
    assert (envs.obs[:, 4] == 0.25).all()
    _, data = envs.simulation(1)
    np.testing.assert_array_equal(envs.obs[1, :3], data.sensordata)
    assert envs.obs[1, 3] == data.qpos[7]


def test_the_reward_is_the_sum_of_its_terms_and_their_means_are_reported(robot):
    envs = RandomisedEnvs(robot, 2)
    total = []
    for _ in range(5):
        envs.step(np.full((2, 1), 0.5, np.float32))
        total.append(envs.reward.copy())
    terms = envs.reward_terms()
    assert terms["effort"] == pytest.approx(-0.25)
    assert sum(terms.values()) == pytest.approx(np.mean(total))
    assert envs.reward_terms() == {}  # a new account


def test_an_episode_starts_from_the_keyframe_with_noise_on_joints_alone(robot):
    """Noise on a quaternion would be no rotation, and on the root it would lift the robot."""
    envs = RandomisedEnvs(robot, 1)
    envs.reset(np.random.default_rng(0))
    _, data = envs.simulation(0)
    np.testing.assert_array_equal(data.qpos[:7], [0, 0, 0.42, 1, 0, 0, 0])
    assert 0 < abs(data.qpos[7] - 0.2) < 0.01


def test_a_servo_holds_the_angle_that_is_asked_for(robot):
    """Action a means start + scale * a; the motor's torque range limits the servo."""
    envs = RandomisedEnvs(robot, 1)
    model, data = envs.simulation(0)
    model.opt.gravity[:] = 0.0
    data.qpos[2] = 3.0  # afloat
    for _ in range(40):
        envs.step(np.full((1, 1), -0.6, np.float32))
    assert data.ctrl[0] == pytest.approx(0.2 - 0.5 * 0.6)
    assert data.qpos[7] == pytest.approx(data.ctrl[0], abs=0.02)
    assert model.actuator_forcerange[0].tolist() == [-10, 10]
    # bounds ask for the ends of the joint's range
    assert envs.action_low[0] == pytest.approx((-1 - 0.2) / 0.5)
    assert envs.action_high[0] == pytest.approx((1 - 0.2) / 0.5)


def test_memory_is_zero_at_a_reset_unless_the_task_writes_it(robot):
    envs = RandomisedEnvs(robot, 2)
    acted(envs, 49)
    before = envs.columns.s.command.copy()
    assert envs.obs[:, 4].all()
    acted(envs, 1)  # the time limit: both restart
    assert [e.length for e in envs.finished] == [50, 50]
    assert not envs.obs[:, 4].any()
    assert (envs.columns.s.command != before).all()


@pytest.mark.parametrize("tables", [{}, {
    "feel": {"vary": "obs_noise", "of": "gyro", "add": 0.3},
    "off": {"vary": "obs_bias", "of": "hip", "add": 0.1},
    "shaky": {"vary": "action_noise", "add": 0.2},
    "push": {"add": 0.5, "every": 0.1},
    "lag": {"vary": "delay", "add": 0.03},
    "payload": {"vary": "mass", "of": "trunk", "add": [-0.5, 2]},
}])  # fmt: skip
def test_a_saved_state_goes_on_with_the_same_bits(robot, tables):
    """Amid episodes, with memory, buffers of delayed commands, noise and pushes."""
    varied = from_tables(tables, "test")
    first, second = (RandomisedEnvs(robot, 2, randomisation=varied) for _ in range(2))
    domain = first.binding.sample(np.random.default_rng(3), 1.0)
    first.set_domains([domain])
    first.reset(np.random.default_rng(1))
    acted(first, 20)
    second.load_state(first.state())
    np.testing.assert_array_equal(second.obs, first.obs)
    for envs in (first, second):
        envs.streams = np.random.default_rng(9).spawn(2)
    for a, b in zip(acted(first, 60, 5), acted(second, 60, 5), strict=True):
        np.testing.assert_array_equal(a, b)


def test_noise_does_not_depend_on_when_other_envs_end(robot):
    """Each env has a stream; a shared one would make results depend on their order."""
    varied = from_tables({"feel": {"vary": "obs_noise", "add": 0.3}}, "test")
    together, alone = (RandomisedEnvs(robot, n, randomisation=varied) for n in (3, 1))
    streams = np.random.default_rng(4).spawn(3)
    twin = np.random.default_rng(4).spawn(3)
    for envs, given in ((together, streams), (alone, twin[2:])):
        envs.set_domains([Domain(feel=0.3)])
        envs.reset(given)
    together.elapsed[0], together._steps_left = 45, 5  # ends soon, and restarts
    ended = 0
    for _ in range(40):
        together.step(np.zeros((3, 1), np.float32))
        alone.step(np.zeros((1, 1), np.float32))
        ended += int(together.truncated[0])
        np.testing.assert_array_equal(together.obs[2], alone.obs[0])
    assert ended


def test_noise_has_the_deviation_that_the_domain_says_and_bias_is_constant(robot):
    varied = from_tables(
        {"feel": {"vary": "obs_noise", "of": "gyro", "add": 1.0},
         "off": {"vary": "obs_bias", "of": "hip", "add": 1.0}}, "test",
    )  # fmt: skip
    noisy, clean = (
        RandomisedEnvs(robot, 1, randomisation=varied, max_episode_steps=1000) for _ in range(2)
    )
    noisy.set_domains([Domain(feel=0.5, off=0.25)])
    for envs in (noisy, clean):
        envs.reset(np.random.default_rng(2))
    gaps = np.array(acted(noisy, 400)) - np.array(acted(clean, 400))
    assert gaps[:, 0, :3].std() == pytest.approx(0.5, rel=0.1)
    np.testing.assert_allclose(gaps[:, 0, 3], 0.25, atol=1e-12)
    assert not gaps[:, 0, 4:].any()  # neither the other observations nor the reward


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"payload": {"vary": "mass", "of": "leg", "add": 5.0}}, "mass of leg is 0.5"),
        ({"mass": {"scale": 0.9}, "payload": {"vary": "mass", "of": "leg", "add": [-0.4, 0]}},
         "body 'leg' has no mass left"),
        ({"damping": {"add": 1.0}}, "damping of hip is 0.1, and must stay at least 0"),
    ],
)  # fmt: skip
def test_a_range_that_the_robot_cannot_have_is_refused_before_a_draw(robot, tables, words):
    """Else a run would end at some later draw."""
    with pytest.raises(UsageError, match=words):
        Robot(robot, from_tables(tables, "test"))


def test_a_delay_beyond_its_buffer_is_refused(robot):
    """MuJoCo would cut it short without a word."""
    found = Robot(robot, from_tables({"delay": {"add": 0.02}}, "test"))
    with pytest.raises(UsageError, match=r"delay=0\.1 is beyond 0\.02"):
        found.binding.check(Domain(delay=0.1))


def test_a_push_changes_the_roots_speed_by_what_the_domain_says(robot):
    varied = from_tables({"push": {"add": 2.0, "every": 0.1}}, "test")
    envs = RandomisedEnvs(robot, 1, randomisation=varied)
    envs.set_domains([Domain(push=1.5)])
    envs.reset(np.random.default_rng(0))
    model, data = envs.simulation(0)
    model.opt.gravity[:] = 0.0
    data.qpos[2], data.qvel[:] = 3.0, 0.0  # afloat
    for _ in range(5):
        envs.step(np.zeros((1, 1), np.float32))
    before = data.qvel[:2].copy()
    envs.signals.push(np.array([5]), np.array([1]), envs.simulation, envs.streams)
    assert np.hypot(*(data.qvel[:2] - before)) == pytest.approx(1.5)


def test_strength_0_is_the_robot_as_it_is(robot):
    """The model of a domain at strength 0 is the compiled one, in every field."""
    tables = {
        name: {"add": [0, 0.1]} if name != "strength" else {"scale": 0.1}
        for name in ("mass", "com", "friction", "gravity", "slope", "damping", "armature",
                     "frictionloss", "stiffness", "kp", "kd", "strength", "delay")
    }  # fmt: skip
    found = Robot(robot, from_tables(tables, "test"))
    domain = found.binding.sample(np.random.default_rng(0), 0.0)
    model = found.binding.new_model()
    found.binding.apply(domain, model)
    for name in dir(model):
        value = getattr(model, name)
        if isinstance(value, np.ndarray) and not name.startswith("_"):
            np.testing.assert_allclose(value, getattr(found.model, name), rtol=1e-14, err_msg=name)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("def observe(self, s): return {'q': s.qpoz}", "did you mean 'qpos'"),
        ("def observe(self, s): return s.qpos", "must return a dict"),
        ("def observe(self, s): return {'q': s.qpos[0]}", r"shape \[8\], not \[N\]"),
        ("def reward(self, s, action): return 1.0", "reward fails.*must return a dict"),
        ("def reward(self, s, action): return {'a': 1 / 0}", "reward fails: ZeroDivisionError"),
        ("def terminated(self, s): return s.qpos[:, 2]", "terminated fails.*not bool"),
        ("def terminated(self, s): return False", "terminated fails.*not bool"),
        ("model = 'nowhere.xml'", "no such file"),
        ("model = 'no_such_package:robot.xml'", "not installed"),
        ("start = 'hme'", "did you mean 'home'"),
        ("start = (0.0, 1.0)", "start has 2 numbers, qpos has 8"),
        ("reads = ('qpos', 'qvel', 'sensordat')", "did you mean 'sensordata'"),
        ("reads = ('qvel', 'qpos')", "must begin with 'qpos', 'qvel'"),
        ("frame_skip = 0", "write frame_skip"),
        ("memory = {'dt': 1}", "cannot be called 'dt'"),
        ("memory = {'last': 0.5}", "a number of numbers"),
        ("servo = None\n    model = 'free.xml'", "actuator hip has no ctrlrange"),
    ],
)
def test_what_is_wrong_with_a_task_is_one_line(tmp_path, body, words):
    """Before anything runs, and with the file's line where its code fails."""
    (tmp_path / "robot.xml").write_text(MJCF)
    (tmp_path / "free.xml").write_text(MJCF.replace(' ctrlrange="-10 10"', ""))
    file = tmp_path / "mine.py"
    file.write_text(
        "import p2p\n\n\nclass Mine(p2p.Task):\n    model, frame_skip = 'robot.xml', 4\n"
        "    servo = p2p.Servo(20, 1)\n"
        "    def observe(self, s): return {'q': s.qpos}\n"
        "    def reward(self, s, action): return {'height': s.qpos[:, 2]}\n    " + body + "\n"
    )
    with pytest.raises(UsageError, match=words) as caught:
        RandomisedEnvs(p2p.register("task", f"{file}:Mine"), 2)
    assert "\n" not in str(caught.value)


def test_a_reward_that_is_not_finite_is_named(robot):
    class Broken(robot):  # type: ignore[misc,valid-type]
        def reward(self, s: Any, action: Any) -> Any:
            with np.errstate(divide="ignore"):
                return {"good": s.qpos[:, 2], "bad": 1.0 / (s.qpos[:, 0] * 0.0)}

    envs = RandomisedEnvs(Broken, 2)
    with pytest.raises(UsageError, match="reward term 'bad' is not finite"):
        envs.step(np.zeros((2, 1), np.float32))


def test_it_trains_resumes_to_equal_bits_and_is_in_the_journal(tmp_path):
    """Two processes, amid `carry`, with memory, noise, delay and named reward terms."""
    (tmp_path / "robot.xml").write_text(MJCF)
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nimport p2p\n\n\nclass Mine(p2p.Task):\n"
        "    model, frame_skip, start = 'robot.xml', 4, 'home'\n"
        "    servo = p2p.Servo(20, 1, 0.5)\n    memory = {'last': 1}\n"
        "    def observe(self, s):\n"
        "        return {'q': s.qpos[:, 2:], 'v': s.qvel, 'last': s.last}\n"
        "    def reward(self, s, action):\n        return {'height': s.qpos[:, 2], 'one': 1.0}\n"
        "    def terminated(self, s): return s.qpos[:, 2] < 0.2\n"
        "    def remember(self, s, action): s.last[:] = action\n"
    )
    tables = {
        "noise": {"vary": "obs_noise", "of": "v", "add": 0.1}, "delay": {"add": 0.02},
        "mass": {"scale": 0.3, "each": True}, "push": {"add": 1.0, "every": 0.2},
    }  # fmt: skip
    settings = {
        "task": p2p.register("task", f"{tmp_path}/mine.py:Mine"), "randomise": tables,
        "eps_tr": 0.5, "domain_schedule": "carry", "num_peers": 2, "steps_per_iteration": 512,
        "num_minibatches": 4, "num_epochs": 2, "final_episodes": 2, "checkpoint_every": 1,
    }  # fmt: skip
    whole = p2p.train(TrainConfig(**settings, total_steps=1536), tmp_path / "whole")
    from p2p.cohort import cohort

    part = p2p.train(TrainConfig(**settings, total_steps=512), tmp_path / "part")
    list(cohort.resume(part.path, total_steps=1536))
    for rank in (0, 1):
        one, other = (p2p.load_policy(run.path, rank) for run in (whole, part))
        np.testing.assert_array_equal(one.actor, other.actor)
        np.testing.assert_array_equal(one.normaliser.mean, other.normaliser.mean)
    last = (Path(whole.path) / "journal.jsonl").read_text().splitlines()[-1]
    peer = json.loads(last)["peers"][0]
    assert set(peer["factors"]) == set(tables)
    assert peer["reward_terms"]["one"] == pytest.approx(1.0)
    found = p2p.evaluate(whole.path, 0.5, by_factor=True, points=3)
    assert [m.set.axes[0].factor for m in found.runs[0].measured] == list(tables)


def test_a_robot_of_a_package_is_found_without_importing_it(tmp_path, monkeypatch):
    folder = tmp_path / "robots_of_somebody"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise SystemExit('imported')")
    (folder / "robot.xml").write_text(MJCF)
    monkeypatch.syspath_prepend(str(tmp_path))
    kind = type("Packaged", (p2p.Task,), {"model": "robots_of_somebody:robot.xml"})
    assert mujoco.MjModel.from_xml_path(str(kind.model_path())).nu == 1


def test_a_run_may_start_from_another_runs_policy(tmp_path):
    """Policy, normaliser, critic and reward scale are those of the best peer; then it learns on."""
    small = {
        "total_steps": 1024, "steps_per_iteration": 512, "num_minibatches": 4, "num_epochs": 1,
        "final_episodes": 1, "hidden_sizes": (8, 8),
    }  # fmt: skip
    first = p2p.train(TrainConfig(**small, num_peers=2), tmp_path / "first")
    scores = [peer["mean"] for peer in first.result()["scores"]]
    best = p2p.load_policy(first.path, int(np.argmax(scores)))
    second = p2p.train(
        TrainConfig(**small, num_peers=2, eps_tr=0.5, init_from=str(first.path)),
        tmp_path / "second",
    )
    from p2p.runs.policies import load_milestone_policy

    start = load_milestone_policy(second, second.milestones()[0])
    np.testing.assert_array_equal(start.actor, best.actor)
    np.testing.assert_allclose(start.normaliser.mean, best.normaliser.mean, rtol=1e-12)
    np.testing.assert_allclose(start.normaliser.inv_std, best.normaliser.inv_std, rtol=1e-6)
    assert (p2p.load_policy(second.path).actor != best.actor).any()
    assert second.config.source_sha256.keys() == {str(first.path)}


def test_a_policy_of_other_shapes_is_refused_before_a_folder_is_made(tmp_path):
    from made import make_run

    made = make_run(tmp_path / "made")
    with pytest.raises(UsageError, match=r"observations 11, this run has 17: they must agree"):
        p2p.train(
            TrainConfig(task="walker2d", init_from=str(made), hidden_sizes=(8, 8)), tmp_path / "new"
        )
    assert not (tmp_path / "new").exists()


def test_a_run_does_not_go_on_with_another_model(tmp_path):
    """The task's file is the same, and the MJCF that it names has changed."""
    (tmp_path / "robot.xml").write_text(MJCF)
    (tmp_path / "mine.py").write_text(
        "import p2p\n\n\nclass Mine(p2p.Task):\n    model, frame_skip = 'robot.xml', 4\n"
        "    def observe(self, s): return {'q': s.qpos}\n"
        "    def reward(self, s, action): return {'height': s.qpos[:, 2]}\n"
    )
    settings = {
        "task": p2p.register("task", f"{tmp_path}/mine.py:Mine"), "steps_per_iteration": 256,
        "num_minibatches": 2, "num_epochs": 1, "final_episodes": 0, "num_peers": 2,
    }  # fmt: skip
    run = p2p.train(TrainConfig(**settings, total_steps=256), tmp_path / "run")
    p2p.evaluate(run.path, 0.0, domains=1)
    (tmp_path / "robot.xml").write_text(MJCF.replace('mass="3"', 'mass="4"'))
    from p2p.cohort import cohort

    for go_on in (
        lambda: list(cohort.resume(run.path, total_steps=512)),
        lambda: p2p.evaluate(run.path, 0.0, domains=1),
    ):
        with pytest.raises(BadArtefact, match=r"the model of task mine\.py:Mine has changed"):
            go_on()


# What a review found


def test_a_subclass_with_a_servo_is_not_run_by_compiled_code():
    """It writes actions to the motors as they are; evaluation would ask for angles."""

    class Servoed(p2p.task("hopper")):  # type: ignore[misc]
        servo = p2p.Servo(kp=100.0, kd=1.0)

    assert not RandomisedEnvs(Servoed, 1).is_compiled
    assert RandomisedEnvs("hopper", 1).is_compiled


def test_servos_hold_the_start_pose_while_their_commands_are_late(robot):
    """A buffer of zeros would ask for the angle 0 until the first command arrives."""
    envs = RandomisedEnvs(robot, 1, randomisation=from_tables({"delay": {"add": 0.04}}, "test"))
    envs.set_domains([Domain(delay=0.04)])
    envs.reset(np.random.default_rng(0))
    model, data = envs.simulation(0)
    model.opt.gravity[:] = 0.0
    data.qpos[2], data.qpos[7], data.qvel[:] = 3.0, 0.2, 0.0
    for _ in range(8):
        mujoco.mj_step(model, data)
        assert abs(data.actuator_force[0]) < 1e-9


def test_pushes_act_behind_gymnasiums_interface():
    from p2p.envs.gym import RandomisedEnv

    ends = []
    for speed in (0.0, 2.0):
        env = RandomisedEnv(
            "hopper", randomise={"push": {"add": 2, "every": 0.1}}, domain={"push": speed}
        )
        env.reset(seed=0)
        for _ in range(30):
            obs, *_ = env.step(np.zeros(3, np.float32))
        ends.append(obs)
    assert (ends[0] != ends[1]).any()


def test_acceleration_from_the_state_before_is_the_same_after_a_resume(robot):
    class Accelerating(robot):  # type: ignore[misc,valid-type]
        def observe(self, s: Any) -> Any:
            return {"acceleration": (s.qvel - s.before.qvel) / s.dt}

    first, second = RandomisedEnvs(Accelerating, 2), RandomisedEnvs(Accelerating, 2)
    acted(first, 7)
    second.load_state(first.state())
    np.testing.assert_array_equal(second.obs, first.obs)


def test_a_reward_that_is_not_finite_is_named_also_where_an_episode_ends(robot):
    class Falling(robot):  # type: ignore[misc,valid-type]
        def reward(self, s: Any, action: Any) -> Any:
            return {"bad": np.full(s.num_envs, np.nan)}

        def terminated(self, s: Any) -> Any:
            return np.ones(s.num_envs, np.bool_)

    with pytest.raises(UsageError, match="reward term 'bad' is not finite"):
        RandomisedEnvs(Falling, 2).step(np.zeros((2, 1), np.float32))


@pytest.mark.parametrize(
    ("motor", "limits"),
    [
        ('ctrlrange="-100 100" forcerange="-30 30"', [-30, 30]),
        ('ctrlrange="-1 1" gear="50" forcerange="-.5 .5"', [-25, 25]),
        ('ctrlrange="-1 2" gear="-50"', [-100, 50]),
    ],
)
def test_a_servo_is_as_strong_as_the_motor(tmp_path, motor, limits):
    file = tmp_path / "robot.xml"
    file.write_text(MJCF.replace('ctrlrange="-10 10"', motor))
    kind = type("Strong", (p2p.Task,), {"model": str(file), "servo": p2p.Servo(20.0, 1.0)})
    from p2p.envs.model import load_model

    assert load_model(kind).actuator_forcerange[0].tolist() == limits


@pytest.mark.parametrize(
    ("body", "joint", "moves"),
    [("", "1 0 0", 1.0), ('euler="0 0 1.5707963267948966"', "0 -1 0", 1.0), ("", "-1 0 0", -1.0)],
)
def test_wind_blows_along_the_worlds_axis_however_the_root_is_turned(body, joint, moves):
    """A slide's axis is in its body's frame, and may point against the wind."""
    from p2p.envs.binding import Binding

    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><compiler angle="radian"/><worldbody><body {body}>'
        f'<joint name="slide" type="slide" axis="{joint}"/><geom size=".1" mass="1"/></body>'
        "</worldbody><actuator><motor joint='slide' ctrlrange='-1 1'/></actuator></mujoco>"
    )
    binding = Binding(from_tables({"wind": {"add": 5.0}}, "test"), model, {})
    data = mujoco.MjData(model)
    binding.push_forces(Domain(wind=2.0), data)
    mujoco.mj_step(model, data)
    assert data.qfrc_applied[0] == pytest.approx(2.0 * moves)
    mujoco.mj_forward(model, data)
    assert data.xpos[1, 0] > 0


def test_nothing_that_varies_is_a_line_and_no_traceback(tmp_path):
    """By factor; and a policy file of such a run is tested as the run is, in no wind."""
    (tmp_path / "robot.xml").write_text(MJCF)
    (tmp_path / "mine.py").write_text(
        "import p2p\n\n\nclass Mine(p2p.Task):\n    model, frame_skip = 'robot.xml', 4\n"
        "    max_episode_steps = 20\n"
        "    def observe(self, s): return {'q': s.qpos}\n"
        "    def reward(self, s, action): return {'height': s.qpos[:, 2]}\n"
    )
    task = p2p.register("task", f"{tmp_path}/mine.py:Mine")
    run = p2p.train(
        TrainConfig(task=task, num_peers=1, method="ppo", steps_per_iteration=64, total_steps=64,
                    num_minibatches=2, num_epochs=1, final_episodes=0), tmp_path / "run",
    )  # fmt: skip
    with pytest.raises(UsageError, match="nothing varies here"):
        p2p.evaluate(run.path, 0.5, by_factor=True)
    whole, alone = (
        p2p.evaluate(path, 0.5, domains=2).runs[0].measured[0].score.mean
        for path in (run.path, run.policy_path(0))
    )
    assert whole == alone


def test_a_run_of_a_task_that_has_changed_may_be_started_from(tmp_path):
    """Another reward is what one starts from a policy for."""
    (tmp_path / "robot.xml").write_text(MJCF)
    code = (
        "import p2p\n\n\nclass Mine(p2p.Task):\n    model, frame_skip = 'robot.xml', 4\n"
        "    def observe(self, s): return {'q': s.qpos}\n"
        "    def reward(self, s, action): return {'height': 1.0 * s.qpos[:, 2]}\n"
    )
    small = {
        "num_peers": 1, "method": "ppo", "steps_per_iteration": 64, "total_steps": 64,
        "num_minibatches": 2, "num_epochs": 1, "final_episodes": 1,
    }  # fmt: skip
    (tmp_path / "mine.py").write_text(code)
    task = p2p.register("task", f"{tmp_path}/mine.py:Mine")
    first = p2p.train(TrainConfig(task=task, **small), tmp_path / "first")
    registry._added.clear()
    (tmp_path / "mine.py").write_text(code.replace("1.0 *", "2.0 *"))
    task = p2p.register("task", f"{tmp_path}/mine.py:Mine")
    second = p2p.train(
        TrainConfig(task=task, init_from=str(first.path), **small), tmp_path / "second"
    )
    assert second.result()["scores"]


def test_a_cached_episode_is_of_the_term_as_it_was(tmp_path):
    """A term's file may change between two evaluations; its name in domains does not."""
    from p2p.analysis.evaluation.config import EvalConfig
    from p2p.analysis.evaluation.session import _condition

    code = (
        "import p2p\n\n\n@p2p.term(of='geom', fields=('geom_size',))\n"
        "def radius(edit):\n    edit.change(edit.model.geom_size[:, 0])\n"
    )
    found = []
    for text in (code, code + "# changed\n"):
        registry._added.clear()
        (tmp_path / "soles.py").write_text(text)
        name = p2p.register("term", f"{tmp_path}/soles.py:radius")
        varied = from_tables({"sole": {"vary": name, "scale": 0.1}}, "test")
        found.append(_condition(EvalConfig(), varied))
    assert found[0] != found[1]


@pytest.mark.parametrize("field", ["body_mass", "body_inertia", "dof_damping"])
def test_a_field_that_cannot_be_negative_is_refused_as_its_term_is(robot, field):
    with pytest.raises(UsageError, match="is too low"):
        Robot(robot, from_tables({"x": {"vary": field, "add": 50.0}}, "test"))


def test_a_drone_with_thrusters_has_a_root():
    """Its actuators act at sites, not on joints."""
    from p2p.envs.root import find_root

    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body><freejoint/><geom size='.1'/><site name='up'/></body>"
        "</worldbody><actuator><motor site='up' gear='0 0 1 0 0 0' ctrlrange='0 9'/></actuator>"
        "</mujoco>"
    )
    root = find_root(model)
    assert root is not None
    assert root.is_free
