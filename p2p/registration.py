"""The ids under which Gymnasium knows the tasks; importing this loads no simulator."""

from __future__ import annotations

import gymnasium

IDS = {  # Gymnasium's own names and versions
    "p2p/Hopper-v5": "hopper",
    "p2p/Walker2d-v5": "walker2d",
    "p2p/HalfCheetah-v5": "halfcheetah",
    "p2p/Ant-v5": "ant",
    "p2p/Humanoid-v5": "humanoid",
}


def register_envs() -> None:
    """Make `gymnasium.make("p2p/Hopper-v5", eps=0.2)` work; a second call does nothing."""
    for env_id, task in IDS.items():
        if env_id not in gymnasium.registry:
            gymnasium.register(
                env_id,
                entry_point="p2p.gym_env:RandomisedEnv",
                max_episode_steps=1000,
                kwargs={"task": task},
            )
