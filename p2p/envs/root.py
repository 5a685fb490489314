"""The root of a robot: the joints by which it moves about in the world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-9


@dataclass(frozen=True)
class Root:
    """How a robot moves about.

    Attributes:
        is_free: whether the root is a free joint.
        qpos, dof: index into qpos and qvel of the root's motion along each world axis that it can
            move along.
        qpos_quaternion: first index into qpos of a free root's orientation.
    """

    is_free: bool
    qpos: Mapping[int, int]
    dof: Mapping[int, int]
    qpos_quaternion: int = -1

    @property
    def slides(self) -> list[int]:
        """The degrees of freedom that are translations."""
        return list(self.dof.values())

    def add_force(self, data: mujoco.MjData, axis: int, force: float) -> None:
        """Add a force along a world axis, N."""
        if axis in self.dof:
            data.qfrc_applied[self.dof[axis]] += force


def joints_of(model: mujoco.MjModel, actuators: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the joint that each actuator moves, or -1: a tendon's number is no joint's."""
    kinds = (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT)
    moves = np.isin(model.actuator_trntype[actuators], kinds)
    return np.where(moves, model.actuator_trnid[actuators, 0], -1)


def actuated_joints(model: mujoco.MjModel) -> NDArray[np.intp]:
    """Return the joints that actuators move, each once, in the order of actuators."""
    joints = joints_of(model, np.arange(model.nu))
    return np.array(list(dict.fromkeys(joints[joints >= 0].tolist())), np.intp)


def find_root(model: mujoco.MjModel) -> Root | None:
    """Return the root of the first body that can be translated; None if there is none.

    A root is a free joint, or slides along world axes, of a body that is attached to the world
    and carries actuators: a ball on the table is no robot.
    """
    moved = actuated_joints(model)
    trees = set(model.body_rootid[model.jnt_bodyid[moved]].tolist())
    for body in sorted(trees):
        if not model.body_jntnum[body]:
            continue
        first = model.body_jntadr[body]
        joints = range(first, first + model.body_jntnum[body])
        if model.jnt_type[first] == mujoco.mjtJoint.mjJNT_FREE:
            q, d = int(model.jnt_qposadr[first]), int(model.jnt_dofadr[first])
            axes = range(3)
            return Root(True, {a: q + a for a in axes}, {a: d + a for a in axes}, q + 3)
        qpos, dof = {}, {}
        for joint in joints:
            axis = model.jnt_axis[joint]
            if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE and np.isclose(
                axis.max(), 1.0, atol=TOLERANCE
            ):
                along = int(axis.argmax())
                qpos[along], dof[along] = (
                    int(model.jnt_qposadr[joint]),
                    int(model.jnt_dofadr[joint]),
                )
        if 0 in dof or 1 in dof:
            return Root(False, qpos, dof)
    return None
