"""The catalogue: every term by its name, and fields of the model as terms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.core import registry
from p2p.core.errors import UsageError
from p2p.core.names import did_you_mean
from p2p.envs.root import actuated_joints
from p2p.envs.terms import model_terms
from p2p.envs.terms.term import Edit, Ints, Of, Term

AXES_OF_ROOT = ("x", "y", "z", "yaw")
FIELD = re.compile(r"(opt\.)?([a-z][a-z0-9_]*)(?:\[(\d+)\])?")
OWNERS: Mapping[str, Of] = {
    "body": "body", "geom": "geom", "jnt": "joint", "dof": "joint", "actuator": "actuator",
    "tendon": "tendon", "site": "site", "opt.": "",
}  # fmt: skip
POSITIVE = (
    "body_mass", "body_inertia", "dof_damping", "dof_armature", "dof_frictionloss",
    "jnt_stiffness", "geom_size", "geom_friction",
)  # fmt: skip
NEVER = ("opt.timestep",)  # a task's step is a number of physics steps


def _has_angle(model: mujoco.MjModel, ids: Ints) -> str:
    free = model.jnt_type[ids] <= int(mujoco.mjtJoint.mjJNT_BALL)
    return "a free or ball joint has no single angle: name the others in `of`" if free.any() else ""


STARTS = (
    Term(
        "joint_offset",
        "Start pose of joints; kept within their ranges, and the root is lifted out of the floor",
        None, of="joint", unit="rad", acts="start", scales=False,
        links=actuated_joints, refuse=_has_angle,
    ),
    Term(
        "start_pose", "Where the root starts: of = x, y, z (m) or yaw (rad)",
        None, of="axis", unit="m", acts="start", scales=False,
    ),
)  # fmt: skip
FORCES = (
    Term(
        "wind", "Constant force on the root along a world axis",
        None, unit="N", acts="force", scales=False, options={"axis": "x"},
    ),
    Term(
        "push", "Change of the root's velocity, in a random horizontal direction every so often",
        None, unit="m/s", acts="push", scales=False, one_sided=True, options={"every": 5.0},
    ),
)  # fmt: skip
SIGNALS = (
    Term(
        "obs_noise", "Gaussian noise on observations; the value is its standard deviation",
        None, of="observation", acts="obs_noise", scales=False, one_sided=True,
    ),
    Term(
        "obs_bias", "What an episode's observations are off by, all the time",
        None, of="observation", acts="obs_bias", scales=False,
    ),
    Term(
        "action_noise", "Gaussian noise on actions; the value is its standard deviation",
        None, of="actuator", acts="action_noise", scales=False, one_sided=True,
    ),
)  # fmt: skip
TERMS: Mapping[str, Term] = {
    term.name: term for term in (*model_terms.TERMS, *STARTS, *FORCES, *SIGNALS)
}


def find_term(name: str) -> Term:
    """Return what a domains file calls `name` in `vary`.

    Raises:
        UsageError: there is no such term, and no such field of the model.
        BadArtefact: a term of a user's that was not loaded in this process.
    """
    if name in TERMS:
        return TERMS[name]
    if ":" in name or registry.is_known("term", name):
        found: Term = registry.find("term", name)
        return found
    return _field_term(name)


def _field_term(name: str) -> Term:
    """Return a term that changes a field of MjModel, or a column of it."""
    match = FIELD.fullmatch(name)
    whole = (match[1] or "") + match[2] if match else ""
    owner = "opt." if whole.startswith("opt.") else whole.partition("_")[0]
    probe = mujoco.MjModel.from_xml_string("<mujoco/>")
    value = _attribute(probe, whole) if match and owner in OWNERS else None
    is_number = isinstance(value, float) or (
        isinstance(value, np.ndarray) and value.dtype == np.float64
    )
    if match is None or not is_number or whole in NEVER:
        raise UsageError(
            f"unknown term {name!r}{did_you_mean(name, TERMS)}; see p2p domains --terms, "
            "or name a field of MuJoCo's model such as geom_solref[0]"
        )
    column = None if match[3] is None else int(match[3])
    width = value.shape[-1] if isinstance(value, np.ndarray) and value.ndim > 1 else None
    if whole.startswith("opt.") and isinstance(value, np.ndarray):
        width = value.size
    if column is not None and (width is None or column >= width):
        raise UsageError(f"{name!r}: {whole} has {width or 'no'} columns, the first is 0")

    def apply(edit: Edit) -> None:
        if owner == "opt.":
            _change_option(edit, match[2], column)
            return
        array = _attribute(edit.model, whole)
        rows = edit.dofs() if owner == "dof" else ()
        edit.change(array if column is None else array[..., column], *rows)

    return Term(
        name,
        f"The field {whole} of MuJoCo's model",
        apply,
        OWNERS[owner],
        (whole,),
        positive=whole in POSITIVE,
    )


def _change_option(edit: Edit, name: str, column: int | None) -> None:
    value, option = edit.values[0], edit.model.opt
    old = getattr(option, name)
    if isinstance(old, float):
        setattr(option, name, old * value if edit.scales else old + value)
    else:
        part = old[:] if column is None else old[column : column + 1]
        part[:] = part * value if edit.scales else part + value


def _attribute(model: mujoco.MjModel, name: str) -> Any:
    """Return a field by its name in `Term.fields`, or None."""
    option = name.removeprefix("opt.")
    return getattr(model if option == name else model.opt, option, None)


def field_values(term: Term, model: mujoco.MjModel, ids: Ints) -> NDArray[np.float64]:
    """Return the model's own values of what a term changes, as they stand in the file."""
    shows = next(iter(term.fields), "") if term.shows is None else term.shows
    match = FIELD.fullmatch(shows)
    if match is None:
        return np.zeros(0)
    name = (match[1] or "") + match[2]
    value = np.atleast_1d(np.asarray(_attribute(model, name), np.float64))
    if not term.of:
        return np.atleast_1d(np.linalg.norm(value)) if term.name == "gravity" else value
    if name.startswith("dof_"):
        ids = Edit(model, ids, np.zeros(len(ids)), True, {}).dofs()[0]
    rows = value[ids]
    return np.abs(rows if rows.ndim == 1 else rows[:, int(match[3] or 0)])


def copy_fields(names: tuple[str, ...], source: mujoco.MjModel, target: mujoco.MjModel) -> None:
    """Write fields of one model into another."""
    for name in names:
        value = _attribute(source, name)
        if isinstance(value, np.ndarray):
            _attribute(target, name)[:] = value
        else:
            setattr(target.opt, name.removeprefix("opt."), value)
