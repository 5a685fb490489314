"""MuJoCo as p2p runs it: model files, what it logs and times, and its C functions."""

from __future__ import annotations

import ctypes
import logging
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import mujoco

from p2p.core.errors import P2PError
from p2p.envs.trimming import trim

FEW_GEOMS = 4  # of one body

_log = logging.getLogger(__name__)


def _log_warning(message: str) -> None:
    _log.debug("MuJoCo: %s", message)


def stop_timers() -> None:
    """Let MuJoCo time nothing: to fill `MjData.timer` costs 9 to 21 % of `mj_step`.

    The clock is its bindings', which cannot be asked for none, so the library is told. They
    bring it back by `mujoco.set_mjcb_time(None)`, before 3.14 in every call; a clock that the
    user has set stays.
    """
    if mujoco.get_mjcb_time() is None:
        with suppress(OSError, ValueError):  # not found: it goes on, and all is only slower
            ctypes.c_void_p.in_dll(_library(), "mjcb_time").value = None


def _library() -> ctypes.CDLL:
    """Return MuJoCo's C library: what its bindings are linked with, never another copy of it.

    Raises:
        OSError: it cannot be loaded.
    """
    from mujoco import _functions

    return ctypes.CDLL(_functions.__file__)


# Without a handler MuJoCo prints to stderr and writes MUJOCO_LOG.TXT into the cwd, both for a
# state that diverges, which is counted here, and for a deprecated attribute of half_cheetah.xml.
if mujoco.get_mju_user_warning() is None:
    mujoco.set_mju_user_warning(_log_warning)
stop_timers()


def model_file(name: str) -> Path:
    """Return where one of Gymnasium's model files lies."""
    spec = find_spec("gymnasium")  # finds the files without importing what nobody here needs
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "envs" / "mujoco" / "assets" / name


def load_model(name: str, *, trimmed: bool = False) -> mujoco.MjModel:
    """Compile one of Gymnasium's model files.

    Args:
        trimmed: leave out what it does not need as long as nobody edits it (`p2p.envs.trimming`).
    """
    path = str(model_file(name))
    own = mujoco.MjModel.from_xml_path
    model = trim(mujoco.MjSpec.from_file(path)) if trimmed else own(path)
    model.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE  # sparse gains nothing at this size
    model.opt.disableflags |= _idle_stages(model)
    return model


def _idle_stages(model: mujoco.MjModel) -> int:
    """Return the flags that keep `mj_step` from what changes no bit of this model's motion.

    They save up to 6 % of it. One that would change a bit if somebody edited the model later,
    such as friction loss where there is none, is for `p2p.envs.trimming`.
    """
    off, flags = mujoco.mjtDisableBit, 0
    if model.ntree == 1:  # it is one island whatever it touches
        flags |= off.mjDSBL_ISLAND
    if model.body_geomnum.max() <= FEW_GEOMS:  # each tried with each costs less than a tree
        flags |= off.mjDSBL_MIDPHASE
    return int(flags)


def native_functions(*names: str) -> list[int]:
    """Return where functions of MuJoCo's C library lie, for compiled code to call.

    Raises:
        P2PError: they cannot be found.
    """
    try:
        library = _library()
        found = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in names]
    except (OSError, AttributeError) as error:
        raise P2PError(
            f"MuJoCo's C functions cannot be called ({error}); use --engine autograd"
        ) from None
    return [int(address or 0) for address in found]
