"""A film strip: a few frames of the trained policy, as JPEG.

All that renders for reports is here.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from io import BytesIO
from typing import Any

from p2p.core.errors import P2PError, UsageError
from p2p.report.formats import number
from p2p.report.page import Frame
from p2p.runs import RunFolder

FRAMES = 6
SIZE = (320, 240)  # pixels, width and height
QUALITY = 85


def film_strip(run: RunFolder, frames: int = FRAMES) -> tuple[list[Frame], str]:
    """Run one episode of the best peer in the nominal domain; return frames and a caption.

    Raises:
        UsageError: there is no OpenGL here, or the task's code is not loaded.
        BadArtefact: there is no policy, or it is damaged.
    """
    from p2p.runs.policies import load_policy

    result = run.result()
    scores = result["scores"] if result else []
    best = max(scores, key=lambda peer: float(peer["mean"]))["peer"] if scores else 0
    policy = load_policy(run.path, best)
    envs = _envs(run)
    states, total = [], 0.0
    import numpy as np

    envs.reset(np.random.default_rng(0))
    data = envs.simulation(0)[1]
    for _ in range(envs.max_episode_steps):
        states.append((data.qpos.copy(), total))
        envs.step(policy.act(envs.obs))
        total += float(envs.reward[0])
        if envs.terminated[0] or envs.truncated[0]:
            break
    last = len(states) - 1
    chosen = sorted({round(n * last / max(1, frames - 1)) for n in range(frames)})
    pictures = _render(run.config.task, envs, [states[n][0] for n in chosen])
    labels = [f"{n * envs.dt:.1f} s, return {number(round(states[n][1]))}" for n in chosen]
    made = [Frame(jpeg, label) for jpeg, label in zip(pictures, labels, strict=True)]
    peer = f"Peer {best}" if run.config.num_peers > 1 else "The policy"
    peer += ", the one with the highest final score" if len(scores) > 1 else ""
    caption = (
        f"{peer}. One episode in the nominal domain, mean action: return {number(total)} in "
        f"{last + 1} of at most {envs.max_episode_steps} steps."
    )
    return made, caption


def _envs(run: RunFolder) -> Any:
    """Return one env with the whole model, in the nominal domain."""
    from p2p.envs.build import build_envs
    from p2p.envs.domain import Domain
    from p2p.envs.gymnasium_tasks import GymTask
    from p2p.envs.task import find_task
    from p2p.envs.vector import RandomisedEnvs

    kind, varied = find_task(run.config.task), run.config.randomisation
    envs: Any
    if issubclass(kind, GymTask):
        envs = build_envs(kind, 1, varied)
    else:
        envs = RandomisedEnvs(kind, 1, randomisation=varied, trimmed=False)
    envs.set_domains([varied.complete(Domain())])
    return envs


def _render(task: str, envs: Any, poses: list[Any]) -> list[bytes]:
    """Return a JPEG a pose."""
    import mujoco
    from PIL import Image

    _draw_without_display()
    model, _ = envs.simulation(0)
    data = mujoco.MjData(model)
    camera = _camera(task, model)
    pictures = []
    try:
        with mujoco.Renderer(model, SIZE[1], SIZE[0]) as renderer:
            for pose in poses:
                data.qpos[:] = pose
                mujoco.mj_forward(model, data)
                renderer.update_scene(data, camera)
                out = BytesIO()
                Image.fromarray(renderer.render()).save(out, "JPEG", quality=QUALITY)
                pictures.append(out.getvalue())
    except P2PError:
        raise
    except Exception as error:  # each GL library fails in its own way
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"MuJoCo cannot render here ({why}); set MUJOCO_GL=egl or osmesa, and install it"
        ) from None
    return pictures


def _draw_without_display() -> None:
    """Let MuJoCo draw by EGL where there is no display and nobody has chosen a back end.

    MuJoCo reads `MUJOCO_GL` when it is imported, which is long ago, and then takes GLFW.
    """
    from mujoco.rendering.classic import gl_context

    displays = {"MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"}
    if sys.platform == "linux" and not displays & os.environ.keys():
        with suppress(ImportError, AttributeError):  # no EGL: `Renderer` says what is missing
            gl_context.GLContext = import_module("mujoco.egl").GLContext


def _camera(task: str, model: Any) -> Any:
    """Return the model's own camera that follows, or one as the task says."""
    import mujoco

    from p2p.envs.task import find_task

    if mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, "track") >= 0:
        return "track"
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, camera)
    for name, value in (getattr(find_task(task), "camera", None) or {}).items():
        if name == "lookat":
            camera.lookat[:] = value
        elif name == "trackbodyid":
            camera.type, camera.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, value
        else:
            setattr(camera, name, value)
    return camera
