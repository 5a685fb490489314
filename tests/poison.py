"""Numbers that are no use, put into one of two peers that train in threads of one process.

python tests/poison.py [--engines fused] [--methods p2pdrl,dppo] [--targets reward] [--values nan]
"""

from __future__ import annotations

import argparse
import itertools
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import safetensors.numpy

from p2p.analysis.gradient_variance.worker import Table, ThreadExchange
from p2p.core.config import TrainConfig
from p2p.core.errors import Diverged, P2PError
from p2p.engine.batch import Batch, Minibatch
from p2p.peer import reports
from p2p.peer.peer import Peer

VALUES = {
    "nan": np.nan,
    "inf": np.inf,
    "huge": 1e300,  # in float32 its largest
    "denormal": 1e-310,  # in float32 1e-40
}
ITERATIONS = 4


def small(method: str, engine: str = "fused", **settings: Any) -> TrainConfig:
    """Return a run of four tiny iterations of two peers, or of one if that is all there is."""
    extra = {"distill_every": 2, "distill_epochs": 1} if method == "dnc" else {}
    K = 1 if method in ("ppo", "self-kl", "entropy") else 2
    counts = {"steps_per_iteration": 64 * K, "total_steps": ITERATIONS * 64 * K}
    return TrainConfig(
        method=method, engine=engine, hidden_sizes=(16, 16), num_epochs=2, num_minibatches=2,
        final_episodes=0, milestones=1, checkpoint_every=1, **counts, **{**extra, **settings},
    )  # fmt: skip


class Watched(ThreadExchange):
    """An exchange that remembers whether what it shows is finite, and spoils what it reads."""

    def __init__(self, table: Table, rank: int) -> None:
        super().__init__(table, rank)
        self.bad: list[str] = []
        self.spoil: Callable[[np.ndarray], None] = lambda shown: None

    def __call__(self, vector: Any) -> Any:
        if not np.isfinite(vector).all():
            self.bad.append(
                f"{len(vector)} numbers in exchange, {vector[~np.isfinite(vector)][:3]}"
            )
        shown = super().__call__(vector)
        self.spoil(shown)
        return shown


def put(array: np.ndarray, index: Any, value: float) -> None:
    """Write `value`, or what comes nearest in the array's type."""
    if array.dtype == np.float32:
        value = {1e300: float(np.finfo(np.float32).max), 1e-310: 1e-40}.get(value, value)
    array[index] = value


def after(kind: Any, name: str, change: Callable[[Any], None]) -> None:
    """Let `change` see what the method `name` of an object returns."""
    real = getattr(kind, name)

    def changed(*args: Any, **kwargs: Any) -> Any:
        out = real(*args, **kwargs)
        change(out)
        return out

    setattr(kind, name, changed)


def _rollout(name: str, index: Any) -> Any:
    def poison(peer: Peer, due: Callable[[], bool], value: float) -> None:
        def change(rollout: Any) -> None:
            if due():
                put(getattr(rollout, name), index, value)

        after(peer.sampler, "collect", change)

    return poison


def _advantage(peer: Peer, due: Callable[[], bool], value: float) -> None:
    after(peer, "_batch_of", lambda batch: due() and put(batch.advantage, 5, value))


def _gradient(peer: Peer, due: Callable[[], bool], value: float) -> None:
    engine: Any = peer.engine
    engine.begin_epoch = lambda *_: None  # the critic ahead steps in compiled code alone
    after(engine, "gradient", lambda _: due() and put(engine.actor_grad, 3, value))

    def step(minibatch: Any, penalty: Any) -> bool:
        engine.gradient(minibatch, penalty)
        return bool(engine.apply())

    engine.step = step


def _distilled(peer: Peer, due: Callable[[], bool], value: float) -> None:
    real = peer.engine.distill_gradient

    def distill_gradient(student: Any, minibatch: Any, out: Any) -> None:
        real(student, minibatch, out)
        if due():
            put(out, 3, value)

    peer.engine.distill_gradient = distill_gradient  # type: ignore[method-assign]


def _slot(peer: Peer, due: Callable[[], bool], value: float) -> None:
    exchange: Any = peer.exchange

    def spoil(shown: Any) -> None:
        if due() and shown.dtype == np.float32 and exchange.others:
            put(shown, (1, -7 if shown.shape[1] > 7 else 0), value)

    exchange.spoil = spoil


def _of_engine(name: str) -> Any:
    def poison(peer: Peer, due: Callable[[], bool], value: float) -> None:
        real = peer.enter_domain

        def enter_domain() -> None:
            real()
            if due():
                state = peer.engine.state()
                put(state[name], 4, value)
                peer.engine.load_state(state)

        peer.enter_domain = enter_domain  # type: ignore[method-assign]

    return poison


def _moments(name: str, part: str) -> Any:
    def poison(peer: Peer, due: Callable[[], bool], value: float) -> None:
        real = peer.enter_domain

        def enter_domain() -> None:
            real()
            if due():
                put(getattr(getattr(peer, name), part), 0, value)

        peer.enter_domain = enter_domain  # type: ignore[method-assign]

    return poison


TARGETS: dict[str, Any] = {
    "observation": _rollout("obs", (3, 0, 2)),
    "last observation": _rollout("last_obs", (0, 2)),
    "action": _rollout("action", (3, 0, 1)),
    "reward": _rollout("reward", (3, 0)),
    "advantage": _advantage,
    "gradient": _gradient,
    "distillation's gradient": _distilled,
    "peers' slot": _slot,
    "Adam's mean": _of_engine("actor_exp_avg"),
    "Adam's square": _of_engine("critic_exp_avg_sq"),
    "actor": _of_engine("actor"),
    "critic": _of_engine("critic"),
    "normaliser's mean": _moments("obs_moments", "mean"),
    "normaliser's squares": _moments("obs_moments", "m2"),
    "scale of rewards": _moments("return_moments", "m2"),
}


def train(
    config: TrainConfig, target: str | None, value: float, *, always: bool
) -> tuple[list[Any], list[str], list[P2PError]]:
    """Train with `value` in `target` of peer 0, in iteration 1 or in all from then on.

    Returns:
        What was to be saved; what was published that is not finite; p2p's errors that were raised.
    """
    table = Table(config.num_peers)
    exchanges = [Watched(table, rank) for rank in range(config.num_peers)]
    kept: list[Any] = []
    peers = [Peer(rank, config, exchange, kept.append) for rank, exchange in enumerate(exchanges)]
    first = peers[0]

    def due() -> bool:
        return first.iteration == 1 or (always and first.iteration > 1)

    if target is not None:
        TARGETS[target](first, due, value)

    def run(peer: Peer) -> None:
        try:
            peer.begin(None)
            while peer.goes_on:
                peer.enter_domain()
                batch = peer.collect()
                for minibatch in peer.minibatches(batch):
                    peer.update(minibatch)
                peer.end_iteration(batch)
            peer.end()
        except BaseException:
            table.barrier.abort()
            raise

    with ThreadPoolExecutor(len(peers)) as pool:
        futures = [pool.submit(run, peer) for peer in peers]
    errors = [future.exception() for future in futures]
    ours = [error for error in errors if isinstance(error, P2PError)]
    for error in errors:
        if not isinstance(error, P2PError | threading.BrokenBarrierError | None):
            raise error
    saved = [part for part in kept if isinstance(part, reports.Checkpoint | reports.Milestone)]
    return saved, [bad for exchange in exchanges for bad in exchange.bad], ours


def random_batch(obs_dim: int, action_dim: int, size: int = 16) -> Minibatch:
    """Return a minibatch of noise."""
    rng = np.random.default_rng(0)
    wide = (rng.standard_normal((size, n), np.float32) for n in (obs_dim, action_dim))
    return Minibatch(Batch(*wide, *rng.standard_normal((4, size), np.float32)), np.arange(size))


def not_finite(saved: Any) -> list[str]:
    """Return what of a checkpoint or milestone is not finite, but of its envs."""
    policy = safetensors.numpy.load(saved.policy)
    policy = {n: v for n, v in policy.items() if not n.startswith("action")}
    parts = {n: v for n, v in saved.state.items() if not n.startswith("envs.")}
    return [name for name, v in {**parts, **policy}.items() if not np.isfinite(v).all()]


def faults(config: TrainConfig, target: str, name: str, *, always: bool) -> list[str]:
    """Return what is wrong after training so; empty if nothing is."""
    saved, bad, errors = train(config, target, VALUES[name], always=always)
    found = [f"published {one}" for one in bad]
    found += [f"saved {one}" for part in saved for one in not_finite(part)]
    if errors and not always:
        found.append(f"ended by one number: {errors[0]}")
    if any(not isinstance(error, Diverged) or "\n" in str(error) for error in errors):
        found.append(f"said {errors[0]!r}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--engines", default="fused,autograd")
    parser.add_argument("--methods", default="p2pdrl,dppo,distral,dnc,ppo,self-kl,entropy")
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--values", default=",".join(VALUES))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    failed = n = 0
    lists = (
        getattr(given, name).split(",") for name in ("engines", "methods", "targets", "values")
    )
    for engine, method, target, name in itertools.product(*lists):
        for always in (False, True):
            n += 1
            if found := faults(small(method, engine), target, name, always=always):
                failed += 1
                how = "always" if always else "once"
                print(f"{engine} {method}: {name} in {target}, {how}: {found[0]}", flush=True)
    print(f"{n:,} cases, {failed:,} failures")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
