"""The compiled rollout is the plain one, bit for bit: `Rollout.collect` is its oracle."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from made import TASKS

from p2p.core.config import build_config
from p2p.engine.fused import FusedEngine
from p2p.envs.domain import Domain
from p2p.envs.randomisation import table_1
from p2p.envs.vector import RandomisedEnvs
from p2p.peer.collector import CompiledCollector, PlainCollector, build_collector
from p2p.peer.rollout import Clock, Rollout
from p2p.policy.normaliser import Moments, Normaliser

STEPS = 200
PER_LINK = table_1(mass_randomisation="per_link")


class Collected:
    """A peer's part of a rollout, in an env that acts vigorously in strong domains."""

    def __init__(self, task: str, num_envs: int = 3, **settings: Any) -> None:
        rng = np.random.default_rng(0)
        self.envs = RandomisedEnvs(task, num_envs, max_episode_steps=20, **settings)
        self.envs.set_domains([self.envs.binding.sample(rng, 1.0)])
        self.envs.reset(rng)
        n, A = self.envs.obs_dim, self.envs.action_dim
        self.engine = FusedEngine(build_config(task=task), n, A)
        self.engine.set_normaliser(Normaliser.of(Moments.of(rng.standard_normal((9, n))), 10.0))
        self.rollout = Rollout(STEPS, self.envs)
        self.noise = 2 * rng.standard_normal((STEPS, num_envs, A), np.float32)
        self.plain = PlainCollector(self.engine, self.envs, self.rollout)
        self.compiled = build_collector(self.engine, self.envs, self.rollout)
        assert isinstance(self.compiled, CompiledCollector)

    def collect(self, compiled: bool) -> list[Any]:
        """Collect once more, and return all that it leaves."""
        rollout, envs = self.rollout, self.envs
        collector = self.compiled if compiled else self.plain
        collector.collect(self.noise, Clock())
        arrays = [
            rollout.obs, rollout.action, rollout.reward, rollout.terminated, rollout.truncated,
            rollout.last_obs, envs.obs, *(array for _, _, array in rollout.final_obs),
            *envs.state().values(),
        ]  # fmt: skip
        places = [(t, n) for t, n, _ in rollout.final_obs]
        return [*(np.array(array) for array in arrays), places, list(envs.finished)]


@pytest.mark.parametrize("task", TASKS)
def test_compiled_rollouts_are_the_plain_ones(task: str):
    """Over falls and time limits, twice, each with a domain of its own after a fall."""
    plain, fast = Collected(task), Collected(task)
    for collected in (plain, fast):
        rng = np.random.default_rng(1)
        binding = collected.envs.binding
        collected.envs.next_domain = lambda _, rng=rng, b=binding: b.sample(rng, 0.5)
    for _ in range(2):
        np.testing.assert_equal(fast.collect(True), plain.collect(False))
    ends = plain.envs.finished
    assert any(
        e.length == 20 and not e.terminated for e in ends
    )  # else nothing here tested truncation
    assert task == "halfcheetah" or any(e.terminated for e in ends)


@pytest.mark.parametrize("num_envs", [1, 2])
def test_a_new_domain_amid_an_episode_moves_no_robot(num_envs: int):
    """Other masses have another centre, and Humanoid is paid for the speed of its own."""
    plain, fast = (Collected("humanoid", num_envs, randomisation=PER_LINK) for _ in range(2))
    for strength in (1.0, 1.0):
        for collected in (plain, fast):
            rng, envs = np.random.default_rng(3), collected.envs
            envs.set_domains([envs.binding.sample(rng, strength)])
            assert len(envs.domains[0]["mass"]) == 13
        np.testing.assert_equal(fast.collect(True), plain.collect(False))


def test_the_reward_of_a_step_is_not_that_of_a_change_of_masses():
    """Heavier arms shift the centre by centimetres, which a step's 15 ms would make metres a s."""
    envs = RandomisedEnvs("humanoid", 1, randomisation=PER_LINK)
    envs.reset(np.random.default_rng(0))
    still = np.zeros((1, envs.action_dim), np.float32)
    before = envs.reset(np.random.default_rng(0)).copy()
    masses = np.ones(envs.binding.sizes["mass"])
    masses[-6:] = 5.0
    envs.set_domains([Domain(mass=masses)])
    assert (envs.obs == before).all()
    envs.step(still)
    assert abs(envs.reward[0] - 5.0) < 1.0


def test_rollouts_of_both_kinds_follow_one_another():
    """Neither leaves the envs in a state that the other does not expect."""
    plain, mixed = Collected("humanoid"), Collected("humanoid")
    for compiled in (True, False, True):
        np.testing.assert_equal(mixed.collect(compiled), plain.collect(False))


@pytest.mark.parametrize("task", TASKS)
def test_diverged_physics_ends_the_episode_here_too(task: str):
    """Whether MuJoCo has reset the state and left a warning, or has not looked at it yet."""
    plain, fast = Collected(task), Collected(task)
    for collected in (plain, fast):
        collected.envs.simulation(1)[1].qvel[:] = np.nan
        model, data = collected.envs.simulation(2)
        data.qvel[0] = 9e9  # sound still, and beyond what counts as sound in the next step
        model.opt.gravity[0] = 1e12
    np.testing.assert_equal(fast.collect(True), plain.collect(False))
    assert sum(e.unstable for e in plain.envs.finished) >= 2


def test_time_is_accounted_for():
    """Acting and stepping take some each, and together no longer than both took."""
    collected, clock = Collected("hopper"), Clock()
    begun = time.perf_counter()
    collected.compiled.collect(collected.noise, clock)
    assert 0 < clock.seconds["policy"] < clock.seconds["physics"]
    assert sum(clock.seconds.values()) <= time.perf_counter() - begun
