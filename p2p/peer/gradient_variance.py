"""How much the actor's gradient varies from minibatch to minibatch (section 4.4, Fig. 8b-c).

The paper plots log Var of a vector and does not say which scalar that is. With g_1 .. g_M
the gradients of M disjoint minibatches, n parameters (log-std among them) and variances
taken with M - 1:

    log variance     ln of (1/n) sum_j Var_m[g_mj], the mean over parameters: what we plot
    trace            sum_j Var_m[g_mj] = E ||g - E g||^2, which is n times that mean
    signal to noise  ||mean_m g_m||^2 / trace; of noise alone it is 1/M on average
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2p.core.config import TrainConfig
from p2p.core.settings import GRADIENT_STEPS
from p2p.engine import NOTHING, Engine
from p2p.engine.batch import Batch, Minibatch
from p2p.peer.safeguard import without_bad

if TYPE_CHECKING:
    from p2p.methods import Method  # brings torch


class Spread(NamedTuple):
    """The variance of a gradient; not finite where a gradient was not."""

    log_variance: float  # natural log; -inf if all minibatches agree
    trace: float
    snr: float


class GradientVariance(NamedTuple):
    """What one peer's minibatches show.

    Attributes:
        loss: of the gradient of the actor's loss that the run minimises.
        ppo: of its PPO part alone, in the same minibatches; all there is if nothing is added.
    """

    loss: Spread
    ppo: Spread

    def flat(self) -> dict[str, float]:
        """Return all numbers by name, those of the PPO part as `ppo_<name>`."""
        return {**self.loss._asdict(), **{f"ppo_{k}": v for k, v in self.ppo._asdict().items()}}


def spread(gradients: NDArray[np.float64]) -> Spread:
    """Return how much `gradients` [M, n], one a minibatch, vary; M >= 2."""
    trace = float(gradients.var(axis=0, ddof=1).sum())
    signal = float(np.square(gradients.mean(axis=0)).sum())
    mean = trace / gradients.shape[1]
    return Spread(
        math.log(mean) if mean > 0 else -math.inf if mean == 0 else math.nan,
        trace,
        signal / trace if trace else math.inf if signal else math.nan,
    )


def measuring(config: TrainConfig, steps: int = GRADIENT_STEPS) -> TrainConfig:
    """Return the run's settings, but that a peer collects `steps` steps in an iteration.

    Rounded up, to the same number for each of its envs.
    """
    each = -(-steps // config.envs_per_peer) * config.envs_per_peer
    counts = {"steps_per_iteration": each * config.num_peers, "steps_per_peer": each}
    return config.model_copy(update=counts)


def measure(
    engine: Engine, method: Method, batch: Batch, steps: int, minibatches: int,
    rng: np.random.Generator,
) -> GradientVariance:  # fmt: skip
    """Measure at the parameters as they stand; all peers must at once, since methods exchange.

    Every minibatch has `steps // minibatches` samples of its own. Gradients are neither
    clipped nor, where the method averages them over peers, averaged. Nothing that outlives
    an iteration changes.

    Args:
        batch: at least `steps` samples.
        rng: of the order of samples.
    """
    stats = engine.stats.copy()
    method.begin_iteration(without_bad(batch))  # which may show it
    method.begin_epoch()
    loss, ppo = np.empty((2, minibatches, len(engine.actor)))
    order = rng.permutation(len(batch.obs))[: steps // minibatches * minibatches]
    for m, index in enumerate(order.reshape(minibatches, -1)):
        minibatch = Minibatch(batch, index)
        engine.gradient(minibatch, method.penalty(minibatch))
        loss[m] = engine.actor_grad
        engine.gradient(minibatch, NOTHING)
        ppo[m] = engine.actor_grad
    engine.stats[:] = stats
    return GradientVariance(spread(loss), spread(ppo))
