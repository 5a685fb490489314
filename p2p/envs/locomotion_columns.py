"""What the steps of the five tasks come to, from constants: fast, and known to compiled code.

Nothing here knows MuJoCo. It is handed `raw`, one row an env with what was read from the simulator
after the step, and works on whole columns of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from p2p.envs.base import Sums
    from p2p.envs.locomotion import Locomotion

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Action = NDArray[np.floating[Any]]
MAX_STATE = 1e10  # mjMAXVAL: beyond it MuJoCo calls the state bad


class Rules(NamedTuple):
    """A task's constants as arrays, for code that does the same as `LocomotionColumns` row by row.

    R is the width of `raw`, S that of its first columns, qpos and qvel.
    """

    low: Floats  # [S], open interval outside of which an episode ends
    high: Floats  # [S]
    low_shown: Floats  # [R], bounds of what is observed and paid for
    high_shown: Floats  # [R]
    spans: NDArray[np.int64]  # [k, 2], columns of `raw` that the observation strings together
    x: int  # column of the x that the velocity is that of, unless that of the centre of mass
    centres: int  # first column of the bodies' centres
    mass: Floats  # [N, bodies], kg; no bodies if the x is not that of the centre of mass
    total_mass: Floats  # [N]
    forces: tuple[int, int]  # first column of the contact forces, and one past the last
    dt: float
    forward_weight: float
    healthy_reward: float
    control_weight: float
    control_in_float64: bool
    contact_weight: float
    max_contact_cost: float


def observed_columns(task: type[Locomotion], columns: Mapping[str, slice]) -> dict[str, slice]:
    """Return which columns of the observation each field read stands for."""
    found, end = {}, 0
    for name, skip in task.observes.items():
        size = columns[name].stop - columns[name].start - skip
        found[name] = slice(end, end := end + size)
    return found


class LocomotionColumns:
    """See `p2p.envs.columns.Columns`; what a `Locomotion` task's constants say.

    Args:
        task: the class that has the constants.
        raw: [N, R], overwritten in place by the owner after each physics step and reset.
        columns: where in `raw` each of `reads` lies.
        action_dim: A, the number of actuators.
        dt: seconds a step.
    """

    is_compiled = True

    def __init__(
        self, task: type[Locomotion], raw: Floats, columns: Mapping[str, slice], action_dim: int,
        dt: float,
    ) -> None:  # fmt: skip
        self.task = task
        N = len(raw)
        self._raw, self._columns = raw, columns
        self._state = raw[:, : columns["qvel"].stop]
        self._weighs = self.task.x_field == "xipos"
        self._x = np.zeros(N) if self._weighs else raw[:, columns[self.task.x_field].start]
        self._x_before = np.zeros(N)
        self._mass, self._total_mass = np.ones((N, 0)), np.ones(N)
        if self._weighs:
            self._centres = raw[:, columns["xipos"]].reshape(N, -1, 3)
            self._mass = np.ones(self._centres.shape[:2])
        self._wire_obs()
        self._wire_health()
        # Weights have full shape and the dtype of what they scale: for numpy, wrapping a Python
        # float or broadcasting a row takes longer than the arithmetic.
        self.dt = dt
        self._dt = np.full(N, dt)
        self._forward = np.full(N, self.task.forward_weight)
        self._alive = np.full(N, self.task.healthy_reward)
        self._squares = {t: np.zeros((N, action_dim), t) for t in ("f", "d")}
        self._control_cost = {t: np.zeros(N, t) for t in ("f", "d")}
        self._control_weight = {t: np.full(N, self.task.control_weight, t) for t in ("f", "d")}
        if self.task.contact_weight:
            self._forces = self._shown[:, columns["cfrc_ext"]]
            self._squared_forces = np.zeros_like(self._forces)
            self._contact_cost = np.zeros(N)
            self._contact_weight = np.full(N, self.task.contact_weight)
            self._max_contact_cost = np.full(N, self.task.max_contact_cost)

    def _wire_obs(self) -> None:
        """Allocate `obs`, and cut the views that `observe` copies between."""
        self._shown = self._raw
        if self.task.clips:
            self._high_shown = np.full_like(self._raw, np.inf)
            for name, bound in self.task.clips.items():
                self._high_shown[:, self._columns[name]] = bound
            self._low_shown = -self._high_shown
            self._shown = np.zeros_like(self._raw)
        spans: list[tuple[int, int]] = []
        self.observations = observed_columns(self.task, self._columns)
        for name, skip in self.task.observes.items():
            start, stop = self._columns[name].start + skip, self._columns[name].stop
            if spans and spans[-1][1] == start:  # one copy for neighbours
                start = spans.pop()[0]
            spans.append((start, stop))
        self._spans = spans
        self.obs = np.zeros((len(self._raw), sum(stop - start for start, stop in spans)))
        self._copies, end = [], 0
        for start, stop in spans:
            target = self.obs[:, end : (end := end + stop - start)]
            self._copies.append((target, self._shown[:, start:stop]))

    def _wire_health(self) -> None:
        self._low = np.full(self._state.shape, -MAX_STATE)
        self._high = np.full(self._state.shape, MAX_STATE)
        for index, low, high in self.task.healthy_range:
            self._low[:, index], self._high[:, index] = low, high
        self._above = np.ones(self._state.shape, np.bool_)
        self._inside = np.ones(self._state.shape, np.bool_)
        self.healthy = np.ones(len(self._raw), np.bool_)

    def rules(self) -> Rules:
        """Return the task's constants; `mass` and `total_mass` are live."""
        width, columns = self._raw.shape[1], self._columns
        high_shown = np.full(width, np.inf)
        for name, bound in self.task.clips.items():
            high_shown[columns[name]] = bound
        forces = columns["cfrc_ext"] if self.task.contact_weight else slice(0, 0)
        task = self.task
        return Rules(
            self._low[0].copy(), self._high[0].copy(), -high_shown, high_shown,
            np.array(self._spans, np.int64), columns[task.x_field].start,
            columns["xipos"].start if self._weighs else 0, self._mass, self._total_mass,
            (forces.start, forces.stop), self.dt, task.forward_weight, task.healthy_reward,
            task.control_weight, task.control_in_float64, task.contact_weight,
            float(task.max_contact_cost),
        )  # fmt: skip

    def set_mass(self, env: int, body_mass: Floats) -> None:
        """Weigh the bodies of `env` for its centre of mass, kg."""
        if self._weighs:
            self._mass[env] = body_mass
            self._total_mass[env] = body_mass.sum()

    def start(self, env: int, rng: np.random.Generator) -> None:
        """Do nothing: these tasks remember nothing."""

    def before_step(self) -> None:
        """Keep the x that the forward reward starts from."""
        self._x_before[:] = self._x

    def all_healthy(self) -> bool:
        """Return whether no env ends here; cheap, for it is asked at every step."""
        np.greater(self._state, self._low, out=self._above)
        np.less(self._state, self._high, out=self._inside)
        np.bitwise_and(self._above, self._inside, out=self._inside)
        return int(np.count_nonzero(self._inside)) == self._inside.size

    def find_healthy(self) -> None:
        """Write `healthy`, of the state that `all_healthy` looked at."""
        np.logical_and.reduce(self._inside, axis=1, out=self.healthy)

    def in_bounds(self) -> Flags:
        """Return which envs have a state that MuJoCo could go on from, [N]."""
        out = np.zeros(len(self._state), np.bool_)
        np.less(np.abs(self._state), MAX_STATE).all(axis=1, out=out)
        return out

    def observe(self) -> None:
        """Write `obs` from `raw`, and find the centre of mass."""
        if self.task.clips:
            np.maximum(self._raw, self._low_shown, out=self._shown)
            np.minimum(self._shown, self._high_shown, out=self._shown)
        for target, source in self._copies:
            target[:] = source
        if self._weighs:
            # All three axes, as in Gymnasium: for x alone einsum would sum in another order.
            moment = np.einsum("nb,nbj->nj", self._mass, self._centres)[:, 0]
            np.divide(moment, self._total_mass, out=self._x)

    def settle(self, action: Action, all_healthy: bool, reward: Floats) -> None:
        """Write `obs`, and the reward of the step from `before_step` on."""
        self.observe()
        self._write_reward(action, all_healthy, reward)

    def reward_sums(self) -> Sums:
        """Return nothing: its terms are summed at once."""
        return {}

    def state(self) -> dict[str, NDArray[Any]]:
        """Return nothing: these tasks remember nothing."""
        return {}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Do nothing: these tasks remember nothing."""

    def _write_reward(self, action: Action, all_healthy: bool, out: Floats) -> None:
        np.subtract(self._x, self._x_before, out=out)
        np.divide(out, self._dt, out=out)
        if self.task.forward_weight != 1.0:
            np.multiply(out, self._forward, out=out)
        if self.task.healthy_reward:
            np.add(out, self._alive if all_healthy else self._alive * self.healthy, out=out)
        np.subtract(out, self._costs(action), out=out)

    def _costs(self, action: Action) -> Action:
        kind = action.dtype.char
        if self.task.control_in_float64 or kind not in self._squares:
            action, kind = action.astype(np.float64), "d"
        control = self._control_cost[kind]
        np.square(action, out=self._squares[kind])
        np.add.reduce(self._squares[kind], axis=1, out=control)
        np.multiply(control, self._control_weight[kind], out=control)
        if not self.task.contact_weight:
            return control
        contact = self._contact_cost
        np.square(self._forces, out=self._squared_forces)
        np.add.reduce(self._squared_forces, axis=1, out=contact)
        np.multiply(contact, self._contact_weight, out=contact)
        np.minimum(contact, self._max_contact_cost, out=contact)
        return np.add(control, contact, out=contact)
