"""What the steps of N envs come to: observation, reward, termination, as whole columns.

`TaskColumns` asks a `Task`'s own methods. `p2p.envs.locomotion_columns` does the same for the
five tasks of the paper from constants, faster, and compiled code knows these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.core.errors import UsageError
from p2p.envs.locomotion import Locomotion
from p2p.envs.locomotion_columns import MAX_STATE, LocomotionColumns, observed_columns
from p2p.envs.state import State, blaming, columns_of, read_field
from p2p.envs.task import Task

if TYPE_CHECKING:
    from p2p.envs.base import Sums
    from p2p.envs.robot import Robot
    from p2p.envs.simulation import Simulations

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Action = NDArray[np.floating[Any]]


class Columns(Protocol):
    """What `RandomisedEnvs` asks of a task; arrays are overwritten in place.

    Attributes:
        obs: [N, obs_dim], written by `observe`.
        healthy: [N] bool, written by `find_healthy`.
        observations: which columns of `obs` each name stands for.
        is_compiled: whether compiled code knows the task.
    """

    obs: Floats
    healthy: Flags
    observations: dict[str, slice]
    is_compiled: bool

    def set_mass(self, env: int, body_mass: Floats) -> None:
        """Take note of the masses of env's bodies, kg."""

    def start(self, env: int, rng: np.random.Generator) -> None:
        """Take note that an episode starts."""

    def before_step(self) -> None:
        """Keep what the reward compares with."""

    def all_healthy(self) -> bool:
        """Return whether no env ends here; cheap, for it is asked at every step."""

    def find_healthy(self) -> None:
        """Write `healthy`, of the state that `all_healthy` looked at."""

    def in_bounds(self) -> Flags:
        """Return which envs have a state that MuJoCo could go on from, [N]."""

    def observe(self) -> None:
        """Write `obs`."""

    def settle(self, action: Action, all_healthy: bool, reward: Floats) -> None:
        """Write `reward` [N] and `obs` of a step."""

    def reward_sums(self) -> Sums:
        """Return each reward term's sum and number of steps since the last call; [N] each."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what it remembers, as new arrays."""

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `state` returned."""


class TaskColumns:
    """See `Columns`; what a task's own methods say.

    Args:
        task: the task.
        raw: [N, R], overwritten in place by the owner after each physics step and reset.
        model, data: MuJoCo's, for names and shapes.
        start: qpos that episodes start from.
        dt: seconds a step.

    Raises:
        UsageError: the task's methods fail, or return what they should not.
    """

    is_compiled = False

    def __init__(
        self, task: Task, raw: Floats, model: mujoco.MjModel, data: mujoco.MjData, start: Floats,
        dt: float,
    ) -> None:  # fmt: skip
        self.task, self.name, self._raw = task, type(task).__name__, raw
        N = len(raw)
        columns = columns_of(data, task.reads)
        self._memory = {name: np.zeros((N, size)) for name, size in task.memory.items()}
        self._state = raw[:, : columns["qvel"].stop]
        self.s = State(raw, columns, data, model, start, dt, self._memory)
        self._earlier = raw.copy()
        self.s.before = State(self._earlier, columns, data, model, start, dt, {})
        self.healthy = np.ones(N, np.bool_)
        self._ended = np.zeros(N, np.bool_)
        self._sums: dict[str, Floats] = {}  # of each reward term, by env
        self._steps = 0
        parts = self._parts()
        ends = np.cumsum([0, *(part.shape[1] for part in parts.values())]).tolist()
        spans = zip(parts, ends, ends[1:], strict=False)
        self.observations = {name: slice(first, last) for name, first, last in spans}
        self.obs = np.zeros((N, ends[-1]))
        self._targets = {name: self.obs[:, span] for name, span in self.observations.items()}
        self._sizes = {name: target.shape for name, target in self._targets.items()}

    def check(self, action_dim: int) -> None:
        """Ask each method once, so that what is wrong with it shows before anything runs.

        Raises:
            UsageError: one of them fails, or returns what it should not.
        """
        action, reward = (
            np.zeros((len(self._raw), action_dim), np.float32),
            np.zeros(len(self._raw)),
        )
        remembered = {name: values.copy() for name, values in self._memory.items()}
        self.all_healthy()
        with np.errstate(all="ignore"):
            self.settle(action, True, reward, finite=False)
        with blaming(self.name, "reset"):
            self.task.reset(self.s, 0, np.random.default_rng(0))
        for name, values in remembered.items():
            self._memory[name][:] = values
        self._sums, self._steps = {}, 0

    def _parts(self) -> dict[str, Floats]:
        """Return the observations by name, each [N, k]."""
        with blaming(self.name, "observe"):
            found = self.task.observe(self.s)
            if not isinstance(found, Mapping) or not found:
                raise TypeError("it must return a dict of arrays by name")
            parts = {}
            for name, value in found.items():
                array = np.asarray(value, np.float64)
                array = array[:, None] if array.ndim == 1 else array
                if array.ndim != 2 or len(array) != len(self._raw):
                    raise TypeError(
                        f"{name!r} has shape {list(np.shape(value))}, not [N] or [N, k] with "
                        f"N = {len(self._raw)} envs"
                    )
                parts[str(name)] = array
            return parts

    def set_mass(self, env: int, body_mass: Floats) -> None:
        """Do nothing: a task has the nominal model."""

    def start(self, env: int, rng: np.random.Generator) -> None:
        """Clear the env's memory, and let the task write it."""
        for values in self._memory.values():
            values[env] = 0.0
        self._earlier[env] = self._raw[env]
        self.task.reset(self.s, env, rng)

    def before_step(self) -> None:
        """Keep the state, for `s.before`."""
        self._earlier[:] = self._raw

    def all_healthy(self) -> bool:
        """Ask the task which episodes end."""
        with blaming(self.name, "terminated"):
            ended = np.asarray(self.task.terminated(self.s))
            if ended.shape != self._ended.shape or ended.dtype != np.bool_:
                raise TypeError(
                    f"it returned {ended.dtype} of shape {list(ended.shape)}, not bool [N]"
                )
        self._ended[:] = ended
        return not self._ended.any() and bool((np.abs(self._state) < MAX_STATE).all())

    def find_healthy(self) -> None:
        """Write `healthy`."""
        np.logical_not(self._ended, out=self.healthy)

    def in_bounds(self) -> Flags:
        """Return which envs have a state that MuJoCo could go on from, [N]."""
        return np.asarray((np.abs(self._state) < MAX_STATE).all(axis=1))

    def observe(self) -> None:
        """Write `obs`."""
        for name, part in self._parts().items():
            if part.shape != self._sizes.get(name):
                raise UsageError(
                    f"task {self.name}: observe returned {name!r} of {part.shape[1]} numbers, at "
                    "first it was another: names and sizes may not change"
                )
            self._targets[name][:] = part

    def settle(
        self, action: Action, all_healthy: bool, reward: Floats, *, finite: bool = True
    ) -> None:
        """Write `reward` [N], let the task remember, and write `obs`."""
        with blaming(self.name, "reward"), np.errstate(all="ignore"):
            terms = self.task.reward(self.s, action)
            if not isinstance(terms, Mapping) or not terms:
                raise TypeError("it must return a dict of arrays by name")
            reward[:] = 0.0
            for name, value in terms.items():
                reward += value
                if name not in self._sums:
                    self._sums[name] = np.zeros(len(reward))
                self._sums[name] += value
        self._steps += 1
        if finite and not np.isfinite(reward).all():
            self._refuse(terms, reward)
        with blaming(self.name, "remember"):
            self.task.remember(self.s, action)
        self.observe()

    def _refuse(self, terms: Mapping[str, Any], reward: Floats) -> None:
        """Raise UsageError for a reward that is not finite, unless of an env that has diverged.

        If an observation before it was not, that is its cause.

        The row of such an env is zeros.
        """
        seen = [name for name, part in self._targets.items() if not np.isfinite(part).all()]
        bad = [name for name, value in terms.items() if not np.isfinite(value).all()]
        if seen:  # what the policy acted on
            raise UsageError(f"task {self.name}: observation {seen[0]!r} is not finite")
        if (~np.isfinite(reward) & self._raw.any(axis=1)).any():
            raise UsageError(
                f"task {self.name}: reward term {(bad or ['of them all'])[0]!r} is not finite"
            )

    def reward_sums(self) -> Sums:
        """Return each reward term's sum and number of steps since the last call; [N] each."""
        steps = np.full(len(self._raw), float(max(1, self._steps)))
        found = {name: (total, steps) for name, total in self._sums.items()}
        self._sums, self._steps = {}, 0
        return found

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the memory, and the state before the step."""
        memory = {f"memory {name}": values.copy() for name, values in self._memory.items()}
        return {"before": self._earlier.copy(), **memory}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue with what `state` returned."""
        self._earlier[:] = state["before"]
        for name, values in self._memory.items():
            values[:] = state[f"memory {name}"]


def build_columns(kind: type[Task], sims: Simulations, robot: Robot, dt: float) -> Columns:
    """Return what N simulations of a task's robot come to."""
    if issubclass(kind, Locomotion) and not kind.computed_anew():
        return LocomotionColumns(kind, sims.raw, sims.columns, robot.model.nu, dt)
    _, data = sims.simulation(0)
    return TaskColumns(kind(), sims.raw, robot.model, data, robot.start_qpos, dt)


def probe(kind: type[Task], model: mujoco.MjModel, start: Floats) -> dict[str, slice]:
    """Return which columns of the observation each name stands for.

    Raises:
        UsageError: the task's methods fail, or return what they should not.
    """
    if issubclass(kind, Locomotion) and not kind.computed_anew():
        return observed_columns(kind, columns_of(mujoco.MjData(model), kind.reads))
    data = mujoco.MjData(model)
    data.qpos[:] = start
    mujoco.mj_forward(model, data)
    row = np.concatenate([read_field(data, name).reshape(-1) for name in kind.reads])
    dt = float(model.opt.timestep) * kind.frame_skip
    found = TaskColumns(kind(), row[None].copy(), model, data, start, dt)
    found.check(model.nu)
    return dict(found.observations)
