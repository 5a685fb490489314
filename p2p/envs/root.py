"""The root of a robot: the joints by which it moves about in the world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-9
AXES = {"x": 0, "y": 1, "z": 2}  # of the world


@dataclass(frozen=True)
class Root:
    """How a robot moves about.

    Attributes:
        is_free: whether the root is a free joint.
        qpos, dof: index into qpos and qvel of the root's motion along each world axis that it can
            move along.
        sign: 1, or -1 where the joint's axis points against the world's.
        qpos_quaternion: first index into qpos of a free root's orientation.
    """

    is_free: bool
    qpos: Mapping[int, int]
    dof: Mapping[int, int]
    sign: Mapping[int, float]
    qpos_quaternion: int = -1

    @property
    def slides(self) -> list[int]:
        """The degrees of freedom that are translations."""
        return list(self.dof.values())

    def add_force(self, data: mujoco.MjData, axis: int, force: float) -> None:
        """Add a force along a world axis, N."""
        if axis in self.dof:
            data.qfrc_applied[self.dof[axis]] += self.sign[axis] * force


def joints_of(model: mujoco.MjModel, actuators: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the joint that each actuator moves, or -1: a tendon's number is no joint's."""
    kinds = (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT)
    moves = np.isin(model.actuator_trntype[actuators], kinds)
    return np.where(moves, model.actuator_trnid[actuators, 0], -1)


def actuated_joints(model: mujoco.MjModel) -> NDArray[np.intp]:
    """Return the joints that actuators move, each once, in the order of actuators."""
    joints = joints_of(model, np.arange(model.nu))
    return np.array(list(dict.fromkeys(joints[joints >= 0].tolist())), np.intp)


def _driven_bodies(model: mujoco.MjModel) -> NDArray[np.intp]:
    """Return the bodies that actuators act on, by joints, or as thrusters at sites or bodies."""
    first, kind = model.actuator_trnid[:, 0], model.actuator_trntype
    return np.concatenate([
        model.jnt_bodyid[actuated_joints(model)],
        model.site_bodyid[first[kind == int(mujoco.mjtTrn.mjTRN_SITE)]],
        first[kind == int(mujoco.mjtTrn.mjTRN_BODY)],
    ])  # fmt: skip


def find_root(model: mujoco.MjModel) -> Root | None:
    """Return the root of the first body that can be translated; None if there is none.

    A root is a free joint, or slides along world axes, of a body that is attached to the world
    and carries actuators: a ball on the table is no robot.
    """
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    trees = set(model.body_rootid[_driven_bodies(model)].tolist())
    for body in sorted(trees):
        if not model.body_jntnum[body]:
            continue
        first = model.body_jntadr[body]
        joints = range(first, first + model.body_jntnum[body])
        if model.jnt_type[first] == mujoco.mjtJoint.mjJNT_FREE:
            q, d = int(model.jnt_qposadr[first]), int(model.jnt_dofadr[first])
            axes = range(3)
            signs = dict.fromkeys(axes, 1.0)
            return Root(True, {a: q + a for a in axes}, {a: d + a for a in axes}, signs, q + 3)
        qpos, dof, sign = {}, {}, {}
        for joint in joints:
            if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_SLIDE:
                break  # what comes behind a hinge turns with it
            axis = data.xaxis[joint]
            along = int(np.abs(axis).argmax())
            if np.isclose(abs(axis[along]), 1.0, atol=TOLERANCE):
                qpos[along], dof[along] = (
                    int(model.jnt_qposadr[joint]),
                    int(model.jnt_dofadr[joint]),
                )
                sign[along] = float(np.sign(axis[along]))
        if 0 in dof or 1 in dof:
            return Root(False, qpos, dof, sign)
    return None
