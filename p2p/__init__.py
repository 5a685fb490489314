"""Peer-to-peer distillation for domain-randomised reinforcement learning (P2PDRL).

import p2p

run = p2p.train(p2p.TrainConfig(task="hopper", num_peers=2, total_steps=200_000))
policy = p2p.load_policy(run.path)
action = policy.act(obs)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from p2p.core.registration import register_with_gymnasium
from p2p.core.version import p2p_version

if TYPE_CHECKING:
    from p2p.analysis.comparison.compare import compare
    from p2p.analysis.evaluation.session import evaluate
    from p2p.analysis.gradient_variance.session import grad_variance
    from p2p.analysis.surface.measure import measure_surface
    from p2p.cohort.api import train
    from p2p.core.config import TrainConfig
    from p2p.core.errors import P2PError
    from p2p.core.registry import add as register
    from p2p.engine import Penalty
    from p2p.envs.build import build_envs
    from p2p.envs.domain import Domain
    from p2p.envs.randomisation import Randomisation, sample_domain
    from p2p.envs.task import Servo, Task
    from p2p.envs.task import find_task as task
    from p2p.envs.terms import term
    from p2p.export.bundle import export_policy
    from p2p.film import make_film
    from p2p.methods import Method
    from p2p.methods.base import MethodSettings
    from p2p.policy.policy import Policy
    from p2p.runs import RunFolder
    from p2p.runs.bundle import load_policy_or_bundle as load_policy

__all__ = [
    "Domain",
    "Method",
    "MethodSettings",
    "P2PError",
    "Penalty",
    "Policy",
    "Randomisation",
    "RunFolder",
    "Servo",
    "Task",
    "TrainConfig",
    "build_envs",
    "compare",
    "evaluate",
    "export_policy",
    "grad_variance",
    "load_policy",
    "make_film",
    "measure_surface",
    "register",
    "sample_domain",
    "task",
    "term",
    "train",
]
__version__ = p2p_version()
register_with_gymnasium()

_HOME = {
    "Domain": "envs.domain",
    "Method": "methods",
    "MethodSettings": "methods.base",
    "Penalty": "engine",
    "Servo": "envs.task",
    "Task": "envs.task",
    "register": "core.registry:add",
    "P2PError": "core.errors",
    "Policy": "policy.policy",
    "Randomisation": "envs.randomisation",
    "RunFolder": "runs",
    "TrainConfig": "core.config",
    "build_envs": "envs.build",
    "compare": "analysis.comparison.compare",
    "evaluate": "analysis.evaluation.session",
    "export_policy": "export.bundle",
    "grad_variance": "analysis.gradient_variance.session",
    "load_policy": "runs.bundle:load_policy_or_bundle",
    "make_film": "film",
    "measure_surface": "analysis.surface.measure",
    "sample_domain": "envs.randomisation",
    "task": "envs.task:find_task",
    "term": "envs.terms",
    "train": "cohort.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch takes seconds, `--help` must not."""
    if name not in _HOME:
        raise AttributeError(f"module 'p2p' has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    return getattr(import_module(f"p2p.{module}"), attribute or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
