"""The tasks' arithmetic, by hand-worked constants; Gymnasium itself is the judge in test_envs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from made import TASKS
from numpy.typing import NDArray

from p2p.core.errors import UsageError
from p2p.envs.columns import TaskColumns
from p2p.envs.locomotion import Ant, HalfCheetah, Hopper, Humanoid, Locomotion, Walker2d
from p2p.envs.locomotion_columns import LocomotionColumns
from p2p.envs.task import find_task
from p2p.envs.vector import RandomisedEnvs

DT = 0.008


class Bench:
    """A task on a table: fields to write to instead of a simulator.

    Args:
        kind: the task.
        sizes: how many numbers each field that it reads has.
        num_envs, action_dim: N and A.
    """

    def __init__(
        self,
        kind: type[Locomotion],
        sizes: Mapping[str, int],
        num_envs: int = 1,
        action_dim: int = 3,
    ) -> None:
        ends = np.cumsum([0, *(sizes[name] for name in kind.reads)]).tolist()
        columns = {n: slice(a, b) for n, a, b in zip(kind.reads, ends, ends[1:], strict=False)}
        self.raw = np.zeros((num_envs, ends[-1]))
        self.fields = {name: self.raw[:, c] for name, c in columns.items()}
        self.task = LocomotionColumns(kind, self.raw, columns, action_dim, DT)
        self.action = np.zeros((num_envs, action_dim), np.float32)

    def reward(self) -> Any:
        """Return the rewards, as of a step that ends in what the fields hold."""
        out = np.zeros(len(self.raw))
        all_healthy = self.task.all_healthy()
        self.task.find_healthy()
        self.task.settle(self.action, all_healthy, out)
        return out


def hopper(num_envs: int = 1) -> Bench:
    """A hopper that stands, at x = 0."""
    bench = Bench(Hopper, {"qpos": 6, "qvel": 6}, num_envs)
    bench.fields["qpos"][:, 1] = 1.25
    return bench


def ant() -> Bench:
    """An ant that stands."""
    bench = Bench(Ant, {"qpos": 15, "qvel": 14, "cfrc_ext": 84, "torso_xpos": 3}, action_dim=8)
    bench.fields["qpos"][:, 2] = 0.5
    return bench


def humanoid() -> Bench:
    """A humanoid that stands."""
    sizes = {"qpos": 24, "qvel": 23, "cinert": 140, "cvel": 84, "qfrc_actuator": 23}
    bench = Bench(Humanoid, {**sizes, "cfrc_ext": 84, "xipos": 42}, action_dim=17)
    bench.fields["qpos"][:, 2] = 1.4
    return bench


def is_healthy(bench: Bench) -> bool:
    """Return whether the first env goes on; the quick question and the exact one must agree."""
    quick = bench.task.all_healthy()
    bench.task.find_healthy()
    assert quick == bench.task.healthy.all()
    return bool(bench.task.healthy[0])


def test_tasks_know_no_simulator():
    """They can be read, and tested, without MuJoCo, Gymnasium or torch."""
    code = "import p2p.envs.task, sys; print({'mujoco', 'gymnasium', 'torch'} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "set()"


def test_reward_is_speed_plus_health_less_control():
    """1.6 cm in 8 ms is 2 m/s; alive 1; three full torques cost 3e-3."""
    bench = hopper()
    bench.task.before_step()
    bench.fields["qpos"][:, 0] = 0.016
    bench.action[:] = 1.0
    assert bench.reward() == pytest.approx([2.0 + 1.0 - 3e-3])


def test_the_fallen_get_no_health_and_the_others_do():
    """The reward for being alive is each env's own."""
    bench = hopper(num_envs=3)
    bench.task.before_step()
    bench.fields["qpos"][1, 1] = 0.5
    assert bench.reward().tolist() == [1.0, 0.0, 1.0]


def test_speed_is_that_of_one_step():
    """What was covered before `before_step` does not count again."""
    bench = hopper()
    bench.fields["qpos"][:, 0] = 3.0
    bench.task.observe()
    bench.task.before_step()
    bench.fields["qpos"][:, 0] = 3.008
    assert bench.reward() == pytest.approx([1.0 + 1.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_control_cost_is_summed_in_the_precision_of_the_action(dtype: type):
    """Gymnasium squares and sums the action as it came: float32 and float64 differ."""
    bench = Bench(HalfCheetah, {"qpos": 9, "qvel": 9}, action_dim=6)
    bench.task.before_step()
    action = np.random.default_rng(0).uniform(-1, 1, (1, 6)).astype(dtype)
    bench.action = action
    cost = bench.reward()[0]
    assert cost == -(0.1 * np.sum(np.square(action[0])))
    other = action[0].astype({np.float32: np.float64, np.float64: np.float32}[dtype])
    assert cost != -(0.1 * np.sum(np.square(other)))


def test_humanoid_pays_for_control_in_float64():
    """Its cost is of data.ctrl, not of the action: the one exception among the five."""
    bench = humanoid()
    bench.task.before_step()
    bench.action[:] = np.random.default_rng(0).uniform(-0.4, 0.4, bench.action.shape)
    in_double = 5.0 - 0.1 * np.sum(np.square(bench.action[0].astype(np.float64)))
    in_single = 5.0 - 0.1 * np.sum(np.square(bench.action[0]))
    assert bench.reward()[0] == in_double != in_single


def test_observed_velocities_are_clipped_and_positions_are_not():
    """Hopper and Walker2d only; x is left out."""
    bench = hopper()
    bench.fields["qpos"][:] = [7.0, 1.25, 50.0, -50.0, 0.0, 0.0]
    bench.fields["qvel"][:] = [11.0, -11.0, 9.0, 0.0, 0.0, 0.0]
    bench.task.observe()
    assert bench.task.obs[0].tolist() == [1.25, 50, -50, 0, 0, 10, -10, 9, 0, 0, 0]
    cheetah = Bench(HalfCheetah, {"qpos": 9, "qvel": 9}, action_dim=6)
    cheetah.fields["qvel"][:] = 11.0
    cheetah.task.observe()
    assert cheetah.task.obs[0].tolist() == [0.0] * 8 + [11.0] * 9


def test_ant_observes_and_pays_for_clipped_forces():
    """84 numbers of 3 N are 84 of 1 N; the world's six are paid for but not seen."""
    bench = ant()
    bench.task.before_step()
    bench.fields["cfrc_ext"][:] = 3.0
    assert bench.reward() == pytest.approx([1.0 - 84 * 5e-4])
    assert bench.task.obs.shape == (1, 13 + 14 + 78)
    assert bench.task.obs[0, 27:].tolist() == [1.0] * 78


def test_humanoid_pays_for_unclipped_forces_up_to_10():
    """100 N in one number cost 5e-3; a million N would cost 5e5 and costs 10."""
    bench = humanoid()
    bench.task.before_step()
    bench.fields["cfrc_ext"][0, 10] = 100.0
    assert bench.reward() == pytest.approx([5.0 - 5e-3])
    assert bench.task.obs[0, -78 + 4] == 100.0
    bench.fields["cfrc_ext"][0, 10] = 1e6
    assert bench.reward() == pytest.approx([5.0 - 10.0])


def test_ant_runs_with_its_torso_not_its_qpos():
    """The torso's position lags qpos by a forward pass, and Gymnasium takes the former."""
    bench = ant()
    bench.task.before_step()
    bench.fields["qpos"][:, 0] = 1.0
    bench.fields["torso_xpos"][:, 0] = 2 * DT
    assert bench.reward() == pytest.approx([2.0 + 1.0])


def test_humanoid_runs_with_its_centre_of_mass():
    """3 kg that move 8 mm among 12 kg move the centre 2 mm: 0.25 m/s, weighted 1.25."""
    bench = humanoid()
    bench.task.set_mass(0, np.array([0.0, 3.0, 9.0] + [0.0] * 11))
    bench.task.observe()
    bench.task.before_step()
    bench.fields["xipos"].reshape(1, 14, 3)[:, 1, 0] = DT
    assert bench.reward() == pytest.approx([1.25 * 0.25 + 5.0])


@pytest.mark.parametrize(
    ("index", "value", "goes_on"),
    [
        *[(1, 0.7, False), (1, 0.71, True), (1, 50.0, True), (2, 0.19, True), (2, -0.2, False)],
        *[(3, 99.0, True), (3, 100.0, False), (5, -101.0, False), (0, 1e6, True)],
    ],
)
def test_when_a_hopper_ends(index: int, value: float, goes_on: bool):
    """Height over 0.7, lean within 0.2, all else but x within 100; bounds excluded."""
    bench = hopper()
    bench.fields["qpos"][:, index] = value
    assert is_healthy(bench) == goes_on


@pytest.mark.parametrize(
    ("height", "lean", "goes_on"),
    [(0.8, 0.0, False), (0.81, 0.0, True), (2.0, 0.0, False), (1.2, 0.99, True), (1.2, 1.0, False)],
)
def test_when_a_walker_ends(height: float, lean: float, goes_on: bool):
    """Height within 0.8..2 and lean within 1; speed does not matter."""
    bench = Bench(Walker2d, {"qpos": 9, "qvel": 9}, action_dim=6)
    bench.fields["qpos"][:, 1:3] = height, lean
    bench.fields["qvel"][:] = 500.0
    assert is_healthy(bench) == goes_on


@pytest.mark.parametrize(
    ("height", "goes_on"),
    [(0.2, True), (np.nextafter(0.2, 0), False), (1.0, True), (np.nextafter(1.0, 2), False)],
)
def test_an_ant_may_be_exactly_at_its_bounds(height: float, goes_on: bool):
    """Gymnasium writes `<=` here, and `<` in the other tasks."""
    bench = ant()
    bench.fields["qpos"][:, 2] = height
    assert is_healthy(bench) == goes_on


@pytest.mark.parametrize(("height", "goes_on"), [(1.0, False), (1.001, True), (2.0, False)])
def test_when_a_humanoid_ends(height: float, goes_on: bool):
    """Height within 1..2, bounds excluded."""
    bench = humanoid()
    bench.fields["qpos"][:, 2] = height
    assert is_healthy(bench) == goes_on


@pytest.mark.parametrize("value", [np.nan, np.inf, -2e10])
@pytest.mark.parametrize("bench", [ant(), Bench(HalfCheetah, {"qpos": 9, "qvel": 9})])
def test_a_state_out_of_bounds_ends_any_task(bench: Bench, value: float):
    """Even HalfCheetah, which never ends by itself: MuJoCo could not go on from it."""
    assert bench.task.in_bounds().all()
    bench.fields["qvel"][0, 3] = value
    assert not is_healthy(bench)
    assert not bench.task.in_bounds().any()
    bench.fields["qvel"][0, 3] = 0.0
    assert is_healthy(bench)


@pytest.mark.parametrize("name", TASKS)
def test_noise_is_drawn_in_gymnasiums_order(name: str):
    """First qpos, uniform; then qvel, uniform or normal as the task has it."""
    kind = TASKS[name]
    position, velocity = kind().draw_noise(np.random.default_rng(5), SimpleNamespace(nq=7, nv=6))
    rng, width = np.random.default_rng(5), kind.reset_noise
    assert (position == rng.uniform(-width, width, 7)).all()
    normal = name in ("halfcheetah", "ant")
    drawn = width * rng.standard_normal(6) if normal else rng.uniform(-width, width, 6)
    assert (velocity == drawn).all()


def test_a_sixth_task_is_a_handful_of_constants():
    """One that observes, clips and pays for what it likes needs no code of its own."""

    class Swimmer(Locomotion):
        model = "swimmer.xml"
        frame_skip = 4
        reads = ("qpos", "qvel", "cfrc_ext")
        observes: ClassVar = {"qpos": 2, "qvel": 0, "cfrc_ext": 6}
        clips: ClassVar = {"qvel": 1.0, "cfrc_ext": 2.0}
        reset_noise = 0.1
        control_weight = 1e-4
        contact_weight = 1.0

    bench = Bench(Swimmer, {"qpos": 5, "qvel": 5, "cfrc_ext": 24}, num_envs=2, action_dim=2)
    bench.task.before_step()
    bench.raw[:] = 3.0
    bench.fields["qpos"][:, 0] = DT
    assert bench.reward() == pytest.approx([1.0 - 24 * 4.0] * 2)
    expected: NDArray[Any] = np.array([3.0] * 3 + [1.0] * 5 + [2.0] * 18)
    assert (bench.task.obs == expected).all()


def test_an_unknown_task_is_named():
    """With what there is instead."""
    with pytest.raises(UsageError, match=r"'swimmer'.*walker2d"):
        find_task("swimmer")


@pytest.mark.parametrize("name", TASKS)
def test_the_methods_say_what_the_constants_say(name: str):
    """What a subclass gets from `super()` is what compiled code and whole columns compute."""

    class Same(TASKS[name]):  # type: ignore[misc]
        def terminated(self, s):
            return super().terminated(s)

    fast, slow = RandomisedEnvs(name, 3), RandomisedEnvs(Same, 3)
    assert isinstance(fast.columns, LocomotionColumns)
    assert isinstance(slow.columns, TaskColumns)
    rng = np.random.default_rng(3)
    for envs in (fast, slow):
        envs.reset(np.random.default_rng(1))
    ends = 0
    for _ in range(150):
        action = rng.uniform(-1, 1, (3, fast.action_dim)).astype(np.float32)
        for envs in (fast, slow):
            envs.step(action)
        np.testing.assert_array_equal(slow.obs, fast.obs)
        np.testing.assert_array_equal(slow.terminated, fast.terminated)
        np.testing.assert_allclose(slow.reward, fast.reward, rtol=1e-6)
        ends += int(fast.terminated.sum())
    assert ends or not TASKS[name].ends_early()
    assert set(slow.reward_terms()) >= {"forward", "control"}
