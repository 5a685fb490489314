"""N simulations of one robot in this process, each in a domain: MuJoCo's part of N envs.

What is done for each of them in every step is the loop of `Simulations.step`, and no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.envs.domain import Domain
from p2p.envs.model import native_functions
from p2p.envs.robot import Robot

Floats = NDArray[np.float64]

_ALL = slice(None)
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_WARNINGS = slice(mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQACC + 1)
_CALM = np.zeros(3, np.intc).data


class Addresses(NamedTuple):
    """Addresses that compiled code steps N simulations by, valid as long as their owner."""

    mj_step: int
    mj_rne_post_constraint: int  # 0 if nothing that it computes is read
    frame_skip: int
    pointers: NDArray[np.int64]  # [N, 4 + fields]: model, data, ctrl, warnings, fields read
    widths: NDArray[np.int64]  # [fields], numbers in each
    raw: Floats  # [N, sum of widths], where they are copied to


class Simulations:
    """N simulations of `robot`.

    Args:
        num_envs: N.
        reads: names of the fields of `MjData` to read.
        frame_skip: physics steps a step.

    Attributes:
        raw: [N, sum of widths], what was read after the last step or start of each.
        columns: where in `raw` each of `reads` lies.
        domains: what each has now.
    """

    def __init__(
        self, robot: Robot, num_envs: int, reads: tuple[str, ...], frame_skip: int
    ) -> None:
        self.robot = robot
        self.domains = [Domain()] * num_envs
        self._frame_skip = frame_skip
        self._reads_forces = "cfrc_ext" in reads
        self._shared = robot.new_model()
        self._own: list[mujoco.MjModel | None] = [None] * num_envs
        self._models = [self._shared] * num_envs
        self._datas = [mujoco.MjData(self._shared) for _ in range(num_envs)]
        self._gather(reads)
        self._control = np.zeros((num_envs, self._shared.nu))
        self._loop: list[Any] = [None] * num_envs  # what stepping each takes
        self._running: list[Any] = []  # of them those that are stepped
        self.share(Domain())
        self.run(np.ones(num_envs))

    def _gather(self, reads: tuple[str, ...]) -> None:
        """Allocate `raw`, and cut the views that each step copies from, and to.

        As memoryviews: numpy takes three times as long to copy so few numbers.
        """
        sources = [[_field(data, name) for name in reads] for data in self._datas]
        ends = np.cumsum([0, *(len(s) for s in sources[0])]).tolist()
        self.columns = {n: slice(a, b) for n, a, b in zip(reads, ends, ends[1:], strict=False)}
        self.raw = np.zeros((len(sources), ends[-1]))
        self._pointers = np.array(
            [
                [0, data._address, _address(data.ctrl), _address(data.warning.number[_WARNINGS])]
                + [_address(field) for field in fields]
                for data, fields in zip(self._datas, sources, strict=True)
            ],
            np.int64,
        )
        self._reads = [
            [(row[c].data, f.data) for c, f in zip(self.columns.values(), fields, strict=True)]
            for row, fields in zip(self.raw, sources, strict=True)
        ]

    def share(self, domain: Domain) -> None:
        """Put all in `domain`, with one model."""
        self.robot.apply(domain, self._shared)
        for env in range(len(self._datas)):
            self._place(env, self._shared, domain)

    def place(self, env: int, domain: Domain) -> None:
        """Put one in `domain`, with a model of its own; the others keep theirs."""
        model = self._own[env] or self.robot.new_model()
        self._own[env] = model
        self.robot.apply(domain, model)
        self._place(env, model, domain)

    def _place(self, env: int, model: mujoco.MjModel, domain: Domain) -> None:
        data = self._datas[env]
        data.qfrc_applied[0] = domain.wind
        self._models[env], self.domains[env] = model, domain
        self._pointers[env, 0] = model._address
        warning = data.warning.number[_WARNINGS]
        row = self._control[env]
        self._loop[env] = (model, data, data.ctrl.data, row.data, self._reads[env], warning.data)

    def run(self, which: NDArray[Any]) -> None:
        """Step from now on those whose entry of `which` [N] is not 0."""
        self._running = [loop for loop, flag in zip(self._loop, which, strict=True) if flag]

    def start(self, env: int, rng: np.random.Generator) -> None:
        """Put one at the start of an episode."""
        self.robot.start(self._models[env], self._datas[env], self.domains[env], rng)
        for target, source in self._reads[env]:
            target[_ALL] = source

    def step(self, control: NDArray[np.floating[Any]]) -> bool:
        """Step those that run, each with its row of `control` [N, A]; say whether all stayed calm.

        See `diverged` for which did not.
        """
        self._control[:] = control
        step, skip = mujoco.mj_step, self._frame_skip
        rne = mujoco.mj_rnePostConstraint if self._reads_forces else None
        calm = True
        for model, data, target, row, reads, warning in self._running:
            target[_ALL] = row
            step(model, data, skip)
            if rne is not None:
                rne(model, data)
            for copy, source in reads:
                copy[_ALL] = source
            if warning != _CALM:  # as cheap as data.time, which may not show a reset
                calm = False
        return calm

    def diverged(self) -> NDArray[np.bool_]:
        """Return which MuJoCo has warned of, [N]: it has reset these silently within a step."""
        return np.array([loop[-1] != _CALM for loop in self._loop])

    def mass(self, env: int) -> Floats:
        """Return the masses of one's bodies, kg."""
        mass: Floats = self._models[env].body_mass
        return mass

    def simulation(self, env: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Return what MuJoCo knows of one."""
        return self._models[env], self._datas[env]

    def addresses(self) -> Addresses:
        """Return what compiled code needs to step all of them itself.

        Raises:
            P2PError: MuJoCo's library cannot be found.
        """
        step, rne = native_functions("mj_step", "mj_rnePostConstraint")
        widths = [column.stop - column.start for column in self.columns.values()]
        return Addresses(
            step, rne if self._reads_forces else 0, self._frame_skip, self._pointers,
            np.array(widths, np.int64), self.raw,
        )  # fmt: skip

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that stepping on depends on, as new arrays."""
        physics = np.zeros((len(self._datas), mujoco.mj_stateSize(self._shared, _STATE)))
        for row, model, data in zip(physics, self._models, self._datas, strict=True):
            mujoco.mj_getState(model, data, row, _STATE)
        vectors = [domain.to_vector() for domain in self.domains]
        rows = np.full((len(physics), max(map(len, vectors))), np.nan)
        for row, vector in zip(rows, vectors, strict=True):
            row[: len(vector)] = vector
        # `raw` holds what lags the state, such as the torso's x.
        return {"physics": physics, "raw": self.raw.copy(), "domains": rows}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `state` returned, in the domains that they are in."""
        for model, data, row in zip(self._models, self._datas, state["physics"], strict=True):
            mujoco.mj_resetData(model, data)
            mujoco.mj_setState(model, data, np.ascontiguousarray(row), _STATE)
        self.raw[:] = state["raw"]


def domains_of(state: Mapping[str, NDArray[Any]]) -> Sequence[Domain]:
    """Return the domains of what `Simulations.state` returned; one if all are in the same."""
    domains = [Domain.from_vector(row[~np.isnan(row)]) for row in state["domains"]]
    return domains[:1] if len(set(domains)) == 1 else domains


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _field(data: mujoco.MjData, name: str) -> Floats:
    """Return a flat view of what a task reads under `name`."""
    field: Floats = data.xpos[1] if name == "torso_xpos" else getattr(data, name)
    return field.reshape(-1)
