"""How much a peer shows the others at once."""

from __future__ import annotations

from p2p.core.config import TrainConfig
from p2p.envs.build import build_envs
from p2p.methods import find_method
from p2p.peer.gradient_variance import measuring
from p2p.policy.parameters import actor_layout, critic_layout


def slot_bytes(config: TrainConfig) -> int:
    """Return the room that a peer's largest exchange takes, bytes."""
    envs = build_envs(config.task, 1, config.randomisation)
    actor = actor_layout(envs.obs_dim, config.hidden_sizes, envs.action_dim).size
    critic = critic_layout(envs.obs_dim, config.hidden_sizes).size
    moments = 8 * (5 + 1 + 2 * envs.obs_dim)
    batches = [config, measuring(config)] if config.grad_variance_every else [config]
    room_for = find_method(config.method).slot_bytes
    return max(moments, *(room_for(one, envs.obs_dim, actor, critic) for one in batches))


def ahead_bytes(config: TrainConfig) -> int:
    """Return the room that a peer's `Exchange.begin` takes where it travels ahead, bytes."""
    envs = build_envs(config.task, 1, config.randomisation)
    return 4 * actor_layout(envs.obs_dim, config.hidden_sizes, envs.action_dim).size
