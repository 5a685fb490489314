"""How a minibatch step is computed, behind one interface.

`autograd` is the reference that a researcher edits; `fused`, the default, is one compiled
call from minibatch to Adam step, tested against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from p2p.core.config import TrainConfig
from p2p.core.rng import Purpose, keyed_generator
from p2p.core.soundness import is_finite
from p2p.engine.batch import Batch, Minibatch, epoch_order
from p2p.policy.normaliser import Normaliser
from p2p.policy.parameters import Floats, actor_layout, critic_layout, init_parameters

__all__ = [
    "NOTHING",
    "STATS",
    "Adam",
    "Batch",
    "Engine",
    "Minibatch",
    "Penalty",
    "build_engine",
    "epoch_order",
    "initial_parameters",
]

STATS = (  # what each step adds to `Engine.stats`, one row a gradient; the last counts them
    "policy_loss", "value_loss", "kl", "approx_kl", "clip_fraction",
    "grad_norm_actor", "grad_norm_critic", "steps",
)  # fmt: skip


class Penalty(NamedTuple):
    """What a method adds to the PPO loss of a minibatch.

    coef * mean over anchors of E_s KL(pi || anchor), minus entropy_coef * H(pi).
    """

    coef: float = 0.0  # alpha of eq. 4
    anchors: Floats | None = None  # [M, n_actor], flat parameters of the policies to stay near
    symmetric: bool = False  # add KL(anchor || pi)
    states: Floats | None = None  # [B', n], normalised: more states to average the KL over
    entropy_coef: float = 0.0  # c
    fixed: bool = False  # the same anchors at each minibatch of a batch, so what they say is kept


NOTHING = Penalty()  # the PPO loss alone


class Engine(Protocol):
    """Actor, critic and their Adam optimisers.

    The flat parameter vectors are live: a step changes them in place, and writing into
    them (a reset to another policy, a resumed run) is seen by the next call.
    """

    actor: Floats  # [n_actor]
    critic: Floats  # [n_critic]
    actor_grad: Floats  # [n_actor], as `gradient` left it, not clipped
    critic_grad: Floats  # [n_critic]
    action_dim: int
    stats: NDArray[np.float64]  # sums over steps, see STATS; the caller resets them
    learning_rate: float

    def set_normaliser(self, normaliser: Normaliser) -> None:
        """Use `normaliser` in `act` from now on."""

    def act(self, obs: NDArray[np.float64], noise: Floats, action: Floats) -> None:
        """Write actions mean + std * noise [N, A] for raw `obs` [N, n]."""

    def evaluate(self, obs: Floats, action: Floats) -> tuple[Floats, Floats]:
        """Return (log pi(a|s) [B], V(s) [B]) for normalised `obs` [B, n] and `action` [B, A]."""

    def log_prob(self, actor: Floats, obs: Floats, action: Floats) -> Floats:
        """Return log pi(a|s) [B] of the policy whose flat parameters are `actor` [n_actor]."""

    def value(self, obs: Floats) -> Floats:
        """Return V(s) [B] for normalised `obs` [B, n]."""

    def begin_epoch(self, batch: Batch, order: NDArray[np.int64], awaiting: bool = False) -> None:
        """Prepare for a `step` on each minibatch of `order` [M, B], and nothing else between.

        An engine that may use two threads lets the critic, which no peer waits for, step ahead.

        Args:
            awaiting: what the first step needs is on its way between machines. With one thread
                the critic then takes all its steps at once, in time that would be waited.
        """

    def end_epoch(self) -> None:
        """End what `begin_epoch` began, also before all its steps are taken."""

    def gradient(self, minibatch: Minibatch, penalty: Penalty) -> None:
        """Compute both networks' gradients at `minibatch` into `actor_grad`, `critic_grad`."""

    def apply(self) -> bool:
        """Clip both gradients' norms and take an Adam step.

        Returns:
            False if a gradient is not finite: nothing has changed. Also False if a network is not
            finite after the step: load an earlier state before anything else.
        """

    def step(self, minibatch: Minibatch, penalty: Penalty) -> bool:
        """`gradient`, then `apply`."""

    def distill_gradient(self, student: Floats, minibatch: Minibatch, out: Floats) -> None:
        """Write the gradient at `student` [n_actor] of E_s KL(pi || student) to `out`."""

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return copies of parameters and optimiser state."""

    def load_state(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Continue from what `state` returned."""


def initial_parameters(config: TrainConfig, obs_dim: int, action_dim: int) -> tuple[Floats, Floats]:
    """Return theta_0 and phi_0, flat (line 2): the same for every peer and engine.

    The policy's head starts small, so that its first means are near 0 whatever the state.
    """
    rng = keyed_generator(config.seed, Purpose.INIT)
    layout = actor_layout(obs_dim, config.hidden_sizes, action_dim)
    actor = init_parameters(layout, 0.01, config.init_log_std, rng)
    critic = init_parameters(critic_layout(obs_dim, config.hidden_sizes), 1.0, 0.0, rng)
    return actor, critic


class Adam:
    """Adam (Kingma & Ba 2015) on one flat vector, for what is not the engine's own."""

    def __init__(self, size: int, eps: float) -> None:
        self.eps, self.steps = eps, 0
        self.exp_avg, self.exp_avg_sq = np.zeros((2, size), np.float32)

    def step(self, flat: Floats, grad: Floats, learning_rate: float, max_norm: float) -> bool:
        """Clip the norm of `grad` and move `flat` in place; False if either is not finite."""
        norm = float(np.linalg.norm(grad))
        if not np.isfinite(norm):
            return False
        grad = grad * np.float32(min(1.0, max_norm / (norm + 1e-6)))
        self.steps += 1
        self.exp_avg += np.float32(0.1) * (grad - self.exp_avg)
        self.exp_avg_sq += np.float32(0.001) * (grad * grad - self.exp_avg_sq)
        rate = learning_rate / (1.0 - 0.9**self.steps)
        root = np.sqrt(self.exp_avg_sq) * np.float32((1.0 - 0.999**self.steps) ** -0.5)
        flat -= np.float32(rate) * self.exp_avg / (root + np.float32(self.eps))
        return is_finite(flat)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return copies of the moments and the count of steps."""
        return {
            "adam_steps": np.array(self.steps),
            "adam_exp_avg": self.exp_avg.copy(),
            "adam_exp_avg_sq": self.exp_avg_sq.copy(),
        }

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `state` returned."""
        self.steps = int(state["adam_steps"])
        self.exp_avg[:] = state["adam_exp_avg"]
        self.exp_avg_sq[:] = state["adam_exp_avg_sq"]


def build_engine(config: TrainConfig, obs_dim: int, action_dim: int, threads: int = 1) -> Engine:
    """Return the engine that `config` names, with the run's initial parameters.

    Args:
        threads: that it may compute in; the bits are the same for any.
    """
    if config.engine == "autograd":
        from p2p.engine.autograd import AutogradEngine

        return AutogradEngine(config, obs_dim, action_dim)
    from p2p.engine.fused import FusedEngine

    return FusedEngine(config, obs_dim, action_dim, threads=threads)
