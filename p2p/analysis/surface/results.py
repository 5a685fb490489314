"""A return surface: training and test return on a plane of policies, as arrays and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2p.analysis.evaluation.domain_sets import DomainSet
from p2p.analysis.evaluation.results import Evaluation
from p2p.analysis.surface.config import SurfaceConfig
from p2p.analysis.surface.file import encode_surface
from p2p.runs import write_atomically
from p2p.runs.files import advising


class Mark(NamedTuple):
    """One of the three policies on the plane.

    Attributes:
        x, y: where it lies.
        train, test: mean return of its parameters under the final normaliser.
        train_as_trained, test_as_trained: and under its own, as a check: they differ where
            observations are clipped, and by what rounding grows to within an episode.
    """

    name: str
    steps: int
    x: float
    y: float
    train: float
    test: float
    train_as_trained: float
    test_as_trained: float


class Best(NamedTuple):
    """The point of the highest return, of the grid and the three policies."""

    x: float
    y: float
    value: float
    mark: str | None  # the policy that it is, if any


@dataclass(frozen=True)
class Landscape:
    """Returns in one scenario.

    Attributes:
        scenario: `train` (eps_tr of the run) or `test` (eps_te).
        set: the domains, D of them.
        by_domain: [N, N, D] undiscounted return by y, x and domain.
    """

    scenario: str
    set: DomainSet
    by_domain: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Return the mean over domains by y and x, [N, N]."""
        means: NDArray[np.float64] = self.by_domain.mean(axis=-1)
        return means


@dataclass(frozen=True)
class Surface:
    """What `measure_surface` found.

    Attributes:
        config: which plane, and in what was tested.
        path, task, method, seed, eps_tr: of the run.
        x, y: [N] each, distance from the initial policy along the plane's axes.
        landscapes: training, then test.
        marks: initial, middle and final policy.
        policies: [N, N] SHA-256 of each point's policy, as eval.h5 names it.
        cost: episodes, steps and seconds that it took now; episodes reused.
    """

    config: SurfaceConfig
    path: Path
    task: str
    method: str
    seed: int
    eps_tr: float
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    landscapes: tuple[Landscape, Landscape]
    marks: tuple[Mark, ...]
    policies: NDArray[np.str_]
    cost: Evaluation

    def best(self, landscape: Landscape) -> Best:
        """Return where the return of `landscape` is highest."""
        row, column = np.unravel_index(np.argmax(landscape.mean), landscape.mean.shape)
        on_grid = Best(float(self.x[column]), float(self.y[row]), float(landscape.mean.max()), None)
        marks = (Best(m.x, m.y, getattr(m, landscape.scenario), m.name) for m in self.marks)
        return max(on_grid, *marks, key=lambda best: best.value)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        names = ("task", "method", "seed", "eps_tr")
        described = {name: getattr(self, name) for name in names}
        costs = {n: getattr(self.cost, n) for n in ("episodes", "steps", "seconds", "reused")}
        return {
            "path": str(self.path),
            **described,
            "config": self.config.model_dump(mode="json"),
            "x": self.x.tolist(),
            "y": self.y.tolist(),
            **{one.scenario: self._scenario(one) for one in self.landscapes},
            "policies": [mark._asdict() for mark in self.marks],
            **costs,
        }

    def _scenario(self, one: Landscape) -> dict[str, Any]:
        return {
            "eps": one.set.eps,
            "hash": one.set.hash,
            "return": one.mean.tolist(),
            "best": self.best(one)._asdict(),
        }

    def write(self) -> None:
        """Write surface-peer-<k>.h5 beside the run.

        Raises:
            NoRoom: it cannot be written.
        """
        with advising("--no-save (save=False) measures without keeping"):
            path = surface_path(self.path, self.config.peer, "h5")
            write_atomically(path, self.to_bytes(), "surface")

    def to_bytes(self) -> bytes:
        """Return surface-peer-<k>.h5."""
        described = self.to_dict()
        names = ("task", "method", "seed", "eps_tr", "config")
        scenarios = {one.scenario: (one.set.eps, one.set.hash) for one in self.landscapes}
        return encode_surface(
            {name: described[name] for name in names},
            (self.x, self.y),
            {one.scenario: (one.by_domain, *scenarios[one.scenario]) for one in self.landscapes},
            described["policies"],
            self.policies,
        )


def surface_path(run: Path, peer: int, suffix: str) -> Path:
    """Return where a peer's surface is kept: `surface-peer-<k>.h5`, `.png`, `.svg`."""
    return run / f"surface-peer-{peer}.{suffix}"
