"""The plane through a run's initial, middle and final policy (section 4.3, Fig. 5)."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2p.core import registry
from p2p.core.errors import BadArtefact
from p2p.policy.parameters import Floats
from p2p.policy.policy import Policy
from p2p.runs import RunFolder
from p2p.runs.checkpoint import iteration_of
from p2p.runs.policies import load_milestone_policy

NAMES = ("initial", "middle", "final")
FLAT = 1e-5  # height over base of a triangle that rounding to float32 may have made


class Reference(NamedTuple):
    """A policy that the plane goes through.

    Attributes:
        steps: environment steps of training, over all peers.
        trained: the policy as it was trained, under the normaliser of that time.
        policy: the same under the final normaliser.
    """

    name: str
    steps: int
    trained: Policy
    policy: Policy


def load_references(run: RunFolder, peer: int = 0) -> tuple[Reference, Reference, Reference]:
    """Load the initial policy w1, the one nearest half of training w2, and the final one w3.

    A sum of parameters means something only if all of them meet the same inputs, so all three
    stand under the final policy's observation normaliser. The middle policy's first layer is
    rescaled, so that it acts as it did. The initial parameters are left as they are: at the
    start the normaliser has seen nothing and is the identity, a stand-in that the first
    iteration replaces under the same parameters, and their mean action is near 0 either way
    (gain 0.01 of the head). Rescaled from it, the weights of fast joints would be ten times as
    large, and most of the distance on the plane would be one of units.

    Raises:
        BadArtefact: the run has not ended, lacks milestones, or has damaged ones.
        UsageError: it has no such peer.
    """
    paths = _three_milestones(run)
    trained = [load_milestone_policy(run, path, peer) for path in paths]
    initial, middle, final = trained
    common = final.normaliser
    policies = initial.with_actor(initial.actor, common), middle.under(common), final
    steps = [run.config.steps_per_iteration * one.meta["iterations"] for one in trained]
    one, two, three = map(Reference, NAMES, steps, trained, policies)
    return one, two, three


def _three_milestones(run: RunFolder) -> list[Path]:
    """Return the milestones of the start, the middle (the earlier of two as near) and the end."""
    paths, config = run.milestones(), run.config
    if not paths:
        raise BadArtefact(
            f"{run.path} has no milestones: it has not begun, or kept none (--milestones 0); "
            "a surface needs a run with --milestones 2 or more"
        )
    by_iteration = {iteration_of(path): path for path in paths}
    done, end = max(by_iteration), config.num_iterations
    if done < end:
        code = registry.loading_options(config.task, config.method)
        raise BadArtefact(
            f"{run.path} has not ended: its last milestone is at iteration {done:,} of {end:,}; "
            f"finish it with: p2p train --resume {shlex.quote(str(run.path))}{code}"
        )
    between = [n for n in by_iteration if 0 < n < end]
    if 0 not in by_iteration or not between:
        have = ", ".join(f"{n:,}" for n in by_iteration)
        raise BadArtefact(
            f"{run.path} has milestones at iterations {have} alone, and a surface needs 0, {end:,} "
            "and one between; train with --milestones 2 or more"
        )
    middle = min(between, key=lambda n: (abs(2 * n - end), n))
    return [by_iteration[n] for n in (0, middle, end)]


@dataclass(frozen=True)
class Plane:
    """The plane through three points w1, w2, w3 of parameter space, with orthonormal axes.

    The origin is w1, x runs to w3, and y is what of w2 - w1 is perpendicular to that, so that
    distances in (x, y) are Euclidean distances between parameters.

    Attributes:
        points: [3, n] float64.
        corners: [3, 2], (x, y) of the three.
    """

    points: NDArray[np.float64]
    corners: NDArray[np.float64]

    @classmethod
    def through(cls, vectors: Sequence[Floats]) -> Plane:
        """Return the plane through three vectors [n].

        Raises:
            BadArtefact: they lie on a line.
        """
        points = np.array(vectors, np.float64)
        to_middle, to_final = points[1:] - points[0]
        length = float(np.linalg.norm(to_final))
        along = float(to_middle @ to_final) / length if length else 0.0
        across = to_middle - (along / length) * to_final if length else to_middle
        height = float(np.linalg.norm(across))
        if height <= FLAT * length or not length:
            raise BadArtefact(
                "initial, middle and final policy lie on one line, which spans no plane; "
                "train for longer, or with a higher --learning-rate"
            )
        return cls(points, np.array([(0.0, 0.0), (along, height), (length, 0.0)]))

    def weights(self, x: float, y: float) -> tuple[float, float]:
        """Return (a, b) of the point w1 + a (w2 - w1) + b (w3 - w1) at (x, y)."""
        (along, height), (length, _) = self.corners[1:]
        a = y / height
        return float(a), float((x - a * along) / length)

    def parameters(self, a: float, b: float) -> Floats:
        """Return w1 + a (w2 - w1) + b (w3 - w1), [n] float32; at w1, w2, w3 their very bits."""
        mixed: Floats = (np.array([1.0 - a - b, a, b]) @ self.points).astype(np.float32)
        return mixed

    def window(self, margin: float, grid: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return evenly spaced x [grid] and y [grid] around the three points.

        Args:
            margin: room on every side, as a share of the longer side of the points' box.
        """
        low, high = self.corners.min(axis=0), self.corners.max(axis=0)
        room = margin * float((high - low).max())
        x, y = (np.linspace(a - room, b + room, grid) for a, b in zip(low, high, strict=True))
        return x, y
