"""Measure a return surface (section 4.3, Fig. 5): `measure_surface`.

Every point meets the same domains with the same start noise. Its episodes are kept in the
run's `eval.h5`, as those of any policy are, and reused; `surface-peer-<k>.h5` is built from
them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p.analysis.evaluation.session import evaluate
from p2p.analysis.evaluation.subjects import digest, of_run
from p2p.analysis.session import Progress
from p2p.analysis.surface.config import build_surface_config
from p2p.analysis.surface.plane import Plane, Reference, load_references
from p2p.analysis.surface.results import Landscape, Mark, Surface
from p2p.policy.policy import Policy
from p2p.runs import RunFolder

SCENARIOS = ("train", "test")


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
        report: called with a `Progress` now and then.
        settings: the fields of `SurfaceConfig`.

    Raises:
        UsageError: a setting is wrong, or the run has no such peer.
        BadArtefact: there is no run there, it has not ended, lacks milestones, or is damaged.
        NoRoom: the results cannot be written.
        Interrupted: a signal; what was found is kept.
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
