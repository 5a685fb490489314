"""What a peer collects does not depend on the number of its threads, bit for bit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from p2p.core import jit, registry
from p2p.core.config import TrainConfig, build_config
from p2p.core.rng import Streams
from p2p.engine import NOTHING, Batch, Minibatch, Penalty, build_engine, epoch_order
from p2p.engine.fused import FusedEngine
from p2p.envs.groups import EnvGroups
from p2p.exchange.base import Exchange, Phase
from p2p.peer import collector, preload
from p2p.peer.collector import CompiledCollector, PlainCollector, ThreadedCollector
from p2p.peer.peer import Peer
from p2p.peer.rollout import Clock, Rollout
from p2p.peer.sampler import Sampler, build_groups, threads_of

DOCS = Path(__file__).parents[1] / "docs"
STEPS = 640  # of five envs, 128 each
ROLLOUT = ("obs", "action", "reward", "terminated", "truncated", "last_obs")
NOISY = {
    "obs": {"vary": "obs_noise", "add": 0.05},
    "act": {"vary": "action_noise", "add": 0.1},
    "mass": {"scale": 0.3},
}


@pytest.fixture(autouse=True)
def tall_hopper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the task of docs/add-a-task.md known, which is stepped in Python."""
    monkeypatch.setattr(registry, "_added", {})
    (source,) = re.findall(r"```python\n(.*?)```", (DOCS / "add-a-task.md").read_text(), re.DOTALL)
    (tmp_path / "tall_hopper.py").write_text(source)
    registry.add("task", f"{tmp_path / 'tall_hopper.py'}:TallHopper")


def config_of(threads: int | None, **settings: Any) -> TrainConfig:
    given = {
        "task": "hopper", "num_peers": 1, "method": "ppo", "steps_per_iteration": STEPS,
        "num_minibatches": 4, "envs_per_peer": 5, "eps_tr": 1.0, "threads_per_peer": threads,
    }  # fmt: skip
    return build_config(**{**given, **settings})


def sampler_of(config: TrainConfig) -> Sampler:
    envs = build_groups(config)
    engine = build_engine(config, envs.obs_dim, envs.action_dim)
    return Sampler(config, engine, Streams(config.seed, 0))


def collected(sampler: Sampler, iterations: range) -> list[Any]:
    """Return all that an iteration leaves behind, one entry an iteration."""
    found = []
    for iteration in iterations:
        sampler.enter_domain(iteration, afresh=iteration == 0)
        rollout: Rollout = sampler.collect(iteration, Clock())
        episodes, sampler.envs.finished = sampler.envs.finished, []
        found.append(
            {
                **{name: getattr(rollout, name).copy() for name in ROLLOUT},
                "final_obs": list(rollout.final_obs),
                "episodes": episodes,
                "terms": sampler.envs.reward_terms(),
                "state": sampler.envs.state(),
                "domain": sampler.domain,
            }
        )
    return found


CASES: dict[str, dict[str, Any]] = {
    "compiled": {},
    "compiled, carried on": {"domain_schedule": "carry", "task": "halfcheetah"},
    "own models": {"domain_schedule": "env", "task": "ant"},
    "a domain an episode": {"domain_schedule": "episode", "mass_randomisation": "per_link"},
    "noise": {"randomise": NOISY},
    "own task": {"task": "tall_hopper.py:TallHopper"},
    "Gymnasium's": {"task": "Pusher-v5", "randomise": {"damping": {"scale": 0.5}}},
}  # fmt: skip


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_the_number_of_threads_changes_no_bit(settings: dict[str, Any]) -> None:
    """Not of the rollout, nor of episodes, reward terms and checkpoints; 3 share 5 unevenly."""
    one, *others = (
        collected(sampler_of(config_of(threads, **settings)), range(2)) for threads in (1, 2, 3, 8)
    )
    assert one[-1]["episodes"] or settings.get("task") in ("halfcheetah", "Pusher-v5")
    for other in others:
        np.testing.assert_equal(other, one)


@pytest.mark.parametrize("settings", [{"domain_schedule": "carry"}, {"domain_schedule": "env"}])
@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 5)])
def test_a_run_goes_on_with_another_number_of_threads(
    settings: dict[str, Any], before: int, after: int
) -> None:
    """Also amid episodes, in domains of their own."""
    sampler = sampler_of(config_of(before, **settings))
    (first,) = collected(sampler, range(1))
    (whole,) = collected(sampler, range(1, 2))
    resumed = sampler_of(config_of(after, **settings))
    resumed.envs.load_state(first["state"])
    (found,) = collected(resumed, range(1, 2))
    np.testing.assert_equal(found, whole)


def test_a_diverged_env_ends_its_episode_alike_in_any_thread() -> None:
    """And spoils no other, of its own thread or of others: env 3's velocities are no numbers."""
    found = []
    for threads in (1, 2, 3):
        sampler = sampler_of(config_of(threads, domain_schedule="carry"))
        collected(sampler, range(1))
        envs = sampler.envs.groups if isinstance(sampler.envs, EnvGroups) else [sampler.envs]
        every = [group.simulation(n)[1] for group in envs for n in range(group.num_envs)]
        every[3].qvel[:] = np.nan
        found += collected(sampler, range(1, 2))
    one, *others = found
    assert [episode.env for episode in one["episodes"] if episode.unstable] == [3]
    assert all(np.isfinite(one[name]).all() for name in ("obs", "reward", "last_obs"))
    for other in others:
        np.testing.assert_equal(other, one)


def test_envs_begin_alike_in_any_number_of_groups() -> None:
    """What they begin with is kept as a run's first milestone, before its first reset."""
    one, *others = (build_groups(config_of(threads)).state() for threads in (1, 2, 5))
    for other in others:
        np.testing.assert_equal(other, one)


def test_envs_are_shared_out_over_the_threads_that_are_asked_for() -> None:
    """As evenly as it goes, and never a thread without an env."""
    envs = build_groups(config_of(3))
    assert isinstance(envs, EnvGroups)
    assert [group.num_envs for group in envs.groups] == [2, 2, 1]
    assert build_groups(config_of(1)).num_envs == 5
    assert not isinstance(build_groups(config_of(4, envs_per_peer=1)), EnvGroups)


def test_by_default_a_peer_takes_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    assert threads_of(config_of(None)) == 16
    assert threads_of(config_of(None, method="p2pdrl", num_peers=4)) == 4
    assert threads_of(config_of(7)) == 7
    assert threads_of(config_of(7, engine="autograd")) == 1  # torch rounds by the number of rows


def test_what_python_steps_takes_threads_by_itself_only_if_its_physics_is_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some 10 us a step of Reacher, 200 of HumanoidStandup; what is set is not questioned."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(2)))

    def threads(task: str, threads: int | None = None) -> int:
        envs = build_groups(config_of(threads, task=task))
        return len(envs.groups) if isinstance(envs, EnvGroups) else 1

    assert threads("hopper") == 2
    assert threads("Reacher-v5") == 1
    assert threads("Reacher-v5", 2) == 2
    assert threads("HumanoidStandup-v5") == 2


def test_each_thread_collects_in_the_fastest_way_there_is() -> None:
    kinds = {}
    for task in ("hopper", "tall_hopper.py:TallHopper"):
        threaded = sampler_of(config_of(2, task=task))._collector
        assert isinstance(threaded, ThreadedCollector)
        kinds[task] = {type(one) for one in threaded._collectors}
    assert kinds == {
        "hopper": {CompiledCollector},
        "tall_hopper.py:TallHopper": {PlainCollector},
    }


def test_a_peer_compiles_nothing_that_the_fork_server_has_not(monkeypatch: pytest.MonkeyPatch):
    """A thread's columns of a rollout lie apart in memory, which is another type to numba."""
    seen: set[Any] = set()

    def specialise(kernel: Any, *args: Any) -> Any:
        seen.add(tuple(map(kernel.typeof_pyval, args)))
        return jit.specialise(kernel, *args)

    monkeypatch.setattr(collector, "specialise", specialise)
    preload.compile_all()
    known = set(seen)
    for threads in (1, 2):
        collected(sampler_of(config_of(threads)), range(1))
    assert seen == known


def test_what_a_thread_raises_is_raised_after_all_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A diverging reward of the third env's task, say."""
    sampler = sampler_of(config_of(3))
    sampler.enter_domain(0, afresh=True)
    collector = sampler._collector
    assert isinstance(collector, ThreadedCollector)

    def fail(*_: object) -> None:
        raise ArithmeticError("of thread 2")

    monkeypatch.setattr(collector._collectors[2], "collect", fail)
    with pytest.raises(ArithmeticError, match="of thread 2"):
        sampler.collect(0, Clock())
    assert sampler.rollout.action[:, :4].any(axis=(1, 2)).all()


# The critic ahead of the actor


def engine_and_batch(threads: int, **settings: Any) -> tuple[FusedEngine, Batch]:
    config = config_of(threads, normalise_advantage=True, **settings)
    engine = build_engine(config, 11, 3, threads)
    assert isinstance(engine, FusedEngine)
    rng = np.random.default_rng(0)
    obs, action = (rng.standard_normal((STEPS, n), np.float32) for n in (11, 3))
    log_prob, value = engine.evaluate(obs, action)
    noise = rng.standard_normal((2, STEPS), np.float32)
    return engine, Batch(obs, action, log_prob, value, *noise)


WAYS = [(1, False), (2, False), (1, True)]  # threads; whether the actor awaits something


def epoch(
    engine: FusedEngine, batch: Batch, penalty: Penalty, order: Any, awaiting: bool
) -> list[bool]:
    """Take an epoch's steps; stop after one that is not finite, as a peer does."""
    engine.begin_epoch(batch, order, awaiting)
    assert engine._ahead.runs == (awaiting or engine._ahead.has_thread)
    taken = []
    for index in order:
        taken.append(engine.step(Minibatch(batch, index), penalty))
        if not taken[-1]:
            break
    engine.end_epoch()
    return taken


@pytest.mark.parametrize("settings", [{}, {"value_clip": True}], ids=["plain", "value clip"])
def test_a_critic_that_steps_ahead_has_the_bits_of_one_that_waits(settings: dict[str, Any]) -> None:
    """Both networks, their optimisers and all sums of `stats`, over two epochs with an anchor."""
    states, stats = [], []
    for threads, awaiting in WAYS:
        engine, batch = engine_and_batch(threads, **settings)
        penalty = Penalty(1.0, engine.actor[None] + np.float32(0.01))
        rng = np.random.default_rng(1)
        for _ in range(2):
            assert all(epoch(engine, batch, penalty, epoch_order(STEPS, 16, rng), awaiting))
        states.append(engine.state())
        stats.append(engine.stats)
    for state, seen in zip(states[1:], stats[1:], strict=True):
        np.testing.assert_equal(state, states[0])
        np.testing.assert_array_equal(seen, stats[0])


class Twin(Exchange):
    """A peer between machines, whose only other peer shows what it does."""

    def __call__(self, vector: NDArray[Any]) -> NDArray[Any]:
        return np.stack([vector, vector])

    def heartbeat(self, phase: Phase | None = None) -> None:
        pass


@pytest.mark.parametrize(
    ("sync", "across", "ahead"),
    [("epoch", True, True), ("epoch", False, False), ("minibatch", True, False)],
)
def test_a_critic_steps_first_where_actors_travel_meanwhile(
    sync: str, across: bool, ahead: bool
) -> None:
    """With one thread; within a machine nothing travels, and a minibatch is too short for it."""
    exchange = Twin(0, 2)
    exchange.across_machines = across
    peer = Peer(0, config_of(1, num_peers=2, method="p2pdrl", sync=sync), exchange)
    peer.enter_domain()
    for minibatch in peer.minibatches(peer.collect()):
        assert peer.engine._ahead.runs == ahead
        assert exchange.has_begun == (sync == "epoch")
        peer.update(minibatch)
        assert not exchange.has_begun
        break


@pytest.mark.parametrize("column", ["value_target", "advantage"])
def test_a_step_that_is_not_finite_is_the_same_step_ahead_or_not(column: str) -> None:
    """In the critic alone, and in the actor alone; a roll-back then gives equal networks."""
    found = []
    for threads, awaiting in WAYS:
        engine, batch = engine_and_batch(threads)
        order = epoch_order(STEPS, 16, np.random.default_rng(1))
        getattr(batch, column)[order[5, 0]] = np.nan
        before = engine.state()
        taken = epoch(engine, batch, NOTHING, order, awaiting)
        found.append((taken, engine.stats.copy()))
        engine.load_state(before)
        np.testing.assert_equal(engine.state(), before)
    for taken, stats in found:
        assert taken == [True] * 5 + [False]
        np.testing.assert_array_equal(stats, found[0][1])


def test_a_critic_ahead_is_stopped_by_a_new_state_and_refuses_what_it_would_spoil() -> None:
    engine, batch = engine_and_batch(2)
    order, before = epoch_order(STEPS, 4, np.random.default_rng(1)), engine.state()
    engine.begin_epoch(batch, order)
    with pytest.raises(RuntimeError, match="steps ahead"):
        engine.gradient(Minibatch(batch, order[0]), NOTHING)
    engine.load_state(before)
    np.testing.assert_equal(engine.state(), before)
    engine.begin_epoch(batch, order)
    for index in order:
        assert engine.step(Minibatch(batch, index), NOTHING)
    with pytest.raises(RuntimeError, match="no further step"):
        engine.step(Minibatch(batch, order[0]), NOTHING)
