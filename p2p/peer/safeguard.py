"""What a peer does about numbers that are not finite: it goes back, and gives up if they recur.

Nothing that is not finite is shown to other peers. The parameters are looked at after each step,
by the engine; samples, moments and the rest of the state once an iteration.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy

from p2p.core.errors import BadArtefact, Diverged
from p2p.core.soundness import not_finite
from p2p.engine import Batch
from p2p.peer.rollout import Rollout
from p2p.policy.normaliser import Moments

if TYPE_CHECKING:
    from p2p.peer.peer import Peer

MEMORY = 10  # iterations within which a second roll-back means divergence
WIDE = 20.0  # nats: a log-std beyond it, either way, has run away
FORMAT = "p2p-dump-1"


class Safeguard:
    """Keeps the state that an iteration began with.

    Attributes:
        last: the iteration in which the peer went back last.
        samples: what of this iteration's samples is not finite; empty if all are.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.last = -MEMORY - 1
        self.keep()

    def keep(self) -> None:
        """Take the present state for the one to go back to."""
        peer = self.peer
        self.samples = ""
        self._batch: Batch | None = None
        self._engine, self._method = peer.engine.state(), peer.method.state()
        self._moments = peer.obs_moments.copy(), peer.return_moments.copy()

    def check_start(self) -> None:
        """Raise BadArtefact if the state that was loaded is not finite."""
        if why := not_finite(self._parts()):
            raise BadArtefact(f"the state of peer {self.peer.rank} cannot be used: {why}")

    def _parts(self) -> dict[str, Any]:
        """Return what is looked at: the state, but for that of the envs."""
        peer = self.peer
        return {
            **{f"engine.{name}": value for name, value in peer.engine.state().items()},
            **{f"method.{name}": value for name, value in peer.method.state().items()},
            "obs_moments": peer.obs_moments.to_vector(),
            "return_moments": peer.return_moments.to_vector(),
        }

    def shown_moments(self, rollout: Rollout) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the rollout's moments as `Sampler.new_moments` does; none, if not finite.

        Moments of a number that is not finite, or whose square is not, would stay in the
        normaliser of all peers for ever.
        """
        sampler = self.peer.sampler
        with np.errstate(over="ignore", invalid="ignore"):
            returns, obs = sampler.new_moments()
        self.samples = not_finite(
            {"observation": rollout.obs, "reward": rollout.reward, "action": rollout.action}
        )
        if not self.samples and not (np.isfinite(returns).all() and np.isfinite(obs).all()):
            self.samples = _largest({"observation": rollout.obs, "reward": rollout.reward})
        if self.samples:
            sampler.discounted[~np.isfinite(sampler.discounted)] = 0.0
            return np.zeros(len(returns) + len(obs))
        return np.concatenate((returns, obs))

    def merge(self, own: Moments, new: Moments) -> Moments:
        """Return both moments together; `own`, if they are too large for that.

        All peers merge the same numbers, and so come to the same conclusion.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            found = own.merged(new)
        return found if np.isfinite(found.to_vector()).all() else own

    def admit(self, batch: Batch) -> Batch:
        """Return the batch; if it is not finite, go back, and return it with zeros in its place.

        Methods may show samples to other peers.

        Raises:
            Diverged: it happened before, within the last iterations.
        """
        networks = {"actor": self.peer.engine.actor, "critic": self.peer.engine.critic}
        self._batch = batch
        if why := self.samples or not_finite(networks) or not_finite(batch._asdict()):
            self.go_back(why)
            return without_bad(batch)
        return batch

    def check_state(self, *, told: bool) -> None:
        """Go back if the state after an iteration is not finite.

        Args:
            told: the method says that it is not, here or in another peer.

        Raises:
            Diverged: it happened before, or what there is to go back to is not finite either.
        """
        why = not_finite(self._parts()) or (self.why_not_finite() if told else "")
        if why:
            self.go_back(why)
            if why := not_finite(self._parts()):
                raise self._diverged(why)

    def go_back(self, why: str) -> None:
        """Load the state that the iteration began with, and skip what is left of its updates.

        What a method holds, and the moments, only if they are not finite themselves: peers hold
        them alike.

        Raises:
            Diverged: it happened before, within the last iterations.
        """
        peer = self.peer
        if 0 < peer.iteration - self.last <= MEMORY:
            raise self._diverged(why)
        peer.engine.load_state(self._engine)
        if not_finite(peer.method.state()):
            peer.method.load_state(self._method)
        if not_finite({"obs": peer.obs_moments.to_vector()}):
            peer.obs_moments = self._moments[0]
        if not_finite({"returns": peer.return_moments.to_vector()}):
            peer.return_moments = self._moments[1]
        peer.method.skip_updates = True
        self.last = peer.iteration

    def why_not_finite(self) -> str:
        """Say why a step was not finite: what others showed, or what of the own state."""
        peer = self.peer
        if peer.method.blamed:
            return peer.method.blamed
        shown = peer.exchange.shown
        for rank in peer.exchange.others if shown is not None else ():
            assert shown is not None
            if shown.dtype.kind == "f" and not np.isfinite(shown[rank]).all():
                return f"what peer {rank} showed is not finite"
        if found := not_finite({"actor": peer.engine.actor, "critic": peer.engine.critic}):
            return found
        return "the gradient is not finite"

    def _diverged(self, why: str) -> Diverged:
        peer, before = self.peer, ""
        if 0 <= self.last < peer.iteration:
            before = f", the second time since iteration {self.last}"
        advice = f"learning rate, or look at the task and its domain ({peer.sampler.domain})"
        log_std = peer.engine.actor[-peer.engine.action_dim :]
        furthest = float(log_std[np.argmax(np.abs(log_std))])
        if abs(furthest) > WIDE:
            why += f" at a log-std of {furthest:.3g}, which ran away"
            advice = "learning rate" + " or the bonus for entropy" * (furthest > 0)
        return Diverged(
            f"peer {peer.rank} diverged in iteration {peer.iteration}: {why}{before}; "
            f"lower the {advice}",
            self._dump(why),
        )

    def _dump(self, why: str) -> bytes:
        """Return the state and the samples of this moment, as a safetensors file."""
        peer = self.peer
        arrays = {**self._parts(), **{f"begun.{name}": v for name, v in self._engine.items()}}
        if self._batch is not None:
            arrays |= {f"batch.{name}": v for name, v in self._batch._asdict().items()}
        told = {
            "format": FORMAT, "peer": peer.rank, "iteration": peer.iteration, "why": why,
            "before": self.last, "domain": str(peer.sampler.domain),
        }  # fmt: skip
        packed = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        data: bytes = safetensors.numpy.save(packed, {"p2p": json.dumps(told)})
        return data


def without_bad(batch: Batch) -> Batch:
    """Return the batch with zeros in place of what is not finite."""
    return Batch(*(np.where(np.isfinite(column), column, column.dtype.type(0)) for column in batch))


def _largest(arrays: dict[str, Any]) -> str:
    """Name the number furthest from 0."""
    found = {name: float(np.abs(array).max()) for name, array in arrays.items()}
    name = max(found, key=lambda one: found[one])
    return f"{name} of {found[name]:.3g}, too large for its variance"
