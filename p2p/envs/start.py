"""Shifts of the start pose."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.envs.root import AXES, Root

Floats = NDArray[np.float64]
Z = AXES["z"]


class JointShift:
    """Adds offsets to joints, rad, and lifts the root by how far they push it into the floor.

    A joint is clipped to its range, widened to include its unshifted position: as offsets shrink
    to 0 the pose converges to the unshifted one. Episodes may be short and their starts many: what
    the model alone decides is looked up once, and the few contacts are read as Python's numbers.

    Args:
        nominal: the model; those of `apply` may differ in joints' ranges.
        joints: that are shifted.
        root: is raised.
    """

    def __init__(
        self, nominal: mujoco.MjModel, joints: NDArray[np.intp], root: Root | None
    ) -> None:
        self._joints, self._shifted = joints, nominal.jnt_qposadr[joints]
        self._unlimited = np.flatnonzero(nominal.jnt_limited[joints] == 0)
        self._on_floor = (nominal.geom_bodyid == 0).tolist()
        self._root = root if root is not None and Z in root.qpos else None

    def apply(self, model: mujoco.MjModel, data: mujoco.MjData, offset: Floats) -> None:
        """Shift the pose in `data` by `offset`, one for all joints or one each."""
        low, high = model.jnt_range[self._joints].T
        if len(self._unlimited):
            low[self._unlimited], high[self._unlimited] = -np.inf, np.inf
        start = data.qpos[self._shifted]
        # Some nominal poses lie at the end of a joint's range or, as Ant's ankles, outside.
        low, high = np.minimum(low, start), np.maximum(high, start)
        before = self._depth(model, data)
        data.qpos[self._shifted] = np.minimum(np.maximum(start + offset, low), high)
        if (root := self._root) is not None:
            risen = max(0.0, self._depth(model, data) - before)
            data.qpos[root.qpos[Z]] += root.sign[Z] * risen

    def _depth(self, model: mujoco.MjModel, data: mujoco.MjData) -> float:
        """Return the depth of the robot's deepest geom in the floor, m."""
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_collision(model, data)
        if not data.ncon:
            return 0.0
        contact, on_floor, lowest = data.contact, self._on_floor, 0.0
        for (one, other), dist in zip(contact.geom.tolist(), contact.dist.tolist(), strict=True):
            if dist < lowest and (on_floor[one] or on_floor[other]):
                lowest = dist
        return -lowest


def shift_root(
    model: mujoco.MjModel, data: mujoco.MjData, axes: Sequence[str], offset: Floats,
    root: Root | None,
) -> None:  # fmt: skip
    """Add offsets to the root's position, m, or turn a free root about the vertical, rad."""
    assert root is not None
    for axis, value in zip(axes, offset, strict=True):
        if axis == "yaw":
            at = slice(root.qpos_quaternion, root.qpos_quaternion + 4)
            turn, turned = np.zeros(4), np.zeros(4)
            mujoco.mju_axisAngle2Quat(turn, np.array([0.0, 0.0, 1.0]), float(value))
            mujoco.mju_mulQuat(turned, turn, data.qpos[at])
            data.qpos[at] = turned
        else:
            along = AXES[axis]
            data.qpos[root.qpos[along]] += root.sign[along] * value
