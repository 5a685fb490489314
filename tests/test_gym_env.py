"""The registered envs: Gymnasium's contract, its numbers, and a domain drawn at each reset."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.vec_env import DummyVecEnv

from p2p.core.errors import UsageError
from p2p.core.registration import IDS, register_envs
from p2p.envs.domain import Domain
from p2p.envs.gym import RandomisedEnv
from p2p.envs.randomisation import table_1
from p2p.envs.vector import RandomisedEnvs

register_envs()
every_id = pytest.mark.parametrize("env_id", IDS)


def make(env_id: str = "p2p/Hopper-v5", **settings: Any) -> Any:
    """Return a registered env."""
    return gymnasium.make(env_id, **settings)


def drawn(env: Any, resets: int, seed: int) -> list[str]:
    """Return the domains of so many episodes, the first of which is seeded."""
    seeds = [seed, *[None] * (resets - 1)]
    return [env.reset(seed=s)[1]["domain"] for s in seeds]


@every_id
def test_gymnasium_finds_no_fault(env_id: str):
    """Its own checker; unbounded observations, which it dislikes, are Gymnasium v5's own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*observation space m(in|ax)imum value is")
        check_env(make(env_id, eps=0.5).unwrapped, skip_render_check=True)


@every_id
def test_stable_baselines3_finds_no_fault(env_id: str):
    """Humanoid's torques of +-0.4, which it dislikes, are Gymnasium v5's own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*symmetric and normalized Box action space")
        sb3_check_env(make(env_id, eps=0.5).unwrapped)


@every_id
def test_at_eps_0_it_is_gymnasium_bit_for_bit(env_id: str):
    """From reset(seed) through 5 full episodes: observation, reward, terminated, truncated."""
    ours, theirs = make(env_id), gymnasium.make(env_id.removeprefix("p2p/"))
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.metadata["render_fps"] == theirs.metadata["render_fps"]
    for seed, vigour in enumerate((1.0, 0.3, 0.1, 0.02, 0.0)):
        reset = seed if seed < 4 else None  # the last goes on with the stream
        obs, expected = ours.reset(seed=reset)[0], theirs.reset(seed=reset)[0]
        assert (obs == expected).all()
        theirs.action_space.seed(seed)
        ended = False
        while not ended:
            action = theirs.action_space.sample() * np.float32(vigour)
            mine, its = ours.step(action), theirs.step(action)
            assert (mine[0] == its[0]).all()
            assert mine[1:4] == its[1:4]
            ended = mine[2] or mine[3]


def test_each_reset_draws_a_domain_and_equal_seeds_draw_equal_ones():
    """The stream is keyed by the seed and goes on without one."""
    first, again = drawn(make(eps=0.5), 4, seed=3), drawn(make(eps=0.5), 4, seed=3)
    assert first == again
    assert len(set(first)) == 4
    assert drawn(make(eps=0.5), 1, seed=4) != first[:1]
    assert make(eps=0.5).reset()[1] != make(eps=0.5).reset()[1]


def test_eps_0_draws_the_nominal_domain():
    """Which is what its text says."""
    nominal = Domain(wind=0, gravity=1, friction=1, mass=1, initial_position=(0, 0, 0))
    assert {Domain.parse(text) for text in drawn(make(), 3, seed=0)} == {nominal}


def test_the_domain_in_info_is_the_one_in_force():
    """After the reset and after each step, in a form that reads back."""
    env = make(eps=1.0)
    _, info = env.reset(seed=0)
    domain = Domain.parse(info["domain"])
    assert domain == env.unwrapped.domain
    model, data = env.unwrapped.envs.simulation(0)
    assert model.opt.gravity[2] == -9.81 * domain["gravity"][0]
    assert data.qfrc_applied[0] == domain["wind"][0]
    *_, info = env.step(env.action_space.sample())
    assert info == {"domain": str(domain), "unstable": False}


def test_domains_come_from_a_stream_of_their_own():
    """The reset noise of a seed is the same at every strength."""
    domain = Domain(wind=3.0)
    noise = [make().reset(seed=1)[0]]
    noise.append(make(eps=0.9).reset(seed=1, options={"domain": domain})[0])
    noise.append(make(domain=domain).reset(seed=1)[0])
    assert (noise[0] == noise[1]).all()
    assert (noise[0] == noise[2]).all()


@pytest.mark.parametrize(
    "given",
    [
        Domain(wind=3.0, mass=(0.8,), initial_position=(0.1, 0.0, -0.1)),
        "wind=3,mass=0.8,initial_position=0.1/0/-0.1",
        {"wind": 3, "mass": 0.8, "initial_position": [0.1, 0.0, -0.1]},
        {"wind": np.float32(3), "mass": np.array([0.8]), "initial_position": (0.1, 0, -0.1)},
    ],
)
def test_a_domain_can_be_given_in_any_form(given: Any):
    """As a value, as text, or as a dict, for one episode or for good."""
    expected = table_1().complete(Domain(wind=3.0, mass=(0.8,), initial_position=(0.1, 0.0, -0.1)))
    env = make(eps=0.5)
    assert Domain.parse(env.reset(seed=0, options={"domain": given})[1]["domain"]) == expected
    assert Domain.parse(env.reset()[1]["domain"]) != expected
    env = make(domain=given)
    assert [Domain.parse(text) for text in drawn(env, 2, seed=0)] == [expected] * 2


def test_an_option_does_not_shift_the_stream_of_domains():
    """An episode in a chosen domain leaves the domains drawn after it as they were."""
    plain, chosen = make(eps=0.5), make(eps=0.5)
    expected = drawn(plain, 2, seed=0)[1]
    chosen.reset(seed=0)
    chosen.reset(options={"domain": "wind=1"})
    assert chosen.reset()[1]["domain"] == expected


def test_links_can_draw_their_own_masses():
    """Four for the hopper, and one offset for root x."""
    settings = {"mass_randomisation": "per_link", "initial_position": "root_x"}
    domain = Domain.parse(drawn(make(eps=0.5, **settings), 1, seed=0)[0])
    assert len(set(domain["mass"])) == 4
    assert len(domain["initial_position"]) == 1


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"eps": 1.5}, "eps=1.5 is outside"),
        ({"eps": 0.2, "domain": "wind=1"}, "give only one of them"),
        ({"domain": "storm=1"}, "unknown factor 'storm'"),
        ({"domain": {"storm": 1}}, "unknown factor 'storm'"),
        ({"domain": {"wind": "strong"}}, "not a number"),
        ({"domain": {"wind": [1, 2]}}, "wind has 2 values: give 1$"),
        ({"domain": {"mass": [[1.0, 2.0], [3.0]]}}, "not a number"),
        ({"domain": {"mass": 0.0}}, "mass must leave all masses positive"),
        ({"domain": 3.0}, "neither a Domain"),
        ({"mass_randomisation": "some"}, "'global' or 'per_link'"),
        ({"initial_position": "root_y"}, "'joints' or 'root_x'"),
        ({"render_mode": "ascii"}, "render_mode='ascii'"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], complaint: str):
    """In one line, whether it is the strength, the domain or a choice."""
    with pytest.raises(UsageError, match=complaint):
        RandomisedEnv("hopper", **settings)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"domian": "wind=1"}, r"unknown reset options \['domian'\]"),
        ({"domain": "mass=1/2"}, "mass has 2 values"),
        ({"domain": "wind=x"}, "not a number"),
    ],
)
def test_a_wrong_option_changes_nothing(options: dict[str, Any], complaint: str):
    """The streams and the domain are as if the reset had not been asked for."""
    env, calm = make(eps=0.5), make(eps=0.5)
    drawn(env, 1, seed=0)
    drawn(calm, 1, seed=0)
    with pytest.raises(UsageError, match=complaint):
        env.reset(options=options)
    (obs, info), (expected, expected_info) = env.reset(), calm.reset()
    assert info == expected_info
    assert (obs == expected).all()


def test_vector_envs_carry_the_domains():
    """SB3 copies infos, Gymnasium gathers them: text survives both."""
    vec = DummyVecEnv([lambda: make(eps=0.5)] * 2)
    vec.seed(0)
    vec.reset()
    assert len({info["domain"] for info in vec.reset_infos}) == 2
    _, _, _, infos = vec.step(np.zeros((2, 3), np.float32))
    assert [i["domain"] for i in infos] == [i["domain"] for i in vec.reset_infos]
    sync = gymnasium.make_vec("p2p/Hopper-v5", num_envs=2, vectorization_mode="sync", eps=0.5)
    _, info = sync.reset(seed=0)
    assert len(set(info["domain"])) == 2


def test_diverged_physics_terminates_and_is_told():
    """With a finite observation, and a fresh start after it."""
    env = make()
    env.reset(seed=0)
    env.unwrapped.envs.simulation(0)[1].qvel[0] = 1e12
    obs, reward, terminated, truncated, info = env.step(np.zeros(3, np.float32))
    assert info["unstable"]
    assert terminated
    assert not truncated
    assert reward == 0.0
    assert np.isfinite(obs).all()
    obs, _ = env.reset(seed=0)
    assert (obs == make().reset(seed=0)[0]).all()
    assert not env.step(np.zeros(3, np.float32))[-1]["unstable"]


def test_a_step_before_the_first_reset_is_refused_as_gymnasium_does():
    """Also without its wrapper that keeps the order."""
    env = make().unwrapped
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"call env\.reset\(\)"):
        env.step(np.zeros(3, np.float32))


def test_one_env_equals_a_batch_of_one():
    """Both interfaces step the same physics in the same domain."""
    domain = Domain(
        wind=1.0, gravity=1.1, friction=0.9, mass=1.2, initial_position=(0.1, 0.2, -0.1)
    )
    env, envs = make(domain=domain), RandomisedEnvs("hopper", 1)
    envs.set_domains([domain])
    assert (env.reset(seed=5)[0] == envs.reset([np.random.default_rng(5)])[0]).all()
    for _ in range(5):
        action = np.full(3, 0.2, np.float32)
        obs, reward, *_ = env.step(action)
        envs.step(action[None])
        assert (obs == envs.obs[0]).all()
        assert reward == envs.reward[0]


def test_registering_loads_no_simulator():
    """So that `import p2p` may do it; the env is imported when it is made."""
    code = (
        "import sys; from p2p.core.registration import register_envs as r; r(); r(); "
        "import gymnasium;"
        "gymnasium.spec('p2p/Ant-v5'); print({'mujoco', 'torch'} & set(sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert (found.stdout.strip(), found.stderr) == ("set()", "")


RENDER = """
import gymnasium, p2p.envs.gym
pictures = []
for env_id in ("p2p/Hopper-v5", "Hopper-v5"):
    env = gymnasium.make(env_id, render_mode="rgb_array", width=128, height=96)
    env.reset(seed=0)
    pictures.append(env.render())
    env.close()
assert pictures[0].shape == (96, 128, 3), pictures[0].shape
assert pictures[0].std() > 10
assert (pictures[0] == pictures[1]).all()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="EGL is Linux's way to render headless")
def test_it_renders_headless_what_gymnasium_renders():
    """With MUJOCO_GL=egl, which has to be set before MuJoCo is imported."""
    environment = {**os.environ, "MUJOCO_GL": "egl"}
    run = subprocess.run(
        [sys.executable, "-P", "-c", RENDER], env=environment, capture_output=True, text=True
    )
    if "EGL" in run.stderr and "AssertionError" not in run.stderr:
        pytest.skip("this machine has no EGL")
    assert run.returncode == 0, run.stderr


def test_a_copy_is_a_fresh_env_with_the_same_settings():
    """As with Gymnasium's own; planners and vector envs copy and pickle."""
    env = make(eps=0.5, initial_position="root_x").unwrapped
    for copied in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        assert drawn(copied, 3, seed=0) == drawn(env, 3, seed=0)


@pytest.mark.parametrize(
    "order",
    [
        "import p2p, gymnasium",
        "import gymnasium, p2p",
        "import p2p, importlib.util; importlib.util.find_spec('gymnasium'); import gymnasium",
    ],
)
def test_importing_p2p_registers_the_ids_whichever_comes_first(order):
    """And without importing Gymnasium itself, for which `p2p --help` has no time."""
    check = (
        "import sys, p2p; assert 'gymnasium' not in sys.modules\n"
        if order.startswith("import p2p")
        else ""
    )
    code = f"{check}{order}\nprint(gymnasium.make('p2p/Hopper-v5', eps=0.2).unwrapped.envs.dt)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0.008"
