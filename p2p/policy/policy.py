"""The policy: a diagonal Gaussian whose parameters lie in one flat vector.

Actor and critic are tanh MLPs. Their parameters are one flat float32 vector each, with
views of it as weights: what is exchanged, clipped, averaged, optimised and saved is
always the whole vector. The observation normaliser is part of the policy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import save

from p2p.core.errors import BadArtefact, UsageError

FORMAT = "p2p-policy-1"
VARIANCE_FLOOR = 1e-8  # added to a variance before its root
CONSTANT = 1e-6  # of 1 + |mean|: an input whose std is no larger has not varied, but for rounding

Floats = NDArray[np.float32]


class Layout(NamedTuple):
    """Where each array of a network lies in its flat vector, in order."""

    shapes: dict[str, tuple[int, ...]]

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def views(self, flat: Any) -> dict[str, Any]:
        """Return views of `flat` [size], a numpy array or a tensor, by name."""
        out, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + math.prod(shape)
            out[name] = flat[start:stop].reshape(shape)
            start = stop
        return out


def mlp_layout(inputs: int, hidden: tuple[int, int], outputs: int) -> Layout:
    """Return the layout of a two-layer MLP; weights are [out, in], as in torch."""
    h1, h2 = hidden
    return Layout(
        {"w1": (h1, inputs), "b1": (h1,), "w2": (h2, h1), "b2": (h2,)}
        | {"w3": (outputs, h2), "b3": (outputs,)}
    )


def actor_layout(obs_dim: int, hidden: tuple[int, int], action_dim: int) -> Layout:
    """Return the actor's layout: an MLP for the mean, then the log-std [A]."""
    mlp = mlp_layout(obs_dim, hidden, action_dim)
    return Layout(mlp.shapes | {"log_std": (action_dim,)})


def critic_layout(obs_dim: int, hidden: tuple[int, int]) -> Layout:
    """Return the critic's layout."""
    return mlp_layout(obs_dim, hidden, 1)


def init_parameters(
    layout: Layout, head_gain: float, log_std: float, rng: np.random.Generator
) -> Floats:
    """Draw initial parameters: orthogonal, gain sqrt 2, `head_gain` in the last layer.

    Returns:
        Flat vector [layout.size].
    """
    import torch  # slow to import, and nobody who loads a policy needs it

    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    flat = np.zeros(layout.size, np.float32)
    for name, view in layout.views(flat).items():
        if name.startswith("w"):
            gain = head_gain if name == "w3" else math.sqrt(2)
            torch.nn.init.orthogonal_(torch.from_numpy(view), gain, generator=generator)
        elif name == "log_std":
            view[:] = log_std
    return flat


@dataclass
class Moments:
    """Count, mean and sum of squared deviations of a stream of vectors [n], float64."""

    count: float
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]

    @classmethod
    def zeros(cls, size: int) -> Moments:
        """Return the moments of nothing."""
        return cls(0.0, np.zeros(size), np.zeros(size))

    @classmethod
    def of(cls, samples: NDArray[np.float64]) -> Moments:
        """Return the moments of `samples` [S, n]."""
        mean = samples.mean(axis=0)
        return cls(float(len(samples)), mean, np.square(samples - mean).sum(axis=0))

    def merged(self, other: Moments) -> Moments:
        """Return the moments of both streams together (Chan et al. 1979)."""
        count = self.count + other.count
        if count == 0:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        m2 = self.m2 + other.m2 + np.square(delta) * (self.count * other.count / count)
        return Moments(count, mean, m2)

    @property
    def variance(self) -> NDArray[np.float64]:
        """Population variance [n]; 1 before the first sample."""
        return self.m2 / self.count if self.count else np.ones_like(self.mean)

    def to_vector(self) -> NDArray[np.float64]:
        """Return `[count, *mean, *m2]`, [1 + 2n]."""
        return np.concatenate(([self.count], self.mean, self.m2))

    @classmethod
    def from_vector(cls, vector: NDArray[np.float64]) -> Moments:
        """Return the moments that `to_vector` wrote."""
        half = len(vector) // 2
        return cls(float(vector[0]), vector[1 : 1 + half].copy(), vector[1 + half :].copy())


class Normaliser(NamedTuple):
    """Maps an observation to `clip((obs - mean) * inv_std, -limit, limit)`, float32.

    An input that has not varied is frozen: its `inv_std` is 0, and the policy takes it for its
    mean whatever it is. To divide by its std, however floored, would amplify the first
    millimetre that it moves: the policy has learned nothing of it.
    """

    mean: NDArray[np.float64]
    inv_std: NDArray[np.float64]
    limit: float

    @classmethod
    def of(cls, moments: Moments, limit: float, enabled: bool = True) -> Normaliser:
        """Return the normaliser of `moments`; the identity (bar the clip) if disabled."""
        if not enabled:
            return cls(np.zeros_like(moments.mean), np.ones_like(moments.mean), limit)
        inv_std = _unless_constant(
            moments.mean, moments.variance, 1.0 / np.sqrt(moments.variance + VARIANCE_FLOOR)
        )
        return cls(moments.mean, inv_std, limit)

    def freezing_constants(self) -> Normaliser:
        """Return it as `of` would have made it: earlier versions froze nothing."""
        active = self.inv_std > 0
        variance = np.square(1.0 / np.where(active, self.inv_std, np.inf)) - VARIANCE_FLOOR
        return self._replace(inv_std=_unless_constant(self.mean, variance, self.inv_std))

    def __call__(self, obs: NDArray[np.float64]) -> Floats:
        """Normalise `obs` [..., n] in float64 and return float32."""
        scaled = np.subtract(obs, self.mean)
        scaled *= self.inv_std
        return np.clip(scaled, -self.limit, self.limit, out=scaled).astype(np.float32)


def _unless_constant(
    mean: NDArray[np.float64], variance: NDArray[np.float64], inv_std: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return `inv_std`, or 0 where the variance is that of a constant input."""
    return np.where(variance > np.square(CONSTANT * (1.0 + np.abs(mean))), inv_std, 0.0)


class Policy:
    """A trained policy for use: takes raw observations, gives actions. Needs no torch.

    Attributes:
        task: name of the task it was trained on.
        actor: flat parameters [n], laid out as in `actor_layout`.
        normaliser: its observation normaliser.
        low, high: [A], bounds that actions are clipped to.
        meta: what else is known of its training.
    """

    def __init__(
        self,
        task: str,
        actor: Floats,
        hidden: tuple[int, int],
        normaliser: Normaliser,
        low: Floats,
        high: Floats,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        self.task, self.actor, self.hidden = task, actor, hidden
        self.normaliser, self.low, self.high = normaliser, low, high
        self.meta = dict(meta or {})
        self._net = actor_layout(len(normaliser.mean), hidden, len(low)).views(actor)

    @property
    def obs_dim(self) -> int:
        """Length of an observation."""
        return len(self.normaliser.mean)

    @property
    def action_dim(self) -> int:
        """A, the length of an action."""
        return len(self.low)

    def act(
        self,
        obs: ArrayLike,
        deterministic: bool = True,
        rng: np.random.Generator | None = None,
        noise: Floats | None = None,
    ) -> Floats:
        """Return the action for raw observations, clipped to the action bounds.

        Each row of a batch gets the bits that it would get alone.

        Args:
            obs: one observation [n], or a batch [B, n].
            deterministic: take the mean; else sample.
            rng: stream to sample from (default: a fresh, unseeded one).
            noise: standard normal, [A] or [B, A], to sample with instead of drawing it.

        Returns:
            [A] or [B, A], float32.

        Raises:
            UsageError: the last axis is not `obs_dim` long.
        """
        raw = np.asarray(obs, np.float64)
        if raw.ndim not in (1, 2) or raw.shape[-1] != self.obs_dim:
            raise UsageError(
                f"policy for {self.task} takes observations [{self.obs_dim}] or "
                f"[B, {self.obs_dim}], got {list(raw.shape)}"
            )
        # One product a row: BLAS orders the sums of a product by its size.
        net, h = self._net, self.normaliser(raw)[..., None, :]
        for i in (1, 2):
            h = np.tanh(h @ net[f"w{i}"].T + net[f"b{i}"])
        action = (h @ net["w3"].T + net["b3"])[..., 0, :]
        if not deterministic:
            if noise is None:
                rng = rng or np.random.default_rng()
                noise = rng.standard_normal(action.shape, np.float32)
            action = action + np.exp(net["log_std"]) * noise
        clipped: Floats = np.clip(action, self.low, self.high)
        return clipped

    def under(self, normaliser: Normaliser) -> Policy:
        """Return the policy that acts as this one does, with its observations normalised anew.

        The first layer takes up the difference. Actions differ by float32 rounding alone for
        observations that neither normaliser clips, nor the new one freezes; under its own
        normaliser a policy keeps its parameters bit for bit.
        """
        own = self.normaliser
        flat = self.actor.copy()
        net = actor_layout(self.obs_dim, self.hidden, self.action_dim).views(flat)
        weight = net["w1"].astype(np.float64)
        net["b1"] += weight @ ((normaliser.mean - own.mean) * own.inv_std)
        active = normaliser.inv_std > 0
        scale = own.inv_std / np.where(active, normaliser.inv_std, 1.0)
        net["w1"][:] = weight * np.where(active, scale, own.inv_std == 0)
        return self.with_actor(flat, normaliser)

    def with_actor(self, actor: Floats, normaliser: Normaliser, **meta: Any) -> Policy:
        """Return a policy of the same shape and task with other parameters."""
        meta = {**self.meta, **meta}
        return Policy(self.task, actor, self.hidden, normaliser, self.low, self.high, meta)

    def to_bytes(self) -> bytes:
        """Return the artefact: safetensors, everything that `act` needs in one file."""
        tensors = {
            "actor": self.actor,
            "obs_mean": self.normaliser.mean,
            "obs_inv_std": self.normaliser.inv_std,
            "action_low": self.low,
            "action_high": self.high,
        }
        head = {"task": self.task, "hidden": self.hidden, "obs_clip": self.normaliser.limit}
        # One key: safetensors writes several in an order that differs from call to call.
        meta = {"p2p": json.dumps({"format": FORMAT, "policy": {**self.meta, **head}})}
        return save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, meta)

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Read a policy file.

        Raises:
            BadArtefact: the file is missing, damaged, or no policy of p2p.
        """
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                meta = _metadata(file.metadata() or {})
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if meta.get("format") != FORMAT:
                raise BadArtefact(f"{path} is no p2p policy (format {meta.get('format')!r})")
            head = meta["policy"]
            normaliser = Normaliser(tensors["obs_mean"], tensors["obs_inv_std"], head["obs_clip"])
            bounds = tensors["action_low"], tensors["action_high"]
            hidden = (int(head["hidden"][0]), int(head["hidden"][1]))
            task, actor = head["task"], tensors["actor"]
            return cls(task, actor, hidden, normaliser.freezing_constants(), *bounds, head)
        except (OSError, safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
            raise BadArtefact(
                f"{path} cannot be read as a policy ({error}); "
                "give a run folder or a .safetensors file under its policies/"
            ) from None


def _metadata(found: Mapping[str, str]) -> dict[str, Any]:
    """Return the format and the policy's description; earlier versions wrote a key for each."""
    if "p2p" in found:
        meta: dict[str, Any] = json.loads(found["p2p"])
        return meta
    return {k: json.loads(v) if k == "policy" else v for k, v in found.items()}
