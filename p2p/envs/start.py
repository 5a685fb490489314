"""Shifts of the start pose."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.envs.root import AXES, Root

Floats = NDArray[np.float64]
Z = AXES["z"]


def shift_joints(
    model: mujoco.MjModel, data: mujoco.MjData, joints: NDArray[np.intp], offset: Floats,
    root: Root | None,
) -> None:  # fmt: skip
    """Add offsets to joints, rad, and raise the root by the depth that they push it into the floor.

    A joint is clipped to its range, widened to include its unshifted position: as offsets shrink
    to 0 the pose converges to the unshifted one.
    """
    shifted = model.jnt_qposadr[joints]
    limited = model.jnt_limited[joints].astype(bool)
    low, high = model.jnt_range[joints].T
    start = data.qpos[shifted]
    # Some nominal poses lie at the end of a joint's range or, as Ant's ankles, outside.
    low = np.minimum(np.where(limited, low, -np.inf), start)
    high = np.maximum(np.where(limited, high, np.inf), start)
    before = _depth(model, data)
    data.qpos[shifted] = np.clip(start + offset, low, high)
    if root is not None and Z in root.qpos:
        data.qpos[root.qpos[Z]] += root.sign[Z] * max(0.0, _depth(model, data) - before)


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


def _depth(model: mujoco.MjModel, data: mujoco.MjData) -> float:
    """Return the depth of the robot's deepest geom in the floor, m."""
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_collision(model, data)
    with_floor = (model.geom_bodyid[data.contact.geom] == 0).any(axis=1)
    return float(-data.contact.dist[with_floor].min(initial=0.0))
