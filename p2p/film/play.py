"""Watch a policy in MuJoCo's own viewer, in real time: the library's side of `p2p play`."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import mujoco

from p2p.core.errors import UsageError
from p2p.core.signals import StopSignals
from p2p.envs import gl
from p2p.envs.base import Episode
from p2p.film.episode import Player, set_state
from p2p.film.stage import View
from p2p.film.takes import model_to_draw, take_over_reset

PAUSE = 0.7  # s, between episodes
CLOSING = 3.0  # s, at most, that the window may take to close
INSTEAD = "p2p video draws without one"


def check_viewer() -> None:
    """Raise UsageError if no window can be opened."""
    if not gl.has_display():
        raise UsageError(f"there is no display to open a window on; {INSTEAD}")
    if sys.platform == "darwin":
        if getattr(import_module("mujoco.viewer"), "_MJPYTHON", None) is None:
            raise UsageError(
                "on macOS MuJoCo's viewer needs its own Python: mjpython $(which p2p) play ..."
            )
    elif not gl.opens_windows():
        raise UsageError(f"the display cannot be opened; {INSTEAD}")


def watch(
    player: Player,
    report: Callable[[Episode], None] = lambda episode: None,
    *,
    launch: Callable[..., Any] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Play episodes in MuJoCo's viewer until its window is closed; return how many ended.

    The first one is the one that evaluation scores, the others have other start noise.

    Args:
        player: of policy and domain.
        report: called with each episode that ended.
        launch: opens the window; None: `mujoco.viewer.launch_passive`.
        clock, sleep: s, real time.

    Raises:
        UsageError: no window can be opened.
    """
    if launch is None:
        check_viewer()
        launch = import_module("mujoco.viewer").launch_passive
    first = next(player.play())
    model = model_to_draw(player)
    data = mujoco.MjData(model)
    set_state(model, data, first.state)
    number, before = 0, set(threading.enumerate())
    with launch(model, data, show_left_ui=False, show_right_ui=False) as viewer:
        _look(viewer, View(player, model, data))
        with StopSignals() as signals:
            while viewer.is_running() and signals.received is None:
                if not _play_one(player, number, viewer, model, data, report, clock, sleep):
                    break
                number += 1
    for thread in set(threading.enumerate()) - before:  # that draws; GLFW must outlive it
        thread.join(CLOSING)
    return number


def _play_one(
    player: Player, number: int, viewer: Any, model: mujoco.MjModel, data: mujoco.MjData,
    report: Callable[[Episode], None], clock: Callable[[], float], sleep: Callable[[float], None],
) -> bool:  # fmt: skip
    """Show one episode; say whether it was shown to its end."""
    began = clock()
    for moment in player.play(number):
        if not viewer.is_running() or _stops():
            return False
        with viewer.lock():
            if moment.step == 0:
                take_over_reset(player, model)
            set_state(model, data, moment.state)
        viewer.sync()
        ahead = began + moment.step * player.envs.dt - clock()
        if ahead > 0:
            sleep(ahead)
        if moment.ended is not None:
            report(moment.ended)
            sleep(PAUSE)
    return True


def _stops() -> bool:
    return StopSignals.active is not None and StopSignals.active.received is not None


def _look(viewer: Any, view: View) -> None:
    """Let the viewer's camera follow the robot; the mouse turns it."""
    with viewer.lock():
        for name in ("distance", "azimuth", "elevation"):
            setattr(viewer.cam, name, getattr(view.camera, name))
        viewer.cam.lookat[:] = view.camera.lookat
        if view.body is not None:
            viewer.cam.type = mujoco.mjtCamera.mjCAMERA_TRACKING
            viewer.cam.trackbodyid = view.body
