"""Watching: a window that is not there is played by an object, in a time that does not pass."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest
from click.testing import CliRunner
from made import make_policy, make_run
from test_film import policy_of

from p2p.cli import main
from p2p.core import registry
from p2p.envs import gl
from p2p.film import play
from p2p.film.episode import Player, set_state


class Window:
    """What MuJoCo's viewer is asked for; it is closed after so many pictures."""

    def __init__(self, pictures: int) -> None:
        self.left, self.shown, self.locked = pictures, [], False
        self.cam = mujoco.MjvCamera()
        self.now = 0.0
        self.times: list[float] = []

    def __call__(self, model: mujoco.MjModel, data: mujoco.MjData, **panels: bool) -> Any:
        assert not any(panels.values())
        self.model, self.data = model, data
        return self

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *error: object) -> None:
        self.left = 0

    @contextmanager
    def lock(self) -> Any:
        self.locked = True
        yield
        self.locked = False

    def is_running(self) -> bool:
        return self.left > 0

    def sync(self) -> None:
        assert not self.locked
        self.left -= 1
        self.shown.append(self.data.qpos.copy())
        self.times.append(self.now)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def watch(player: Player, window: Window) -> tuple[int, list[Any]]:
    ended: list[Any] = []
    number = play.watch(
        player, ended.append, launch=window, clock=lambda: window.now, sleep=window.sleep
    )
    return number, ended


def test_what_an_env_moves_at_each_reset_is_shown_where_it_is(monkeypatch):
    """AdroitHandDoor's door, say: it is in the model, not in the state."""
    monkeypatch.setattr(registry, "_added", {})
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    task = registry.add("task", "odd_envs:Moves-v0")
    player = Player(policy_of(task))
    window = Window(3 * 21)
    places: list[tuple[float, float]] = []

    def look() -> None:
        simulated, _ = player.envs.simulation(0)
        if window.left % 21 == 0:  # an episode has begun
            places.append((window.data.body("target").xpos[0], simulated.body("target").pos[0]))

    before = Window.sync
    monkeypatch.setattr(Window, "sync", lambda self: (look(), before(self)))
    watch(player, window)
    assert len({shown for shown, _ in places}) == 3
    for shown, simulated in places:
        assert shown == pytest.approx(simulated)


def test_the_window_shows_every_step_of_the_episode_in_real_time():
    """Which is the one that evaluation scores."""
    player = Player(make_policy(), "wind=3")
    moments = list(player.play())
    window = Window(len(moments))
    assert watch(player, window)[0] == 1
    model, data = player.envs.simulation(0)[0], mujoco.MjData(player.envs.simulation(0)[0])
    for moment, shown in zip(moments, window.shown, strict=True):
        set_state(model, data, moment.state)
        np.testing.assert_array_equal(data.qpos, shown)
    steps = np.diff(window.times[1:])
    np.testing.assert_allclose(steps, player.envs.dt, atol=1e-9)


def test_the_next_episode_begins_elsewhere_until_the_window_is_closed():
    player = Player(make_policy())
    lengths = [list(player.play(n))[-1].step + 1 for n in (0, 1)]
    window = Window(sum(lengths) + 5)
    number, ended = watch(player, window)
    assert (number, len(ended)) == (2, 2)
    assert len(window.shown) == sum(lengths) + 5
    assert ended[0].episode_return != ended[1].episode_return
    assert (window.shown[0] != window.shown[lengths[0]]).any()


def test_the_camera_follows_the_robot():
    window = Window(1)
    watch(Player(make_policy()), window)
    assert window.cam.type == mujoco.mjtCamera.mjCAMERA_TRACKING
    assert window.model.body(window.cam.trackbodyid).name == "torso"
    assert window.model.nlight == 1


def test_what_is_watched_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    window = Window(3)
    monkeypatch.setattr(play, "check_viewer", lambda: None)
    monkeypatch.setattr(play, "import_module", lambda name: SimpleNamespace(launch_passive=window))
    run = make_run(tmp_path / "run")
    result = CliRunner().invoke(main.p2p, ["play", str(run), "--peer", "1", "--domain", "wind=1"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{run}, peer 1; close the window or press Ctrl-C to end\n")
    assert result.stdout.splitlines()[-1] == "0 episodes shown"
    assert len(window.shown) == 3


def test_without_a_display_one_line_points_to_the_film(monkeypatch: pytest.MonkeyPatch):
    """Before anything is loaded: there is no run either."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(main.p2p, ["play", "no/such/run"])
    assert result.exit_code == 2
    assert result.stderr == (
        "error: there is no display to open a window on; p2p video draws without one\n"
    )
    monkeypatch.setenv("DISPLAY", ":1234")
    result = CliRunner().invoke(main.p2p, ["play", "no/such/run"])
    assert result.stderr == "error: the display cannot be opened; p2p video draws without one\n"


def test_on_macos_it_says_that_mjpython_is_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(play.sys, "platform", "darwin")
    assert gl.has_display()
    result = CliRunner().invoke(main.p2p, ["play", "no/such/run"])
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 2
    assert "mjpython $(which p2p) play" in line
