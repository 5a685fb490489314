"""Return surfaces (section 4.3, Fig. 5): training and test return on a plane of policies.

Every point meets the same domains with the same start noise. Its episodes are kept in the
run's `eval.h5` as those of any policy are, so that none is run twice; `surface-peer-<k>.h5`
is built from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2p.analysis.config import SurfaceConfig, build_surface_config
from p2p.analysis.evaluation.domain_sets import DomainSet
from p2p.analysis.evaluation.evaluate import Evaluation, evaluate
from p2p.analysis.evaluation.subjects import digest, of_run
from p2p.analysis.session import Progress
from p2p.analysis.surface.file import encode_surface
from p2p.analysis.surface.plane import Plane, Reference, load_references
from p2p.policy.policy import Policy
from p2p.runs import RunFolder, write_atomically
from p2p.runs.files import advising

SCENARIOS = ("train", "test")


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


def measure_surface(
    run: str | Path | RunFolder,
    *,
    save: bool = True,
    workers: int | None = None,
    report: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Surface:
    """Measure training and test return on the plane through a run's policies, on all cores.

    Args:
        run: a finished run.
        save: keep the episodes in `eval.h5` and the surface in `surface-peer-<k>.h5` beside
            the run, and use what is there.
        workers: number of processes; default one a core.
        report: told how far it is.
        settings: the fields of `SurfaceConfig`.

    Raises:
        UsageError: a setting is wrong, or the run has no such peer.
        BadArtefact: there is no run there, it has not ended, lacks milestones, or is damaged.
        NoRoom: the results cannot be written.
        Interrupted: SIGINT, SIGTERM or SIGHUP; what was found is kept.
        PeerLost: an evaluation process died.
    """
    surface = find_surface(run, save=save, workers=workers, report=report, **settings)
    if save:
        surface.write()
    return surface


def find_surface(
    run: str | Path | RunFolder,
    *,
    save: bool = True,
    workers: int | None = None,
    report: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Surface:
    """Measure as `measure_surface` does, but leave writing `surface-peer-<k>.h5` to the caller."""
    config = build_surface_config(**settings)
    folder = run if isinstance(run, RunFolder) else RunFolder.open(Path(run))
    references = load_references(folder, config.peer)
    plane = Plane.through([one.policy.actor for one in references])
    x, y = plane.window(config.margin, config.grid)
    on_grid = _grid_policies(plane, x, y, references[-1].policy)
    at_marks = [one.policy for one in references] + [one.trained for one in references]
    eps = folder.config.eps_tr, config.eps_te
    found = evaluate(
        of_run(folder, (*on_grid, *at_marks)), eps, domains=config.domains,
        domain_seed=config.domain_seed, save=save, workers=workers, report=report,
    )  # fmt: skip
    measured = found.runs[0].measured
    both = measured[0], measured[-1]  # one and the same if eps_tr is eps_te
    returns = [one.episode_return.mean(axis=2) for one in both]
    shape = (config.grid, config.grid)
    train, test = (
        Landscape(name, one.set, values[: len(on_grid)].reshape(*shape, -1))
        for name, one, values in zip(SCENARIOS, both, returns, strict=True)
    )
    at = np.array([values[len(on_grid) :].mean(axis=1).reshape(2, 3) for values in returns])
    return Surface(
        config, folder.path, folder.config.task, folder.config.method, folder.config.seed, eps[0],
        x, y, (train, test), _marks(references, plane, at),
        np.array([digest(policy) for policy in on_grid]).reshape(shape), found,
    )  # fmt: skip


def _grid_policies(
    plane: Plane, x: NDArray[np.float64], y: NDArray[np.float64], like: Policy
) -> list[Policy]:
    """Return the policy of every point, x fastest; they act under the normaliser of `like`."""
    points = (plane.weights(float(at_x), float(at_y)) for at_y in y for at_x in x)
    return [like.with_actor(plane.parameters(a, b), like.normaliser) for a, b in points]


def _marks(
    references: tuple[Reference, ...], plane: Plane, at: NDArray[np.float64]
) -> tuple[Mark, ...]:
    """Return the three policies on the plane.

    Args:
        at: [2, 2, 3], mean return by scenario, normaliser (final, own) and policy.
    """
    columns = np.concatenate([plane.corners, at[:, 0].T, at[:, 1].T], axis=1)
    return tuple(
        Mark(one.name, one.steps, *row.tolist())
        for one, row in zip(references, columns, strict=True)
    )
