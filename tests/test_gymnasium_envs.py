"""Gymnasium's MuJoCo envs as tasks: their bits, their domains, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import p2p
from p2p.cli.options import configure
from p2p.cohort import cohort
from p2p.core import env_names, registry
from p2p.core.config import TrainConfig, build_config, stored_config
from p2p.core.errors import BadArtefact, UsageError
from p2p.envs.build import bind, build_envs
from p2p.envs.domain import Domain
from p2p.envs.domain_file import from_tables
from p2p.envs.task import find_task
from p2p.policy.episodes import run_episodes
from p2p.policy.normaliser import Normaliser
from p2p.policy.parameters import actor_layout
from p2p.policy.policy import Policy
from p2p.runs import RunFolder

TESTS = Path(__file__).parent
PROGRAM = [sys.executable, "-P", "-c", "from p2p.cli.main import main; main()"]
SMALL = {
    "num_peers": 2, "total_steps": 2048, "steps_per_iteration": 512, "num_minibatches": 4,
    "num_epochs": 2, "final_episodes": 1, "hidden_sizes": (8, 8),
}  # fmt: skip
VARIED = {
    "friction": {"scale": 0.3},
    "damping": {"scale": 0.5, "each": True},
    "strength": {"scale": 0.2},
}
TOML = "[friction]\nscale = 0.3\n[damping]\nscale = 0.5\n[strength]\nscale = 0.2\n"


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    """What a test has registered is gone after it; `odd_envs` can be imported, in peers too."""
    monkeypatch.setattr(registry, "_added", {})
    monkeypatch.syspath_prepend(TESTS)
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


def odd(name: str) -> str:
    return registry.add("task", f"odd_envs:{name}-v0")


def envs_of(name, num_envs=1, **tables):
    return build_envs(name, num_envs, from_tables(tables, "test"))


def run(words, folder, code=0, **environment) -> str:
    done = subprocess.run(
        [*PROGRAM, *map(str, words)], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(TESTS)} | environment,
    )  # fmt: skip
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


# Bits


@pytest.mark.parametrize("varied", [{}, VARIED], ids=["nothing varies", "nominal"])
@pytest.mark.parametrize("name", ["Pusher-v5", "Reacher-v5", "InvertedPendulum-v5"])
def test_at_the_nominal_domain_it_is_gymnasium_bit_for_bit(name, varied):
    """Seeds, time limit and termination too; also where domains are applied to the model."""
    envs = envs_of(name, 2, **varied)
    envs.reset(np.random.default_rng(5))
    streams = np.random.default_rng(5).spawn(2)
    plain = [gymnasium.make(name) for _ in streams]
    starts = [e.reset(seed=int(s.integers(2**31)))[0] for e, s in zip(plain, streams, strict=True)]
    np.testing.assert_array_equal(envs.obs, starts)
    rng, ended = np.random.default_rng(0), 0
    for _ in range(230):
        action = rng.uniform(envs.action_low, envs.action_high, (2, envs.action_dim))
        envs.step(action.astype(np.float32))
        for n, env in enumerate(plain):
            obs, reward, terminated, truncated, _ = env.step(action[n].astype(np.float32))
            said = envs.reward[n], envs.terminated[n], envs.truncated[n]
            assert said == (reward, terminated, truncated)
            if terminated or truncated:
                ended += 1
                np.testing.assert_array_equal(envs.final_obs[n], obs)
                obs, _ = env.reset(seed=int(streams[n].integers(2**31)))
            np.testing.assert_array_equal(envs.obs[n], obs)
    assert len(envs.finished) == ended >= 4


def policy_for(name: str) -> Policy:
    envs = build_envs(name, 1)
    size = actor_layout(envs.obs_dim, (8, 8), envs.action_dim).size
    actor = np.random.default_rng(1).normal(0, 0.3, size).astype(np.float32)
    normaliser = Normaliser(np.zeros(envs.obs_dim), np.ones(envs.obs_dim), 10.0)
    return Policy(name, actor, (8, 8), normaliser, envs.action_low, envs.action_high, {})


@pytest.mark.parametrize("name", ["InvertedPendulum-v5", "odd_envs:Moves-v0"])
def test_an_episode_does_not_depend_on_those_beside_it(name):
    """One at a time, in any order, or five at once: some end early, one env writes its model."""
    registry.add("task", name)
    randomisation = from_tables(VARIED, "test")
    binding, rng = bind(name, randomisation), np.random.default_rng(3)
    domains = [binding.sample(rng, 0.8) for _ in range(5)]
    policy = policy_for(name)
    at_once = run_episodes(
        policy, domains, np.random.default_rng(7), randomisation=randomisation, deterministic=False
    )
    streams = np.random.default_rng(7).spawn(5)
    for n in (3, 0, 4, 1, 2):
        envs = build_envs(name, 1, randomisation)
        envs.reset(np.random.default_rng(n))  # an episode of another seed comes before
        envs.set_domains([domains[n]])
        envs.reset([streams[n]])
        noise = np.zeros((envs.max_episode_steps, 1), np.float32)
        streams[n].spawn(1)[0].standard_normal(dtype=np.float32, out=noise)
        while not envs.finished:
            at = envs.elapsed
            envs.step(policy.act(envs.obs, False, noise=noise[at]))
        assert envs.finished[0]._replace(env=n) == at_once[n]
    assert len({episode.episode_return for episode in at_once}) > 1


@pytest.mark.parametrize("schedule", ["iteration", "env"])
def test_a_resumed_run_has_the_bits_of_one_that_was_never_cut(tmp_path, schedule):
    settings = {
        **SMALL, "task": "InvertedPendulum-v5", "domain_schedule": schedule, "randomise": VARIED,
        "final_episodes": 0,
    }  # fmt: skip
    whole = p2p.train(TrainConfig(**settings), tmp_path / "whole")
    p2p.train(TrainConfig(**{**settings, "total_steps": 1024}), tmp_path / "cut")
    for _ in cohort.resume(tmp_path / "cut", total_steps=2048):
        pass
    for peer in (0, 1):
        policies = [p2p.load_policy(path, peer).actor for path in (whole.path, tmp_path / "cut")]
        np.testing.assert_array_equal(*policies)


def test_a_checkpoint_cannot_go_on_amid_an_episode():
    envs = envs_of("Reacher-v5", **VARIED)
    envs.set_domains([Domain(friction=1.2)])
    envs.step(np.zeros((1, 2), np.float32))
    state = envs.state()
    other = envs_of("Reacher-v5", **VARIED)
    other.load_state(state)
    assert other.domains == envs.domains
    with pytest.raises(UsageError, match="reset first"):
        other.step(np.zeros((1, 2), np.float32))
    other.reset()
    other.step(np.zeros((1, 2), np.float32))
    with pytest.raises(BadArtefact):
        other.load_state({"physics": np.zeros(3)})


# Domains


def test_a_domain_changes_the_nominal_model_and_never_a_changed_one():
    envs = envs_of("Pusher-v5", 2, **VARIED)
    nominal = envs.binding.nominal
    for factor in (1.3, 0.8, 1.3):
        envs.set_domains([Domain(friction=factor, strength=factor), Domain()])
        envs.reset()
        changed, as_it_is = (envs.simulation(n)[0] for n in (0, 1))
        assert changed.geom_friction[:, 0] == pytest.approx(factor * nominal.geom_friction[:, 0])
        assert changed.actuator_gear[:, 0] * changed.actuator_gainprm[:, 0] == pytest.approx(
            factor * nominal.actuator_gear[:, 0] * nominal.actuator_gainprm[:, 0]
        )
        np.testing.assert_array_equal(as_it_is.geom_friction, nominal.geom_friction)
        np.testing.assert_array_equal(as_it_is.dof_M0, nominal.dof_M0)


def test_a_force_outlives_resets():
    """MuJoCo's reset, within Gymnasium's, clears it."""
    envs = envs_of("Swimmer-v5", 1, wind={"add": 1.0})
    envs.set_domains([Domain(wind=0.5)])
    for _ in range(2):
        envs.reset()
        assert envs.simulation(0)[1].qfrc_applied[:2].tolist() == [0.5, 0.0]


def test_an_offset_of_the_start_pose_is_observed():
    envs = envs_of("Pusher-v5", 1, joint_offset={"add": 0.5})
    envs.reset(np.random.default_rng(1))
    before = envs.obs.copy()
    envs.set_domains([Domain(joint_offset=0.1)])
    envs.reset(np.random.default_rng(1))
    shift = (envs.obs - before)[0]
    assert shift[2] == pytest.approx(0.1)  # the upper arm's roll, far from the ends of its range
    assert shift[7:14] == pytest.approx(0.0)  # velocities
    assert np.abs(shift[14:17]).max() > 0.01  # the tip has moved with it


def test_noise_is_on_what_is_seen_and_done_and_not_on_the_env():
    """Observation 3 alone is noisy, and another one is off by its bias."""
    noisy = {
        "seen": {"vary": "obs_noise", "of": "3", "add": 0.5},
        "off": {"vary": "obs_bias", "of": "0", "add": 0.5},
        "done": {"vary": "action_noise", "add": 0.5},
    }
    envs, quiet = envs_of("Reacher-v5", 1, **noisy), envs_of("Reacher-v5", 1, **noisy)
    envs.set_domains([Domain(seen=0.3, off=0.25)])
    for env in (envs, quiet):
        env.reset(np.random.default_rng(2))
    differs = (envs.obs - quiet.obs)[0]
    assert differs[0] == pytest.approx(0.25)
    assert differs[3] != 0
    assert np.flatnonzero(differs).tolist() == [0, 3]
    envs.set_domains([Domain(done=0.5)])
    for env in (envs, quiet):
        env.reset(np.random.default_rng(2))
        env.step(np.full((1, 2), 0.2, np.float32))
    assert np.abs(envs.obs - quiet.obs).max() > 1e-3


def test_what_a_reset_writes_into_the_model_is_put_back_first():
    """The target moves by a new amount from where it was: a random walk, if nobody did."""
    envs = envs_of(odd("Moves"), 1, **VARIED)
    for _ in range(30):
        envs.reset(np.random.default_rng(4))
        envs.step(np.zeros((1, 1), np.float32))
        first = envs.reward[0]
        assert abs(first) < 0.1
    envs.reset(np.random.default_rng(4))
    envs.step(np.zeros((1, 1), np.float32))
    assert envs.reward[0] == first != 0


# What an env does itself


def test_its_own_truncation_counts():
    """Not lost where the time limit comes in the same step, of another env."""
    envs = build_envs(odd("Cut"), 2)
    envs.max_episode_steps = 14
    envs.reset()
    envs._cores[0].count = -100  # it does not cut, and meets the limit with the other's second
    for _ in range(14):
        envs.step(np.zeros((2, 1), np.float32))
    ended = [(e.env, e.length, e.terminated) for e in envs.finished]
    assert ended == [(1, 7, False), (0, 14, False), (1, 7, False)]


def test_diverged_physics_ends_the_episode():
    envs = build_envs(odd("Bursts"), 1)
    for _ in range(4):
        envs.step(np.zeros((1, 1), np.float32))
    (episode,) = envs.finished
    assert episode.unstable
    assert episode.terminated
    assert episode.length == 4
    assert envs.reward[0] == 0.0
    assert not envs.final_obs.any()
    assert np.isfinite(envs.obs).all()


def test_an_env_may_keep_the_action_that_it_is_given():
    """The caller writes the next action into the same array."""
    envs = build_envs(odd("Keeps"), 1)
    action = np.full((1, 1), 0.25, np.float32)
    envs.step(action)
    action[:] = 0.75
    envs.step(action)
    assert envs.obs[0, 1] == 0.25


def test_an_inactive_env_is_not_stepped():
    envs = build_envs(odd("Cut"), 2)
    envs.next_domain = lambda env: None if env == 0 else Domain()
    for _ in range(20):
        envs.step(np.zeros((2, 1), np.float32))
    assert [env.unwrapped.steps for env in envs._envs] == [7, 20]


def test_the_terms_of_its_reward_are_told():
    envs = build_envs("Pusher-v5", 2)
    for _ in range(10):
        envs.step(np.ones((2, 7), np.float32))
    terms = envs.reward_terms()
    assert terms.keys() == {"reward_dist", "reward_ctrl", "reward_near"}
    assert terms["reward_ctrl"] == pytest.approx(-0.7, rel=1e-5)
    assert envs.reward_terms() == {}


def test_a_step_that_fails_is_one_line():
    envs = build_envs(odd("Fails"), 1)
    with pytest.raises(UsageError, match=r"step fails: RuntimeError: no such thing \(.*odd_envs"):
        envs.step(np.zeros((1, 1), np.float32))


# Names


TOML_VALUES = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@example({"text": "~nobody-of-that-name"})  # no user's home, so no path
@given(st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True), TOML_VALUES))
def test_a_name_holds_its_arguments_exactly(kwargs):
    name = env_names.with_kwargs("Ant-v5", kwargs)
    assert env_names.split(name) == ("Ant-v5", kwargs)
    assert env_names.with_kwargs(name, {}) == name
    assert name.isprintable() or not any(c.isspace() for c in name)


def test_arguments_are_part_of_the_name_however_they_are_given(tmp_path, monkeypatch):
    """In a file beside the working directory, on the command line, as a table: one name."""
    monkeypatch.chdir(tmp_path)
    Path("arm.xml").write_text("<mujoco/>")
    name = f"Ant-v5?frame_skip=10&xml_file={tmp_path}/arm.xml"
    kwargs = {"xml_file": "arm.xml", "frame_skip": 10}
    assert env_names.with_kwargs("Ant-v5", kwargs) == name
    assert env_names.label(name) == "Ant-v5 (frame_skip=10, xml_file=arm.xml)"
    assert env_names.folder_part(name) == "Ant-v5-frame_skip=10-xml_file=arm.xml"
    typed = env_names.parse(["frame_skip=10", "xml_file=arm.xml"], "--env-kwargs")
    assert env_names.with_kwargs("Ant-v5", typed) == name
    for task in ("Ant-v5", "ant"):
        config = build_config(task=task, env_kwargs={"frame_skip": 10})
        assert config.task == "Ant-v5?frame_skip=10"
        assert "env_kwargs" not in config.settings
    assert TrainConfig(task="Ant-v5", env_kwargs={"frame_skip": 10}) == config
    assert build_config(task="Ant-v5").task == "ant"
    assert build_envs(config.task, 1).dt == pytest.approx(0.1)


def test_arguments_typed_replace_those_of_a_file_one_by_one(tmp_path):
    """Those of another env are no arguments of the one typed."""
    file = tmp_path / "run.toml"
    file.write_text('task = "Ant-v5"\nenv_kwargs = {frame_skip = 4, healthy_reward = 2}')
    for typed, task in [
        ({}, "Ant-v5?frame_skip=4&healthy_reward=2"),
        ({"env_kwargs": {"frame_skip": 10}}, "Ant-v5?frame_skip=10&healthy_reward=2"),
        ({"task": "Ant-v5?frame_skip=10"}, "Ant-v5?frame_skip=10&healthy_reward=2"),
        ({"task": "ant"}, "Ant-v5?frame_skip=4&healthy_reward=2"),
        ({"task": "Pusher-v5"}, "Pusher-v5"),
    ]:
        assert configure(typed, file).task == task


def test_a_changed_file_of_an_argument_is_another_env(tmp_path):
    assets = Path(gymnasium.__file__).parent / "envs/mujoco/assets"
    own = tmp_path / "own.xml"
    own.write_text((assets / "reacher.xml").read_text())
    config = build_config(task="Reacher-v5", env_kwargs={"xml_file": str(own)})
    assert list(config.source_sha256) == [config.task]
    own.write_text(own.read_text() + "<!-- -->")
    with pytest.raises(UsageError, match="has changed"):
        build_config(**config.settings)


def test_the_time_limit_is_that_of_the_id_or_the_one_given():
    assert find_task("Pusher-v5").max_episode_steps == 100
    config = build_config(task="Pusher-v5", env_kwargs={"max_episode_steps": 30})
    envs = build_envs(config.task, 1)
    for _ in range(30):
        envs.step(np.zeros((1, 7), np.float32))
    assert envs.truncated.all()
    assert config.max_episode_steps == 30


def test_a_task_may_be_passed_as_its_class():
    assert TrainConfig(task=p2p.task("Pusher-v5")).task == "Pusher-v5"


def test_runs_of_built_in_tasks_do_not_import_gymnasium():
    code = (
        "import sys, p2p\nfrom p2p.core.config import build_config\n"
        "from p2p.envs.build import build_envs\n"
        "build_envs(build_config(task='Ant-v5', domain_schedule='carry').task, 1)\n"
        "sys.exit('gymnasium' in sys.modules)"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


# What is refused


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"task": "Pushr-v5"}, "unknown task 'Pushr-v5'; did you mean 'Pusher-v5'?"),
        ({"task": "pusher"}, "unknown task 'pusher'; did you mean 'Pusher-v5'?"),
        ({"task": "Pusher-v2"}, "unknown task 'Pusher-v2'; did you mean 'Pusher-v5'?"),
        ({"task": "hoper"}, "unknown task 'hoper'; did you mean 'hopper'?"),
        ({"task": "odd_envs:Cut-v0"}, "is not loaded; name it: --task odd_envs:Cut-v0"),
        ({"task": "Ant-v5?frame_skip"}, "'frame_skip' is no argument; write KEY=VALUE"),
        ({"task": "Ant-v5?frame_skp=3"}, "has no argument 'frame_skp'; did you mean 'frame_skip'?"),
        ({"task": "Ant-v5?xml_file=/no.xml"}, "cannot be made: OSError: File /no.xml does not"),
        ({"task": "Pusher-v5?max_episode_steps=0"}, "max_episode_steps must be a whole number"),
        ({"task": "Pusher-v5?render_mode=human"}, "leave render_mode out"),
        ({"task": "my.py:Task?a=1"}, "no env of Gymnasium's, so it takes no arguments"),
        ({"task": "Pusher-v5", "env_kwargs": 3}, "env_kwargs=3 is no table of arguments"),
        ({"task": "Pusher-v5", "env_kwargs": {"a": None}}, "a=None cannot be part of a run's"),
        ({"task": "Pusher-v5", "domain_schedule": "carry"}, "choose iteration or env"),
        ({"task": "Pusher-v5", "domain_schedule": "episode"}, "choose iteration or env"),
        ({"task": "Pusher-v5", "mass_randomisation": "per_link"}, "about Table 1"),
    ],
)
def test_what_cannot_be_a_task_is_one_line(settings, line):
    with pytest.raises(UsageError) as error:
        build_config(**settings).randomisation  # noqa: B018
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("space", "line"),
    [
        ("dict", "its observation is a Dict, and p2p takes a flat Box; register it with "),
        ("picture", "its observation is uint8 of shape [8, 8, 3], and p2p takes floating-point"),
        ("discrete", "its action is a Discrete, and p2p takes a flat Box"),
        ("unbounded", "action 0 lies in [-inf, inf]: give the env's action_space finite bounds"),
        ("no actuator", "has no actuator, so there is nothing to act by"),
        ("no model", "it has no MuJoCo model (env.unwrapped.model and .data)"),
    ],
)
def test_an_env_that_p2p_cannot_train_in_says_why(space, line):
    task = odd("Space")
    assert build_config(task=task).task == task
    with pytest.raises(UsageError) as error:
        build_config(task=task, env_kwargs={"odd": space})
    assert line in str(error.value)


@pytest.mark.parametrize(
    ("name", "table", "line"),
    [
        ("Pusher-v5", {"delay": {"add": 0.1}}, "[delay]: its actuators keep no history"),
        ("Pusher-v5", {"wind": {"add": 0.1}}, "[wind]: wind needs a root that moves about"),
        ("Moves", {"body_pos": {"add": 0.1}}, "itself at each reset, which undoes the factor"),
        ("Silent", {"joint_offset": {"add": 0.1}}, "(it has no method _get_obs)"),
        ("Wrapped", {"joint_offset": {"add": 0.1}}, "(it has wrappers); leave the factor out"),
        ("TwoActions", {"action_noise": {"add": 0.1}}, "has 2 for 1; leave it out"),
    ],
)
def test_a_factor_that_does_not_fit_says_why(name, table, line):
    task = name if "-" in name else odd(name)
    with pytest.raises(UsageError) as error:
        bind(task, from_tables(table, "test"))
    assert line in str(error.value)


def test_a_factor_may_move_what_the_reset_leaves_alone():
    envs = envs_of(odd("Moves"), 1, body_pos={"of": "arm", "add": 0.1})
    envs.set_domains([Domain(body_pos=0.05)])
    envs.reset()
    moved = envs.simulation(0)[0].body("arm").pos - envs.binding.nominal.body("arm").pos
    assert moved.any()


# The command line, and other processes


def test_pusher_trains_and_is_evaluated_by_factor(tmp_path):
    (tmp_path / "domains.toml").write_text(TOML)
    small = "--steps-per-iteration 1024 --num-minibatches 4 --num-epochs 2 --final-episodes 2"
    train = "train --env Pusher-v5 --peers 2 --randomise domains.toml --total-steps 2048 --out run"
    said = run([*train.split(), *small.split(), "--plain"], tmp_path)
    assert "2,048 steps (1,024 a peer)" in said
    table = run(["eval", "run", "--by-factor", "--points", 3], tmp_path)
    for factor in ("friction x", "damping x", "strength x"):
        assert factor in table
    record = json.loads((tmp_path / "run/journal.jsonl").read_text().splitlines()[-1])
    assert record["peers"][0]["reward_terms"].keys() >= {"reward_dist", "reward_near"}


def test_an_env_of_another_package_runs_only_where_it_is_named(tmp_path):
    """With an argument typed, one of the file, and a resume; evaluation must name it again."""
    (tmp_path / "run.toml").write_text(
        'task = "odd_envs:Cut-v0"\nnum_peers = 2\ntotal_steps = 512\nsteps_per_iteration = 512\n'
        "num_minibatches = 4\nnum_epochs = 1\nfinal_episodes = 1\nenv_kwargs = {gain = 0.5}\n"
    )
    typed = ["--env", "odd_envs:Cut-v0", "--env-kwargs", "note=two words & more"]
    run(["train", "--config", "run.toml", *typed, "--out", "run", "--plain"], tmp_path)
    stored = json.loads((tmp_path / "run/config.json").read_text())
    assert stored["task"] == "odd_envs:Cut-v0?gain=0.5&note=two%20words%20%26%20more"
    assert (
        len(stored["source_sha256"]["odd_envs:Cut-v0?gain=0.5&note=two%20words%20%26%20more"]) > 9
    )
    goal = ["--total-steps", 1024, "--plain"]
    run(["train", "--resume", "run", *typed[:2], *goal], tmp_path)
    for words in (["eval", "run", "--domains", 2], ["train", "--resume", "run", *goal]):
        seen = tmp_path / "seen"
        said = run(words, tmp_path, 5, IMPORTED=str(seen))
        assert "name it: --task odd_envs:Cut-v0" in said
        assert not seen.exists()
    run(["eval", "run", "--domains", 2, "--task", "odd_envs:Cut-v0"], tmp_path)


def test_a_run_folder_of_a_stranger_imports_nothing(tmp_path):
    """It names a module that would take over, and a registered id whose argument would."""
    made = tmp_path / "made"
    with RunFolder.create(TrainConfig(task="Pusher-v5"), made):
        pass
    stored = json.loads((made / "config.json").read_text())
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'evil')!r}, 'w')")
    for task in (
        "evil_module:Env-v0",
        "evil_module:Env-v0?a=1",
        "GymV26Environment-v0?env_id=evil",
    ):
        (made / "config.json").write_text(json.dumps({**stored, "task": task}))
        for words in (["eval", made], ["train", "--resume", made], ["surface", made]):
            run(words, tmp_path, 5, PYTHONPATH=str(tmp_path))
    assert not (tmp_path / "evil").exists()
    assert stored_config({**stored, "task": "evil_module:Env-v0"}).task == "evil_module:Env-v0"


def test_an_id_that_a_script_registers_is_found_by_its_peers(tmp_path):
    """Where a string names the class; it must be named to p2p, too."""
    gymnasium.register("Mine-v0", entry_point="odd_envs:Cut", max_episode_steps=20)
    try:
        with pytest.raises(UsageError, match=r"p2p\.register\('task', 'Mine-v0'\)"):
            build_config(task="Mine-v0")
        p2p.register("task", "Mine-v0")
        config = TrainConfig(**{**SMALL, "task": "Mine-v0", "total_steps": 512})
        assert p2p.train(config, tmp_path / "run").result()["steps"] == 512
        gymnasium.register("Mine-v1", entry_point=lambda: None)
        with pytest.raises(UsageError, match="cannot be found by other processes"):
            p2p.register("task", "Mine-v1")
    finally:
        for name in ("Mine-v0", "Mine-v1"):
            gymnasium.registry.pop(name, None)


@pytest.mark.skipif(not find_spec("gymnasium_robotics"), reason="gymnasium-robotics not installed")
@pytest.mark.filterwarnings("ignore")
def test_a_robot_hand_of_gymnasium_robotics(tmp_path):
    task = registry.add("task", "gymnasium_robotics:AdroitHandDoor-v1")
    envs = envs_of(task, 1, **VARIED)
    envs.reset(np.random.default_rng(0))
    envs.step(np.zeros((1, 28), np.float32))
    assert envs.obs_dim == 39
    with pytest.raises(UsageError, match="writes body_pos of some of these itself"):
        envs_of(task, 1, body_pos={"add": 0.1})


def test_a_study_finds_its_runs_again_and_is_drawn(tmp_path, monkeypatch):
    """A run records its model's hash when it begins, which its study does not know."""
    from click.testing import CliRunner

    from p2p.cli.main import p2p as program

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(
        "name = 'mine'\n[settings]\ntask = 'InvertedPendulum-v5'\ntotal_steps = 512\n"
        "steps_per_iteration = 512\nnum_minibatches = 4\nnum_epochs = 1\nfinal_episodes = 1\n"
        "hidden_sizes = [8, 8]\n[settings.randomise.gravity]\nscale = 0.5\n"
        "[[grid]]\nmethod = 'ppo'\nseed = [0, 1]\n[evaluate]\neps_te = [0, 1]\ndomains = 2\n"
    )
    runner = CliRunner()
    first = runner.invoke(program, ["study", "mine.toml", "--plain"])
    assert first.exit_code == 0, first.output
    again = runner.invoke(program, ["study", "mine.toml", "--plain"])
    assert again.exit_code == 0, again.output
    assert "running" not in again.output
    drawn = runner.invoke(program, ["figures", "mine.toml", "--like", "fig4", "--out", "drawn"])
    assert drawn.exit_code == 0, drawn.output
    assert len(list((tmp_path / "drawn").iterdir())) == 2
