"""What a run starts from, if not from random parameters: `--init-from RUN|POLICY`."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p.core.config import TrainConfig
from p2p.core.errors import BadArtefact, P2PError, UsageError
from p2p.core.reading import DAMAGE
from p2p.policy.normaliser import Moments, Normaliser
from p2p.policy.parameters import critic_layout
from p2p.policy.policy import Policy
from p2p.runs.bundle import is_bundle
from p2p.runs.files import reachable, read_json
from p2p.runs.folder import RunFolder
from p2p.runs.policies import load_policy

State = dict[str, NDArray[Any]]


def initial_state(config: TrainConfig, obs_dim: int, action_dim: int) -> State | None:
    """Return what all peers start from, or None if nothing was given.

    The policy and its normaliser; from a run folder also critic and reward scale, of the peer with
    the highest final score.

    Args:
        obs_dim, action_dim: of the run's envs.

    Raises:
        UsageError: the policy has other shapes.
        BadArtefact: there is no policy, it is damaged, or it has changed since the run began.
    """
    if config.init_from is None:
        return None
    path = reachable(Path(config.init_from))
    peer, policy = _best_policy(path)
    shapes = {
        "observations": (policy.obs_dim, obs_dim),
        "actions": (policy.action_dim, action_dim),
        "hidden_sizes": (tuple(policy.hidden), tuple(config.hidden_sizes)),
    }
    for name, (had, needed) in shapes.items():
        if had != needed:
            raise UsageError(f"{path} has {name} {had}, this run has {needed}: they must agree")
    had_digest = config.source_sha256.get(str(path))
    if had_digest and had_digest != policy_sha256(path):
        raise BadArtefact(f"{path} has changed since this run began from it; restore it")
    state: State = {
        "engine.actor": policy.actor, "peer.obs_moments": moments_of(policy).to_vector()
    }  # fmt: skip
    return state | (_rest_of(path, peer, obs_dim, config) if path.is_dir() else {})


def policy_sha256(path: Path) -> str:
    """Return the hash of the policy at `path`, that of the best peer if it is a run."""
    _, policy = _best_policy(path)
    return hashlib.sha256(policy.to_bytes()).hexdigest()


def moments_of(policy: Policy) -> Moments:
    """Return observation moments whose normaliser is the policy's, of as many steps as it saw."""
    normaliser: Normaliser = policy.normaliser
    steps = policy.meta.get("settings", {}).get("steps") if policy.meta else None
    count = float(steps if isinstance(steps, int | float) and steps > 0 else 1e6)
    return Moments(count, normaliser.mean.copy(), normaliser.variance * count)


def _best_policy(path: Path) -> tuple[int, Policy]:
    """Return the peer of the highest final score with its policy, or a file's policy.

    The run's task may have changed since, or be another: that its settings no longer hold is no
    reason not to start from its policy.
    """
    if is_bundle(path):
        raise BadArtefact(f"{path} is a bundle, of which no training can start; name its run")
    if not path.is_dir():
        return 0, load_policy(path)
    peer = 0
    with suppress(P2PError, *DAMAGE):
        result = read_json(path / "result.json")
        peer = int(np.argmax([float(score["mean"]) for score in result["scores"]]))
    return peer, Policy.load(path / "policies" / f"peer-{peer}.safetensors")


def _rest_of(path: Path, peer: int, obs_dim: int, config: TrainConfig) -> State:
    """Return critic and reward scale as of the run's newest checkpoint, if they fit."""
    try:
        checkpoint = RunFolder.open(path).load_checkpoint()
    except P2PError:  # of a task that has changed: its critic knows another reward
        return {}
    if checkpoint is None:
        return {}
    names = ("engine.critic", "peer.return_moments")
    found = {n: checkpoint.tensors.get(f"peer{peer}.{n}") for n in names}
    size = critic_layout(obs_dim, config.hidden_sizes).size
    critic = found["engine.critic"]
    if critic is None or critic.shape != (size,) or found["peer.return_moments"] is None:
        return {}
    return {name: value for name, value in found.items() if value is not None}
