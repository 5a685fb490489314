"""A task's robot: its model, its start pose and its actions."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.core.errors import UsageError
from p2p.core.names import did_you_mean
from p2p.envs.binding import Binding
from p2p.envs.columns import probe
from p2p.envs.domain import Domain
from p2p.envs.model import load_model
from p2p.envs.randomisation import Randomisation
from p2p.envs.root import joints_of
from p2p.envs.task import Task

Floats = NDArray[np.float64]
UNLIMITED = np.pi  # rad about the start pose, for a servo of a joint without a range


class Robot:
    """The compiled model of a task, with what varies of it.

    Args:
        task: the task with the model file.
        randomisation: what varies; None: the task's default.
        trimmed: use the faster model of `p2p.envs.trimming`, which moves identically but may
            ignore edits of contacts, springs and dry friction that `randomisation` does not make.

    Attributes:
        model: the nominal model; never changed.
        start_qpos: qpos that episodes start from, [nq].
        binding: what varies, on this robot.

    Raises:
        UsageError: the model cannot be loaded, or a factor does not fit it.
    """

    def __init__(
        self,
        task: type[Task],
        randomisation: Randomisation | None = None,
        *,
        trimmed: bool = True,
    ) -> None:
        varied = task.default_randomisation() if randomisation is None else randomisation
        self.model = load_model(task, varied, trimmed=trimmed)
        self._task = task()
        self.start_qpos = self._find_start()
        self.binding = Binding(varied, self.model, probe(task, self.model, self.start_qpos))

    def _find_start(self) -> Floats:
        start, model = self._task.start, self.model
        qpos: Floats = model.qpos0.copy()
        if isinstance(start, str):
            names = [model.key(n).name for n in range(model.nkey)]
            if start not in names:
                raise self._refused(
                    f"start = {start!r}: the model has no such keyframe"
                    f"{did_you_mean(start, names)}; there are {', '.join(names) or 'none'}"
                )
            qpos[:] = model.key(start).qpos
        elif start is not None:
            given = np.asarray(start, np.float64)
            if given.shape != qpos.shape:
                raise self._refused(f"start has {given.size} numbers, qpos has {qpos.size}")
            qpos[:] = given
        return qpos

    def _refused(self, why: str) -> UsageError:
        return UsageError(f"task {type(self._task).__name__}: {why}")

    def action_bounds(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the lowest and the highest action, [A] each.

        With a servo, those that ask for the ends of the joints' ranges.

        Raises:
            UsageError: there is no actuator, or one has no range.
        """
        model = self.model
        if not model.nu:
            raise self._refused(f"the model {self._task.model_path()} has no actuator")
        if (found := self.servo_map()) is not None:
            scale, offset = found
            joints = joints_of(model, np.arange(model.nu))
            limited = model.jnt_limited[joints].astype(bool)
            ends = [
                np.where(limited, end, offset + sign * UNLIMITED)
                for end, sign in zip(model.jnt_range[joints].T, (-1.0, 1.0), strict=True)
            ]
            low, high = ((end - offset) / scale for end in ends)
        else:
            low, high = model.actuator_ctrlrange.T
            if missing := np.flatnonzero(low >= high).tolist():
                name = model.actuator(missing[0]).name or f"number {missing[0]}"
                raise self._refused(
                    f"actuator {name} has no ctrlrange, so an action has no bounds: give it one "
                    "in the model, or the task a servo"
                )
        return low.astype(np.float32, order="C"), high.astype(np.float32, order="C")

    def _ask_for_start(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Let servos hold the start pose, also those whose commands arrive late."""
        if (found := self.servo_map()) is None:
            return
        data.ctrl[:] = found[1]
        for n in np.flatnonzero(model.actuator_history[:, 0]).tolist():
            values = np.full(int(model.actuator_history[n, 0]), data.ctrl[n])
            mujoco.mj_initCtrlHistory(model, data, n, None, values)

    def servo_map(self) -> tuple[Any, Any] | None:
        """Return what an action is multiplied by, and what is added, to be a control; or None."""
        servo = self._task.servo
        if servo is None:
            return None
        joints = joints_of(self.model, np.arange(self.model.nu))
        return servo.scale, self.start_qpos[self.model.jnt_qposadr[joints]]

    def start(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        domain: Domain,
        rng: np.random.Generator,
    ) -> None:
        """Put `data` at the start of an episode in a complete domain.

        In the five tasks, without offsets, this is Gymnasium's reset; as offsets shrink to 0 the
        pose converges to it.
        """
        mujoco.mj_resetData(model, data)
        self._ask_for_start(model, data)
        position, velocity = self._task.draw_noise(rng, model)
        data.qpos[:] = self.start_qpos + position
        data.qvel[:] = velocity
        self.binding.push_forces(domain, data)
        self.binding.start(domain, model, data)
        mujoco.mj_forward(model, data)
