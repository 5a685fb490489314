"""The variance of the gradient: its definition, and a peer that looks at its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from made import METHODS
from plain import trained

from p2p.analysis.gradient_variance.worker import Table, ThreadExchange
from p2p.core.config import TrainConfig
from p2p.core.rng import Purpose, Streams, keyed_generator
from p2p.engine import NOTHING, Penalty, build_engine
from p2p.engine.batch import Minibatch
from p2p.envs.domain import Domain
from p2p.peer.collector import CompiledCollector
from p2p.peer.gradient_variance import GradientVariance, spread
from p2p.peer.peer import Peer
from p2p.runs import RunFolder

STEPS, MINIBATCHES = 192, 12
SMALL = {
    "task": "hopper", "steps_per_iteration": 768, "num_minibatches": 4, "hidden_sizes": (8, 8),
    "final_episodes": 0, "seed": 3,
}  # fmt: skip


def make_peers(method: str = "p2pdrl", num_peers: int = 2, **settings) -> list[Peer]:
    """Return peers in this process whose actors have parted."""
    config = TrainConfig(method=method, num_peers=num_peers, **{**SMALL, **settings})
    table = Table(num_peers)
    peers = [Peer(rank, config, ThreadExchange(table, rank)) for rank in range(num_peers)]
    for rank, peer in enumerate(peers):
        peer.engine.actor += np.float32(0.1) * np.random.default_rng(rank).standard_normal(
            len(peer.engine.actor), np.float32
        )
    return peers


def at_once(act: Callable[[Peer], GradientVariance], peers: list[Peer]) -> list[GradientVariance]:
    with ThreadPoolExecutor(len(peers)) as threads:
        return list(threads.map(act, peers))


def look(peer: Peer) -> GradientVariance:
    return peer.gradient_variance(peer.fresh_batch(STEPS), STEPS, MINIBATCHES)


def test_the_three_scalars_by_hand():
    """Parameters 1 and 2 have variances 2 and 4 (with M - 1), and means 2 and 0."""
    found = spread(np.array([[1.0, 2.0], [3.0, 0.0], [2.0, -2.0]]) * [math.sqrt(2), 1.0])
    assert found.trace == pytest.approx(2 + 4)
    assert found.log_variance == pytest.approx(math.log(3))
    assert found.snr == pytest.approx((2 * 2**2 + 0) / 6)


def test_a_constant_gradient_has_no_variance():
    found = spread(np.full((4, 3), 0.5))
    assert (found.log_variance, found.trace, found.snr) == (-math.inf, 0.0, math.inf)


def test_noise_alone_has_a_signal_to_noise_ratio_of_1_over_m():
    noise = np.random.default_rng(0).standard_normal((64, 20_000))
    assert spread(noise).snr == pytest.approx(1 / 64, rel=0.05)


def test_a_gradient_that_is_not_finite_shows():
    assert math.isnan(spread(np.array([[1.0], [math.nan]])).log_variance)


def test_fused_equals_variances_of_explicit_gradients_by_autograd():
    """An oracle: minibatch by minibatch, eq. 4 with the other peer as its anchor, in float64."""
    peers = make_peers(distill_coef=2.0)
    batch = peers[0].fresh_batch(STEPS)
    found = at_once(look, peers)[0]
    reference = build_engine(
        peers[0].config.model_copy(update={"engine": "autograd"}), batch.obs.shape[1], 3
    )
    reference.actor[:], reference.critic[:] = peers[0].engine.actor, peers[0].engine.critic
    penalty = Penalty(2.0, peers[1].engine.actor[None].copy())
    rng = keyed_generator(3, Purpose.GRADIENT, 0, Purpose.SHUFFLE, 0)
    order = rng.permutation(len(batch.obs)).reshape(MINIBATCHES, -1)
    for part, added in ((found.loss, penalty), (found.ppo, NOTHING)):
        gradients = []
        for index in order:
            reference.gradient(Minibatch(batch, index), added)
            gradients.append(reference.actor_grad.astype(np.float64))
        mean = sum(gradients) / MINIBATCHES
        variance = sum((g - mean) ** 2 for g in gradients) / (MINIBATCHES - 1)
        assert part.trace == pytest.approx(variance.sum(), rel=1e-3)
        assert part.log_variance == pytest.approx(math.log(variance.mean()), abs=1e-3)
        assert part.snr == pytest.approx(mean @ mean / variance.sum(), rel=1e-3)


def test_one_peer_of_p2pdrl_is_ppo():
    (alone,), (ppo,) = (at_once(look, make_peers(m, 1)) for m in ("p2pdrl", "ppo"))
    assert alone == ppo
    assert alone.loss == alone.ppo


def test_at_alpha_0_the_loss_is_its_ppo_part_and_else_it_is_not():
    for found in at_once(look, make_peers(distill_coef=0.0)):
        assert found.loss == found.ppo
    for found in at_once(look, make_peers(distill_coef=1.0)):
        assert found.loss != found.ppo


@pytest.mark.parametrize(
    ("method", "penalised"),
    [("ppo", False), ("dppo", False), ("self-kl", False), ("entropy", False),
     ("p2pdrl", True), ("distral", True), ("dnc", True)],
)  # fmt: skip
def test_a_look_leaves_no_trace_whatever_the_method(method, penalised):
    """A KL to oneself is flat at the start of an iteration, and an entropy bonus is constant.

    The trace is the same then, up to rounding; a pull to others adds to it.
    """
    peers = make_peers(method, METHODS[method].num_peers)
    for peer in peers:
        peer.sampler.discounted[:] = 5.0
    before = [(peer.state(), peer.engine.stats.copy()) for peer in peers]
    for found in at_once(look, peers):
        assert (found.loss.trace != pytest.approx(found.ppo.trace, rel=1e-5)) == penalised
    for peer, (state, stats) in zip(peers, before, strict=True):
        np.testing.assert_array_equal(peer.engine.stats, stats)
        for name, value in peer.state().items():
            np.testing.assert_array_equal(value, state[name], err_msg=name)


@pytest.mark.parametrize("schedule", ["iteration", "episode", "env", "carry"])
def test_fresh_steps_happen_in_the_training_distribution(schedule, monkeypatch):
    """Also where training goes on with episodes and domains of its own from before."""
    (peer,) = make_peers("ppo", 1, domain_schedule=schedule, envs_per_peer=3)
    peer.iteration = 5
    begun, collect = [], CompiledCollector.collect

    def note(collector: CompiledCollector, *rest: Any) -> None:
        begun.extend(collector.envs.domains)
        collect(collector, *rest)

    monkeypatch.setattr(CompiledCollector, "collect", note)
    batch = peer.fresh_batch(100)
    assert len(batch.obs) == 102  # the next multiple of three envs
    assert Domain() not in begun
    assert len(set(begun)) == (3 if schedule in ("env", "episode") else 1)


def test_fresh_steps_are_a_function_of_state_and_iteration():
    (peer,) = make_peers("ppo", 1)
    first, again = peer.fresh_batch(STEPS), peer.fresh_batch(STEPS)
    np.testing.assert_array_equal(first.obs, again.obs)
    peer.iteration += 1
    assert (peer.fresh_batch(STEPS).obs != first.obs).any()


def test_they_are_no_steps_of_training():
    training, apart = Streams(3, 1), Streams(3, 1, apart=Purpose.GRADIENT)
    for purpose in (Purpose.DOMAIN, Purpose.RESET, Purpose.ACTION):
        draws = [s.generator(purpose, 4).random(3).tolist() for s in (training, apart)]
        assert draws[0] != draws[1]


@pytest.mark.parametrize("method", ["p2pdrl", "dnc"])
def test_training_keeps_its_bits(tmp_path, method):
    """DnC shows all its states: its exchange must have room for those of a look."""
    own = {"distill_every": 2} if method == "dnc" else {}
    config = TrainConfig(method=method, num_peers=2, total_steps=3 * 768, **SMALL, **own)
    plain = trained(config, tmp_path / "plain")
    looked = trained(config.model_copy(update={"grad_variance_every": 2}), tmp_path / "looked")
    for one, other in zip(plain, looked, strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)
    records = RunFolder.open(tmp_path / "looked").records()
    assert ["grad_variance" in r["peers"][1] for r in records] == [True, False, True]
    for record in records:  # a look is no part of the phases that are timed
        assert all(seconds >= 0 for peer in record["peers"] for seconds in peer["time"].values())
