"""Terms that change MuJoCo's model; what it derives from it is computed anew afterwards."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.envs.root import AXES, actuated_joints, joints_of
from p2p.envs.terms.term import Edit, Ints, term


def links(model: mujoco.MjModel) -> Ints:
    """Return the bodies that have mass."""
    return np.flatnonzero(model.body_mass > 0)


def joints(model: mujoco.MjModel) -> Ints:
    """Return the actuated joints, or if there are none all but free ones: no root is damped."""
    moved = actuated_joints(model)
    others = np.flatnonzero(model.jnt_type != int(mujoco.mjtJoint.mjJNT_FREE))
    return moved if len(moved) else others


@term(of="body", fields=("body_mass", "body_inertia"), unit="kg", links=links)
def mass(edit: Edit) -> None:
    """Mass of bodies, with their inertia; what is added is spread like the body's own mass."""
    model, ids = edit.model, edit.ids
    own = model.body_mass[ids]
    factor = edit.values if edit.scales else (own + edit.values) / own
    model.body_mass[ids] = own * factor
    model.body_inertia[ids] *= factor[:, None]


@term(
    of="body", fields=("body_ipos",), positive=False, unit="m", scales=False, options={"axis": "x"},
    links=links,
)  # fmt: skip
def com(edit: Edit) -> None:
    """Centre of mass of bodies, along one axis of the body's frame."""
    edit.change(edit.model.body_ipos[:, AXES[edit.options["axis"]]])


def _is_free(model: mujoco.MjModel) -> NDArray[np.bool_]:
    """Return which bodies have no place of their own, [nbody]: the world, and those that fly."""
    free = np.zeros(model.nbody, np.bool_)
    free[0] = True
    free[model.jnt_bodyid[model.jnt_type == int(mujoco.mjtJoint.mjJNT_FREE)]] = True
    return free


def _unmovable(model: mujoco.MjModel, ids: Ints) -> str:
    if not _is_free(model)[ids].any():
        return ""
    return "the world and bodies with a free joint have no place in a parent: use start_pose"


@term(
    of="body", fields=("body_pos",), positive=False, unit="m", options={"axis": "x"},
    refuse=_unmovable, links=lambda model: np.flatnonzero(~_is_free(model)),
)  # fmt: skip
def body_pos(edit: Edit) -> None:
    """Where bodies are attached to their parents, along one axis of the parent's frame."""
    edit.change(edit.model.body_pos[:, AXES[edit.options["axis"]]])


@term(of="geom", fields=("geom_friction", "pair_friction"))
def friction(edit: Edit) -> None:
    """Sliding friction of geoms; a contact takes the larger of its two geoms' coefficients."""
    model = edit.model
    edit.change(model.geom_friction[:, 0])
    if len(edit.ids) == model.ngeom and np.all(edit.values == edit.values[0]):
        pairs = model.pair_friction[:, :2]
        pairs[:] = pairs * edit.values[0] if edit.scales else pairs + edit.values[0]


def _has_gravity(model: mujoco.MjModel, ids: Ints) -> str:
    return "" if model.opt.gravity.any() else "the model has no gravity"


@term(fields=("opt.gravity",), unit="m/s2", refuse=_has_gravity)
def gravity(edit: Edit) -> None:
    """Gravity: its length; what is added makes it longer."""
    vector, value = edit.model.opt.gravity, edit.values[0]
    length = float(np.linalg.norm(vector))
    vector *= value if edit.scales else (length + value) / length


@term(
    fields=("opt.gravity",),
    shows="",
    positive=False,
    unit="rad",
    scales=False,
    options={"axis": "x"},
)
def slope(edit: Edit) -> None:
    """Slope of the ground, uphill along an axis: gravity is turned against it."""
    vector, along = edit.model.opt.gravity, AXES[edit.options["axis"]]
    sine, cosine = np.sin(edit.values[0]), np.cos(edit.values[0])
    vector[along], vector[2] = (
        cosine * vector[along] + sine * vector[2],
        cosine * vector[2] - sine * vector[along],
    )


@term(of="joint", fields=("dof_damping",), unit="N m s/rad", links=joints)
def damping(edit: Edit) -> None:
    """Viscous damping of joints."""
    edit.change(edit.model.dof_damping, *edit.dofs())


@term(of="joint", fields=("dof_armature",), unit="kg m2", links=joints)
def armature(edit: Edit) -> None:
    """Inertia of the rotors that move joints."""
    edit.change(edit.model.dof_armature, *edit.dofs())


@term(of="joint", fields=("dof_frictionloss",), unit="N m", links=joints)
def frictionloss(edit: Edit) -> None:
    """Dry friction of joints."""
    edit.change(edit.model.dof_frictionloss, *edit.dofs())


@term(of="joint", fields=("jnt_stiffness",), unit="N m/rad", links=joints)
def stiffness(edit: Edit) -> None:
    """Springs of joints."""
    edit.change(edit.model.jnt_stiffness)


def _servos(column: int, what: str) -> Any:
    def refuse(model: mujoco.MjModel, ids: Ints) -> str:
        affine = model.actuator_biastype[ids] == mujoco.mjtBias.mjBIAS_AFFINE
        if np.any(affine & (model.actuator_biasprm[ids, column] != 0)):
            return ""
        return (
            f"the actuators have no {what}, as torque motors have none: give the task a servo, "
            "or vary `strength`"
        )

    return refuse


@term(
    of="actuator", fields=("actuator_gainprm", "actuator_biasprm"), unit="N m/rad",
    refuse=_servos(1, "position gain (kp)"),
)  # fmt: skip
def kp(edit: Edit) -> None:
    """Position gain of servos."""
    model = edit.model
    held = model.actuator_biasprm[edit.ids, 1] != 0
    edit.ids, edit.values = edit.ids[held], edit.values[held]
    edit.change(model.actuator_gainprm[:, 0])
    model.actuator_biasprm[edit.ids, 1] = -model.actuator_gainprm[edit.ids, 0]


@term(
    of="actuator", fields=("actuator_biasprm",), shows="actuator_biasprm[2]", unit="N m s/rad",
    refuse=_servos(2, "velocity gain (kd)"),
)  # fmt: skip
def kd(edit: Edit) -> None:
    """Velocity gain of servos, which brakes."""
    column = edit.model.actuator_biasprm[:, 2]
    column[edit.ids] *= -1.0
    edit.change(column)
    column[edit.ids] *= -1.0


def _has_gain(model: mujoco.MjModel, ids: Ints) -> str:
    known = (
        mujoco.mjtGain.mjGAIN_FIXED,
        mujoco.mjtGain.mjGAIN_AFFINE,
        mujoco.mjtGain.mjGAIN_MUSCLE,
    )
    return "" if np.isin(model.actuator_gaintype[ids], known).all() else "their gain is user code"


@term(of="actuator", fields=("actuator_gainprm", "actuator_biasprm"), adds=False, refuse=_has_gain)
def strength(edit: Edit) -> None:
    """Force of actuators, whatever asks for it: a weak battery, a worn motor."""
    model = edit.model
    muscle = model.actuator_gaintype[edit.ids] == mujoco.mjtGain.mjGAIN_MUSCLE
    for array in (model.actuator_gainprm, model.actuator_biasprm):
        for rows, values, columns in (
            (edit.ids[~muscle], edit.values[~muscle], slice(0, 3)),
            (edit.ids[muscle], edit.values[muscle], slice(2, 3)),  # a muscle's peak force
        ):
            array[rows, columns] *= values[:, None]


@term(
    of="actuator", fields=("actuator_forcerange", "jnt_actfrcrange"),
    shows="actuator_forcerange[1]", positive=False, unit="N m",
)  # fmt: skip
def force_limit(edit: Edit) -> None:
    """Largest force of actuators that have a limit, theirs or their joint's."""
    model = edit.model
    for array, limited, rows in (
        (model.actuator_forcerange, model.actuator_forcelimited, edit.ids),
        (model.jnt_actfrcrange, model.jnt_actfrclimited, joints_of(model, edit.ids)),
    ):
        has = (rows >= 0) & limited[rows].astype(bool)
        old, values = array[rows[has]], edit.values[has, None]
        size = np.abs(old) * values if edit.scales else np.abs(old) + values
        array[rows[has]] = np.sign(old) * np.maximum(size, 0.0)


def _buffer(spec: mujoco.MjSpec, factor: Any) -> None:
    """Give every actuator the buffer that the longest delay needs."""
    samples = int(np.ceil(factor.high / spec.option.timestep)) + 1
    for actuator in spec.actuators:
        actuator.nsample = max(actuator.nsample, samples)


def _has_buffer(model: mujoco.MjModel, ids: Ints) -> str:
    if (model.actuator_history[ids, 0] > 0).all():
        return ""
    return "its actuators keep no history: only a p2p.Task, whose model p2p compiles, can delay"


@term(
    of="actuator", fields=("actuator_delay",), unit="s", scales=False, one_sided=True,
    prepare=_buffer, refuse=_has_buffer,
)  # fmt: skip
def delay(edit: Edit) -> None:
    """Time from a command to its effect; MuJoCo rounds it up to whole physics steps."""
    edit.change(edit.model.actuator_delay)


TERMS = (
    mass, com, body_pos, friction, gravity, slope, damping, armature, frictionloss, stiffness,
    kp, kd, strength, force_limit, delay,
)  # fmt: skip
