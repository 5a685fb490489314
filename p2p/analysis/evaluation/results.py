"""Returns of trained policies in test domains, and statistics of them.

Seeds are the unit: peers and domains are averaged within a seed, and a confidence interval is
one over seeds. A single run has none: its spread over domains says how much the domain
matters, and nothing about another seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2p.analysis.evaluation.config import EvalConfig
from p2p.analysis.evaluation.domain_sets import DomainSet
from p2p.analysis.groups import group_runs
from p2p.analysis.statistics import mean_interval

WORST = 0.1  # share of the domains that the worst decile averages over


class Performance(NamedTuple):
    """How a policy does in a set of domains, or a run's K policies on average.

    Attributes:
        mean: undiscounted return, mean over peers, domains and episodes.
        spread: population std over domains of the mean return in each; no confidence interval.
        worst: mean return in the worst decile of the domains (CVaR 10%), averaged over peers:
            each has worst domains of its own.
        length: mean episode length, steps.
        falls: share of the episodes that terminated.
        unstable: number of episodes in which the physics diverged; they count as falls.
    """

    mean: float
    spread: float
    worst: float
    length: float
    falls: float
    unstable: int


@dataclass(frozen=True)
class Measured:
    """What K policies did in D domains, E episodes in each.

    Attributes:
        set: the domains.
        episode_return: [K, D, E] float64, undiscounted.
        length: [K, D, E] int64, steps.
        terminated, unstable: [K, D, E] bool.
    """

    set: DomainSet
    episode_return: NDArray[np.float64]
    length: NDArray[np.int64]
    terminated: NDArray[np.bool_]
    unstable: NDArray[np.bool_]

    @property
    def peers(self) -> list[Performance]:
        """Return how each peer's policy does, [K]."""
        return [self._performance(slice(k, k + 1)) for k in range(len(self.episode_return))]

    @property
    def score(self) -> Performance:
        """Return the mean over the K policies, which is the method's score for this seed."""
        return self._performance(slice(None))

    @property
    def by_domain(self) -> NDArray[np.float64]:
        """Return the mean return in each domain over peers and episodes, [D]."""
        means: NDArray[np.float64] = self.episode_return.mean(axis=(0, 2))
        return means

    def _performance(self, peers: slice) -> Performance:
        returns = self.episode_return[peers]
        domains = returns.mean(axis=2)
        return Performance(
            float(returns.mean()),
            float(domains.mean(axis=0).std()),
            float(np.mean([worst_mean(row) for row in domains])),
            float(self.length[peers].mean()),
            float(self.terminated[peers].mean()),
            int(self.unstable[peers].sum()),
        )


@dataclass(frozen=True)
class EvaluatedRun:
    """One run's policies.

    Attributes:
        path: of the run folder or policy file.
        task, method, seed: of the run.
        peers: ranks of its policies, K of them.
        settings: all that tells it from other runs of its task, except the seed.
        measured: one for each set of domains.
    """

    __test__ = False  # no test of pytest's

    path: str
    task: str
    method: str
    seed: int
    peers: tuple[int, ...]
    settings: Mapping[str, Any]
    measured: tuple[Measured, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        names = ("path", "task", "method", "seed", "settings")
        described = {name: getattr(self, name) for name in names}
        return {**described, "sets": [self._set_as_dict(measured) for measured in self.measured]}

    def _set_as_dict(self, measured: Measured) -> dict[str, Any]:
        one = measured.set
        peers = zip(self.peers, measured.peers, strict=True)
        rows = zip(one.domains, measured.episode_return.mean(axis=2).T, strict=True)
        return {
            "set": one.name,
            "eps_te": one.eps,
            "hash": one.hash,
            "axes": [asdict(axis) for axis in one.axes],
            "score": measured.score._asdict(),
            "peers": [{"peer": rank, **score._asdict()} for rank, score in peers],
            "domains": [{"domain": str(d), "return_by_peer": r.tolist()} for d, r in rows],
        }


class MethodScore(NamedTuple):
    """How a method does in a set of domains, over seeds.

    Attributes:
        label: the method, and what tells it from the other groups.
        set: name of the set, `hash`: of its domains.
        seeds: in order.
        mean, worst, length, falls: means over seeds of what `Performance` has.
        mean_ci, worst_ci: Student's t interval over seeds, 95%; None for one seed.
    """

    task: str
    label: str
    set: str
    hash: str
    seeds: tuple[int, ...]
    mean: float
    mean_ci: tuple[float, float] | None
    worst: float
    worst_ci: tuple[float, float] | None
    length: float
    falls: float


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        config: in what was tested.
        runs: in the order given.
        episodes, steps, seconds: what it took now.
        reused: episodes that had been run before.
    """

    config: EvalConfig
    runs: tuple[EvaluatedRun, ...]
    episodes: int
    steps: int
    seconds: float
    reused: int

    @property
    def score(self) -> Performance:
        """Return how the first run does in the first set of domains, over its peers."""
        return self.runs[0].measured[0].score

    @property
    def methods(self) -> list[MethodScore]:
        """Return each method's score over its seeds."""
        return score_methods(self.runs)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        cost = {name: getattr(self, name) for name in ("episodes", "steps", "seconds", "reused")}
        return {
            "config": self.config.model_dump(mode="json"),
            "runs": [run.to_dict() for run in self.runs],
            "methods": [score._asdict() for score in self.methods],
            **cost,
        }


def worst_mean(values: NDArray[np.float64], share: float = WORST) -> float:
    """Return the mean of the lowest `share` of `values` [D] (CVaR).

    Where that is no whole number of values, the last one counts for the fraction.
    """
    weight = np.clip(share * len(values) - np.arange(len(values)), 0.0, 1.0)
    return float(np.sort(values) @ weight / weight.sum())


def score_methods(runs: Iterable[EvaluatedRun]) -> list[MethodScore]:
    """Group runs that differ in their seed alone, and score each group in each set.

    Runs of one group and seed are averaged first: they count as one observation.
    """
    return [score for label, group in group_runs(runs) for score in _score_group(label, group)]


def _score_group(label: str, group: Sequence[EvaluatedRun]) -> Iterable[MethodScore]:
    by_set: dict[tuple[str, str], dict[int, list[Performance]]] = {}
    for run in group:
        for measured in run.measured:
            seeds = by_set.setdefault((measured.set.name, measured.set.hash), {})
            seeds.setdefault(run.seed, []).append(measured.score)
    for (name, digest), seeds in by_set.items():
        columns = {
            field: [float(np.mean([getattr(p, field) for p in seeds[s]])) for s in sorted(seeds)]
            for field in ("mean", "worst", "length", "falls")
        }
        mean, worst, length, falls = (float(np.mean(column)) for column in columns.values())
        yield MethodScore(
            group[0].task, label, name, digest, tuple(sorted(seeds)),
            mean, mean_interval(columns["mean"]),
            worst, mean_interval(columns["worst"]), length, falls,
        )  # fmt: skip
