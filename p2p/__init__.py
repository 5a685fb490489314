"""Peer-to-peer distillation for domain-randomised reinforcement learning (P2PDRL).

import p2p

run = p2p.train(p2p.TrainConfig(task="hopper", num_peers=2, total_steps=200_000))
policy = p2p.load_policy(run.path)
action = policy.act(obs)
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

from p2p.registration import register_with_gymnasium

if TYPE_CHECKING:
    from p2p.api import load_policy, train
    from p2p.comparison.compare import compare
    from p2p.config import TrainConfig
    from p2p.domains import Domain, sample_domain
    from p2p.errors import P2PError
    from p2p.evaluation.evaluate import evaluate
    from p2p.evaluation.gradient_variance import grad_variance
    from p2p.evaluation.surface import measure_surface
    from p2p.policy import Policy
    from p2p.store import RunFolder

__all__ = [
    "Domain",
    "P2PError",
    "Policy",
    "RunFolder",
    "TrainConfig",
    "compare",
    "evaluate",
    "grad_variance",
    "load_policy",
    "measure_surface",
    "sample_domain",
    "train",
]
__version__ = metadata.version("p2p")
register_with_gymnasium()

_HOME = {
    "Domain": "domains",
    "P2PError": "errors",
    "Policy": "policy",
    "RunFolder": "store",
    "TrainConfig": "config",
    "compare": "comparison.compare",
    "evaluate": "evaluation.evaluate",
    "grad_variance": "evaluation.gradient_variance",
    "load_policy": "api",
    "measure_surface": "evaluation.surface",
    "sample_domain": "domains",
    "train": "api",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch takes seconds, `--help` must not."""
    if name not in _HOME:
        raise AttributeError(f"module 'p2p' has no attribute {name!r}")
    return getattr(import_module(f"p2p.{_HOME[name]}"), name)
