"""N envs in groups: each group is stepped by a thread of its own.

Nothing couples the envs of a peer, so what an env does is the same in whatever group it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.envs.base import Episode, VectorEnvs, mean_terms
from p2p.envs.binding import Binding
from p2p.envs.domain import Domain

Rows = Mapping[str, NDArray[Any]]

# Seconds of physics in a step, from which on envs that Python steps gain by threads, which hand
# its lock to one another at each step. Two made 0.6 to 1.0 of one thread's steps/s in tasks of 8
# to 36 us, 1.4 to 1.9 in those of 60 to 270 us (docs/performance.md).
WORTH_A_THREAD = 50e-6


def gains_by_threads(envs: VectorEnvs) -> bool:
    """Return whether several threads would step such envs faster than one.

    Compiled code holds no lock. Of what Python steps the physics is timed on data of its own: the
    median of up to 100 steps from the model's pose, in which a robot falls.
    """
    if envs.is_compiled:
        return True
    model, _ = envs.simulation(0)
    data, substeps = mujoco.MjData(model), round(envs.dt / model.opt.timestep)
    seconds: list[float] = []
    while len(seconds) < 100 and sum(seconds) < 0.02:
        start = time.perf_counter()
        mujoco.mj_step(model, data, substeps)
        seconds.append(time.perf_counter() - start)
    return median(seconds) >= WORTH_A_THREAD


class EnvGroups:
    """The envs of several `VectorEnvs` as one; it steps none of them.

    Args:
        groups: of one task and randomisation; env n is the n-th of all of them in their order.

    Attributes:
        finished: episodes that ended, once their groups have handed them over (`settle`).
    """

    def __init__(self, groups: Sequence[VectorEnvs]) -> None:
        first = groups[0]
        self.groups = tuple(groups)
        self.num_envs = sum(group.num_envs for group in groups)
        self.obs_dim, self.action_dim = first.obs_dim, first.action_dim
        self.action_low, self.action_high = first.action_low, first.action_high
        self.binding: Binding = first.binding
        self.finished: list[Episode] = []
        ends = np.cumsum([group.num_envs for group in groups]).tolist()
        self.spans = [slice(end - g.num_envs, end) for g, end in zip(groups, ends, strict=True)]

    def _each(self) -> Iterator[tuple[VectorEnvs, slice]]:
        return zip(self.groups, self.spans, strict=True)

    @property
    def domains(self) -> list[Domain]:
        """What each env has now."""
        return [domain for group in self.groups for domain in group.domains]

    @property
    def streams(self) -> list[np.random.Generator]:
        """What each env draws from."""
        return [stream for group in self.groups for stream in group.streams]

    @streams.setter
    def streams(self, streams: Sequence[np.random.Generator]) -> None:
        for group, span in self._each():
            group.streams = list(streams[span])

    @property
    def next_domain(self) -> Callable[[int], Domain | None] | None:
        """See `VectorEnvs`; called in the thread of the env's group."""
        return self.groups[0].next_domain

    @next_domain.setter
    def next_domain(self, find: Callable[[int], Domain | None] | None) -> None:
        for group, span in self._each():
            group.next_domain = None if find is None else _shifted(find, span.start)

    def set_domains(self, domains: Sequence[Domain]) -> None:
        """See `VectorEnvs.set_domains`."""
        for group, span in self._each():
            group.set_domains(domains if len(domains) == 1 else domains[span])

    def reset(self) -> None:
        """Start an episode in every env."""
        for group in self.groups:
            group.reset()

    def settle(self, ended: NDArray[np.bool_]) -> None:
        """Take over the episodes that ended, in the order in which one group would have them.

        Args:
            ended: [T, N], where they did since the last call.
        """
        waiting: list[list[Episode]] = [[] for _ in range(self.num_envs)]
        for group, span in self._each():
            for episode in group.finished:
                env = span.start + episode.env
                waiting[env].append(episode._replace(env=env))
            group.finished.clear()
        self.finished += [waiting[n].pop(0) for _, n in np.argwhere(ended)]

    def reward_terms(self) -> dict[str, float]:
        """Return the mean a step of each named reward term since the last call."""
        return mean_terms([group.reward_sums() for group in self.groups])

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what one group of all envs would, as new arrays."""
        parts = [group.state() for group in self.groups]
        return {name: _stacked([part[name] for part in parts]) for name in parts[0]}

    def load_state(self, state: Rows) -> None:
        """Continue from what `state` returned, or one group of all envs."""
        for group, span in self._each():
            group.load_state({name: rows[span] for name, rows in state.items()})


def _shifted(find: Callable[[int], Domain | None], start: int) -> Callable[[int], Domain | None]:
    return lambda env: find(start + env)


def _stacked(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the rows of all parts; text is padded, as `p2p.envs.simulation.pack` does."""
    if parts[0].dtype != np.uint8:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(p, ((0, 0), (0, width - p.shape[1]))) for p in parts])
