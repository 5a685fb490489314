"""A task: what is observed of a robot, what is rewarded, and when an episode ends, for N envs.

Nothing here knows MuJoCo. A task is handed `raw`, one row an env with what was read from
the simulator after the step, and works on whole columns of it. `p2p.envs.locomotion` has the
five of the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2p.core import registry

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Action = NDArray[np.floating[Any]]

MAX_STATE = 1e10  # mjMAXVAL: beyond it MuJoCo calls the state bad
OWN = ("p2p.envs.task", "p2p.envs.locomotion")  # modules whose classes compiled code knows
COMPUTED = (  # what `rules` says all of, unless it is overridden
    "__init__", "before_step", "all_healthy", "find_healthy", "in_bounds", "observe", "rewards",
    "set_mass", "rules", "_costs", "_wire_obs", "_wire_health",
)  # fmt: skip


class Rules(NamedTuple):
    """A task's constants as arrays, for code that does the same as `Task` row by row.

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


class Task:
    """What the tasks share; a subclass gives the constants, or overrides what is computed.

    A subclass that overrides a method is stepped by numpy; one that changes constants alone is
    stepped by compiled code (`computed_anew`).

    Args:
        raw: [N, R], overwritten in place by the owner after each physics step and reset.
        columns: where in `raw` each of `reads` lies.
        action_dim: A, the number of actuators.
        dt: seconds a step.

    Attributes:
        obs: [N, obs_dim], written by `observe`.
        healthy: [N] bool, written by `find_healthy`.
    """

    label: ClassVar[str]  # in figures
    camera: ClassVar[Mapping[str, Any]] = {}  # where the viewer looks from
    steps_per_second: ClassVar[float] = 3000.0  # about, of one core: a study starts long runs first

    model_file: ClassVar[str]
    frame_skip: ClassVar[int]
    root_z: ClassVar[int] = 1  # index into qpos; root x is index 0 of qpos and of qvel

    # What is read, and what is observed of it, leaving out so many leading numbers of each
    reads: ClassVar[tuple[str, ...]] = ("qpos", "qvel")  # begins so in every task
    observes: ClassVar[Mapping[str, int]] = {"qpos": 1, "qvel": 0}
    clips: ClassVar[Mapping[str, float]] = {}  # bounds, wherever the field is used

    # What a reset adds: uniform of this half-width, m and rad; velocities perhaps normal
    reset_noise: ClassVar[float]
    normal_velocity_noise: ClassVar[bool] = False

    # Open intervals (index into [qpos, qvel], low, high) outside of which an episode ends
    healthy_range: ClassVar[tuple[tuple[int | slice, float, float], ...]] = ()

    # reward = forward * x velocity + healthy - control * |action|^2 - contact * |forces|^2
    x_field: ClassVar[str] = "qpos"  # its first number is the x that the velocity is that of
    forward_weight: ClassVar[float] = 1.0
    healthy_reward: ClassVar[float] = 0.0
    control_weight: ClassVar[float]
    control_in_float64: ClassVar[bool] = False  # else in the precision of the action
    contact_weight: ClassVar[float] = 0.0
    max_contact_cost: ClassVar[float] = np.inf

    def __init__(
        self, raw: Floats, columns: Mapping[str, slice], action_dim: int, dt: float
    ) -> None:
        N = len(raw)
        self._raw, self._columns = raw, columns
        self._state = raw[:, : columns["qvel"].stop]
        self._x = raw[:, columns[self.x_field].start]
        self._x_before = np.zeros(N)
        self._mass, self._total_mass = np.ones((N, 0)), np.ones(N)
        self._wire_obs()
        self._wire_health()
        # Weights have full shape and the dtype of what they scale: for numpy, wrapping a Python
        # float or broadcasting a row takes longer than the arithmetic.
        self.dt = dt
        self._dt = np.full(N, dt)
        self._forward = np.full(N, self.forward_weight)
        self._alive = np.full(N, self.healthy_reward)
        self._squares = {t: np.zeros((N, action_dim), t) for t in ("f", "d")}
        self._control_cost = {t: np.zeros(N, t) for t in ("f", "d")}
        self._control_weight = {t: np.full(N, self.control_weight, t) for t in ("f", "d")}
        if self.contact_weight:
            self._forces = self._shown[:, columns["cfrc_ext"]]
            self._squared_forces = np.zeros_like(self._forces)
            self._contact_cost = np.zeros(N)
            self._contact_weight = np.full(N, self.contact_weight)
            self._max_contact_cost = np.full(N, self.max_contact_cost)

    def _wire_obs(self) -> None:
        """Allocate `obs`, and cut the views that `observe` copies between."""
        self._shown = self._raw
        if self.clips:
            self._high_shown = np.full_like(self._raw, np.inf)
            for name, bound in self.clips.items():
                self._high_shown[:, self._columns[name]] = bound
            self._low_shown = -self._high_shown
            self._shown = np.zeros_like(self._raw)
        spans: list[tuple[int, int]] = []
        for name, skip in self.observes.items():
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
        for index, low, high in self.healthy_range:
            self._low[:, index], self._high[:, index] = low, high
        self._above = np.ones(self._state.shape, np.bool_)
        self._inside = np.ones(self._state.shape, np.bool_)
        self.healthy = np.ones(len(self._raw), np.bool_)

    @classmethod
    def draw_noise(cls, rng: np.random.Generator, nq: int, nv: int) -> tuple[Floats, Floats]:
        """Draw what a reset adds to qpos and qvel, in Gymnasium's order of draws."""
        width = cls.reset_noise
        position = rng.uniform(low=-width, high=width, size=nq)
        if cls.normal_velocity_noise:
            return position, width * rng.standard_normal(nv)
        return position, rng.uniform(low=-width, high=width, size=nv)

    @classmethod
    def computed_anew(cls) -> list[str]:
        """Return which methods a class outside p2p has overridden: compiled code ignores them."""
        own = next(c for c in cls.__mro__ if c.__module__ in OWN)
        return [name for name in COMPUTED if getattr(cls, name) is not getattr(own, name)]

    def field(self, name: str) -> Floats:
        """Return what was read under one of `reads`, [N, width], a view that stays current."""
        return self._raw[:, self._columns[name]]

    def rules(self) -> Rules:
        """Return the task's constants; `mass` and `total_mass` are live."""
        width, columns = self._raw.shape[1], self._columns
        high_shown = np.full(width, np.inf)
        for name, bound in self.clips.items():
            high_shown[columns[name]] = bound
        forces = columns["cfrc_ext"] if self.contact_weight else slice(0, 0)
        return Rules(
            self._low[0].copy(), self._high[0].copy(), -high_shown, high_shown,
            np.array(self._spans, np.int64), columns[self.x_field].start,
            columns["xipos"].start if self._mass.size else 0, self._mass, self._total_mass,
            (forces.start, forces.stop), self.dt, self.forward_weight, self.healthy_reward,
            self.control_weight, self.control_in_float64, self.contact_weight,
            float(self.max_contact_cost),
        )  # fmt: skip

    def set_mass(self, env: int, body_mass: Floats) -> None:
        """Take note of the masses of env's bodies, kg; most tasks have no use for them."""

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
        """Write `obs` from `raw`."""
        if self.clips:
            np.maximum(self._raw, self._low_shown, out=self._shown)
            np.minimum(self._shown, self._high_shown, out=self._shown)
        for target, source in self._copies:
            target[:] = source

    def rewards(self, action: Action, all_healthy: bool, out: Floats) -> None:
        """Write the reward, [N], of the step from `before_step` to what `observe` saw."""
        np.subtract(self._x, self._x_before, out=out)
        np.divide(out, self._dt, out=out)
        if self.forward_weight != 1.0:
            np.multiply(out, self._forward, out=out)
        if self.healthy_reward:
            np.add(out, self._alive if all_healthy else self._alive * self.healthy, out=out)
        np.subtract(out, self._costs(action), out=out)

    def _costs(self, action: Action) -> Action:
        kind = action.dtype.char
        if self.control_in_float64 or kind not in self._squares:
            action, kind = action.astype(np.float64), "d"
        control = self._control_cost[kind]
        np.square(action, out=self._squares[kind])
        np.add.reduce(self._squares[kind], axis=1, out=control)
        np.multiply(control, self._control_weight[kind], out=control)
        if not self.contact_weight:
            return control
        contact = self._contact_cost
        np.square(self._forces, out=self._squared_forces)
        np.add.reduce(self._squared_forces, axis=1, out=contact)
        np.multiply(contact, self._contact_weight, out=contact)
        np.minimum(contact, self._max_contact_cost, out=contact)
        return np.add(control, contact, out=contact)


def find_task(name: str | type[Task]) -> type[Task]:
    """Return the task called `name`: one of p2p's own, or one that was added.

    Raises:
        UsageError: there is none.
        BadArtefact: it is code of a user's that was not named in this process.
    """
    return name if isinstance(name, type) else registry.find("task", name)
