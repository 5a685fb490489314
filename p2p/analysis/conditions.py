"""What a kept result depends on besides its policy or checkpoint: settings and versions."""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any

from p2p.core.version import p2p_version


def simulated_by() -> dict[str, str]:
    """Return the versions that a simulation's result may depend on."""
    return {"p2p": p2p_version(), "mujoco": metadata.version("mujoco")}


def condition(**settings: Any) -> str:
    """Return settings and versions as a text, equal for equal ones, to be part of a key."""
    return json.dumps({**settings, **simulated_by()}, sort_keys=True)
