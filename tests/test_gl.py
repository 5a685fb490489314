"""Pictures without a display: the back end is found out, and if there is none, one line says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from made import make_run

from p2p.core.errors import UsageError
from p2p.core.registration import register_envs
from p2p.envs import gl

register_envs()

linux = pytest.mark.skipif(sys.platform != "linux", reason="EGL and OSMesa are Linux's")
NO_EGL = """
import ctypes, ctypes.util, sys
real_init, real_find = ctypes.CDLL.__init__, ctypes.util.find_library
def init(self, name, *args, **more):
    if "EGL" in str(name):
        raise OSError("libEGL.so.1: no such file")
    real_init(self, name, *args, **more)
ctypes.CDLL.__init__ = init
ctypes.util.find_library = lambda name: None if "EGL" in name else real_find(name)
"""
OSMESA = """
import types
import mujoco.egl as working
fake = types.ModuleType("mujoco.osmesa")
fake.GLContext = working.GLContext
sys.modules["mujoco.osmesa"] = fake
class Broken:
    def __init__(self, *size):
        raise RuntimeError("no device")
working.GLContext = Broken
"""
RENDER = """
import gymnasium, p2p
env = gymnasium.make("p2p/Hopper-v5", render_mode="rgb_array", width=64, height=48)
env.reset(seed=0)
print("deviation", round(env.render().std()))
env.close()
"""


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code where nothing tells how to draw."""
    told = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY")
    inherited = {name: value for name, value in os.environ.items() if name not in told}
    return subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=inherited | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@linux
@pytest.mark.parametrize("environment", [{}, {"DISPLAY": ":1234"}], ids=["none", "broken"])
def test_an_env_draws_without_a_display_and_without_a_variable(environment: dict[str, str]):
    """Where DISPLAY leads nowhere too; nothing is printed about it."""
    done = python(RENDER, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout.removeprefix("deviation ")) > 20


@linux
def test_a_film_is_made_without_a_display_and_without_a_variable(tmp_path: Path):
    run, out = make_run(tmp_path / "run"), tmp_path / "a.webp"
    args = ["video", str(run), "-o", str(out), "--seconds", "0.1", "--size", "64x64"]
    done = python(f"from p2p.cli.main import main; import sys; sys.argv[1:] = {args}; main()")
    assert (done.returncode, done.stderr) == (0, "")
    assert out.read_bytes().startswith(b"RIFF")


@linux
def test_where_egl_fails_osmesa_is_tried():
    """Its library is not here: a class that draws takes its place."""
    code = f"import sys\n{OSMESA}\nfrom p2p.envs import gl\nassert gl.back_end() == 'osmesa'"
    done = python(f"{code}\nworking.GLContext = fake.GLContext\n{RENDER}")
    assert (done.returncode, done.stderr) == (0, "")


@linux
def test_what_egl_has_imported_is_forgotten_before_osmesa_is_tried():
    """PyOpenGL stays with the platform that it was imported for."""
    code = f"""{NO_EGL}
import os, types
class Context:
    def __init__(self, *size):
        print("OpenGL" in sys.modules, os.environ.get("PYOPENGL_PLATFORM"))
        raise RuntimeError("no more of it")
sys.modules["mujoco.osmesa"] = types.SimpleNamespace(GLContext=Context)
from p2p.envs import gl
gl.back_end()
"""
    assert python(code).stdout == "False None\n"


@linux
def test_where_none_works_one_line_says_what_to_install(tmp_path: Path):
    """Of an env, as an error of p2p's; of the command, with exit code 2."""
    run = make_run(tmp_path / "run")
    args = ["video", str(run), "-o", str(tmp_path / "a.webp")]
    done = python(f"{NO_EGL}\nfrom p2p.cli.main import main; sys.argv[1:] = {args}; main()")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith(
        "error: no OpenGL back end works here (egl: its library cannot be loaded"
    )
    assert line.endswith("or OSMesa (libosmesa6)")
    last = python(NO_EGL + RENDER).stderr.splitlines()[-1]
    assert "UsageError: no OpenGL back end works here" in last


@linux
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("osmesa", "MUJOCO_GL=osmesa does not work here (its library cannot be loaded); unset it"),
        ("glfw", "MUJOCO_GL=glfw does not work here (the display cannot be opened); unset it"),
        ("off", "MUJOCO_GL=off: no picture can be drawn with that; unset it"),
    ],
)
def test_a_variable_that_is_set_is_obeyed_and_blamed(value: str, message: str):
    """MuJoCo cannot even be imported with the first one."""
    args = ["video", "-o", "a.webp"]
    code = f"from p2p.cli.main import main; import sys; sys.argv[1:] = {args}; main()"
    done = python(code, MUJOCO_GL=value)
    assert (done.returncode, done.stderr) == (2, f"error: {message}\n")


@linux
def test_the_environment_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch):
    """Else processes that are started later would import OpenGL, and fail where it is missing."""
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with gl.chosen():
        assert os.environ["MUJOCO_GL"] == "egl"
    assert "MUJOCO_GL" not in os.environ
    with pytest.raises(UsageError, match='render_mode="human" has no window; use "rgb_array"'):
        gymnasium.make("p2p/Hopper-v5", render_mode="human").reset()


def test_training_tries_no_back_end():
    """A machine that cannot draw trains all the same."""
    code = f"{NO_EGL}\nimport p2p, mujoco; envs = p2p.build_envs('hopper', 1)\n"
    done = python(code + "print('OpenGL' in sys.modules)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


def test_two_envs_in_one_process_draw_their_own_pictures():
    """Each in its own context: Gymnasium draws in the one that was made last."""
    envs = [
        gymnasium.make(f"p2p/{name}-v5", render_mode="rgb_array", width=64, height=48)
        for name in ("Hopper", "Ant")
    ]
    for env in envs:
        env.reset(seed=0)
    first = [env.render() for env in envs]
    for env, picture in zip(envs, first, strict=True):
        np.testing.assert_array_equal(env.render(), picture)
        env.close()
