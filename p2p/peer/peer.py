"""What one peer of Algorithm 1 has and does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p.core.config import GRADIENT_MINIBATCHES, GRADIENT_STEPS, TrainConfig
from p2p.core.errors import Diverged
from p2p.core.method_facts import METHODS
from p2p.core.rng import Purpose, Streams
from p2p.engine import STATS, Batch, Minibatch, build_engine, minibatches
from p2p.envs.domain import Domain, sample_domain
from p2p.envs.vector import RandomisedEnvs
from p2p.exchange.shared_memory import Exchange, Phase
from p2p.methods import METHOD_CLASSES, build_method
from p2p.peer.collector import build_collector
from p2p.peer.gradient_variance import GradientVariance, measure, measuring
from p2p.peer.reports import Checkpoint, State
from p2p.peer.rollout import Clock, Rollout, gae, reward_scale
from p2p.policy.episodes import run_episodes, summarise
from p2p.policy.policy import Moments, Normaliser, Policy, actor_layout, critic_layout

ROLLBACK_MEMORY = 10  # iterations within which a second roll-back means divergence


def slot_bytes(config: TrainConfig) -> int:
    """Return the room that a peer's largest exchange takes, bytes."""
    envs = RandomisedEnvs(config.task, 1)
    actor = actor_layout(envs.obs_dim, config.hidden_sizes, envs.action_dim).size
    critic = critic_layout(envs.obs_dim, config.hidden_sizes).size
    moments = 8 * (4 + 1 + 2 * envs.obs_dim)
    batches = [config, measuring(config)] if config.grad_variance_every else [config]
    room_for = METHOD_CLASSES[config.method].slot_bytes
    return max(moments, *(room_for(one, envs.obs_dim, actor, critic) for one in batches))


class Peer:
    """One peer: its envs, networks, optimisers and normalisers.

    Attributes:
        iteration: iterations completed.
    """

    def __init__(self, rank: int, config: TrainConfig, exchange: Exchange) -> None:
        self.rank, self.config, self.exchange = rank, config, exchange
        self.streams = Streams(config.seed, rank)
        self.envs = RandomisedEnvs(
            config.task, config.envs_per_peer, initial_position=config.initial_position
        )
        self.engine = build_engine(config, self.envs.obs_dim, self.envs.action_dim)
        self.method = build_method(config, self.engine, exchange)
        self.rollout = Rollout(config.horizon, self.envs)
        self.collector = build_collector(self.engine, self.envs, self.rollout)
        self.obs_moments = Moments.zeros(self.envs.obs_dim)
        self.return_moments = Moments.zeros(1)
        self.discounted = np.zeros(self.envs.num_envs)
        self.iteration = 0
        self.last_rollback = -ROLLBACK_MEMORY - 1
        self._set_normaliser()
        self.begin_iteration()

    def begin_iteration(self) -> None:
        """Start the iteration's books, and remember the way back."""
        self.clock = Clock()
        self.engine.stats[:] = 0.0
        self.method.sits_out = False
        self.exchange.waited = 0.0
        self._gradient: dict[str, float] | None = None
        self._way_back = self.engine.state()

    def _set_normaliser(self) -> None:
        config = self.config
        self.normaliser = Normaliser.of(self.obs_moments, config.obs_clip, config.normalise_obs)
        self.engine.set_normaliser(self.normaliser)

    # Line 6 ------------------------------------------------------------------

    def enter_domain(self, *, first: bool | None = None) -> None:
        """Draw what this iteration happens in, as `domain_schedule` says.

        Args:
            first: whether the envs have no episodes to go on with; default in iteration 0.
        """
        self.exchange.show_life(Phase.COLLECTING)
        schedule, envs = self.config.domain_schedule, self.envs
        first = self.iteration == 0 if first is None else first
        envs.streams = self.streams.of_envs(Purpose.RESET, self.iteration, envs.num_envs)
        if schedule in ("iteration", "carry"):
            envs.set_domains([self._draw(self.streams.generator(Purpose.DOMAIN, self.iteration))])
        else:
            each = self.streams.of_envs(Purpose.DOMAIN, self.iteration, envs.num_envs)
            if schedule == "episode":
                envs.next_domain = lambda env: self._draw(each[env])
            if schedule == "env" or first:
                envs.set_domains([self._draw(rng) for rng in each])
        if schedule in ("iteration", "env") or first:
            envs.reset()
            self.discounted[:] = 0.0

    def _draw(self, rng: np.random.Generator) -> Domain:
        links = self.envs.num_links if self.config.mass_randomisation == "per_link" else 1
        return sample_domain(rng, self.config.eps_tr, links, self.envs.num_joints)

    # Lines 7 and 14 ----------------------------------------------------------

    def collect(self) -> tuple[Batch, bool]:
        """Collect a rollout and make this iteration's batch of it.

        Returns:
            The batch, and whether the cohort agreed to stop after this iteration.
        """
        self._act()
        start = time.perf_counter()
        stop = self._merge_moments()
        batch = self._learnable()
        self.method.begin_iteration(batch)
        self.clock.seconds["policy"] += time.perf_counter() - start - self.exchange.waited
        self.exchange.show_life(Phase.UPDATING)
        return batch, stop

    def _act(self) -> None:
        """Fill the rollout (line 7)."""
        rollout, envs = self.rollout, self.envs
        shape = rollout.action.shape
        noise = self.streams.generator(Purpose.ACTION, self.iteration).standard_normal(
            shape, np.float32
        )
        self._domain = envs.domains[0]
        self.collector.collect(noise, self.clock)

    def _merge_moments(self) -> bool:
        """Merge all peers' new moments, by rank, so that all end up with the same bits.

        The observation moments count from the next iteration on, since the policy that
        collected must be the one that learns; the reward scale belongs to no policy and
        counts at once. The wish to stop travels along: peers see it at different moments.
        """
        rollout = self.rollout
        returns = rollout.discounted_returns(self.discounted, self.config.discount)
        obs = Moments.of(rollout.obs.reshape(-1, self.envs.obs_dim)).to_vector()
        scale = Moments.of(returns.reshape(-1, 1)).to_vector()
        stop = np.array([float(self.exchange.stop_asked)])
        shown = self.exchange(np.concatenate((stop, scale, obs)))
        for row in shown:
            self.return_moments = self.return_moments.merged(Moments.from_vector(row[1:4]))
            self.obs_moments = self.obs_moments.merged(Moments.from_vector(row[4:]))
        return bool(shown[:, 0].any())

    def _learnable(self) -> Batch:
        """Return the batch: normalised observations, densities, advantages, targets."""
        rollout, config = self.rollout, self.config
        T, N = rollout.reward.shape
        obs = self.normaliser(rollout.obs).reshape(T * N, -1)
        action = rollout.action.reshape(T * N, -1)
        log_prob, value = self.engine.evaluate(obs, action)
        ends = [final for _, _, final in rollout.final_obs]
        following = self.engine.value(self.normaliser(np.stack([*rollout.last_obs, *ends])))
        now = value.reshape(T, N).astype(np.float64)
        after = rollout.next_values(now, following[:N], following[N:])
        reward = rollout.reward
        if config.scale_reward:
            reward = reward / reward_scale(self.return_moments)
        reward = self.method.shape_reward(reward, obs, action, log_prob)
        ended = rollout.terminated | rollout.truncated
        advantage = gae(reward, now, after, ended, config.discount, config.gae_lambda)
        flat = (x.reshape(-1).astype(np.float32) for x in (advantage, advantage + now))
        return Batch(obs, action, log_prob, value, *flat)

    # Lines 9-15 --------------------------------------------------------------

    def minibatches(self, batch: Batch) -> Iterator[Minibatch]:
        """Yield the minibatches of all epochs, and account for the time they take."""
        config = self.config
        rng = self.streams.generator(Purpose.SHUFFLE, self.iteration)
        if config.anneal_learning_rate:
            left = 1.0 - self.iteration / config.num_iterations
            self.engine.learning_rate = config.learning_rate * left
        start, waited = time.perf_counter(), self.exchange.waited
        for _ in range(config.num_epochs):
            before = self.engine.stats.copy()
            self.method.begin_epoch()
            yield from minibatches(batch, config.num_minibatches, rng)
            self._stop_early(self.engine.stats - before)
        waiting = self.exchange.waited - waited
        self.clock.seconds["update"] += time.perf_counter() - start - waiting
        self.clock.seconds["waiting"] += self.exchange.waited

    def _stop_early(self, epoch: NDArray[np.float64]) -> None:
        """Sit out the remaining epochs once the policy has moved too far (`target_kl`)."""
        limit, stats = self.config.target_kl, dict(zip(STATS, epoch, strict=True))
        if limit is not None:
            moved = stats["approx_kl"] / max(stats["steps"], 1.0)
            self.method.sits_out |= self.method.distance(moved) > 1.5 * limit

    def update(self, minibatch: Minibatch) -> None:
        """Take the method's step; if it is not finite, roll back and sit out.

        Raises:
            Diverged: it happened before, within the last iterations.
        """
        if self.method.update(minibatch):
            return
        if self.iteration - self.last_rollback <= ROLLBACK_MEMORY:
            raise Diverged(
                f"peer {self.rank}: gradient not finite in iteration {self.iteration}, and "
                f"before in {self.last_rollback}; lower the learning rate, or look at the "
                f"domain ({self._domain})"
            )
        self.engine.load_state(self._way_back)
        self.method.sits_out = True
        self.last_rollback = self.iteration

    def end_iteration(self) -> None:
        """Let the method act, and let the new observation moments count."""
        start, waited = time.perf_counter(), self.exchange.waited
        self.method.end_iteration(self.iteration)
        waiting = self.exchange.waited - waited
        self.clock.seconds["update"] += time.perf_counter() - start - waiting
        self.clock.seconds["waiting"] += waiting
        self._set_normaliser()
        self.iteration += 1

    # The gradient's variance (section 4.4) -------------------------------------

    def fresh_batch(self, steps: int) -> Batch:
        """Collect `steps` steps or a few more beside training, as an iteration would.

        A double with envs, streams and books of its own does: equal states yield equal
        batches, and training goes on as if nothing had been. Policy, critic, normaliser and
        reward scale are as they stand.
        """
        double, config = copy(self), measuring(self.config, steps)
        double.config, double.clock = config, Clock()
        double.streams = Streams(config.seed, self.rank, apart=Purpose.GRADIENT)
        double.envs = RandomisedEnvs(
            config.task, config.envs_per_peer, initial_position=config.initial_position
        )
        double.rollout = Rollout(config.horizon, double.envs)
        double.collector = build_collector(self.engine, double.envs, double.rollout)
        double.discounted = np.zeros(double.envs.num_envs)
        double.enter_domain(first=True)
        double._act()
        return double._learnable()

    def gradient_variance(self, batch: Batch, steps: int, minibatches: int) -> GradientVariance:
        """Measure it on `batch`; all peers must, before an iteration begins."""
        streams = Streams(self.config.seed, self.rank, apart=Purpose.GRADIENT)
        rng = streams.generator(Purpose.SHUFFLE, self.iteration)
        return measure(self.engine, self.method, batch, steps, minibatches, rng)

    def look_at_gradient(self) -> None:
        """Measure the gradient's variance for this iteration's record."""
        start, waited = time.perf_counter(), self.exchange.waited
        batch = self.fresh_batch(GRADIENT_STEPS)
        found = self.gradient_variance(batch, GRADIENT_STEPS, GRADIENT_MINIBATCHES)
        self.exchange.waited = waited
        self._gradient = {**found.flat(), "seconds": time.perf_counter() - start}

    # What leaves the peer ------------------------------------------------------

    def metrics(self, batch: Batch) -> dict[str, Any]:
        """Return this iteration's part of the journal, and start the next one's books."""
        stats = dict(zip(STATS, self.engine.stats, strict=True))
        steps = max(stats.pop("steps"), 1.0)
        means = {name: value / steps for name, value in stats.items()}
        kl = means.pop("kl")
        log_std = self.engine.actor[-self.envs.action_dim :].astype(np.float64)
        target = batch.value_target
        unexplained = np.var(target - batch.old_value) / max(float(np.var(target)), 1e-12)
        episodes, self.envs.finished = self.envs.finished, []
        has_penalty = bool(METHODS[self.config.method].penalty_kl)
        out = {
            "domain": str(self._domain),
            "factors": self._domain.summary(),
            "episodes": [[e.episode_return, e.length] for e in episodes],
            "unstable": sum(e.unstable for e in episodes),
            "reward_per_step": float(self.rollout.reward.mean()),
            "terminations_per_step": float(self.rollout.terminated.mean()),
            "penalty_kl": kl if has_penalty else None,
            **means,
            "entropy": float(log_std.sum() + 0.5 * np.log(2 * np.pi * np.e) * len(log_std)),
            "log_std": float(log_std.mean()),
            "explained_variance": 1.0 - float(unexplained),
            "learning_rate": self.engine.learning_rate,
            "rolled_back": self.last_rollback == self.iteration - 1,
            "time": dict(self.clock.seconds),
        }
        if self._gradient is not None:
            out["grad_variance"] = self._gradient
        self.begin_iteration()
        return out

    def policy(self) -> Policy:
        """Return this peer's policy as an artefact."""
        steps = self.iteration * self.config.steps_per_iteration
        meta = {
            "method": self.config.method, "seed": self.config.seed, "peer": self.rank,
            "iterations": self.iteration, "settings": self.config.identity(steps),
        }  # fmt: skip
        bounds = self.envs.action_low, self.envs.action_high
        actor = self.method.final_actor().copy()
        hidden = self.config.hidden_sizes
        return Policy(self.config.task, actor, hidden, self.normaliser, *bounds, meta)

    def checkpoint(self) -> Checkpoint:
        """Return all that continuing takes, and the policy as it is now."""
        return Checkpoint(self.iteration, self.state(), self.policy().to_bytes())

    def final_score(self) -> dict[str, float] | None:
        """Run the final evaluation in the nominal domain."""
        episodes = self.config.final_episodes
        if not episodes:
            return None
        self.exchange.show_life(Phase.EVALUATING)
        rng = self.streams.generator(Purpose.EVALUATE)
        alive = self.exchange.show_life
        ran = run_episodes(self.policy(), [Domain()] * episodes, rng, after_step=alive)
        return {"peer": self.rank, **summarise(ran)._asdict()}

    def state(self) -> State:
        """Return everything that the next iteration depends on."""
        parts = {
            "engine": self.engine.state(),
            "method": self.method.state(),
            "envs": self.envs.state(),
            "peer": {
                "iteration": np.array([self.iteration, self.last_rollback]),
                "obs_moments": self.obs_moments.to_vector(),
                "return_moments": self.return_moments.to_vector(),
                "discounted": self.discounted.copy(),
            },
        }
        return {f"{part}.{k}": v for part, state in parts.items() for k, v in state.items()}

    def load_state(self, state: State | None) -> None:
        """Continue from what `state` returned; None starts afresh."""
        if state is None:
            return

        def part(name: str) -> Any:
            prefix = f"{name}."
            return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

        own = part("peer")
        self.iteration, self.last_rollback = (int(v) for v in own["iteration"])
        self.obs_moments = Moments.from_vector(own["obs_moments"])
        self.return_moments = Moments.from_vector(own["return_moments"])
        self.discounted[:] = own["discounted"]
        self._set_normaliser()
        self.engine.load_state(part("engine"))
        self.method.load_state(part("method"))
        self.envs.load_state(part("envs"))
        self.begin_iteration()
