"""N simulations of one robot in this process, each in a domain: the physics of N envs.

The loop in `Simulations.step` is all that Python does per simulation and step.
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
from p2p.envs.state import columns_of, read_field

Floats = NDArray[np.float64]

_ALL = slice(None)
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
AFTER_CONSTRAINT = {"cfrc_ext", "cfrc_int", "cacc"}  # what mj_rnePostConstraint computes
_WARNINGS = slice(mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQACC + 1)
_NO_WARNINGS = np.zeros(3, np.intc).data


class Addresses(NamedTuple):
    """What compiled code needs to step N simulations; valid while `Simulations` exists."""

    mj_step: int
    mj_rne_post_constraint: int  # 0 if none of its results is read
    frame_skip: int
    pointers: NDArray[np.int64]  # [N, 4 + fields]: model, data, ctrl, warnings, fields read
    widths: NDArray[np.int64]  # [fields], numbers in each
    raw: Floats  # [N, sum of widths], destination of the fields


class Simulations:
    """N simulations of `robot`.

    Args:
        num_envs: N.
        reads: names of the fields of `MjData` to read.
        frame_skip: physics steps per step.

    Attributes:
        raw: [N, sum of widths], the fields as of the last step or start of each simulation.
        columns: the slice of `raw` that holds each of `reads`.
        domains: the current domain of each simulation.
    """

    def __init__(
        self, robot: Robot, num_envs: int, reads: tuple[str, ...], frame_skip: int
    ) -> None:
        self.robot = robot
        nominal = robot.binding.check(Domain())
        self.domains = [nominal] * num_envs
        self._frame_skip = frame_skip
        self._servo = robot.servo_map()
        self._reads_forces = bool(AFTER_CONSTRAINT & set(reads))
        self._shared = robot.binding.new_model()
        self._own: list[mujoco.MjModel | None] = [None] * num_envs
        self._models = [self._shared] * num_envs
        self._datas = [mujoco.MjData(self._shared) for _ in range(num_envs)]
        self._allocate(reads)
        self._control = np.zeros((num_envs, self._shared.nu))
        self._loop: list[Any] = [None] * num_envs  # per simulation, the arguments of its step
        self._running: list[Any] = []  # the entries of `_loop` that are stepped
        self.set_shared_domain(nominal)
        self.set_active(np.ones(num_envs))

    def _allocate(self, reads: tuple[str, ...]) -> None:
        """Allocate `raw`, and make the views that each step copies from and to.

        They are memoryviews: numpy takes three times as long to copy so few numbers.
        """
        sources = [[read_field(data, name).reshape(-1) for name in reads] for data in self._datas]
        self.columns = columns_of(self._datas[0], reads)
        self.raw = np.zeros((len(sources), sum(map(len, sources[0]))))
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

    def set_shared_domain(self, domain: Domain) -> None:
        """Put all simulations in `domain`; they share one model."""
        self.robot.binding.apply(domain, self._shared)
        for env in range(len(self._datas)):
            self._assign(env, self._shared, domain)

    def set_domain(self, env: int, domain: Domain) -> None:
        """Put simulation `env` in `domain`, with a model of its own."""
        model = self._own[env] or self.robot.binding.new_model()
        self._own[env] = model
        self.robot.binding.apply(domain, model)
        self._assign(env, model, domain)

    def _assign(self, env: int, model: mujoco.MjModel, domain: Domain) -> None:
        data = self._datas[env]
        self.robot.binding.push_forces(domain, data)
        self._models[env], self.domains[env] = model, domain
        self._pointers[env, 0] = model._address
        warning = data.warning.number[_WARNINGS]
        row = self._control[env]
        self._loop[env] = (model, data, data.ctrl.data, row.data, self._reads[env], warning.data)

    def set_active(self, which: NDArray[Any]) -> None:
        """From now on, step only the simulations whose entry of `which` [N] is not 0."""
        self._running = [loop for loop, flag in zip(self._loop, which, strict=True) if flag]

    def start(self, env: int, rng: np.random.Generator) -> None:
        """Put simulation `env` at the start of an episode."""
        self.robot.start(self._models[env], self._datas[env], self.domains[env], rng)
        for target, source in self._reads[env]:
            target[_ALL] = source

    def step(self, control: NDArray[np.floating[Any]]) -> bool:
        """Step the active simulations, each with its row of `control` [N, A].

        Returns:
            Whether all are stable; `diverged` says which are not.
        """
        self._control[:] = control
        if self._servo is not None:
            scale, offset = self._servo
            np.multiply(self._control, scale, out=self._control)
            np.add(self._control, offset, out=self._control)
        step, skip = mujoco.mj_step, self._frame_skip
        rne = mujoco.mj_rnePostConstraint if self._reads_forces else None
        stable = True
        for model, data, target, row, reads, warning in self._running:
            target[_ALL] = row
            step(model, data, skip)
            if rne is not None:
                rne(model, data)
            for copy, source in reads:
                copy[_ALL] = source
            if warning != _NO_WARNINGS:  # data.time would cost the same, and may not show a reset
                stable = False
        return stable

    def diverged(self) -> NDArray[np.bool_]:
        """Return which simulations diverged, [N]: MuJoCo has reset their state within a step."""
        return np.array([loop[-1] != _NO_WARNINGS for loop in self._loop])

    def mass(self, env: int) -> Floats:
        """Return the masses of the bodies of simulation `env`, kg."""
        mass: Floats = self._models[env].body_mass
        return mass

    def simulation(self, env: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Return MuJoCo's model and data of simulation `env`."""
        return self._models[env], self._datas[env]

    def addresses(self) -> Addresses:
        """Return what compiled code needs to step all simulations.

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
        """Return the complete state of all simulations, as new arrays."""
        physics = np.zeros((len(self._datas), mujoco.mj_stateSize(self._shared, _STATE)))
        for row, model, data in zip(physics, self._models, self._datas, strict=True):
            mujoco.mj_getState(model, data, row, _STATE)
        # Some fields of `raw` lag behind the state, such as the torso's x.
        return {"physics": physics, "raw": self.raw.copy(), "domains": pack(self.domains)}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `state` returned; the domains must be set already."""
        for model, data, row in zip(self._models, self._datas, state["physics"], strict=True):
            mujoco.mj_resetData(model, data)
            mujoco.mj_setState(model, data, np.ascontiguousarray(row), _STATE)
        self.raw[:] = state["raw"]


def pack(domains: Sequence[Domain]) -> NDArray[np.uint8]:
    """Return the exact text of complete domains as an array, a row each, for a checkpoint."""
    texts = [np.frombuffer(str(domain).encode(), np.uint8) for domain in domains]
    rows = np.zeros((len(texts), max([1, *map(len, texts)])), np.uint8)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = text
    return rows


def domains_of(state: Mapping[str, NDArray[Any]]) -> Sequence[Domain]:
    """Return the domains in a result of `Simulations.state`; only one if all are equal.

    Raises:
        UsageError: they are no domains.
    """
    rows = state["domains"]
    if rows.dtype == np.uint8:
        texts = [bytes(row).rstrip(b"\0").decode("utf-8", "replace") for row in rows]
        domains = [Domain.parse(text) for text in texts]
    else:
        domains = [_before_0_3(row[~np.isnan(row)]) for row in rows]
    return domains[:1] if len(set(domains)) == 1 else domains


def _before_0_3(vector: Floats) -> Domain:
    """Return a domain of Table 1 from its form in earlier checkpoints."""
    wind, gravity, friction, masses, *rest = vector.tolist()
    mass, offsets = rest[: int(masses)], rest[int(masses) :]
    return Domain(
        wind=wind, gravity=gravity, friction=friction, mass=mass, initial_position=offsets
    )


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
