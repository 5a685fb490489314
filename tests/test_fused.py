"""The fused engine against autograd: gradients, Adam, densities; and what a run relies on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.core.config import TrainConfig
from p2p.engine import STATS, Penalty, kernels, losses
from p2p.engine.autograd import AutogradEngine, mlp
from p2p.engine.batch import Batch, Minibatch
from p2p.engine.fused import FusedEngine
from p2p.envs.vector import RandomisedEnvs
from p2p.peer.collector import build_collector
from p2p.peer.rollout import Rollout
from p2p.policy.normaliser import Moments, Normaliser
from p2p.policy.parameters import actor_layout, critic_layout
from p2p.policy.policy import Policy

fuzzed = settings(max_examples=60, deadline=None, derandomize=True)


class Case(NamedTuple):
    """The shapes and options of one minibatch."""

    obs_dim: int = 17
    hidden: tuple[int, int] = (64, 64)
    action_dim: int = 6
    size: int = 64
    anchors: int = 1
    states: int = 0
    coef: float = 1.0
    symmetric: bool = False
    entropy_coef: float = 0.0
    value_clip: bool = False
    normalise_advantage: bool = True
    seed: int = 0


cases = st.builds(
    Case,
    obs_dim=st.integers(1, 50),
    hidden=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    action_dim=st.integers(1, 9),
    size=st.integers(2, 70),
    anchors=st.integers(0, 3),
    states=st.integers(0, 40),
    coef=st.sampled_from([0.0, 0.3, 1.0]),
    symmetric=st.booleans(),
    entropy_coef=st.sampled_from([0.0, 0.01]),
    value_clip=st.booleans(),
    normalise_advantage=st.booleans(),
    seed=st.integers(0, 1000),
)


def draw(case: Case, dtype: Any = np.float32) -> tuple[TrainConfig, Minibatch, Penalty, Any]:
    """Return a config, a minibatch of random numbers, a penalty, and parameters to use there.

    Actions lie near the policy's means and old densities near its own, so that ratios
    fall on both sides of both clips.
    """
    rng = np.random.default_rng(case.seed)

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(dtype)

    config = TrainConfig(
        hidden_sizes=case.hidden, value_clip=case.value_clip, seed=case.seed,
        normalise_advantage=case.normalise_advantage,
    )  # fmt: skip
    n, A, S = case.obs_dim, case.action_dim, 2 * case.size
    layouts = actor_layout(n, case.hidden, A), critic_layout(n, case.hidden)
    actor, critic = (normal(layout.size) for layout in layouts)
    for layout, flat in zip(layouts, (actor, critic), strict=True):
        for view in layout.views(flat).values():
            view /= np.sqrt(view.shape[-1] if view.ndim == 2 else 10)
    obs, action = normal(S, n), normal(S, A)
    weights = {k: torch.from_numpy(v) for k, v in layouts[0].views(actor).items()}
    mean = mlp(weights, torch.from_numpy(obs))
    log_prob = losses.log_prob(mean, weights["log_std"], torch.from_numpy(action)).numpy()
    batch = Batch(obs, action, log_prob + 0.3 * normal(S), normal(S), normal(S), normal(S))
    minibatch = Minibatch(batch, rng.permutation(S)[: case.size])
    anchors = actor + 0.1 * normal(case.anchors, len(actor)) if case.anchors else None
    states = normal(case.states, n) if case.states else None
    penalty = Penalty(case.coef, anchors, case.symmetric, states, case.entropy_coef)
    return config, minibatch, penalty, (actor, critic)


def build(kind: Any, case: Case, config: TrainConfig, params: Any, **kwargs: Any) -> Any:
    """Return an engine that holds these parameters."""
    engine = kind(config, case.obs_dim, case.action_dim, **kwargs)
    engine.actor[:], engine.critic[:] = params
    return engine


def engines(case: Case) -> tuple[AutogradEngine, FusedEngine, Minibatch, Penalty]:
    """Return both engines with the same parameters, and a minibatch for them."""
    config, minibatch, penalty, params = draw(case)
    pair = (build(kind, case, config, params) for kind in (AutogradEngine, FusedEngine))
    return *pair, minibatch, penalty


def reference(case: Case, config: TrainConfig, mb: Minibatch, penalty: Penalty, params: Any) -> Any:
    """Return both gradients of the losses by autograd, in the parameters' own precision."""
    actor, critic = (torch.tensor(flat, requires_grad=True) for flat in params)
    layout = actor_layout(case.obs_dim, case.hidden, case.action_dim)
    net, value_net = layout.views(actor), critic_layout(case.obs_dim, case.hidden).views(critic)
    obs, action, old_log_prob, old_value, advantage, target = (
        torch.from_numpy(column)[torch.from_numpy(mb.index)] for column in mb.batch
    )
    if config.normalise_advantage:
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    log_prob = losses.log_prob(mlp(net, obs), net["log_std"], action)
    loss = losses.clipped_surrogate(log_prob, old_log_prob, advantage, config.clip)
    if penalty.anchors is not None:
        every = (
            obs if penalty.states is None else torch.cat((obs, torch.from_numpy(penalty.states)))
        )
        others = [layout.views(torch.from_numpy(anchor)) for anchor in penalty.anchors]
        peers = [(mlp(other, every), other["log_std"]) for other in others]
        own = mlp(net, every), net["log_std"]
        loss = loss + penalty.coef * losses.distillation(*own, peers, penalty.symmetric)
    loss = loss - penalty.entropy_coef * losses.entropy(net["log_std"])
    value = mlp(value_net, obs).squeeze(-1)
    clip = config.clip if config.value_clip else None
    loss = loss + losses.value_loss(value, target, old_value, clip)
    return [grad.numpy() for grad in torch.autograd.grad(loss, (actor, critic))]


def near(got: Any, expected: Any, tolerance: float) -> bool:
    """Return whether |got - expected| <= tolerance * |expected|, Euclidean norms."""
    return bool(np.linalg.norm(got - expected) <= tolerance * np.linalg.norm(expected))


@fuzzed
@given(cases)
def test_gradients_are_those_of_the_losses(case):
    """In float64, so that what is left is algebra: 1e-10 of the gradient's norm."""
    config, minibatch, penalty, params = draw(case, np.float64)
    engine = build(FusedEngine, case, config, params, dtype=np.float64)
    engine.gradient(minibatch, penalty)
    actor_grad, critic_grad = reference(case, config, minibatch, penalty, params)
    assert near(engine.actor_grad, actor_grad, 1e-10)
    assert near(engine.critic_grad, critic_grad, 1e-10)


@fuzzed
@given(cases)
def test_gradients_and_stats_in_float32_are_autograds(case):
    """Rounding apart: 1e-5 of the gradient's norm."""
    autograd, fused, minibatch, penalty = engines(case)
    autograd.gradient(minibatch, penalty)
    fused.gradient(minibatch, penalty)
    assert near(fused.actor_grad, autograd.actor_grad, 1e-5)
    assert near(fused.critic_grad, autograd.critic_grad, 1e-5)
    assert fused.stats == pytest.approx(autograd.stats, rel=1e-4, abs=1e-5)


def test_shapes_of_every_task_agree():
    """From Hopper's 11 observations to Humanoid's 348."""
    for obs_dim, action_dim in ((11, 3), (17, 6), (105, 8), (348, 17)):
        case = Case(obs_dim=obs_dim, action_dim=action_dim, size=128, anchors=2)
        autograd, fused, minibatch, penalty = engines(case)
        autograd.gradient(minibatch, penalty)
        fused.gradient(minibatch, penalty)
        assert near(fused.actor_grad, autograd.actor_grad, 1e-5)
        assert near(fused.critic_grad, autograd.critic_grad, 1e-5)


def test_kl_to_equal_parameters_is_exactly_0():
    """Value and gradient (design 3.3): not a bit differs from a step without anchors."""
    _, fused, minibatch, _ = engines(Case())
    fused.gradient(minibatch, Penalty())
    without = fused.actor_grad.copy()
    fused.stats[:] = 0
    fused.gradient(minibatch, Penalty(1.0, np.stack([fused.actor] * 3), symmetric=True))
    assert (fused.actor_grad == without).all()
    assert fused.stats[STATS.index("kl")] == 0


def test_both_engines_start_equal():
    config = TrainConfig(seed=5)
    autograd, fused = AutogradEngine(config, 11, 3), FusedEngine(config, 11, 3)
    assert (autograd.actor == fused.actor).all()
    assert (autograd.critic == fused.critic).all()


def test_steps_are_torchs_adam():
    """Twenty steps from gradients large enough to be clipped, then small ones."""
    autograd, fused, _, _ = engines(Case())
    rng = np.random.default_rng(0)
    for k in range(20):
        for mine, theirs in (
            (fused.actor_grad, autograd.actor_grad),
            (fused.critic_grad, autograd.critic_grad),
        ):
            mine[:] = theirs[:] = rng.standard_normal(len(mine)) * (1.0 if k < 10 else 1e-4)
        fused.learning_rate = autograd.learning_rate = 1e-3 / (k + 1)
        assert fused.apply()
        assert autograd.apply()
    assert np.abs(fused.actor - autograd.actor).max() < 1e-6
    assert np.abs(fused.critic - autograd.critic).max() < 1e-6


def test_a_step_is_gradient_then_apply():
    """To the bit: methods that average gradients go the long way."""
    _, fused, minibatch, penalty = engines(Case())
    _, apart, _, _ = engines(Case())
    assert fused.step(minibatch, penalty)
    apart.gradient(minibatch, penalty)
    assert apart.apply()
    assert (fused.actor == apart.actor).all()
    assert (fused.critic == apart.critic).all()
    assert (fused.stats == apart.stats).all()


def test_training_stays_with_autograd():
    """A hundred steps on the same minibatch: rounding does not run away."""
    autograd, fused, minibatch, penalty = engines(Case(anchors=2, states=30, symmetric=True))
    start = fused.actor.copy()
    for _ in range(100):
        autograd.step(minibatch, penalty)
        fused.step(minibatch, penalty)
    assert np.abs(fused.actor - start).max() > 1e-3
    assert near(fused.actor - start, autograd.actor - start, 1e-3)


@pytest.mark.parametrize("poison", ["obs", "action", "advantage", "value_target", "weight"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(poison, value):
    """It must be noticed: no clamp, maximum or fast-math flag may swallow it."""
    _, fused, minibatch, penalty = engines(Case())
    if poison == "weight":
        fused.actor[0] = value * 0  # NaN either way: tanh maps infinities to numbers
    else:
        getattr(minibatch.batch, poison)[minibatch.index[3]] = value * 0
    before = fused.state()
    assert not fused.step(minibatch, penalty)
    fused.gradient(minibatch, penalty)
    assert not fused.apply()
    for name, array in fused.state().items():
        assert np.array_equal(array, before[name], equal_nan=True), name


def test_an_infinite_gradient_changes_nothing():
    """Each network's is looked at."""
    _, fused, _, _ = engines(Case())
    before = fused.state()
    for grad in (fused.actor_grad, fused.critic_grad):
        grad[-1] = np.inf
        assert not fused.apply()
        grad[-1] = 0
    assert all((array == before[name]).all() for name, array in fused.state().items())


@fuzzed
@given(cases)
def test_what_fixed_anchors_say_is_kept_with_the_same_bits(case):
    config, minibatch, penalty, params = draw(case)
    batch, rng = minibatch.batch, np.random.default_rng(case.seed)
    fixed = penalty._replace(fixed=True)
    plain, kept = (build(FusedEngine, case, config, params) for _ in range(2))
    for _ in range(3):  # epochs
        for index in rng.permutation(2 * case.size).reshape(2, -1):
            plain.step(Minibatch(batch, index), penalty)
            kept.step(Minibatch(batch, index), fixed)
    assert np.array_equal(plain.actor, kept.actor)
    assert np.array_equal(plain.stats, kept.stats)


def test_fixed_anchors_are_asked_once_for_each_state():
    """And again in another batch, or if they are others."""
    case = Case()
    config, minibatch, penalty, params = draw(case)
    engine, anchors = build(FusedEngine, case, config, params), penalty.anchors.copy()
    other = Minibatch(Batch(*map(np.copy, minibatch.batch)), minibatch.index)

    def kl(minibatch: Minibatch, anchors: Any) -> float:
        engine.stats[:] = 0
        engine.gradient(minibatch, Penalty(1.0, anchors, fixed=True))
        return float(engine.stats[STATS.index("kl")])

    first = kl(minibatch, anchors)
    anchors[:, : case.obs_dim] += 1.0  # weights: their log-std is not kept
    assert kl(minibatch, anchors) == first
    moved = kl(other, anchors)
    assert moved != first
    assert kl(minibatch, anchors.copy()) == moved


def test_equal_calls_give_equal_bits():
    first, second = (engines(Case(anchors=3, states=9))[1:] for _ in range(2))
    for fused, minibatch, penalty in (first, second):
        for _ in range(5):
            fused.step(minibatch, penalty)
    for name, array in first[0].state().items():
        assert (array == second[0].state()[name]).all()


@pytest.mark.parametrize(("source", "target"), [(0, 1), (1, 0), (1, 1)])
def test_a_checkpoint_moves_between_engines(source, target):
    """After it, both take the same next step."""
    pair = engines(Case())
    origin, minibatch, penalty = pair[source], *pair[2:]
    for _ in range(3):
        origin.step(minibatch, penalty)
    heir = engines(Case())[target]
    heir.load_state(origin.state())
    assert origin.state().keys() == heir.state().keys()
    for engine in (origin, heir):
        engine.step(minibatch, penalty)
    for name, array in origin.state().items():
        assert array.shape == heir.state()[name].shape
        assert array == pytest.approx(heir.state()[name], abs=1e-6), name


def test_state_is_a_copy():
    _, fused, minibatch, penalty = engines(Case())
    before = fused.state()
    kept = before["actor"].copy()
    fused.step(minibatch, penalty)
    assert (before["actor"] == kept).all()


def test_act_is_the_policy():
    """Normalise, clip, mean, noise; for any number of rows."""
    rng = np.random.default_rng(0)
    for n, A, rows in ((17, 6, 2), (3, 1, 1), (348, 17, 5), (11, 3, 33)):
        _, fused, _, _ = engines(Case(obs_dim=n, action_dim=A))
        obs = 4 * rng.standard_normal((rows, n)) + 1
        obs[0, 0] = 1e9  # far beyond the clip
        moments = Moments.of(rng.standard_normal((9, n)))
        normaliser = Normaliser.of(moments, 10.0)
        fused.set_normaliser(normaliser)
        unbounded = np.full(A, np.inf, np.float32)
        policy = Policy("hopper", fused.actor, (64, 64), normaliser, -unbounded, unbounded)
        noise = rng.standard_normal((rows, A)).astype(np.float32)
        action = np.empty((rows, A), np.float32)
        fused.act(obs, np.zeros_like(noise), action)
        mean = policy.act(obs)
        scale = np.abs(mean).max()
        assert np.abs(action - mean).max() < 1e-6 * max(1.0, scale)
        fused.act(obs, noise, action)
        std = np.exp(fused.actor[-A:])
        assert np.abs(action - (mean + std * noise)).max() < 2e-6 * max(1.0, scale)


def test_densities_and_values_are_autograds():
    """More rows than are taken at a time, and no multiple of it."""
    autograd, fused, minibatch, _ = engines(Case(size=171))
    batch = minibatch.batch
    for got, expected in zip(
        fused.evaluate(batch.obs, batch.action),
        autograd.evaluate(batch.obs, batch.action),
        strict=True,
    ):
        assert got == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_a_sample_has_the_same_bits_alone_as_in_company():
    _, fused, minibatch, _ = engines(Case(size=100))
    obs, action = minibatch.batch.obs, minibatch.batch.action
    log_prob, value = fused.evaluate(obs, action)
    for k in (0, 77, 199):
        alone = fused.evaluate(obs[k : k + 1].copy(), action[k : k + 1].copy())
        assert (alone[0][0], alone[1][0]) == (log_prob[k], value[k])


def test_the_first_minibatch_has_ratio_exactly_1():
    """Densities at collection and in the update are the same function to the bit."""
    _, fused, minibatch, _ = engines(Case())
    batch = minibatch.batch
    old = batch._replace(old_log_prob=fused.evaluate(batch.obs, batch.action)[0])
    fused.gradient(Minibatch(old, minibatch.index), Penalty())
    stats = dict(zip(STATS, fused.stats, strict=True))
    assert (stats["approx_kl"], stats["clip_fraction"], stats["steps"]) == (0, 0, 1)


def test_distillation_gradient_is_autograds():
    """Of E KL(pi || student), by the student."""
    for size, action_dim in ((64, 6), (13, 1)):
        autograd, fused, minibatch, penalty = engines(Case(size=size, action_dim=action_dim))
        student = penalty.anchors[0].copy()
        got, expected = np.empty_like(student), np.empty_like(student)
        fused.distill_gradient(student, minibatch, got)
        autograd.distill_gradient(student, minibatch, expected)
        assert near(got, expected, 1e-5)
        fused.distill_gradient(fused.actor.copy(), minibatch, got)
        assert not got.any()


def test_one_compilation_serves_all_shapes():
    """A peer must never compile in mid-run: float32 has one signature a kernel."""
    for case in (Case(), Case(obs_dim=3, action_dim=1, size=5, anchors=0), Case(states=7)):
        _, fused, minibatch, penalty = engines(case)
        fused.step(minibatch, penalty)
    single = [s for s in kernels.step.signatures if "float32, 2d" in str(s)]
    assert len(single) == 1


def test_a_rollout_in_float64_is_refused():
    """Compiled code takes the rollout's float32 actions for float64, and writes past their end."""
    envs = RandomisedEnvs("hopper", 1)
    engine = FusedEngine(TrainConfig(), envs.obs_dim, envs.action_dim, np.float64)
    with pytest.raises(TypeError, match="float32, not float64"):
        build_collector(engine, envs, Rollout(4, envs))
