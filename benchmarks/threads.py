"""What threads of a peer gain, and the parts from which sixteen cores are predicted.

    python benchmarks/threads.py rollouts     steps/s of two threads over one, by task
    python benchmarks/threads.py parts        ms of an iteration's parts, us of a minibatch step

docs/performance.md has what they printed. Nothing else may run meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import click
import numpy as np

from p2p.bench.engine import sample_batch
from p2p.core.config import TrainConfig, build_config
from p2p.core.rng import Streams
from p2p.engine import Minibatch, Penalty, build_engine
from p2p.envs.vector import RandomisedEnvs
from p2p.exchange.shared_memory import Arena, SharedExchange
from p2p.peer.collector import ThreadedCollector
from p2p.peer.peer import Peer
from p2p.peer.rollout import Clock
from p2p.peer.sampler import Sampler, build_groups
from p2p.peer.slots import slot_bytes

STEPS = 2048  # of a rollout
TURNS, FIRST = 12, 2  # iterations of `parts`, of which the first are not counted
NOISE = {"randomise": {"obs": {"vary": "obs_noise", "add": 0.05}}}  # has Python step the envs
ROLLOUTS: dict[str, dict[str, Any]] = {
    "Reacher-v5": {}, "Pusher-v5": {}, "walker2d": NOISE, "ant": NOISE, "humanoid": NOISE,
    "HumanoidStandup-v5": {}, "hopper": {},
}  # fmt: skip
LAYOUTS = ((8, STEPS), (2, STEPS), (2, 256))  # envs of a peer, and its steps
MINIBATCHES = ((2, 64), (16, 64), (16, 8))  # peers, and samples of one


def config_of(task: str, num_envs: int, threads: int, steps: int, **settings: Any) -> TrainConfig:
    """Return the settings of one peer of PPO."""
    return build_config(
        task=task, method="ppo", num_peers=1, envs_per_peer=num_envs, threads_per_peer=threads,
        steps_per_iteration=steps, **settings,
    )  # fmt: skip


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def rollout_rates(task: str, num_envs: int, settings: dict[str, Any]) -> list[float]:
    """Return the steps/s of one thread and of two: the best of seven rollouts, in turns."""
    samplers = []
    for threads in (1, 2):
        config = config_of(task, num_envs, threads, STEPS, **settings)
        envs = build_groups(config)
        engine = build_engine(config, envs.obs_dim, envs.action_dim)
        samplers.append(Sampler(config, engine, Streams(config.seed, 0)))
    best = [0.0, 0.0]
    for turn in range(7):
        for n, sampler in enumerate(samplers):
            sampler.enter_domain(turn, afresh=turn == 0)
            begun = time.perf_counter()
            sampler.collect(turn, Clock())
            best[n] = max(best[n], STEPS / (time.perf_counter() - begun))
            sampler.envs.finished.clear()
    return best


class OneAfterAnother:
    """Stands in for a pool of threads: runs what it is given at once, and takes the time."""

    def __init__(self) -> None:
        self.shares: list[float] = []

    def submit(self, work: Callable[[], None]) -> Future[None]:
        """Run `work`."""
        self.shares.append(seconds(work))
        done: Future[None] = Future()
        done.set_result(None)
        return done


def iteration_parts(task: str, num_envs: int, steps: int) -> list[float]:
    """Return ms of a rollout by one thread, of the slowest of N, of the domain, and of the rest.

    The rest is what precedes and follows the minibatches, but the rollout.
    """
    config = config_of(task, num_envs, num_envs, steps, total_steps=steps * 1000)
    peer = Peer(0, config, SharedExchange(Arena(1, slot_bytes(config)), 0))
    peer.begin(None)
    collector, pool, whole = peer.sampler._collector, OneAfterAnother(), [0.0]
    assert isinstance(collector, ThreadedCollector)
    collector._pool = pool  # type: ignore[assignment]
    collect = collector.collect

    def timed(noise: Any, clock: Clock) -> None:
        whole[0] = seconds(lambda: collect(noise, clock))

    collector.collect = timed  # type: ignore[method-assign]
    found = []
    for _ in range(TURNS):
        pool.shares.clear()
        domain = seconds(peer.enter_domain)
        begun = time.perf_counter()
        batch = peer.collect()
        before = time.perf_counter() - begun
        for minibatch in peer.minibatches(batch):
            peer.update(minibatch)
        begun = time.perf_counter()
        peer.end_iteration(batch)
        rest = before - whole[0] + time.perf_counter() - begun
        slowest = max(*pool.shares, whole[0] - sum(pool.shares))
        found.append((whole[0], slowest, domain, rest))
    return [1e3 * float(part) for part in np.mean(found[FIRST:], axis=0)]


def step_times(task: str, num_peers: int, samples: int) -> list[float]:
    """Return us of a minibatch step, and of its actor's half where the critic is ahead."""
    config = build_config(task=task, num_peers=num_peers, steps_per_peer=32 * samples)
    envs, found = RandomisedEnvs(task, 1), []
    for threads in (1, 2):
        engine = build_engine(config, envs.obs_dim, envs.action_dim, threads)
        batch = sample_batch(config, envs, engine)
        order = np.random.default_rng(0).permutation(32 * samples).reshape(32, -1)
        anchors = np.repeat(engine.actor[None] + np.float32(0.01), num_peers - 1, axis=0)
        penalty, best = Penalty(1.0, anchors), np.inf
        for _ in range(12):
            engine.begin_epoch(batch, order)
            time.sleep(0.005)  # the critic goes ahead
            begun = time.perf_counter()
            for index in order:
                engine.step(Minibatch(batch, index), penalty)
            best = min(best, time.perf_counter() - begun)
            engine.end_epoch()
        found.append(1e6 * best / len(order))
    return found


@click.group()
def main() -> None:
    """Measure threads of a peer."""


@main.command()
def rollouts() -> None:
    """Print steps/s of rollouts by one thread and by two, and their ratio."""
    for task, settings in ROLLOUTS.items():
        for num_envs in (2, 8):
            one, two = rollout_rates(task, num_envs, settings)
            print(f"{task}, N = {num_envs}: {one:,.0f} {two:,.0f} {two / one:.2f}", flush=True)


@main.command()
def parts() -> None:
    """Print ms of the parts of an iteration, and us of a minibatch step."""
    for task in ("hopper", "humanoid"):
        for num_envs, steps in LAYOUTS:
            one, slowest, domain, rest = iteration_parts(task, num_envs, steps)
            print(
                f"{task}, {num_envs} envs, {steps} steps: rollout {one:.1f}, slowest thread "
                f"{slowest:.1f}, domain {domain:.2f}, rest {rest:.2f} ms",
                flush=True,
            )
        for num_peers, samples in MINIBATCHES:
            whole, half = step_times(task, num_peers, samples)
            print(f"{task}, K = {num_peers}, {samples} samples: {whole:.1f} us, actor {half:.1f}")


if __name__ == "__main__":
    main()
