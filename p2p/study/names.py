"""Names of a study's runs, and what identifies their settings."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import Any

from p2p.core.config import RECORDS, TrainConfig
from p2p.core.env_names import folder_part

SHORT = {"num_peers": "K", "learning_rate": "lr"}
# They tell nothing about a result; `final_episodes` says of how many episodes its score is.
NOT_HASHED = RECORDS - {"final_episodes"}


def config_hash(config: TrainConfig) -> str:
    """Return 12 hex digits that identify the settings that affect results."""
    settings = {k: v for k, v in config.settings.items() if k not in NOT_HASHED}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def run_name(config: TrainConfig, varying: tuple[str, ...]) -> str:
    """Return the name of a run's folder: `hopper-p2pdrl-lr=0.0003-seed=1`."""
    settings = [f"{SHORT.get(n, n)}={text_of(config.get(n))}" for n in (*varying, "seed")]
    return "-".join([folder_part(config.task), config.method, *settings])


def free_name(name: str, taken: set[str]) -> str:
    """Return `name`, or if it is taken the first of `name-v2`, `name-v3`, ... that is not."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-v{number}"
    return free


def is_value(text: str, value: Any) -> bool:
    """Say whether a text stands for the value of a setting: 1e-4 for 0.0001."""
    with suppress(ValueError):
        if isinstance(value, int | float) and float(text) == value:
            return True
    return text == text_of(value)


def text_of(value: Any) -> str:
    """Return the value of a setting as names show it: 64x64 for (64, 64)."""
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
