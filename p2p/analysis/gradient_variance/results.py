"""Variances of gradients: by run, and each method's curve over its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2p.analysis.gradient_variance.config import GradVarianceConfig
from p2p.analysis.gradient_variance.file import QUANTITIES
from p2p.analysis.groups import group_runs
from p2p.analysis.statistics import mean_interval

Interval = tuple[float, float]


@dataclass(frozen=True)
class MeasuredRun:
    """What was measured on a run.

    Attributes:
        settings: all that tells it from other runs of its task and method, but the seed.
        parameters: n, of the actor.
        iterations, steps: of training at each checkpoint, [C].
        values: [C, K, Q] by checkpoint, peer and quantity (`QUANTITIES`).
    """

    path: str
    task: str
    method: str
    seed: int
    settings: Mapping[str, Any]
    parameters: int
    iterations: tuple[int, ...]
    steps: tuple[int, ...]
    values: NDArray[np.float64]

    def of(self, quantity: str) -> NDArray[np.float64]:
        """Return one quantity, [C, K]."""
        column: NDArray[np.float64] = self.values[:, :, QUANTITIES.index(quantity)]
        return column

    @property
    def penalised(self) -> bool:
        """Whether the loss is more than its PPO part anywhere."""
        return not np.array_equal(self.of("trace"), self.of("ppo_trace"))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        names = ("path", "task", "method", "seed", "settings", "parameters")
        rows = zip(self.iterations, self.steps, self.values, strict=True)
        return {
            **{name: getattr(self, name) for name in names},
            "checkpoints": [
                {
                    "iteration": iteration, "steps": steps,
                    "peers": [dict(zip(QUANTITIES, peer, strict=True)) for peer in peers.tolist()],
                }
                for iteration, steps, peers in rows
            ],
        }  # fmt: skip


class Point(NamedTuple):
    """A group of runs at one checkpoint.

    Attributes:
        steps: of training.
        mean: by quantity, over seeds, of the mean over peers.
        ci: Student's t interval over seeds, 95%, of the log variances; None for one seed.
    """

    steps: int
    seeds: tuple[int, ...]
    mean: Mapping[str, float]
    ci: Mapping[str, Interval | None]


class Curve(NamedTuple):
    """A method through training, over seeds."""

    task: str
    method: str
    label: str  # the method, and what tells it from other groups
    penalised: bool
    points: tuple[Point, ...]


@dataclass(frozen=True)
class GradVariance:
    """What `grad_variance` found.

    Attributes:
        config: on what it was measured.
        runs: in the order given.
        measured, steps, seconds: checkpoints and steps that it took now, and how long.
        reused: checkpoints that had been measured before.
    """

    config: GradVarianceConfig
    runs: tuple[MeasuredRun, ...]
    measured: int
    steps: int
    seconds: float
    reused: int

    @property
    def curves(self) -> list[Curve]:
        """Return each method's curve; runs that differ in their seed alone are one group."""
        return [_curve(label, group) for label, group in group_runs(self.runs)]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        cost = {name: getattr(self, name) for name in ("measured", "steps", "seconds", "reused")}
        curves = [
            {**curve._asdict(), "points": [point._asdict() for point in curve.points]}
            for curve in self.curves
        ]
        return {
            "config": self.config.model_dump(mode="json"),
            "runs": [run.to_dict() for run in self.runs],
            "methods": curves,
            **cost,
        }


def _curve(label: str, group: Sequence[MeasuredRun]) -> Curve:
    by_steps: dict[int, dict[int, list[NDArray[np.float64]]]] = {}
    for run in group:
        for steps, values in zip(run.steps, run.values.mean(axis=1), strict=True):
            by_steps.setdefault(steps, {}).setdefault(run.seed, []).append(values)
    points = []
    for steps, by_seed in sorted(by_steps.items()):
        seeds = tuple(sorted(by_seed))
        table = np.array([np.mean(by_seed[seed], axis=0) for seed in seeds])  # [seeds, Q]
        columns = dict(zip(QUANTITIES, table.T.tolist(), strict=True))
        mean = {name: float(np.mean(column)) for name, column in columns.items()}
        intervals = {
            name: mean_interval(columns[name]) if np.isfinite(columns[name]).all() else None
            for name in ("log_variance", "ppo_log_variance")
        }
        points.append(Point(steps, seeds, mean, intervals))
    first = group[0]
    penalised = any(run.penalised for run in group)
    return Curve(first.task, first.method, label, penalised, tuple(points))
