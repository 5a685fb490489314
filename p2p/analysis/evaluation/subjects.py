"""What is evaluated: the policies of a run, or a single policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from p2p.core import registry
from p2p.core.errors import BadArtefact, UsageError
from p2p.envs.domain_file import from_tables
from p2p.envs.randomisation import Randomisation, table_1
from p2p.envs.task import find_task
from p2p.policy.acting import ActingPolicy, MeanPolicy
from p2p.policy.exported import ExportedPolicy
from p2p.policy.policy import Policy
from p2p.runs import RunFolder
from p2p.runs.bundle import is_bundle, load_bundle
from p2p.runs.files import reachable
from p2p.runs.policies import load_policies, load_policy


@dataclass(frozen=True)
class Subject:
    """Policies that are scored together: those of one run.

    Attributes:
        path: where they come from, as shown.
        folder: where results are kept; None if nowhere.
        policies: one a peer, K of them.
        settings: all that tells the run from others of its task and method, except the seed.
        randomisation: what varied in training.
    """

    path: str
    folder: Path | None
    policies: tuple[ActingPolicy, ...]
    method: str
    seed: int
    settings: Mapping[str, Any]
    randomisation: Randomisation = field(default_factory=table_1)

    @property
    def task(self) -> str:
        """Name of the policies' task."""
        return self.policies[0].task

    @property
    def peers(self) -> tuple[int, ...]:
        """Ranks of the peers that the policies belong to, [K]."""
        return tuple(int(p.meta.get("peer", k)) for k, p in enumerate(self.policies))


Loose = Policy | MeanPolicy | ExportedPolicy
Given = str | Path | RunFolder | Loose | Subject


def load_subjects(given: Iterable[Given], *, best: bool = False) -> list[Subject]:
    """Load run folders, policy files, bundles and policies, each once; subjects pass through.

    Args:
        best: of run folders take the policies that did best in held-out domains while they trained.

    Raises:
        UsageError: nothing is given.
        BadArtefact: a path holds no run or policy, is damaged, or cannot be reached.
    """
    subjects: dict[Any, Subject] = {}
    for item in given:
        if isinstance(item, Subject):
            subjects[id(item)] = item
            continue
        if isinstance(item, Loose):
            subjects[id(item)] = _loose(item, "policy")
            continue
        path = reachable(Path(item))
        if path.resolve() not in subjects:
            subjects[path.resolve()] = _of_path(path, best)
    if not subjects:
        raise UsageError("nothing to evaluate: name a run folder or a policy file")
    return list(subjects.values())


def _of_path(path: Path, best: bool) -> Subject:
    if is_bundle(path):
        return _loose(load_bundle(path), str(path))
    return _loose(load_policy(path), str(path)) if path.is_file() else _whole(path, best)


def _whole(path: Path, best: bool) -> Subject:
    run = RunFolder.open(path)
    last = of_run(run, load_policies(run))
    if not best:
        return last
    kept = tuple(load_policy(path, rank, best=True) for rank in range(run.config.num_peers))
    return replace(last, policies=kept, settings={**last.settings, "policies": "best"})


def of_run(run: RunFolder, policies: tuple[ActingPolicy, ...]) -> Subject:
    """Return a subject of `policies` that is tested, and kept, as the run's own policies are."""
    path, config = run.path, run.config
    iterations = min(policy.meta.get("iterations", config.num_iterations) for policy in policies)
    settings = config.identity(iterations * config.steps_per_iteration)
    return Subject(
        str(path), path, policies, config.method, config.seed, settings, config.randomisation
    )


def _loose(policy: ActingPolicy, path: str) -> Subject:
    """Return a policy as a subject that is tested, and grouped, as its run is.

    A file that does not say how it was trained is a group of its own.
    """
    meta = policy.meta
    method, seed = str(meta.get("method", "unknown")), int(meta.get("seed", 0))
    settings = meta.get("settings")
    if settings is None:
        settings = {"file": path}
        return Subject(path, None, (policy,), method, seed, settings, _default(policy))
    try:
        had = settings.get("source_sha256", {}).get(policy.task)
        how = settings["initial_position"], settings["mass_randomisation"]
        tables = settings.get("randomise")
        varied = _default(policy, *how) if tables is None else from_tables(tables, path)
    except (KeyError, TypeError, AttributeError, UsageError) as error:
        raise BadArtefact(f"{path} is damaged: its settings lack {error}") from None
    found = registry.sha256("task", policy.task)
    if had and found and had != found:
        raise BadArtefact(
            f"task {policy.task} has changed since {path} was trained: its source has SHA-256 "
            f"{found[:12]}, not {had[:12]}; restore it"
        )
    return Subject(path, None, (policy,), method, seed, settings, varied)


def _default(policy: ActingPolicy, *how: str) -> Randomisation:
    """Return what varied in training if no domains file was given."""
    return find_task(policy.task).default_randomisation(*how)


def digest(policy: ActingPolicy) -> str:
    """Return the SHA-256 of all that determines a policy's actions."""
    return policy.digest()
