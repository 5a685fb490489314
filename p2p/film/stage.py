"""Draws moments of episodes with MuJoCo, without a window."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.envs import gl
from p2p.envs.root import Root
from p2p.envs.task import find_task
from p2p.film.episode import Floats, Player, set_state
from p2p.film.takes import Take

Image = NDArray[np.uint8]  # [H, W, 3]
MAX_GEOMS = 10_000
SHADOWS = 1024  # pixels a side of a shadow map; MuJoCo's own is 4096
AWAY = 3.5  # distance of the camera, in sizes of the robot, where the task says none
FROM_ABOVE, LOW = -45.0, -20.0  # degrees: MuJoCo's default, and what shows how a robot walks
SETTINGS = ("distance", "azimuth", "elevation", "lookat")


class View:
    """Where one looks from: at the task's own distance and angles, after the robot.

    Args:
        player: of the robot.
        model: that is drawn.
        data: at the start of an episode.

    Attributes:
        camera: MuJoCo's.
        body: that is followed; None if the robot stands where it is.
    """

    def __init__(self, player: Player, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self.camera = camera = mujoco.MjvCamera()
        mujoco.mjv_defaultFreeCamera(model, camera)
        config = camera_config(player)
        self.body = root_body(player.envs.binding.root, model)
        if self.body is not None:
            camera.distance = AWAY * _size(model, data, self.body)
            if camera.elevation == FROM_ABOVE:
                camera.elevation = LOW
        for name in SETTINGS:
            if name in config:
                setattr(camera, name, np.array(config[name], np.float64)[()])
        if self.body is not None:
            camera.lookat[2] = data.subtree_com[self.body][2]
        self.follow(data)

    def follow(self, data: mujoco.MjData) -> None:
        """Look at the robot where it is now; the height stays, so that the ground does not jump."""
        if self.body is not None:
            self.camera.lookat[:2] = data.subtree_com[self.body][:2]


def camera_config(player: Player) -> Mapping[str, Any]:
    """Return how the task is looked at, as Gymnasium's `default_camera_config`; {} if not said."""
    config = dict(find_task(player.subject.task).camera)
    for env in getattr(player.envs, "cores", ()):
        config |= getattr(getattr(env, "mujoco_renderer", None), "default_cam_config", None) or {}
    return config


def root_body(root: Root | None, model: mujoco.MjModel) -> int | None:
    """Return the body by which a robot moves about; None if it does not."""
    if root is None:
        return None
    first = min(root.dof.values())
    return int(model.dof_bodyid[first])


def _size(model: mujoco.MjModel, data: mujoco.MjData, body: int) -> float:
    """Return the largest distance of a robot's geom from its centre of mass, m."""
    own = model.body_rootid[model.geom_bodyid] == model.body_rootid[body]
    away = np.linalg.norm(data.geom_xpos[own] - data.subtree_com[body], axis=1)
    return float((away + model.geom_rbound[own]).max())


class Stage:
    """Draws takes of one robot. There must be one at a time: two spoil each other's pictures.

    Args:
        player: of the robot.
        take: any of the takes that will be drawn.
        width, height: of a picture, pixels.
        fine: smooth edges, sharp shadows and reflections, which take four times as long.

    Raises:
        UsageError: nothing can draw here.
    """

    def __init__(
        self, player: Player, take: Take, width: int, height: int, *, fine: bool = False
    ) -> None:
        model = take.model
        if not fine:
            model.vis.quality.offsamples = 0
            model.vis.quality.shadowsize = min(SHADOWS, model.vis.quality.shadowsize)
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        self._data = mujoco.MjData(model)
        set_state(model, self._data, take.moments[0].state)
        self.view = View(player, model, self._data)
        self._option, self._scene = mujoco.MjvOption(), mujoco.MjvScene(model, MAX_GEOMS)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = fine
        self._scene.flags[mujoco.mjtRndFlag.mjRND_HAZE] = False  # a white line at the horizon
        self._rectangle = mujoco.MjrRect(0, 0, width, height)
        self._gl = gl.new_context(width, height)
        self._gl.make_current()
        scale = mujoco.mjtFontScale.mjFONTSCALE_100.value
        self._context = mujoco.MjrContext(model, scale)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)

    def draw(self, take: Take, state: Floats) -> Image:
        """Return a picture of a state, [height, width, 3]."""
        set_state(take.model, self._data, state)
        self.view.follow(self._data)
        mujoco.mjv_updateScene(
            take.model, self._data, self._option, None, self.view.camera,
            mujoco.mjtCatBit.mjCAT_ALL.value, self._scene,
        )  # fmt: skip
        picture = np.empty((self._rectangle.height, self._rectangle.width, 3), np.uint8)
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(picture, None, self._rectangle, self._context)
        return picture[::-1]

    def close(self) -> None:
        """Free the context."""
        self._context.free()
        self._gl.free()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()
