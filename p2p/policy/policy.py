"""The trained policy as an artefact: a diagonal Gaussian with its observation normaliser."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import ArrayLike

from p2p.core.errors import BadArtefact, UsageError
from p2p.core.reading import DAMAGE, parse_json, read_bytes
from p2p.policy.normaliser import Normaliser
from p2p.policy.parameters import Floats, actor_layout

FORMAT = "p2p-policy-1"


class Policy:
    """A trained policy: maps raw observations to actions. Needs neither torch nor MuJoCo.

        policy = p2p.load_policy("runs/hopper-p2pdrl-260101-120000", peer=1)
        action = policy.act(obs)

    Attributes:
        task: name of the task it was trained on.
        actor: flat parameters [n], laid out as in `actor_layout`.
        normaliser: of its observations.
        low, high: [A], bounds that actions are clipped to.
        meta: further facts about its training.
        weights: the arrays of `actor` by name, as in `actor_layout`.
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
        self.weights = actor_layout(len(normaliser.mean), hidden, len(low)).views(actor)

    def __repr__(self) -> str:
        meta, shape = self.meta, "x".join(map(str, self.hidden))
        known = [str(meta["method"])] if "method" in meta else []
        known += [f"{name} {meta[name]}" for name in ("seed", "peer") if name in meta]
        known += [f"{meta['iterations']:,} iterations"] if "iterations" in meta else []
        parts = [f"{self.obs_dim} observations to {self.action_dim} actions", f"hidden {shape}"]
        return f"<policy for {self.task}: {', '.join([*parts, *known])}>"

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

        An action is bit-identical whether its observation comes alone or in a batch.

        Args:
            obs: one observation [n], or a batch [B, n].
            deterministic: return the mean; else sample.
            rng: stream to sample from (default: a fresh, unseeded one).
            noise: standard normal, [A] or [B, A], to sample with instead of drawing it.

        Returns:
            [A] or [B, A], float32.

        Raises:
            UsageError: the last axis is not `obs_dim` long.
        """
        if isinstance(obs, Mapping):
            raise UsageError(
                f"policy for {self.task} takes observations as one array [{self.obs_dim}], got a "
                f"dict of {', '.join(map(str, obs))}; flatten it (gymnasium's FlattenObservation)"
            )
        raw = np.asarray(obs, np.float64)
        if raw.ndim not in (1, 2) or raw.shape[-1] != self.obs_dim:
            raise UsageError(
                f"policy for {self.task} takes observations [{self.obs_dim}] or "
                f"[B, {self.obs_dim}], got {list(raw.shape)}"
            )
        # One product per row: BLAS orders the sums of a product by its size.
        net, h = self.weights, self.normaliser(raw)[..., None, :]
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

    def predict(
        self,
        observation: ArrayLike,
        state: None = None,
        episode_start: ArrayLike | None = None,
        deterministic: bool = True,
    ) -> tuple[Floats, None]:
        """Return `(action, None)`: `act`, as users of Stable-Baselines3 type it.

            action, _ = policy.predict(obs, deterministic=True)

        Args:
            observation: one observation [n], or a batch [B, n], raw.
            state, episode_start: of recurrent policies; not looked at.
            deterministic: return the mean, which is what p2p scores (SB3's default is to sample).

        Raises:
            UsageError: it has another shape, or is a dict.
        """
        return self.act(observation, deterministic), None

    def under(self, normaliser: Normaliser) -> Policy:
        """Return a policy that acts as this one does, with `normaliser` in place of its own.

        The first layer absorbs the difference. Actions differ only by float32 rounding, for
        observations that neither normaliser clips and the new one does not freeze. With its own
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

    def digest(self) -> str:
        """Return the SHA-256 of all that determines its actions."""
        normaliser = self.normaliser
        hashed = hashlib.sha256(repr((self.task, self.hidden, normaliser.limit)).encode())
        for part in (self.actor, normaliser.mean, normaliser.inv_std, self.low, self.high):
            hashed.update(np.ascontiguousarray(part).tobytes())
        return hashed.hexdigest()

    def to_bytes(self) -> bytes:
        """Return the artefact: a safetensors file with everything that `act` needs."""
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
        return safetensors.numpy.save(
            {k: np.ascontiguousarray(v) for k, v in tensors.items()}, meta
        )

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Read a policy file.

        Raises:
            BadArtefact: the file is missing, damaged, or not a policy of p2p.
        """
        try:
            data = read_bytes(path)
        except OSError as error:
            raise BadArtefact(_unreadable(path, error)) from None
        return cls.from_bytes(data, path)

    @classmethod
    def from_bytes(cls, data: bytes, path: Path) -> Policy:
        """Return the policy that `to_bytes` wrote.

        Args:
            path: of the file that held it, for messages.

        Raises:
            BadArtefact: damaged, or not a policy of p2p.
        """
        try:
            tensors = safetensors.numpy.load(data)
            meta = _metadata(data)
            if meta.get("format") != FORMAT:
                raise BadArtefact(f"{path} is not a p2p policy (format {meta.get('format')!r})")
            head = meta["policy"]
            _check_contents(tensors, head)
            normaliser = Normaliser(tensors["obs_mean"], tensors["obs_inv_std"], head["obs_clip"])
            bounds = tensors["action_low"], tensors["action_high"]
            hidden = (int(head["hidden"][0]), int(head["hidden"][1]))
            return cls(
                head["task"],
                tensors["actor"],
                hidden,
                normaliser.freezing_constants(),
                *bounds,
                head,
            )
        except (safetensors.SafetensorError, *DAMAGE) as error:
            raise BadArtefact(_unreadable(path, error)) from None


def _check_contents(tensors: Mapping[str, Any], head: Mapping[str, Any]) -> None:
    """Raise ValueError for what is not of the kind or the shape that `to_bytes` writes."""
    kinds = {"task": str, "method": str, "settings": dict, "seed": int, "peer": int,
             "iterations": int}  # fmt: skip
    for name, kind in kinds.items():
        if name in head and type(head[name]) is not kind:
            raise ValueError(f"{name} is {head[name]!r:.50}")
    hidden, clip = head["hidden"], head["obs_clip"]
    if len(hidden) != 2 or not all(type(size) is int and size > 0 for size in hidden):
        raise ValueError(f"hidden is {hidden!r:.50}")
    if type(clip) not in (int, float) or not clip > 0:
        raise ValueError(f"obs_clip is {clip!r:.50}")
    mean, low = tensors["obs_mean"], tensors["action_low"]
    size = actor_layout(mean.size, (hidden[0], hidden[1]), low.size).size
    shapes = {
        "actor": (np.float32, (size,)), "obs_mean": (np.float64, (mean.size,)),
        "obs_inv_std": (np.float64, (mean.size,)), "action_low": (np.float32, (low.size,)),
        "action_high": (np.float32, (low.size,)),
    }  # fmt: skip
    for name, (dtype, shape) in shapes.items():
        found = tensors[name]
        if found.dtype != dtype or found.shape != shape:
            raise ValueError(
                f"{name} is {found.dtype} {found.shape}, not {np.dtype(dtype)} {shape}"
            )
        bad = np.isnan(found) if name.startswith("action") else ~np.isfinite(found)
        if bad.any():
            raise ValueError(f"{name} is not finite")


def _unreadable(path: Path, error: Exception) -> str:
    return (
        f"{path} cannot be read as a policy ({error}); "
        "give a run folder or a .safetensors file under its policies/"
    )


def _metadata(data: bytes) -> dict[str, Any]:
    """Return format and description; earlier versions wrote them as two keys."""
    length = int.from_bytes(data[:8], "little")
    found = parse_json(data[8 : 8 + length]).get("__metadata__", {})
    if "p2p" not in found:
        return {k: parse_json(v) if k == "policy" else v for k, v in found.items()}
    meta: dict[str, Any] = parse_json(found["p2p"])
    return meta
