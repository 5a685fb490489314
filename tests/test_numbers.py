"""Numbers that are no use are never shown to peers or saved; settings at their bounds train."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import poison
import pytest
import safetensors.numpy
from click.testing import CliRunner
from pydantic import BaseModel

from p2p.cli.main import p2p
from p2p.core import registry
from p2p.core.config import TrainConfig, build_config
from p2p.core.errors import BadArtefact, Diverged, UsageError
from p2p.engine import NOTHING, Adam, build_engine
from p2p.peer.peer import Peer

METHODS = registry.BUILT_IN["method"]
MANY = int(os.environ.get("P2P_CASES", "100000"))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Numpy warns of what is put in on purpose."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


# Numbers that are put in


@pytest.mark.parametrize("target", poison.TARGETS)
def test_a_nan_is_neither_shown_nor_saved(target):
    """Once, the run goes on; again and again, it ends with exit 3; the other peer never sees it."""
    for always in (False, True):
        assert poison.faults(poison.small("p2pdrl"), target, "nan", always=always) == []


CASES = [
    ("dppo", "gradient", "inf"),
    ("dppo", "observation", "inf"),
    ("dppo", "Adam's square", "inf"),
    ("dppo", "peers' slot", "nan"),
    ("distral", "distillation's gradient", "nan"),
    ("distral", "peers' slot", "inf"),
    ("dnc", "observation", "nan"),
    ("ppo", "reward", "huge"),
    ("self-kl", "Adam's mean", "huge"),
    ("entropy", "advantage", "denormal"),
]


@pytest.mark.parametrize(("method", "target", "value"), CASES)
def test_nor_is_another_number_in_another_method(method, target, value):
    assert poison.faults(poison.small(method), target, value, always=False) == []


@pytest.mark.parametrize("target", ["observation", "gradient", "Adam's mean"])
def test_nor_by_autograd(target):
    assert poison.faults(poison.small("p2pdrl", "autograd"), target, "nan", always=False) == []


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_none_of_all_targets_values_methods_and_engines_is():
    lists = (("fused", "autograd"), METHODS, poison.TARGETS, poison.VALUES, (False, True))
    cases = list(itertools.product(*lists))
    random.Random(int(os.environ.get("P2P_SEED", "1"))).shuffle(cases)
    found = {}
    for engine, method, target, value, always in cases[:MANY]:
        case = poison.faults(poison.small(method, engine), target, value, always=always)
        if case:
            found[engine, method, target, value, always] = case
    assert found == {}


@pytest.mark.parametrize("target", ["observation", "reward"])
def test_normalisers_forget_what_is_too_large_for_them(target):
    """Moments are merged for good: one 1e300 would have frozen that input in all peers."""
    saved, _, errors = poison.train(poison.small("p2pdrl"), target, 1e300, always=False)
    assert errors == []
    for name in ("peer.obs_moments", "peer.return_moments"):
        assert all(np.abs(part.state[name]).max() < 1e6 for part in saved)
    counts = {part.iteration: part.state["peer.obs_moments"][0] for part in saved}
    assert counts[4] == 7 * 64  # seven of eight rollouts


@pytest.mark.parametrize("method", ["dppo", "distral", "dnc"])
@pytest.mark.parametrize("target", ["observation", "gradient"])
def test_replicas_stay_equal_when_a_peer_goes_back(method, target):
    """Only one peer sees the number, and all hold what they must hold alike."""
    saved, _, errors = poison.train(poison.small(method), target, np.nan, always=False)
    assert errors == []
    ends = [part.state for part in saved if part.iteration == poison.ITERATIONS]
    names = ["method.centre"] if method != "dppo" else ["engine.actor", "engine.critic_exp_avg_sq"]
    for name in names:
        np.testing.assert_array_equal(ends[0][name], ends[1][name])


def test_what_diverged_is_named():
    for target, words in {
        "reward": r"reward\[3, 0\] is nan",
        "observation": r"observation\[3, 0, 2\] is nan",
        "peers' slot": "what peer 1 showed is not finite",
        "advantage": r"advantage\[5\] is nan",
    }.items():
        _, _, errors = poison.train(poison.small("p2pdrl"), target, np.nan, always=True)
        (error,) = errors
        assert isinstance(error, Diverged)
        said = f"peer 0 diverged in iteration 2: {words}, the second time since iteration 1; lower"
        assert re.match(said, str(error))
        tensors = safetensors.numpy.load(error.dump)
        assert {"begun.actor", "batch.obs", "engine.critic", "obs_moments"} <= tensors.keys()


@pytest.mark.parametrize("engine", ["fused", "autograd"])
def test_a_step_that_leaves_a_network_not_finite_is_seen(engine):
    """The gradient is finite, and Adam makes infinity of it."""
    config = poison.small("ppo", engine)
    for name in ("actor_exp_avg", "critic_exp_avg"):
        built = build_engine(config, 3, 1)
        state = built.state()
        state[name][1] = np.inf
        built.load_state(state)
        batch = poison.random_batch(3, 1)
        assert not built.step(batch, NOTHING)
    adam = Adam(4, 1e-5)
    adam.exp_avg[0] = np.inf
    assert not adam.step(np.zeros(4, np.float32), np.ones(4, np.float32), 1e-3, 1.0)


def test_a_checkpoint_that_is_not_finite_is_refused():
    config = poison.small("ppo")
    peer = Peer(0, config, poison.Watched(poison.Table(1), 0))
    state = peer.state()
    state["engine.critic"][3] = np.nan
    with pytest.raises(BadArtefact, match=r"engine.critic\[3\] is nan"):
        peer.begin(state)


def train_broken(number: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Train a task that observes `number`, in the working directory, and forget it."""
    monkeypatch.setattr(registry, "_added", {})
    Path(f"observes_{number}.py").write_text(
        "import numpy as np\nfrom p2p.envs.locomotion import Hopper\n\n\n"
        "class Broken(Hopper):\n    def observe(self, s):\n"
        f"        return {{**super().observe(s), 'x': np.full((len(s.qpos), 1), np.{number})}}\n"
    )
    args = ["train", "--task", f"observes_{number}.py:Broken", "--out", "run", "--plain"]
    args += ["--method", "ppo"]
    small = ["--steps-per-iteration", "128", "--total-steps", "1024", "--num-minibatches", "2"]
    return CliRunner().invoke(p2p, [*args, *small])


def test_a_task_that_observes_nan_is_named(tmp_path, monkeypatch):
    """Its rewards are NaN too, since the policy acts on it: that is not the cause."""
    monkeypatch.chdir(tmp_path)
    done = train_broken("nan", monkeypatch)
    assert done.exit_code == 2, done.output
    assert "observation 'x' is not finite" in " ".join(done.stderr.split())


def test_a_run_that_diverges_ends_with_exit_3_and_a_dump(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = train_broken("inf", monkeypatch)
    assert done.exit_code == 3, done.output
    said = " ".join(done.stderr.split())
    assert "diverged in iteration 1: observation[0, 0, 11] is inf" in said
    assert "what diverged is in diverged-peer-0.safetensors" in said
    assert "Traceback" not in done.output
    data = (tmp_path / "run/diverged-peer-0.safetensors").read_bytes()
    head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    told = json.loads(head["p2p"])
    assert (told["peer"], told["iteration"], told["before"]) == (0, 1, 0)
    assert safetensors.numpy.load(data)["batch.obs"].shape == (128, 12)


# Settings at their bounds


def numeric(model: type[BaseModel]) -> list[str]:
    """Return the fields that take numbers, by their types."""

    def takes(kind: Any) -> bool:
        return kind in (int, float) or any(map(takes, get_args(kind)))

    fields = model.model_fields.items()
    return [name for name, field in fields if takes(field.annotation)]


SETTINGS = [("p2pdrl", name) for name in numeric(TrainConfig)] + [
    (method, name)
    for method in METHODS
    for name in numeric(registry.find("method", method).Settings)
]
VALUES = [
    0, 1, 2, 3, 64, -1, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 10**30, 1e3, 0.5,
    float("nan"), float("inf"), -float("inf"), 1e300, -1e300, 1e-300, 3.4028234e38, 1.2e-38,
    -3.4e38, 80.0, -80.0, 1e-45,
]  # fmt: skip
# What only takes long, or needs more memory than there is: nothing beyond it is trained here
ENOUGH = {
    "num_epochs": 3, "total_steps": 4096, "total_steps_per_peer": 4096, "distill_epochs": 3,
    "final_episodes": 2, "test_domains": 3, "envs_per_peer": 64, "num_peers": 3,
    "steps_per_iteration": 4096, "steps_per_peer": 4096, "hidden_sizes": 1024,
    "num_minibatches": 64,
}  # fmt: skip


def configured(method: str, name: str, value: Any) -> TrainConfig:
    """Return a small run with one setting at `value`.

    Raises:
        UsageError: it is refused.
    """
    given = value
    if name == "hidden_sizes":
        given = (value, value)
    counts = {"steps_per_iteration": 512, "total_steps": 1024}
    extra = {"num_epochs": 2, "num_minibatches": 2, "hidden_sizes": (8, 8), "final_episodes": 1}
    if method == "dnc":
        extra["distill_every"], extra["distill_epochs"] = 1, 1
    if name.startswith("test_"):
        extra["test_every"] = 512
    if name.endswith("_per_peer"):
        counts.pop({"steps_per_peer": "steps_per_iteration"}.get(name, name[:11]), None)
    if name == "envs_per_peer":
        extra["num_minibatches"] = 1
    return build_config(**{"method": method, **counts, **extra, name: given})


def accepted(method: str, name: str) -> list[Any]:
    """Return the values that the setting takes."""
    return [value for value in VALUES if not refusal(method, name, value)]


def refusal(method: str, name: str, value: Any) -> str:
    """Return why the setting does not take a value; empty if it does."""
    try:
        configured(method, name, value)
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("method", "name"), SETTINGS)
def test_a_setting_takes_a_number_or_says_in_one_line_why_not(method, name):
    found = accepted(method, name)
    assert found, f"{name} takes none of the values"
    assert all(np.isfinite(float(value)) for value in found)
    assert not any("\n" in refusal(method, name, value) for value in VALUES)


def end_of(config: TrainConfig) -> str:
    """Train; return how it ended, '' if well."""
    saved, bad, errors = poison.train(config, None, 0.0, always=False)
    assert bad == []
    assert [one for part in saved for one in poison.not_finite(part)] == []
    for error in errors:
        assert isinstance(error, Diverged)
        assert "\n" not in str(error)
    return str(errors[0]) if errors else ""


def bounds(method: str, name: str) -> list[Any]:
    most = ENOUGH.get(name, float("inf"))
    found = sorted(value for value in accepted(method, name) if value <= most)
    return [found[0], found[-1]] if len(found) > 1 else found


@pytest.mark.parametrize(("method", "name"), SETTINGS)
def test_a_setting_at_its_bounds_trains_or_diverges_in_one_line(method, name):
    for value in bounds(method, name):
        end_of(configured(method, name, value))


@pytest.mark.chaos
@pytest.mark.timeout(0)
@pytest.mark.parametrize("engine", ["fused", "autograd"])
@pytest.mark.parametrize(("method", "name"), SETTINGS)
def test_a_setting_at_any_value_does(method, name, engine):
    most = ENOUGH.get(name, float("inf"))
    for value in accepted(method, name):
        if value <= most:
            config = configured(method, name, value)
            end_of(config.model_copy(update={"engine": engine}))


RUNAWAY = [
    {"learning_rate": 1e3},
    {"init_log_std": 80.0},
    {"method": "entropy", "entropy_coef": 1e6, "learning_rate": 1.0},
    {"method": "dnc", "distill_learning_rate": 1e3, "distill_every": 1},
    {"method": "distral", "learning_rate": 1e3},
    {"method": "dppo", "learning_rate": 1e37},
    {"distill_coef": 0.0, "eps_tr": 0.0, "discount": 1.0, "gae_lambda": 0.0},
    {"distill_coef": 3e38, "eps_tr": 1.0, "gae_lambda": 1.0},
    {"seed": 2**63 - 1, "num_minibatches": 1, "hidden_sizes": (1, 1)},
    {"normalise_obs": False, "scale_reward": False, "normalise_advantage": False},
    {"max_grad_norm": 3e38, "value_clip": True, "clip": 1.2e-38},
]


@pytest.mark.parametrize(
    ("engine", "settings"),
    [("fused", given) for given in RUNAWAY] + [("autograd", given) for given in RUNAWAY[:2]],
    ids=str,
)
def test_what_runs_away_is_never_saved_when_it_is_not_finite(engine, settings):
    counts = {"steps_per_iteration": 256, "total_steps": 2048, "num_epochs": 2}
    if settings.get("method") == "entropy":
        counts = {"steps_per_iteration": 128, "total_steps": 1024, "num_epochs": 2}
    given = {"num_minibatches": 4, "hidden_sizes": (8, 8), "final_episodes": 1, "engine": engine}
    end = end_of(build_config(**{**counts, **given, **settings}))
    if settings == {"init_log_std": 80.0}:
        assert end == ""


@pytest.mark.parametrize("engine", ["fused", "autograd"])
def test_noise_that_ran_away_is_named_and_the_domain_is_not_blamed(engine):
    """A large entropy bonus widens the policy until its actions are infinite."""
    counts = {"steps_per_iteration": 128, "total_steps": 2048, "num_epochs": 2}
    given = {"num_minibatches": 4, "hidden_sizes": (8, 8), "final_episodes": 1, "engine": engine}
    bonus = {"method": "entropy", "entropy_coef": 1e3, "learning_rate": 2.0}
    end = end_of(build_config(**counts, **given, **bonus))
    assert re.search(r" is -?(inf|nan) at a log-std of \d\d(\.\d)?, which ran away", end), end
    assert end.endswith("; lower the learning rate or the bonus for entropy")


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("learning_rate", "1e39", "beyond the numbers of float32, 1.2e-38 to 3.4e+38"),
        ("adam_eps", "1e-300", "beyond the numbers of float32"),
        ("init_log_std", "81", "less than or equal to 80"),
        ("seed", str(2**63), "less than 92233720368547"),
        ("hidden_sizes", f"{2**40},8", "less than 2147483648"),
        ("clip", "0", "greater than 0"),
    ],
)
def test_numbers_that_networks_cannot_hold_are_refused_with_exit_2(name, value, why):
    values = value.split(",")
    done = CliRunner().invoke(p2p, ["train", f"--{name.replace('_', '-')}", *values])
    assert done.exit_code == 2, done.output
    assert why in " ".join(done.stderr.split())
