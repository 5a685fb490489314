"""MuJoCo's side of p2p: model files, logging, timers, and its C functions."""

from __future__ import annotations

import ctypes
import logging
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import mujoco
import numpy as np

from p2p.core.errors import P2PError, UsageError
from p2p.envs.randomisation import Factor, Randomisation
from p2p.envs.task import Servo, Task
from p2p.envs.terms import Term, find_term
from p2p.envs.trimming import trim

NOTHING = Randomisation()
DENSE_UP_TO = 60  # degrees of freedom, as MuJoCo itself decides
FEW_GEOMS = 4  # of one body, up to which testing all pairs costs less than a tree

_log = logging.getLogger(__name__)


def _log_warning(message: str) -> None:
    _log.debug("MuJoCo: %s", message)


def stop_timers() -> None:
    """Turn MuJoCo's profiling timers off: they cost 9 to 21 % of `mj_step`.

    They do not affect the simulation. MuJoCo's bindings install the clock and have no function to
    remove it, so it is removed in the C library. `mujoco.set_mjcb_time(None)` installs it again
    (before 3.14 with every call). A clock that the user has set stays.
    """
    if mujoco.get_mjcb_time() is None:
        with suppress(OSError, ValueError):  # not found: simulation is only slower
            ctypes.c_void_p.in_dll(_library(), "mjcb_time").value = None


def _library() -> ctypes.CDLL:
    """Return the C library that MuJoCo's bindings are linked with, never another copy of it.

    Raises:
        OSError: it cannot be loaded.
    """
    from mujoco import _functions

    return ctypes.CDLL(_functions.__file__)


# Without a handler MuJoCo prints to stderr and writes MUJOCO_LOG.TXT into the working directory:
# when a state diverges, which p2p counts, and for a deprecated attribute of half_cheetah.xml.
if mujoco.get_mju_user_warning() is None:
    mujoco.set_mju_user_warning(_log_warning)
stop_timers()


def gymnasium_file(name: str) -> Path:
    """Return the path of one of Gymnasium's model files."""
    spec = find_spec("gymnasium")  # finds the files without importing Gymnasium
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "envs" / "mujoco" / "assets" / name


def load_model(
    task: type[Task], randomisation: Randomisation = NOTHING, *, trimmed: bool = False
) -> mujoco.MjModel:
    """Compile the model of a task.

    Args:
        randomisation: what will vary: the model is prepared for it.
        trimmed: leave out what the motion does not need, also while this varies
            (`p2p.envs.trimming`).

    Raises:
        UsageError: there is no such file, it does not compile, or has no motors for the servo.
    """
    path = task.model_path()
    terms = [(find_term(factor.vary), factor) for factor in randomisation]
    try:
        if not path.is_file():
            raise ValueError("no such file")
        spec = mujoco.MjSpec.from_file(str(path))
        for term, factor in terms:
            if term.prepare is not None:
                term.prepare(spec, factor)
        if task.servo is not None:
            fit_servos(spec, task.servo)
        if trimmed and task.discards_visuals:
            spec.compiler.discardvisual = True
        model = trim(spec, _varied(terms)) if trimmed else _compiled(spec)
    except ValueError as error:
        text = " ".join(str(error).split())
        raise UsageError(f"task {task.__name__}: model {path}: {text}") from None
    if model.nv <= DENSE_UP_TO:
        model.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE  # sparse gains nothing at this size
    model.opt.disableflags |= _idle_stages(model)
    return model


def _compiled(spec: mujoco.MjSpec) -> mujoco.MjModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a deprecated attribute of half_cheetah.xml
        return spec.compile()


def fit_servos(spec: mujoco.MjSpec, servo: Servo) -> None:
    """Make position servos of the motors of a robot's joints.

    Raises:
        ValueError: an actuator is no motor of a joint.
    """
    for actuator in spec.actuators:
        if (
            actuator.trntype != mujoco.mjtTrn.mjTRN_JOINT
            or actuator.biastype != mujoco.mjtBias.mjBIAS_NONE
        ):
            raise ValueError(
                f"actuator {actuator.name!r} is no torque motor of a joint; leave the servo out"
            )
        force = actuator.gainprm[0] * np.array(actuator.ctrlrange)
        own = np.array(actuator.forcerange)
        if actuator.forcelimited != mujoco.mjtLimited.mjLIMITED_FALSE and own.any():
            force = np.clip(force, *own) if force.any() else own
        force = np.sort(force * actuator.gear[0])
        if actuator.ctrllimited != mujoco.mjtLimited.mjLIMITED_FALSE and force.any():
            actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
            actuator.forcerange = force
        actuator.gear[0] = 1.0
        actuator.ctrllimited = mujoco.mjtLimited.mjLIMITED_FALSE
        actuator.ctrlrange = (0.0, 0.0)
        actuator.set_to_position(kp=servo.kp, kv=servo.kd)


def _varied(terms: Sequence[tuple[Term, Factor]]) -> frozenset[str]:
    """Return the fields that vary and that trimming must leave to the geoms, springs or joints.

    The friction of all geoms alike is not among them: contacts of listed pairs follow it.
    """
    return frozenset(
        field
        for term, factor in terms
        for field in term.fields
        if not (term.name == "friction" and factor.of is None and not factor.each)
    )


def _idle_stages(model: mujoco.MjModel) -> int:
    """Return flags that disable stages of `mj_step` without changing a bit of the motion.

    They save up to 6 % of its time. Stages that could matter after an edit of the model, such as
    friction loss, are left to `p2p.envs.trimming`.
    """
    off, flags = mujoco.mjtDisableBit, 0
    if model.ntree == 1:  # one island, whatever touches
        flags |= off.mjDSBL_ISLAND
    if model.body_geomnum.max() <= FEW_GEOMS:
        flags |= off.mjDSBL_MIDPHASE
    return int(flags)


def native_functions(*names: str) -> list[int]:
    """Return addresses of functions in MuJoCo's C library, for compiled code to call.

    Raises:
        P2PError: a function cannot be found.
    """
    try:
        library = _library()
        found = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in names]
    except (OSError, AttributeError) as error:
        raise P2PError(
            f"MuJoCo's C functions cannot be called ({error}); use --engine autograd"
        ) from None
    return [int(address or 0) for address in found]
