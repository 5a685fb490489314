"""Peer-to-peer distillation for domain-randomised reinforcement learning (P2PDRL).

    import p2p

    config = p2p.TrainConfig(task="hopper", num_peers=2, total_steps=200_000)
    run = p2p.train(config, report=print)           # a process each; returns the run folder
    run = p2p.resume(run.path, total_steps=400_000) # bit for bit as if it had not stopped
    policy = p2p.load_policy(run.path)              # needs neither torch nor MuJoCo
    action = policy.act(obs)
    found = p2p.evaluate(run, [0.0, 0.5, 1.0])      # in domains that it was not trained in

Train and look: `TrainConfig`, `train`, `resume`, what `report` is told (`Started`, `Iterated`,
`Checkpointed`, `Noted`, `Finished`), `RunFolder`. Policies: `load_policy`, `Policy`,
`export_policy`. Analyses: `evaluate`, `compare`, `measure_surface`, `grad_variance`, `make_film`.
Robots and domains: `task`, `build_envs`, `Domain`, `Randomisation`, `sample_domain`. Code of your
own: `Task`, `Servo`, `term`, `Method`, `MethodSettings`, `Penalty`, `register`. Every error that
you can act on is a `P2PError`.

Importing p2p imports nothing else: each name brings what it needs when it is first used.
docs/library.md is a tour.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own takes a while to import; type checkers know the name

if TYPE_CHECKING:
    from typing import Any

    from p2p.analysis.comparison.compare import compare
    from p2p.analysis.evaluation.session import evaluate
    from p2p.analysis.gradient_variance.session import grad_variance
    from p2p.analysis.surface.measure import measure_surface
    from p2p.cohort.api import resume, train
    from p2p.cohort.events import Checkpointed, Finished, Iterated, Noted, Started
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

    __version__: str

__all__ = [
    "Checkpointed",
    "Domain",
    "Finished",
    "Iterated",
    "Method",
    "MethodSettings",
    "Noted",
    "P2PError",
    "Penalty",
    "Policy",
    "Randomisation",
    "RunFolder",
    "Servo",
    "Started",
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
    "resume",
    "sample_domain",
    "task",
    "term",
    "train",
]

_HOME = {
    "Checkpointed": "cohort.events",
    "Domain": "envs.domain",
    "Finished": "cohort.events",
    "Iterated": "cohort.events",
    "Method": "methods",
    "MethodSettings": "methods.base",
    "Noted": "cohort.events",
    "Penalty": "engine",
    "Servo": "envs.task",
    "Started": "cohort.events",
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
    "resume": "cohort.api",
    "sample_domain": "envs.randomisation",
    "task": "envs.task:find_task",
    "term": "envs.terms",
    "train": "cohort.api",
}


if not TYPE_CHECKING:  # else a misspelt name would be any name

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used: torch takes seconds, `--help` must not."""
        if name == "__version__":
            from p2p.core.version import p2p_version

            return p2p_version()
        if name not in _HOME:
            raise AttributeError(f"module 'p2p' has no attribute {name!r}")
        from importlib import import_module

        module, _, attribute = _HOME[name].partition(":")
        return getattr(import_module(f"p2p.{module}"), attribute or name)


def __dir__() -> list[str]:
    """Return the public names, and what every module has."""
    own = [name for name in globals() if name.startswith("__") and name.endswith("__")]
    return sorted({*own, *__all__, "__version__"})


def _register() -> None:
    from p2p.core.registration import register_with_gymnasium

    register_with_gymnasium()


_register()
