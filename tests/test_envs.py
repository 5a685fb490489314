"""Stepping N envs: bit for bit Gymnasium's v5, with domains, auto-reset and checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
from made import TASKS
from numpy.typing import NDArray

from p2p.core.errors import BadArtefact, UsageError
from p2p.core.registration import IDS
from p2p.envs.domain import Domain
from p2p.envs.randomisation import sample_domain, table_1
from p2p.envs.vector import Episode, RandomisedEnvs

GYMNASIUM = {task: env_id.removeprefix("p2p/") for env_id, task in IDS.items()}
every_task = pytest.mark.parametrize("task", TASKS)


def random_actions(envs: RandomisedEnvs, steps: int, seed: int = 0) -> NDArray[np.float32]:
    """Return uniform actions [T, N, A]."""
    size = (steps, envs.num_envs, envs.action_dim)
    rng = np.random.default_rng(seed)
    return rng.uniform(envs.action_low, envs.action_high, size).astype(np.float32)


def trace(envs: RandomisedEnvs, actions: NDArray[np.float32]) -> list[NDArray[Any]]:
    """Step through `actions` and return all that was shown on the way."""
    shown = []
    for action in actions:
        envs.step(action)
        shown += [envs.obs, envs.reward, envs.terminated, envs.truncated, envs.elapsed]
        shown = [*shown[:-5], *(array.copy() for array in shown[-5:])]
    return shown


@every_task
def test_nominal_envs_are_gymnasium_bit_for_bit(task: str):
    """Observation, reward and terminated over 5 full episodes, from the same state and actions.

    The five envs act with different vigour, for random torques alone end most episodes early.
    """
    envs = RandomisedEnvs(task, 5)
    envs.reset(np.random.default_rng(7))
    references: list[Any] = [gymnasium.make(GYMNASIUM[task]).unwrapped for _ in range(5)]
    for env, reference in enumerate(references):
        mujoco.mj_resetData(reference.model, reference.data)
        _, data = envs.simulation(env)
        reference.set_state(data.qpos, data.qvel)
        assert (reference._get_obs() == envs.obs[env]).all()
    vigour = np.array([[1.0], [0.3], [0.1], [0.02], [0.0]], np.float32)
    running = set(range(5))
    for action in random_actions(envs, 1000) * vigour:
        envs.step(action)
        for env in sorted(running):
            obs, reward, terminated, _, _ = references[env].step(action[env])
            ended = envs.terminated[env] or envs.truncated[env]
            assert (obs == (envs.final_obs if ended else envs.obs)[env]).all()
            assert reward == envs.reward[env]
            assert terminated == envs.terminated[env]
            if ended:
                running.remove(env)
        if not running:
            break
    assert not running


def test_actions_in_double_precision_are_gymnasium_too():
    """The control cost is then summed in float64."""
    envs = RandomisedEnvs("ant", 1)
    envs.reset([np.random.default_rng(3)])
    reference = gymnasium.make("Ant-v5")
    reference.reset(seed=3)
    for action in random_actions(envs, 50).astype(np.float64) * 0.1:
        envs.step(action)
        obs, reward, *_ = reference.step(action[0])
        assert (obs == envs.obs[0]).all()
        assert reward == envs.reward[0]


@every_task
def test_each_env_lives_in_its_own_domain(task: str):
    """Three envs in three domains equal three lone ones, also beyond the first auto-reset."""
    domains = [sample_domain(np.random.default_rng(s), 0.5, 1, 1) for s in range(3)]
    together = RandomisedEnvs(task, 3)
    together.set_domains(domains)
    together.reset(np.random.default_rng(5))
    alone = [RandomisedEnvs(task, 1) for _ in range(3)]
    streams = np.random.default_rng(5).spawn(3)
    for envs, domain, stream in zip(alone, domains, streams, strict=True):
        envs.set_domains([domain])
        envs.reset([stream])
    assert together.domains == domains
    assert len(np.unique(together.obs[:, 0])) == 3
    for action in random_actions(together, 60):
        together.step(action)
        for env, envs in enumerate(alone):
            envs.step(action[env : env + 1])
            assert (envs.reward == together.reward[env]).all()
            assert (envs.obs == together.obs[env]).all()
    assert together.finished or task in ("halfcheetah", "ant")


def test_sharing_a_domain_changes_no_number():
    """One model for all envs, or an equal one each."""
    domain = Domain(wind=1.0, gravity=1.1, friction=0.9, mass=1.2, initial_position=0.1)
    shared, own = RandomisedEnvs("hopper", 2), RandomisedEnvs("hopper", 2)
    shared.set_domains([domain])
    own.set_domains([domain, domain])
    assert shared.simulation(0)[0] is shared.simulation(1)[0]
    assert own.simulation(0)[0] is not own.simulation(1)[0]
    for envs in (shared, own):
        envs.reset(np.random.default_rng(0))
    actions = random_actions(shared, 60)
    np.testing.assert_equal(trace(shared, actions), trace(own, actions))


def test_a_domain_set_amid_an_episode_acts_at_once_and_resets_nothing():
    """So that `carry` can keep episodes whole."""
    envs = RandomisedEnvs("halfcheetah", 2)
    envs.reset(np.random.default_rng(0))
    actions = random_actions(envs, 20)
    trace(envs, actions[:10])
    before = envs.obs.copy()
    envs.set_domains([Domain(wind=50.0)])
    assert (envs.obs == before).all()
    assert envs.elapsed.tolist() == [10, 10]
    windy = [data.qvel[0] for _, data in map(envs.simulation, range(2))]
    trace(envs, actions[10:])
    blown = [data.qvel[0] for _, data in map(envs.simulation, range(2))]
    assert np.subtract(blown, windy).min() > 0.9 * 50 / 14 * 10 * envs.dt


def test_wind_blows_on_after_an_auto_reset():
    """mj_resetData zeroes the applied force; every episode has to have it again."""
    envs = RandomisedEnvs("hopper", 2)
    envs.set_domains([Domain(wind=4.0), Domain(wind=-3.0)])
    envs.reset(np.random.default_rng(0))
    trace(envs, random_actions(envs, 100))
    assert {episode.env for episode in envs.finished} == {0, 1}
    assert [envs.simulation(i)[1].qfrc_applied[0] for i in range(2)] == [4.0, -3.0]


def test_an_ended_episode_restarts_in_the_same_step():
    """`obs` is the new start, `final_obs` what the old one ended in, and `finished` its record."""
    envs, other = RandomisedEnvs("hopper", 2), RandomisedEnvs("hopper", 2)
    for each in (envs, other):
        each.reset(np.random.default_rng(0))
    returns, length = np.zeros(2), 0
    for action in random_actions(envs, 200):
        length += 1
        envs.step(action)
        other.advance(action)  # the same without restarts
        returns += envs.reward
        if envs.terminated.any():
            break
    (env,) = np.flatnonzero(envs.terminated)
    assert (envs.final_obs[env] == other.obs[env]).all()
    assert abs(envs.obs[env, 0] - 1.25) < 0.006  # upright again, within reset noise
    assert (envs.obs[1 - env] == other.obs[1 - env]).all()
    assert envs.elapsed[env] == 0
    assert envs.episode_return[env] == 0
    assert envs.elapsed[1 - env] == length
    assert envs.episode_return[1 - env] == returns[1 - env]
    assert envs.finished == [Episode(int(env), returns[env], length, True, False)]
    envs.step(np.zeros((2, 3), np.float32))
    assert not envs.terminated.any()
    assert len(envs.finished) == 1


def test_episodes_are_truncated_at_the_limit_and_not_terminated():
    """Each by its own clock: one that fell before runs on."""
    envs = RandomisedEnvs("hopper", 2, max_episode_steps=20)
    envs.reset(np.random.default_rng(0))
    still = np.zeros((2, 3), np.float32)
    for _ in range(4):
        envs.step(still)
    envs.simulation(1)[1].qpos[1] = 0.3  # on the floor
    envs.step(still)
    assert envs.terminated.tolist() == [False, True]
    for _ in range(14):
        envs.step(still)
        assert not envs.truncated.any()
    envs.step(still)
    assert envs.truncated.tolist() == [True, False]
    assert not envs.terminated.any()
    assert [(e.env, e.length, e.terminated) for e in envs.finished] == [
        (1, 5, True),
        (0, 20, False),
    ]
    for _ in range(5):
        envs.step(still)
    assert envs.truncated.tolist() == [False, True]


def test_the_next_domain_is_asked_for_at_each_restart_and_applied():
    """One domain an episode, for the env that ended only."""
    envs = RandomisedEnvs("hopper", 2)
    asked: list[int] = []

    def next_domain(env: int) -> Domain:
        asked.append(env)
        return Domain(mass=1.0 + 0.01 * len(asked))

    envs.next_domain = next_domain
    envs.reset(np.random.default_rng(0))
    nominal = envs.simulation(0)[0].body_mass.sum()
    trace(envs, random_actions(envs, 100))
    assert asked == [episode.env for episode in envs.finished]
    assert len(set(asked)) == 2
    for env in range(2):
        last = max(i for i, e in enumerate(asked, start=1) if e == env)
        assert envs.domains[env] == table_1().complete(Domain(mass=1.0 + 0.01 * last))
        model, _ = envs.simulation(env)
        assert model.body_mass.sum() == pytest.approx(nominal * (1.0 + 0.01 * last))


@every_task
def test_a_saved_state_continues_bit_for_bit(task: str):
    """Amid episodes, into fresh envs, domains and counters included."""
    per_link = table_1(mass_randomisation="per_link")
    envs, copy = (RandomisedEnvs(task, 3, randomisation=per_link) for _ in range(2))
    rng = np.random.default_rng(0)
    envs.set_domains([envs.binding.sample(rng, 0.3) for _ in range(3)])
    envs.reset(rng)
    actions = random_actions(envs, 75)
    trace(envs, actions[:15])
    state = envs.state()
    trace(copy, actions[30:40])
    copy.load_state(state)
    assert copy.domains == envs.domains
    assert (copy.obs == envs.obs).all()
    envs.streams, copy.streams = (np.random.default_rng(9).spawn(3) for _ in range(2))
    envs.finished.clear()
    copy.finished.clear()
    np.testing.assert_equal(trace(copy, actions[15:]), trace(envs, actions[15:]))
    assert copy.finished == envs.finished
    assert task in ("halfcheetah", "ant") or envs.finished


def test_a_saved_state_is_a_copy():
    """Stepping on does not reach into it."""
    envs = RandomisedEnvs("hopper", 2)
    state = envs.state()
    before = {name: array.copy() for name, array in state.items()}
    trace(envs, random_actions(envs, 30))
    np.testing.assert_equal(state, before)


def test_the_state_of_other_envs_is_refused():
    """Not half loaded."""
    with pytest.raises(BadArtefact, match="state of other envs"):
        RandomisedEnvs("hopper", 2).load_state(RandomisedEnvs("hopper", 3).state())
    with pytest.raises(BadArtefact, match="state of other envs"):
        RandomisedEnvs("hopper", 2).load_state(RandomisedEnvs("walker2d", 2).state())


@pytest.mark.parametrize("short_by", [-1e12, 2.0, 5.0], ids=["before", "amid", "after"])
def test_diverged_physics_ends_the_episode_and_is_told(
    short_by: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    """Gymnasium would go on from a silent reset; nothing is printed or logged into the cwd.

    Before the first substep time tells nothing of the reset; after the last MuJoCo has not
    looked yet.
    """
    monkeypatch.chdir(tmp_path)
    envs = RandomisedEnvs("hopper", 3)
    envs.reset(np.random.default_rng(0))
    still = np.zeros((3, 3), np.float32)
    envs.step(still)
    model, data = envs.simulation(1)
    model.opt.gravity[2] = 700.0  # upwards: 1.4 m/s faster each of four substeps
    data.qpos[1] += 10.0
    data.qvel[1] = 1e10 - short_by  # where MuJoCo draws the line, when it looks
    envs.step(still)
    assert envs.unstable.tolist() == [False, True, False]
    assert envs.terminated.tolist() == [False, True, False]
    assert envs.reward[1] == 0.0
    assert not envs.final_obs[1].any()
    assert np.isfinite(envs.obs).all()
    assert [(e.env, e.length, e.unstable) for e in envs.finished] == [(1, 2, True)]
    envs.step(still)
    assert not envs.unstable.any()
    assert not envs.terminated.any()
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@every_task
def test_a_diverged_env_spoils_no_other(task: str):
    """Nor any later episode of its own; HalfCheetah, which never terminates, is caught as well."""
    envs, calm = RandomisedEnvs(task, 2), RandomisedEnvs(task, 1)
    calm.reset(np.random.default_rng(0))
    envs.reset(np.random.default_rng(0))
    envs.simulation(1)[1].qvel[:] = np.nan
    for action in random_actions(envs, 8):
        envs.step(action)
        calm.step(action[:1])
        assert (envs.obs[0] == calm.obs[0]).all()
        assert np.isfinite(envs.obs).all()
        assert np.isfinite(envs.reward).all()
    first = envs.finished[0]
    assert (first.env, first.length, first.unstable) == (1, 1, True)


def test_arrays_stay_where_they_are():
    """Callers hold on to them across steps, resets and loads."""
    envs = RandomisedEnvs("hopper", 2)
    names = ("obs", "final_obs", "reward", "terminated", "truncated", "unstable", "elapsed")
    held = {name: getattr(envs, name) for name in names}
    trace(envs, random_actions(envs, 50))
    envs.load_state(envs.state())
    envs.set_domains([Domain(wind=1.0)])
    envs.reset()
    assert all(getattr(envs, name) is array for name, array in held.items())
    assert envs.obs.flags.c_contiguous


def test_wrong_arguments_are_named():
    """Instead of being broadcast."""
    envs = RandomisedEnvs("hopper", 2)
    with pytest.raises(ValueError, match=r"action has shape \(3,\), expected \(2, 3\)"):
        envs.step(np.zeros(3, np.float32))
    with pytest.raises(UsageError, match="3 domains for 2 envs"):
        envs.set_domains([Domain()] * 3)
    with pytest.raises(UsageError, match="num_envs=0"):
        RandomisedEnvs("hopper", 0)
    with pytest.raises(UsageError, match="'root_y'"):
        RandomisedEnvs("hopper", 1, randomisation=table_1("root_y"))
