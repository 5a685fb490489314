"""MuJoCo's side of p2p: model files, logging, timers, and its C functions."""

from __future__ import annotations

import ctypes
import logging
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import mujoco

from p2p.core.errors import P2PError
from p2p.envs.trimming import trim

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


def model_file(name: str) -> Path:
    """Return the path of one of Gymnasium's model files."""
    spec = find_spec("gymnasium")  # finds the files without importing Gymnasium
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "envs" / "mujoco" / "assets" / name


def load_model(name: str, *, trimmed: bool = False) -> mujoco.MjModel:
    """Compile one of Gymnasium's model files.

    Args:
        trimmed: leave out what the motion of the unedited model does not need
            (`p2p.envs.trimming`).
    """
    path = str(model_file(name))
    own = mujoco.MjModel.from_xml_path
    model = trim(mujoco.MjSpec.from_file(path)) if trimmed else own(path)
    model.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE  # sparse gains nothing at this size
    model.opt.disableflags |= _idle_stages(model)
    return model


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
