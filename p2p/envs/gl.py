"""Which OpenGL back end draws: nobody needs to know `MUJOCO_GL`.

MuJoCo and Gymnasium take the back end from `MUJOCO_GL`, else GLFW, which needs a display. Here each
back end that may work is tried: a context is made, and MuJoCo loads its functions into it. That
works after `import mujoco` too, so nothing has to be set before, and training, which draws
nothing, tries nothing.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

from p2p.core.errors import UsageError

VARIABLE = "MUJOCO_GL"
PLATFORM = "PYOPENGL_PLATFORM"  # which PyOpenGL, once imported, stays with
ADVICE = {
    "egl": "EGL (libegl1 and a driver, such as libgl1-mesa-dri)",
    "osmesa": "OSMesa (libosmesa6)",
    "glfw": "a display",
}


def has_display() -> bool:
    """Say whether a window can be opened, as far as the environment tells."""
    if sys.platform != "linux":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def new_context(width: int, height: int) -> Any:
    """Return an OpenGL context to draw in without a window, as MuJoCo's `GLContext`.

    Raises:
        UsageError: no back end works here.
    """
    return _context_class(back_end())(width, height)


@contextmanager
def chosen() -> Iterator[None]:
    """Let Gymnasium, which reads `MUJOCO_GL` when it first draws, take the back end that works.

    Raises:
        UsageError: no back end works here.
    """
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = back_end()
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before


def back_end() -> str:
    """Return the back end to draw with: that of `MUJOCO_GL`, else the first one that works.

    Raises:
        UsageError: none works here.
    """
    return _back_end(os.environ.get(VARIABLE, "").lower().strip(), has_display())


@cache
def _back_end(wanted: str, display: bool) -> str:
    automatic = wanted in ("", "enable", "enabled", "on", "true", "1")
    names = ("glfw", "egl", "osmesa") if display else ("egl", "osmesa")
    if sys.platform != "linux":
        names = ("glfw",)
    failed = []
    for name in names if automatic else (wanted,):
        if name not in ADVICE:
            raise UsageError(f"{VARIABLE}={wanted}: no picture can be drawn with that; unset it")
        problem = _try(name)
        if not problem:
            return name
        failed.append(f"{name}: {problem}")
        if not automatic:
            raise UsageError(f"{VARIABLE}={wanted} does not work here ({problem}); unset it")
    needs = " or ".join(ADVICE[name] for name in names)
    raise UsageError(f"no OpenGL back end works here ({'; '.join(failed)}); install {needs}")


def _try(name: str) -> str:
    """Return why a back end does not work here, in a few words, or nothing."""
    before, context = (set(sys.modules), os.environ.get(PLATFORM)), None
    try:
        import mujoco  # which fails with a back end in `MUJOCO_GL` that is not installed

        if name == "glfw" and not opens_windows():
            return "the display cannot be opened"
        context = _context_class(name)(16, 16)
        context.make_current()
        model = mujoco.MjSpec().compile()
        mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value).free()
    except Exception as error:
        _forget(*before)
        if isinstance(error, AttributeError):  # PyOpenGL's way to say so
            return "its library cannot be loaded"
        return " ".join(str(error).split())[:80] or type(error).__name__
    finally:
        if context is not None:
            context.free()
    return ""


def opens_windows() -> bool:
    """Say whether GLFW can open a window."""
    import glfw

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns, and returns that it failed
        return bool(glfw.init())


def _context_class(name: str) -> Any:
    return import_module(f"mujoco.{name}").GLContext


def _forget(modules: set[str], platform: str | None) -> None:
    """Forget what a back end that failed has imported: PyOpenGL stays with the first platform."""
    for name in sys.modules.keys() - modules:
        if name.partition(".")[0] == "OpenGL" or name.startswith(("mujoco.egl", "mujoco.osmesa")):
            del sys.modules[name]
    if platform is None:
        os.environ.pop(PLATFORM, None)
