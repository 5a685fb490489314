"""The competitors: their identities, and each against a plain transcription."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from made import METHODS
from plain import PlainPeer, algorithm_1, alone, trained
from torch import Tensor, nn

from p2p.cohort import cohort
from p2p.cohort.events import Checkpointed
from p2p.core.config import TrainConfig
from p2p.engine import Adam, Penalty, build_engine, losses
from p2p.engine.batch import Batch, Minibatch
from p2p.exchange.shared_memory import Arena, Exchange
from p2p.peer.peer import Peer
from p2p.peer.reports import split_by_peer
from p2p.peer.slots import slot_bytes
from p2p.runs import RunFolder
from p2p.runs.checkpoint import checkpoint_name, read

SMALL = {
    "task": "hopper", "total_steps": 2 * 768, "steps_per_iteration": 768, "num_epochs": 2,
    "num_minibatches": 4, "final_episodes": 0, "engine": "autograd", "seed": 3,
    "learning_rate": 1e-3,
}  # fmt: skip


SHAPED = {"distral_form": "reward", "distral_kl_coef": 0.5, "distral_entropy_coef": 0.1}


def small(method: str, **settings) -> TrainConfig:
    return TrainConfig(**{**SMALL, "method": method, **settings})


def flat_grad(loss: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])


def dppo(peers: list[PlainPeer], minibatch: list[np.ndarray]) -> None:
    """Heess et al. 2017: one mean gradient moves every replica."""
    own = []
    for peer, index in zip(peers, minibatch, strict=True):
        loss, value = peer.policy_loss(index)[0], peer.value_loss(index)
        own.append((flat_grad(loss, peer.theta), flat_grad(value, peer.phi)))
    for which in ("theta", "phi"):
        mean = torch.stack([g[which == "phi"] for g in own]).mean(0)
        for peer in peers:
            parameters, start = getattr(peer, which), 0
            for p in parameters:
                p.grad = mean[start : start + p.numel()].view_as(p).clone()
                start += p.numel()
    for peer in peers:
        peer.apply()


class Distral:
    """Teh et al. 2017: alpha KL(pi_i || pi_0), and pi_0 fitted to all pi_i."""

    def __init__(self) -> None:
        self.centre: PlainPeer | None = None

    def pi_0(self, config: TrainConfig) -> PlainPeer:
        if self.centre is None:
            self.centre = PlainPeer(config, 0)  # theta_0, as every peer at first
        return self.centre

    def __call__(self, peers: list[PlainPeer], minibatch: list[np.ndarray]) -> None:
        centre, gradients = self.pi_0(peers[0].config), []
        for peer, index in zip(peers, minibatch, strict=True):
            loss, x, mean = peer.policy_loss(index)
            own = mean.detach(), peer.log_std.detach()
            fit = losses.gaussian_kl(*own, centre.actor(x), centre.log_std).mean()
            gradients.append(flat_grad(fit, centre.theta))
            pull = losses.gaussian_kl(
                mean, peer.log_std, centre.actor(x).detach(), centre.log_std.detach()
            ).mean()
            peer.step(self.local(peer.config, loss, pull), peer.value_loss(index))
        start, mean = 0, torch.stack(gradients).mean(0)
        mean *= min(1.0, peers[0].config.max_grad_norm / (mean.norm().item() + 1e-6))
        for p in centre.theta:
            p.grad = mean[start : start + p.numel()].view_as(p).clone()
            start += p.numel()
        centre.optimisers[0].step()

    def local(self, config: TrainConfig, loss: Tensor, pull: Tensor) -> Tensor:
        return loss + config.get("distill_coef") * pull


class ShapedDistral(Distral):
    """Eq. 1 of Teh et al. in its alpha and beta; the loss is PPO's alone."""

    def local(self, config: TrainConfig, loss: Tensor, pull: Tensor) -> Tensor:
        return loss

    def shape(self, peer: PlainPeer, rewards: np.ndarray) -> np.ndarray:
        c_kl, c_ent = (peer.config.get(f"distral_{name}_coef") for name in ("kl", "entropy"))
        alpha, beta = c_kl / (c_kl + c_ent), 1 / (c_kl + c_ent)
        centre = self.pi_0(peer.config)
        theirs = losses.log_prob(centre.actor(peer.x), centre.log_std, peer.a)
        shaping = alpha / beta * theirs - peer.old / beta
        return rewards + shaping.numpy().reshape(rewards.shape)


def dnc(peers: list[PlainPeer], minibatch: list[np.ndarray]) -> None:
    """Ghosh et al. 2018 between two resets: symmetric KL on own and others' states."""
    shown = [peer.shown() for peer in peers]
    for i, peer in enumerate(peers):
        index = torch.from_numpy(minibatch[i])
        loss = peer.policy_loss(minibatch[i])[0]
        states = torch.cat([peer.x[index], *(p.x[index] for p in peers if p is not peer)])
        own = peer.actor(states), peer.log_std
        kl = torch.zeros(())
        for k, other in enumerate(shown):
            if k != i:
                theirs = other.actor(states).detach(), other.log_std
                kl = kl + losses.gaussian_kl(*own, *theirs).mean()
                kl = kl + losses.gaussian_kl(*theirs, *own).mean()
        alpha = peer.config.get("distill_coef")
        peer.step(loss + alpha * kl / (len(peers) - 1), peer.value_loss(minibatch[i]))


def entropy(peers: list[PlainPeer], minibatch: list[np.ndarray]) -> None:
    for peer, index in zip(peers, minibatch, strict=True):
        bonus = peer.config.get("entropy_coef") * losses.entropy(peer.log_std)
        peer.step(peer.policy_loss(index)[0] - bonus, peer.value_loss(index))


class SelfKL:
    """Section 4.4: the policy that collected holds the one that learns."""

    def __call__(self, peers: list[PlainPeer], minibatch: list[np.ndarray]) -> None:
        (peer,) = peers
        if getattr(self, "batch", None) is not peer.x:
            self.batch, self.old = peer.x, peer.shown()
        loss, x, mean = peer.policy_loss(minibatch[0])
        with torch.no_grad():
            old = self.old.actor(x), self.old.log_std
        kl = losses.gaussian_kl(mean, peer.log_std, *old).mean()
        peer.step(loss + peer.config.get("distill_coef") * kl, peer.value_loss(minibatch[0]))


@pytest.mark.parametrize(
    ("method", "num_peers", "rule", "settings"),
    [
        ("dppo", 3, dppo, {}),
        ("distral", 2, Distral(), {}),
        ("distral", 2, ShapedDistral(), SHAPED),
        ("dnc", 3, dnc, {}),
        ("entropy", 1, entropy, {"entropy_coef": 0.1}),
        ("self-kl", 1, SelfKL(), {}),
    ],
)
def test_a_method_equals_its_transcription(tmp_path, method, num_peers, rule, settings):
    """Other orders of the same sums round otherwise: equal to 1e-4 after two iterations."""
    config = small(method, num_peers=num_peers, **settings)
    # One iteration further than is compared: the last one's end is where DnC resets.
    longer = config.model_copy(update={"total_steps": 3 * 768, "checkpoint_every": 2})
    path = tmp_path / "run"
    trained(longer, path)
    tensors = read(path / "checkpoints" / checkpoint_name(2), longer).tensors
    states = split_by_peer(tensors, num_peers)
    for state, plain in zip(states, algorithm_1(config, rule), strict=True):
        np.testing.assert_allclose(state["engine.actor"], plain.flat(), atol=1e-4)
    if method == "distral":
        np.testing.assert_allclose(states[0]["method.centre"], rule.centre.flat(), atol=1e-4)


@pytest.mark.parametrize("method", ["dppo", "distral"])
def test_replicas_stay_equal_bit_for_bit(tmp_path, method):
    """Nobody is central: whoever holds the shared policy holds the same bits."""
    states = trained(small(method, num_peers=3), tmp_path / "run")
    names = {"dppo": ["engine.actor", "engine.critic"], "distral": ["method.centre"]}[method]
    for name in names:
        for state in states[1:]:
            np.testing.assert_array_equal(state[name], states[0][name])


def test_distral_without_shaping_is_independent_ppo(tmp_path):
    """c_KL = c_Ent = 0: the locals learn what they would if there were no centre."""
    off = {**SHAPED, "distral_kl_coef": 0.0, "distral_entropy_coef": 0.0}
    config = small("distral", num_peers=2, **off)
    states = trained(config, tmp_path / "run")
    for state, plain in zip(states, algorithm_1(config, alone), strict=True):
        np.testing.assert_array_equal(state["engine.actor"], plain.flat())


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("dppo", {}), ("entropy", {"entropy_coef": 0.0}), ("self-kl", {"distill_coef": 0.0}),
        ("distral", {"distill_coef": 0.0}),
    ],
)  # fmt: skip
def test_alone_and_without_its_pull_a_method_is_ppo(tmp_path, method, settings):
    """One peer, nobody's gradient to average, coefficient 0: the same bits."""
    (state,) = trained(small(method, num_peers=1, **settings), tmp_path / "run")
    (ppo,) = trained(small("ppo"), tmp_path / "ppo")
    for net in ("actor", "critic"):
        np.testing.assert_array_equal(state[f"engine.{net}"], ppo[f"engine.{net}"])


def test_dnc_without_its_pull_is_independent_ppo_between_resets(tmp_path):
    """To rounding: others' states pass through the actor as well, with a gradient of 0.

    The last iteration's end distils; the checkpoint before it is compared.
    """
    config = small("dnc", num_peers=2, distill_coef=0.0)
    longer = config.model_copy(update={"total_steps": 3 * 768, "checkpoint_every": 2})
    trained(longer, tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / checkpoint_name(2)
    states = split_by_peer(read(path, longer).tensors, 2)
    for state, plain in zip(states, algorithm_1(config, alone), strict=True):
        np.testing.assert_allclose(state["engine.actor"], plain.flat(), atol=1e-5)


def shaped(c_kl: float, c_ent: float, widen: float, away: float) -> np.ndarray:
    """Return what Distral adds to two rewards of 0, for actions `away` stds from the mean.

    pi_i has std 1, the centre the same means and std exp(widen); A = 3.
    """
    coefs = {"distral_kl_coef": c_kl, "distral_entropy_coef": c_ent}
    engine = build_engine(small("distral", init_log_std=0.0, **{**SHAPED, **coefs}), 11, 3)
    method = METHODS["distral"](engine.config, engine, None)
    method.centre[-3:] += np.float32(widen)
    obs = np.zeros((2, 11), np.float32)  # zero biases: the mean is 0 there
    action = np.full((2, 3), away, np.float32)
    log_prob = engine.evaluate(obs, action)[0]
    return method.shape_reward(np.zeros((1, 2)), obs, action, log_prob)


def test_the_shaped_reward_by_hand():
    """c_KL per nat that the centre finds an action less likely, c_Ent per nat of surprise."""
    at_mean, at_std = -3 * np.log(2), 3 * (1 / 2 - 1 / 8 - np.log(2))
    np.testing.assert_allclose(shaped(1.0, 0.0, np.log(2), 0.0), [[at_mean] * 2], rtol=1e-5)
    np.testing.assert_allclose(shaped(1.0, 0.0, np.log(2), 1.0), [[at_std] * 2], rtol=1e-5)
    surprise = 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(shaped(0.0, 2.0, 5.0, 0.0), [[2 * surprise] * 2], rtol=1e-5)


def test_a_centre_equal_to_the_local_shapes_nothing():
    np.testing.assert_array_equal(shaped(1.0, 0.0, 0.0, 0.7), 0.0)


def test_what_is_reported_and_what_scales_is_the_tasks_reward(tmp_path):
    """Before the first update both forms act alike; shaping of any size must not show."""
    episodes, states = [], []
    for form in ("penalty", "reward"):
        settings = {**SHAPED, "distral_form": form, "distral_entropy_coef": 1e3}
        states += trained(
            small("distral", num_peers=1, total_steps=768, **settings), tmp_path / form
        )
        (record,) = RunFolder.open(tmp_path / form).records()
        episodes.append([peer["episodes"] for peer in record["peers"]])
    assert episodes[0] == episodes[1]
    np.testing.assert_array_equal(*(s["peer.return_moments"] for s in states))
    assert (states[0]["engine.critic"] != states[1]["engine.critic"]).any()


def test_after_a_reset_all_of_dncs_locals_are_the_centre_but_for_log_std(tmp_path):
    """R = 1: reset after every iteration, critics kept, Adam's moments anew."""
    states = trained(small("dnc", num_peers=3, distill_every=1), tmp_path / "run")
    weights = slice(None, -3)
    for state in states:
        centre = states[0]["method.centre"]
        np.testing.assert_array_equal(state["engine.actor"][weights], centre[weights])
        assert not state["engine.actor_exp_avg"].any()
        assert state["engine.critic_exp_avg"].any()
    assert (states[0]["engine.critic"] != states[1]["engine.critic"]).any()


@pytest.mark.parametrize("loss", ["mse", "kl"])
def test_distilling_fits_the_centre_to_its_teachers(loss):
    """On states that one teacher saw, the centre acts as that teacher does."""
    from p2p.engine.autograd import Network, mlp
    from p2p.methods.distillation import distill
    from p2p.policy.parameters import actor_layout, init_parameters

    config = small("dnc", distill_epochs=100, distill_loss=loss)
    layout, rng = actor_layout(4, (64, 64), 2), np.random.default_rng(0)
    teachers = np.stack([init_parameters(layout, 1.0, -1.0, rng) for _ in range(2)])
    states = rng.standard_normal((2, 256, 4)).astype(np.float32)
    states[1] += 3  # each saw its own part of the state space
    start = init_parameters(layout, 0.01, 0.0, rng)

    def error(flat: np.ndarray) -> float:
        net = Network(layout, flat.copy(), config)
        total = 0.0
        with torch.no_grad():
            for teacher, seen in zip(teachers, map(torch.from_numpy, states), strict=True):
                theirs = mlp(net.frozen(teacher), seen)
                total += float((mlp(net.frozen(flat), seen) - theirs).square().mean())
        return total

    settings = METHODS["dnc"].Settings(**config.method_settings)
    fitted = distill(start, teachers, states, 2, config, settings, np.random.default_rng(1))
    assert error(fitted) < 0.02 * error(start)


def make_minibatch(obs_dim: int, action_dim: int, size: int = 32) -> Minibatch:
    rng = np.random.default_rng(0)
    columns = [rng.standard_normal((size, d)) for d in (obs_dim, action_dim)]
    columns += [rng.standard_normal(size) for _ in range(4)]
    return Minibatch(Batch(*(c.astype(np.float32) for c in columns)), np.arange(size))


def test_self_kl_is_without_effect_at_an_iterations_first_minibatch():
    """There pi is pi_old, where the KL has its minimum: its gradient is exactly 0."""
    engine = build_engine(small("self-kl"), 11, 3)
    minibatch = make_minibatch(11, 3)
    engine.gradient(minibatch, Penalty())
    plain = engine.actor_grad.copy()
    engine.gradient(minibatch, Penalty(1.0, engine.actor[None].copy()))
    np.testing.assert_array_equal(engine.actor_grad, plain)


def test_flat_adam_is_torchs():
    rng = np.random.default_rng(0)
    flat = rng.standard_normal(50).astype(np.float32)
    theirs = nn.Parameter(torch.from_numpy(flat.copy()))
    ours, torchs = Adam(50, 1e-5), torch.optim.Adam([theirs], lr=1e-2, eps=1e-5)
    for _ in range(20):
        grad = rng.standard_normal(50).astype(np.float32)
        theirs.grad = torch.from_numpy(grad.copy())
        nn.utils.clip_grad_norm_([theirs], 0.5)
        torchs.step()
        assert ours.step(flat, grad, 1e-2, 0.5)
    np.testing.assert_allclose(flat, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert not ours.step(flat, np.full(50, np.nan, np.float32), 1e-2, 0.5)


@pytest.mark.parametrize("sync", ["minibatch", "epoch", "iteration"])
def test_looking_less_often_still_pulls_peers_together(tmp_path, sync):
    """Even once an iteration, distilled peers end nearer than those left alone."""
    far = trained(small("p2pdrl", num_peers=2, distill_coef=0.0), tmp_path / "far")
    near = trained(small("p2pdrl", num_peers=2, distill_coef=3.0, sync=sync), tmp_path / "near")

    def gap(states: list[dict[str, np.ndarray]]) -> float:
        return float(np.linalg.norm(states[0]["engine.actor"] - states[1]["engine.actor"]))

    assert gap(near) < gap(far)


@pytest.mark.parametrize(
    ("method", "settings"), [*((name, {}) for name in sorted(METHODS)), ("distral", SHAPED)]
)
def test_every_method_resumes_bit_for_bit(tmp_path, method, settings):
    """Also with another number of threads than before, and than the run that was not stopped."""
    own = {"distill_every": 3} if method == "dnc" else {}
    engine = "autograd" if settings else "fused"  # which computes in more than one thread
    own |= {"total_steps": 4 * 768, "checkpoint_every": 2, "engine": engine}
    config = small(method, **own, **settings)
    whole = trained(config, tmp_path / "whole")
    threaded = config.model_copy(update={"threads_per_peer": 3})
    events = cohort.train(threaded, out=tmp_path / "cut")
    for event in events:
        if isinstance(event, Checkpointed):
            events.close()
            break
    for _ in cohort.resume(tmp_path / "cut", threads_per_peer=2):
        pass
    run = RunFolder.open(tmp_path / "cut")
    cut = split_by_peer(run.load_checkpoint().tensors, config.num_peers)
    for one, other in zip(whole, cut, strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


def test_dppos_replicas_stop_early_together(tmp_path):
    """By the mean of their KLs: if one stopped by its own, they would be two policies."""
    # Peer 1 alone would stop after the first epoch, peer 0 after the second.
    settings = {"learning_rate": 3e-3, "num_epochs": 6, "eps_tr": 1.0, "target_kl": 8e-3}
    config = small("dppo", num_peers=2, total_steps=768, **settings)
    one, other = trained(config, tmp_path / "run")
    np.testing.assert_array_equal(one["engine.actor"], other["engine.actor"])
    assert one["engine.actor_step"] < config.num_epochs * config.num_minibatches


def test_what_a_method_does_at_an_iterations_end_counts_as_update():
    """Its wait for others apart; else the shares of time leave most of DnC's out."""
    config = small("ppo", num_peers=1)
    told: list[Any] = []
    peer = Peer(0, config, Exchange(Arena(1, slot_bytes(config)), 0), told.append)
    peer.enter_domain()
    batch = peer.collect()
    before = dict(peer.clock.seconds)

    def act(iteration: int) -> None:
        time.sleep(0.05)
        peer.exchange.waited += 0.02

    peer.method.end_iteration = act
    peer.end_iteration(batch)
    times = told[0].metrics["time"]
    assert times["update"] - before["update"] >= 0.03
    assert times["waiting"] - before["waiting"] == pytest.approx(0.02)


def test_a_peer_sends_heartbeats_throughout_its_final_score(monkeypatch):
    """An evaluation may take longer than `peer_timeout`."""
    config = small("ppo", num_peers=1, final_episodes=2)
    told: list[Any] = []
    peer = Peer(0, config, Exchange(Arena(1, slot_bytes(config)), 0), told.append)
    shown = []
    monkeypatch.setattr(peer.exchange, "heartbeat", lambda phase=None: shown.append(phase))
    peer.end()
    assert len(shown) > told[0].score["length"]
