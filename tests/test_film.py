"""Films: what is shown is the episode that evaluation scores, whole, readable, and nothing less."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import mujoco
import numpy as np
import pytest
from click.testing import CliRunner, Result
from made import make_policy, make_run
from PIL import Image, ImageFont

import p2p
from p2p.analysis.session import Progress
from p2p.cli import main
from p2p.core import registry
from p2p.core.env_names import with_kwargs
from p2p.core.errors import Interrupted, NoRoom, UsageError
from p2p.envs.build import build_envs
from p2p.envs.domain import Domain
from p2p.envs.domain_file import from_tables
from p2p.envs.randomisation import table_1
from p2p.film import captions, files, make_film
from p2p.film.episode import Player, set_state
from p2p.film.make import HOLD
from p2p.film.stage import Stage
from p2p.film.takes import Take, record
from p2p.policy.normaliser import Normaliser
from p2p.policy.parameters import actor_layout
from p2p.policy.policy import Policy

SMALL: dict[str, Any] = {"size": (96, 72), "fps": 10}
PERTURBED = "wind=3,mass=0.8"
NOISY = {
    "mass": {"scale": 0.2},
    "feel": {"vary": "obs_noise", "add": 0.05},
    "late": {"vary": "delay", "add": [0, 0.02]},
    "shove": {"vary": "push", "add": 0.5, "every": 0.2},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", num_peers=2)


def policy_of(task: str) -> Policy:
    """Return a random policy of any task."""
    envs = build_envs(task, 1)
    layout = actor_layout(envs.obs_dim, (8, 8), envs.action_dim)
    actor = np.random.default_rng(0).normal(0, 0.3, layout.size).astype(np.float32)
    normaliser = Normaliser(np.zeros(envs.obs_dim), np.ones(envs.obs_dim), 10.0)
    return Policy(task, actor, (8, 8), normaliser, envs.action_low, envs.action_high)


def video(*args: str | Path) -> Result:
    return CliRunner().invoke(main.p2p, ["video", *map(str, args)])


def pictures(path: Path) -> list[np.ndarray]:
    """Return the pictures of a film, [H, W, 3] each; equal ones in a row are one."""
    found = []
    with Image.open(path) as film:
        for n in range(film.n_frames):
            film.seek(n)
            found.append(np.asarray(film.convert("RGB"), np.float64))
    return found


# The episode


@pytest.mark.parametrize("domain", ["nominal", PERTURBED])
def test_a_film_shows_the_episode_that_evaluation_scores(run: Path, domain: str):
    """Of the same peer, domain, start noise: return, length and ending, to the last bit."""
    found = p2p.evaluate(run, domain=domain, domain_seed=3, save=False).runs[0].measured[0]
    for peer in (0, 1):
        moments = list(Player(run, domain, peer=peer, seed=3).play())
        assert moments[-1].episode_return == found.episode_return[peer, 0, 0]
        assert moments[-1].step == found.length[peer, 0, 0] == len(moments) - 1
        assert moments[-1].ended is not None
        assert moments[-1].ended.terminated == found.terminated[peer, 0, 0]


@pytest.mark.parametrize("task", ["hopper", "Reacher-v5", with_kwargs("Ant-v5", {"frame_skip": 4})])
def test_noise_delays_and_gymnasiums_envs_play_as_they_are_scored(task: str):
    """The noise too comes from the episode's own stream."""
    name = task if task == "hopper" else registry.choose("task", task)
    policy = make_policy("hopper") if task == "hopper" else policy_of(name)
    left_out = {"hopper": (), "Reacher-v5": ("late", "shove")}.get(task, ("late",))
    tables = {name: table for name, table in NOISY.items() if name not in left_out}
    domain = ",".join(f"{n}={1.1 if n == 'mass' else 0.02}" for n in tables)
    settings: dict[str, Any] = {"randomise": tables}
    found = p2p.evaluate(policy, domain=domain, save=False, **settings).runs[0].measured[0]
    *_, last = Player(policy, domain, **settings).play()
    assert last.episode_return == found.episode_return[0, 0, 0]


def test_later_episodes_differ_and_the_first_can_be_played_again(run: Path):
    player = Player(run)
    first, second, again = (list(player.play(n))[-1].episode_return for n in (0, 1, 0))
    assert first == again != second


def test_the_last_moment_is_where_the_episode_ended_not_where_the_next_begins():
    """The envs restart in the same step; a hopper that fell leans, and one that starts does not."""
    player = Player(make_policy())
    moments = list(player.play())
    assert moments[-1].ended is not None
    assert moments[-1].ended.terminated
    model, data = player.envs.simulation(0)[0], mujoco.MjData(player.envs.simulation(0)[0])
    heights, leans = [], []
    for moment in (moments[0], moments[-2], moments[-1]):
        set_state(model, data, moment.state)
        heights.append(data.qpos[1])
        leans.append(abs(data.qpos[2]))
    assert heights[2] < 0.7 or leans[2] > 0.2  # Gymnasium's own bounds
    assert abs(data.time - (len(moments) - 1) * player.envs.dt) < 1e-9


# The model that is drawn


class Balance(p2p.Task):
    """A trunk with a leg, seen through a visual geom, with a light and a camera."""

    frame_skip, max_episode_steps = 4, 20
    memory: ClassVar = {"last": 1}

    def observe(self, s: Any) -> Any:
        return {"hip": s.qpos[:, 7], "height": s.qpos[:, 2]}

    def reward(self, s: Any, action: Any) -> Any:
        return {"height": s.qpos[:, 2]}


VISUAL = """
<mujoco>
  <worldbody>
    <light pos="0 0 3"/> <camera name="side" pos="0 -2 1"/>
    <geom name="floor" type="plane" size="5 5 .1"/>
    <body name="trunk" pos="0 0 .5">
      <freejoint/>
      <geom name="box" type="box" size=".2 .1 .05" mass="3"/>
      <geom name="shell" type="sphere" size=".15" contype="0" conaffinity="0" mass="0"/>
      <body name="leg" pos="0 0 -.05">
        <joint name="hip" type="hinge" axis="0 1 0" range="-60 60"/>
        <geom name="shin" type="capsule" fromto="0 0 0 0 0 -.3" size=".04" mass=".5"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor name="hip" joint="hip" ctrlrange="-10 10"/></actuator>
</mujoco>
"""


@pytest.fixture
def own_robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Policy:
    """A policy of a robot of a user's."""
    monkeypatch.setattr(registry, "_added", {})
    (tmp_path / "robot.xml").write_text(VISUAL)
    code = Path(__file__).read_text()
    body = code[code.index("class Balance") : code.index('VISUAL = """')]
    lines = ["from typing import Any, ClassVar", "import p2p", body]
    file = tmp_path / "robot.py"
    file.write_text("\n".join(lines).replace("    memory", '    model = "robot.xml"\n    memory'))
    return policy_of(registry.choose("task", registry.add("task", f"{file}:Balance")))


def test_the_model_that_is_drawn_has_all_that_is_seen_and_moves_as_the_simulated(
    own_robot: Policy,
):
    """What is simulated has no light, camera and shell; the drawn body is where it would be."""
    tables = {
        "long": {"vary": "body_pos", "of": "leg", "add": 0.2, "axis": "z"},
        "heavy": {"vary": "mass", "of": "leg", "add": [0, 2]},
    }
    player = Player(own_robot, "long=-0.1,heavy=1", randomise=tables)
    take = record(player)
    simulated, _ = player.envs.simulation(0)
    assert (simulated.nlight, simulated.ncam) == (0, 0)
    assert simulated.ngeom < take.model.ngeom
    assert (take.model.nlight, take.model.ncam) == (1, 1)
    assert take.model.body("leg").pos[2] == simulated.body("leg").pos[2] == pytest.approx(-0.15)
    drawn, own = mujoco.MjData(take.model), mujoco.MjData(simulated)
    for moment in take.moments[::5]:
        set_state(take.model, drawn, moment.state)
        set_state(simulated, own, moment.state)
        np.testing.assert_array_equal(drawn.xpos, own.xpos)
        np.testing.assert_array_equal(drawn.subtree_com, own.subtree_com)


def test_a_geom_that_a_domain_changes_is_drawn_so_among_those_that_are_only_seen(
    own_robot: Policy,
):
    """The simulated model has fewer geoms: the shin's number there is the shell's here."""
    tables = {
        "wide": {"vary": "geom_size[0]", "of": "shin", "add": [0, 0.2]},
        "side": {"vary": "geom_pos[0]", "of": "box", "add": [0, 0.2]},
        "slide": {"vary": "friction", "scale": 0.5},
    }
    nominal = record(Player(own_robot, randomise=tables)).model
    take = record(Player(own_robot, "wide=0.1,side=0.1,slide=1.2", randomise=tables))
    for name, size, x in (("shin", 0.1, 0), ("box", 0, 0.1), ("shell", 0, 0), ("floor", 0, 0)):
        one, had = take.model.geom(name), nominal.geom(name)
        assert one.size[0] - had.size[0] == pytest.approx(size)
        assert one.pos[0] - had.pos[0] == pytest.approx(x)


@pytest.mark.parametrize("task", ["hopper", "walker2d", "halfcheetah", "ant", "humanoid"])
def test_all_five_tasks_are_drawn_with_their_files_light(task: str):
    """And the picture shows something: ground, sky, robot."""
    player = Player(make_policy(task))
    take = record(player)
    assert take.model.nlight == 1
    with Stage(player, take, 64, 48) as stage:
        picture = stage.draw(take, take.moments[0].state)
    assert picture.shape == (48, 64, 3)
    assert picture.std() > 20


def test_the_camera_follows_a_robot_that_walks_away_and_not_an_arm(run: Path):
    player = Player(run)
    take = record(player)
    far = take.moments[0].state.copy()
    with Stage(player, take, 64, 48) as stage:
        stage.draw(take, far)
        before, height = stage.view.camera.lookat.copy(), stage.view.camera.lookat[2]
        far[1] += 25.0  # qpos[0]; the state begins with the time
        stage.draw(take, far)
        moved = stage.view.camera.lookat - before
    assert moved == pytest.approx([25.0, 0.0, 0.0], abs=1e-9)
    assert stage.view.camera.lookat[2] == height
    arm = Player(policy_of(registry.choose("task", "Reacher-v5")))
    take = record(arm)
    with Stage(arm, take, 64, 48) as stage:
        assert stage.view.body is None
        assert stage.draw(take, take.moments[0].state).std() > 5


def test_the_floor_has_no_end_where_a_robot_walks_and_a_table_has():
    """HalfCheetah leaves the 40 m that its file's floor is drawn on after six seconds."""
    player = Player(make_policy("halfcheetah"))
    take = record(player)
    pictures = []
    with Stage(player, take, 64, 48) as stage:
        for metres in (0.0, 300.0):
            state = take.moments[0].state.copy()
            state[1] += metres
            pictures.append(stage.draw(take, state)[24:].astype(float))
    assert min(picture.std() for picture in pictures) > 60  # black and white squares
    arm = Player(policy_of(registry.choose("task", "Pusher-v5")))
    table = record(arm).model.geom("table")
    assert table.size[0] == 1.0


# The film


def test_side_by_side_both_move_and_differ(run: Path, tmp_path: Path):
    out = tmp_path / "two.webp"
    made = make_film(run, out, ["nominal", "wind=5,mass=1.4"], side_by_side=True, **SMALL)
    frames = pictures(out)
    assert frames[0].shape == (made.height, made.width, 3)
    left, right = slice(0, 96), slice(98, 194)
    head = made.height - 72 - 18 - made.height % 2
    below = slice(head, head + 60)
    for panel in (left, right):
        assert np.abs(frames[-1][below, panel] - frames[0][below, panel]).mean() > 2
    assert np.abs(frames[-1][below, left] - frames[-1][below, right]).mean() > 2
    assert [shot.label for shot in made.shots] == ["nominal", "wind 5 N, mass x1.4"]


def test_without_side_by_side_domains_come_one_after_the_other(run: Path, tmp_path: Path):
    short, domains = {**SMALL, "seconds": 0.2}, ("nominal", PERTURBED)
    alone = [make_film(run, tmp_path / "a.gif", [domain], **short) for domain in domains]
    both = make_film(run, tmp_path / "b.gif", domains, **short)
    assert both.frames == sum(film.frames for film in alone)
    assert both.shots == tuple(film.shots[0] for film in alone)


@pytest.mark.parametrize("suffix", ["webp", "gif", "mp4"])
def test_a_film_runs_in_real_time_in_each_format(run: Path, tmp_path: Path, suffix: str):
    """Its length is that of the episode shown, and of the still at its end."""
    out = tmp_path / f"film.{suffix}"
    made = make_film(run, out, seconds=0.2, **SMALL)
    assert made.fps == 10
    assert made.frames == 2 + round(HOLD * 10)
    assert made.size == out.stat().st_size
    if suffix == "mp4":
        import imageio_ffmpeg

        frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(out))
        assert (frames, seconds) == (made.frames, pytest.approx(made.frames / 10, abs=0.05))
        return
    shown = 0.0
    with Image.open(out) as film:
        assert film.size == (made.width, made.height)
        for n in range(film.n_frames):
            film.seek(n)
            film.load()
            shown += film.info["duration"] / 1000
    assert shown == pytest.approx(made.frames / made.fps, abs=0.011)


@pytest.mark.parametrize(
    ("name", "fps", "milliseconds"),
    [("a.gif", 30, 30), ("a.gif", 100, 20), ("a.webp", 30, 33), ("a.mp4", 25, 40)],
)
def test_the_pace_is_one_that_the_format_can_hold(name: str, fps: float, milliseconds: int):
    """A GIF counts in hundredths of a second, and below 2 of them viewers slow it down."""
    assert files.delay(Path(name), fps) == milliseconds


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_the_slowest_pace_of_a_format_can_be_written_and_a_slower_one_is_refused(
    tmp_path: Path, suffix: str
):
    """The first two pictures are equal: Pillow makes one of them, of twice the time."""
    out, slowest = tmp_path / f"a{suffix}", 1000 / files.LONGEST[suffix]
    ramp = Image.linear_gradient("L").convert("RGB")
    pictures = iter([ramp, ramp, ramp.rotate(90)])
    files.write(out, suffix, pictures, files.delay(out, slowest))
    assert out.stat().st_size > 0
    for fps in (0.999 * slowest, 1e-320):
        with pytest.raises(UsageError, match=f"a {suffix} film shows a picture for at most "):
            files.delay(out, fps)


def test_a_film_has_no_more_pictures_than_the_task_has_steps(tmp_path: Path):
    """HalfCheetah makes 20 steps a second."""
    made = make_film(make_policy("halfcheetah"), tmp_path / "a.webp", steps=4, size=(64, 64))
    assert (made.fps, made.shots[0].shown) == (20, 0.2)
    assert (made.shots[0].steps, made.shots[0].ending) == (1000, "time limit")


# What is written on it


@pytest.mark.parametrize(
    ("domain", "label"),
    [
        (Domain(), "nominal"),
        (Domain(wind=-2.5, mass=1.25), "wind -2.5 N, mass x1.25"),
        (Domain(initial_position=(0, 0.1)), "initial position 0/0.1 rad"),
        (Domain(mass=(0.9, 0.9, 0.9)), "mass x0.9"),
        (Domain(mass=(0.9, 1, 1.1, 1)), "mass x0.9 to 1.1"),
    ],
)
def test_a_label_says_what_is_not_nominal_with_its_unit(domain: Domain, label: str):
    """Of more than three values, the least and the largest."""
    assert captions.domain_label(table_1(), table_1().complete(domain)) == label


def test_a_return_of_less_than_half_has_no_sign(run: Path):
    take = record(Player(run))
    moment = take.moments[0]._replace(episode_return=-0.3)
    assert captions.status(take, moment) == "0.00 s   return 0"


def test_time_and_return_are_those_of_the_moment_and_the_end_is_told(run: Path):
    take = record(Player(run))
    step = take.moments[10]
    assert captions.status(take, step) == (
        f"{10 * take.dt:.2f} s   return {step.episode_return:,.0f}"
    )
    assert captions.status(take, take.moments[-1]).endswith("   ended")


@pytest.mark.parametrize("words", ["short", "a label of many words " * 5, "x" * 90])
@pytest.mark.parametrize("width", [96, 480])
def test_words_never_run_out_of_their_picture(words: str, width: int):
    font = ImageFont.load_default(14)
    lines = captions.wrapped(words, font, width)
    assert 1 <= len(lines) <= 2
    assert all(font.getlength(line) <= width for line in lines)
    assert " ".join(lines) == words.strip() or lines[-1].endswith("...")


def test_words_stand_above_their_picture_and_change_with_time(run: Path):
    """The head of two pictures differs where time and return stand, and nowhere else."""
    take = record(Player(run))
    writer = captions.Captions(240, 100, [take.label], 1, 1, "hopper")
    blank = np.zeros((100, 240, 3), np.uint8)
    first, later = (np.asarray(writer.compose([blank], [take], [take.moments[n]])) for n in (0, 9))
    changed = np.flatnonzero((first != later).any(axis=(1, 2)))
    line = round(12 * 1.35)
    assert changed.min() >= line
    assert changed.max() < 2 * line + 8
    assert (first[:line] == 255).all(axis=2).any()  # white letters of the domain


# Files


def test_a_film_replaces_the_old_one_whole_or_not_at_all(run: Path, tmp_path: Path):
    out = tmp_path / "film.webp"
    out.write_bytes(b"old")

    def fail(now: Progress) -> None:
        if now.done == 2:
            raise RuntimeError("amid the film")

    with pytest.raises(RuntimeError, match="amid"):
        make_film(run, out, report=fail, **SMALL)
    assert out.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"run", "film.webp"}
    killed, other = f".film.webp.{2**22 + 1}.tmp", f".mine.{2**22 + 1}.tmp"
    for name in (killed, other):
        (tmp_path / name).touch()
    make_film(run, out, seconds=0.2, **SMALL)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "film.webp", other}
    assert out.read_bytes().startswith(b"RIFF")


@pytest.mark.parametrize("suffix", ["webp", "mp4"])
def test_ctrl_c_leaves_no_half_film(run: Path, tmp_path: Path, suffix: str):
    def interrupt(now: Progress) -> None:
        if now.done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=r"3 of \d+ pictures were drawn; no film was written"):
        make_film(run, tmp_path / f"film.{suffix}", report=interrupt, **SMALL)
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_a_disk_that_ffmpeg_cannot_write_to_is_one_line(tmp_path: Path):
    frames = iter([Image.new("RGB", (16, 16))] * 300)
    with pytest.raises(NoRoom, match="ffmpeg cannot write the film: "):
        files.write(tmp_path / "no" / "such", ".mp4", frames, 40)


# The command


def test_the_command_says_what_was_filmed_in_80_columns(run: Path, tmp_path: Path):
    out = tmp_path / "film.webp"
    args = [run, "--domain", "nominal", "--domain", "wind=3,gravity=1.1,friction=0.8,mass=1.2",
            "--seconds", "0.2", "--size", "96x72", "--fps", "10", "-o", out]  # fmt: skip
    result = video(*args)
    assert (result.exit_code, result.stderr) == (0, "")
    title, _, _, head, nominal, perturbed, _, work, film, file = result.stdout.splitlines()
    assert title == "hopper, p2pdrl, peer 0, mean action"
    assert head.split() == ["domain", "return", "steps", "time", "shown"]
    assert nominal.startswith("nominal ")
    assert perturbed.startswith("wind 3 N, gravity x1.1, friction ... ")
    assert "domains one after the other" in work
    assert " kB" in film
    assert file == f"film: {out}"
    assert max(len(line) for line in result.stdout.splitlines()[3:-1]) <= 80
    found = json.loads(video(*args, "--json").stdout)
    assert found["shots"][1]["domain"].startswith("wind=3.0,gravity=1.1,")
    assert found["path"] == str(out)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ("-o a.avi", 2, "a.avi: name a film *.webp, *.gif or *.mp4"),
        ("-o no/a.webp", 6, "cannot write film no/a.webp: there is no writable folder no"),
        ("-o a.webp --peer 7", 2, "{run} has no peer 7; it has 0, 1"),
        ("-o a.webp --domain storm=1", 2, "unknown factor 'storm'; known: wind, gravity"),
        ("-o a.webp --domain wind", 2, "'wind' is not a number; write wind=1.5"),
        ("-o a.webp --size 3", 2, "Invalid value for '--size': 3: give width and height"),
        ("-o a.webp --size 8x8", 2, "size 8x8: give 64 to 4096 pixels a side"),
        ("-o a.webp --fps 0", 2, "fps=0 must be above 0"),
        ("-o a.gif --fps 0.001", 2, "fps=0.001: a .gif film shows a picture for at most 327.67 s"),
        ("-o a.webp --fps 1e-9", 2, "fps=1e-09: a .webp film shows a picture for at most 16,777"),
        ("-o a.webp --steps 3 --seconds 1", 2, "seconds and steps both say how long"),
    ],
)
def test_bad_input_is_one_line(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: str, code: int, message: str
):
    monkeypatch.chdir(tmp_path)
    result = video(run, *args.split())
    (line,) = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (code, "")
    assert line.startswith(f"error: {message.format(run=run)}")
    assert not list(tmp_path.glob("*.webp"))


def test_without_ffmpeg_it_says_what_to_install(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    result = video(run, "-o", tmp_path / "a.mp4")
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 2
    assert "pip install 'p2pdrl[video]', or name a .webp" in line


@pytest.mark.parametrize("command", ["video", "play"])
def test_help_loads_nothing_heavy(command: str):
    code = (
        "import sys; from p2p.cli.main import p2p\n"
        f"try: p2p.main([{command!r}, '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'numpy', 'mujoco', 'gymnasium', 'rich', 'PIL', 'glfw', 'OpenGL'}\n"
        "print(heavy & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stderr == "set()\n"
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_nominal_is_a_domain_of_every_robot():
    """`p2p eval --domain nominal` too, whatever varies."""
    assert Domain.parse(" nominal ") == Domain()
    complete = from_tables(NOISY, "here").complete(Domain.parse("nominal"))
    assert complete == Domain(mass=1, feel=0, late=0, shove=0)


def test_a_take_shows_its_last_moment_after_its_end(run: Path):
    """So that a shorter episode waits for a longer one beside it."""
    take: Take = record(Player(run))
    assert take.at(0.0) is take.moments[0]
    assert take.at(5 * take.dt) is take.moments[5]
    assert take.at(99.0) is take.moments[-1]
