"""What one peer of Algorithm 1 has and does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p.core.config import TrainConfig
from p2p.core.rng import Purpose, Streams
from p2p.core.settings import GRADIENT_MINIBATCHES, GRADIENT_STEPS
from p2p.engine import STATS, Batch, Minibatch, build_engine, epoch_order
from p2p.envs.build import build_envs
from p2p.exchange.base import Exchange, Phase
from p2p.methods import build_method
from p2p.peer import reports
from p2p.peer.alike import check_alike, fingerprint
from p2p.peer.batches import Judged, batch_of, judge
from p2p.peer.gradient_variance import GradientVariance, measure, measuring
from p2p.peer.metrics import iteration_metrics
from p2p.peer.reports import Report, State
from p2p.peer.rollout import Clock, Rollout
from p2p.peer.safeguard import Safeguard
from p2p.peer.sampler import Sampler, threads_of
from p2p.peer.scores import final_score, held_out_score
from p2p.policy.normaliser import Moments, Normaliser
from p2p.policy.policy import Policy


class Peer:
    """One peer: its envs, networks, optimisers and normalisers.

    Args:
        report: told of each iteration, each checkpoint, and the end.

    Attributes:
        iteration: iterations completed.
    """

    def __init__(
        self, rank: int, config: TrainConfig, exchange: Exchange, report: Report = lambda _: None
    ) -> None:
        self.rank, self.config, self.exchange, self.report = rank, config, exchange, report
        envs = build_envs(config.task, 1, config.randomisation)
        threads = threads_of(config)
        self.engine = build_engine(config, envs.obs_dim, envs.action_dim, threads)
        self.method = build_method(config, self.engine, exchange)
        self.streams = Streams(config.seed, rank)
        self.sampler = Sampler(config, self.engine, self.streams)
        self.obs_moments = Moments.zeros(envs.obs_dim)
        self.return_moments = Moments.zeros(1)
        self.iteration = 0
        self.stopping = 0  # the signal by which the cohort was asked to stop
        self._orders: list[NDArray[np.int64]] = []
        self.safeguard = Safeguard(self)
        self._set_normaliser()
        self._begin_iteration()

    def begin(self, resume: State | None) -> None:
        """Start afresh, from another run's policy, or continue from what `state` returned."""
        if resume is None or "peer.iteration" not in resume:
            self._start_from(resume or {})
            self._keep_milestone()
            return
        with reports.fitting():
            self.load_state(resume)
        self.safeguard.check_start()
        if self.iteration == self.config.num_iterations:
            self._keep_checkpoint()  # killed before its score, and perhaps before its policy

    def _start_from(self, given: State) -> None:
        """Begin with the parts of a state that are given (line 2), as all peers do."""
        if not given:
            return
        self.engine.actor[:] = given["engine.actor"]
        self.obs_moments = Moments.from_vector(np.asarray(given["peer.obs_moments"], np.float64))
        if "engine.critic" in given:
            self.engine.critic[:] = given["engine.critic"]
            self.return_moments = Moments.from_vector(
                np.asarray(given["peer.return_moments"], np.float64)
            )
        self.method = build_method(self.config, self.engine, self.exchange)
        self._set_normaliser()
        self._begin_iteration()
        self.safeguard.check_start()

    @property
    def goes_on(self) -> bool:
        """Whether there is another iteration to run."""
        return self.iteration < self.config.num_iterations and not self.stopping

    def _begin_iteration(self) -> None:
        """Reset the iteration's counters, and keep the state that a roll-back returns to."""
        self.clock = Clock()
        self.engine.stats[:] = 0.0
        self.method.skip_updates = False
        self.exchange.waited = 0.0
        self._gradient: dict[str, float] | None = None
        self.safeguard.keep()

    def _set_normaliser(self) -> None:
        config = self.config
        self.normaliser = Normaliser.of(self.obs_moments, config.obs_clip, config.normalise_obs)
        self.engine.set_normaliser(self.normaliser)

    # Lines 6, 7 and 14 -------------------------------------------------------

    def enter_domain(self) -> None:
        """Draw what this iteration happens in; before it, perhaps measure the gradient."""
        every = self.config.grad_variance_every
        if every and self.iteration % every == 0:
            self._measure_gradient()
        self.exchange.heartbeat(Phase.COLLECTING)
        self.sampler.enter_domain(self.iteration, afresh=self.iteration == 0)

    def collect(self) -> Batch:
        """Collect a rollout and make this iteration's batch of it."""
        rollout = self.sampler.collect(self.iteration, self.clock)
        start = time.perf_counter()
        self._show_moments(rollout)
        judged = judge(rollout, self.engine, self.normaliser)
        self._orders = self._shuffle(len(judged.obs))
        self.stopping = self._merge_moments()
        batch = self.safeguard.admit(self._batch_of(rollout, judged))
        self.method.begin_iteration(batch)
        self.clock.seconds["policy"] += time.perf_counter() - start - self.exchange.waited
        self.exchange.heartbeat(Phase.UPDATING)
        return batch

    def _show_moments(self, rollout: Rollout) -> None:
        """Publish this peer's new moments; what is learned from but the rewards needs none.

        The request to stop travels along: peers see it at different moments. So does a hash of
        what all must hold alike, where machines could round differently.
        """
        head = np.array([float(self.exchange.stop_requested), self._fingerprint()])
        self.exchange.publish(np.concatenate((head, self.safeguard.shown_moments(rollout))))

    def _fingerprint(self) -> float:
        if not self.exchange.across_machines:
            return 0.0
        return fingerprint(self.obs_moments, self.return_moments, self.method.replicas())

    def _merge_moments(self) -> int:
        """Merge all peers' new moments, by rank, so that all end up with the same bits.

        The observation moments count from the next iteration on, since the policy that
        collected must be the one that learns; the reward scale belongs to no policy and
        counts at once.

        Returns:
            The signal by which the cohort stops after this iteration; 0 if it goes on.

        Raises:
            UsageError: peers hold different numbers.
        """
        shown, merge = self.exchange.gather(), self.safeguard.merge
        check_alike(shown[:, 1], self.iteration)
        for row in shown:
            self.return_moments = merge(self.return_moments, Moments.from_vector(row[2:5]))
            self.obs_moments = merge(self.obs_moments, Moments.from_vector(row[5:]))
        return int(shown[:, 0].max())

    def _batch_of(self, rollout: Rollout, judged: Judged) -> Batch:
        return batch_of(rollout, judged, self.return_moments, self.method, self.config)

    # Lines 9-15 --------------------------------------------------------------

    def _shuffle(self, samples: int) -> list[NDArray[np.int64]]:
        """Return the order of samples in each epoch [M, B]."""
        config, rng = self.config, self.streams.generator(Purpose.SHUFFLE, self.iteration)
        return [epoch_order(samples, config.num_minibatches, rng) for _ in range(config.num_epochs)]

    def minibatches(self, batch: Batch) -> Iterator[Minibatch]:
        """Yield the minibatches of all epochs, and account for the time they take."""
        config = self.config
        if config.anneal_learning_rate:
            left = 1.0 - self.iteration / config.num_iterations
            self.engine.learning_rate = config.learning_rate * left
        start, waited = time.perf_counter(), self.exchange.waited
        for order in self._orders:
            before = self.engine.stats.copy()
            self.method.begin_epoch()
            if self.method.steps_critic_apart() and not self.method.skip_updates:
                exchange = self.exchange
                awaiting = exchange.across_machines and exchange.has_begun
                self.engine.begin_epoch(batch, order, awaiting)
            yield from (Minibatch(batch, index) for index in order)
            self.engine.end_epoch()
            self._stop_early(self.engine.stats - before)
        waiting = self.exchange.waited - waited
        self.clock.seconds["update"] += time.perf_counter() - start - waiting
        self.clock.seconds["waiting"] += self.exchange.waited

    def _stop_early(self, epoch: NDArray[np.float64]) -> None:
        """Skip the remaining epochs once the policy has moved too far (`target_kl`)."""
        limit, stats = self.config.target_kl, dict(zip(STATS, epoch, strict=True))
        if limit is not None:
            moved = stats["approx_kl"] / max(stats["steps"], 1.0)
            self.method.skip_updates |= self.method.distance(moved) > 1.5 * limit

    def update(self, minibatch: Minibatch) -> None:
        """Take the method's step; if it is not finite, roll back and skip the iteration's rest.

        Raises:
            Diverged: it happened before, within the last iterations.
        """
        if not self.method.update(minibatch):
            self.safeguard.go_back(self.safeguard.why_not_finite())

    def end_iteration(self, batch: Batch) -> None:
        """Let the method act, let the new observation moments count, and report."""
        start, waited = time.perf_counter(), self.exchange.waited
        sound = self.method.end_iteration(self.iteration)
        waiting = self.exchange.waited - waited
        self.clock.seconds["update"] += time.perf_counter() - start - waiting
        self.clock.seconds["waiting"] += waiting
        self.safeguard.check_state(told=sound is False)
        self._set_normaliser()
        self.iteration += 1
        if self.exchange.across_machines and not self.goes_on:  # no next one compares them
            check_alike(self.exchange(np.array([self._fingerprint()]))[:, 0], self.iteration)
        test = self._test() if self.config.is_test(self.iteration) else {}
        self.exchange.heartbeat(Phase.REPORTING)
        self.report(reports.Iteration(self.iteration - 1, {**self.metrics(batch), **test}))
        self._begin_iteration()
        self._keep_milestone()
        if not self.goes_on or self.iteration % self.config.checkpoint_every == 0:
            self._keep_checkpoint()

    # The gradient's variance (section 4.4) -------------------------------------

    def fresh_batch(self, steps: int) -> Batch:
        """Collect `steps` steps or a few more beside training, as an iteration would.

        With envs and streams of their own: equal states yield equal batches, and training goes
        on as if nothing had been. Policy, critic, normaliser and reward scale are as they stand.
        """
        streams = Streams(self.config.seed, self.rank, apart=Purpose.GRADIENT)
        sampler = Sampler(measuring(self.config, steps), self.engine, streams)
        self.exchange.heartbeat(Phase.COLLECTING)
        sampler.enter_domain(self.iteration, afresh=True)
        rollout = sampler.collect(self.iteration, Clock())
        return self._batch_of(rollout, judge(rollout, self.engine, self.normaliser))

    def gradient_variance(self, batch: Batch, steps: int, minibatches: int) -> GradientVariance:
        """Measure it on `batch`; all peers must, before an iteration begins."""
        streams = Streams(self.config.seed, self.rank, apart=Purpose.GRADIENT)
        rng = streams.generator(Purpose.SHUFFLE, self.iteration)
        return measure(self.engine, self.method, batch, steps, minibatches, rng)

    def _measure_gradient(self) -> None:
        """Measure the gradient's variance for this iteration's record."""
        start, waited = time.perf_counter(), self.exchange.waited
        batch = self.fresh_batch(GRADIENT_STEPS)
        found = self.gradient_variance(batch, GRADIENT_STEPS, GRADIENT_MINIBATCHES)
        self.exchange.waited = waited
        self._gradient = {**found.flat(), "seconds": time.perf_counter() - start}

    # What leaves the peer ------------------------------------------------------

    def metrics(self, batch: Batch) -> dict[str, Any]:
        """Return this iteration's part of the journal."""
        found = iteration_metrics(self.sampler, self.engine, self.method, batch)
        found["rolled_back"] = self.safeguard.last == self.iteration - 1
        found["time"] = dict(self.clock.seconds)
        return found if self._gradient is None else {**found, "grad_variance": self._gradient}

    def policy(self) -> Policy:
        """Return this peer's policy as an artefact."""
        config, envs = self.config, self.sampler.envs
        steps = self.iteration * config.steps_per_iteration
        meta = {
            "method": config.method, "seed": config.seed, "peer": self.rank,
            "iterations": self.iteration, "settings": config.identity(steps),
        }  # fmt: skip
        actor = self.method.final_actor().copy()
        bounds = envs.action_low, envs.action_high
        return Policy(config.task, actor, config.hidden_sizes, self.normaliser, *bounds, meta)

    def _keep_milestone(self) -> None:
        if self.config.is_milestone(self.iteration):
            self.report(reports.Milestone(self.iteration, self.state(), self.policy().to_bytes()))

    def _keep_checkpoint(self) -> None:
        self.report(reports.Checkpoint(self.iteration, self.state(), self.policy().to_bytes()))

    def end(self) -> None:
        """Report the end: stopped as asked, or through, with the final score."""
        if self.stopping:
            self.report(reports.Stopped(self.iteration, self.stopping))
        else:
            self.report(reports.Ended(self.iteration, self._final_score()))

    def _final_score(self) -> dict[str, float] | None:
        """Run the final evaluation in the nominal domain."""
        episodes = self.config.final_episodes
        if not episodes:
            return None
        self.exchange.heartbeat(Phase.EVALUATING)
        rng = self.streams.generator(Purpose.EVALUATE)
        score = final_score(self.policy(), episodes, rng, self.exchange.heartbeat)
        return {"peer": self.rank, **score}

    def _test(self) -> dict[str, Any]:
        """Test the policy in held-out domains, report it, and return the record's part."""
        self.exchange.heartbeat(Phase.EVALUATING)
        policy, binding = self.policy(), self.sampler.envs.binding
        score = held_out_score(policy, self.config, binding, self.exchange.heartbeat)
        self.report(reports.Tested(self.iteration, score, policy.to_bytes()))
        return {"test": score}

    def state(self) -> State:
        """Return everything that the next iteration depends on."""
        parts = {
            "engine": self.engine.state(),
            "method": self.method.state(),
            "envs": self.sampler.envs.state(),
            "peer": {
                "iteration": np.array([self.iteration, self.safeguard.last]),
                "obs_moments": self.obs_moments.to_vector(),
                "return_moments": self.return_moments.to_vector(),
                "discounted": self.sampler.discounted.copy(),
            },
        }
        return {f"{part}.{k}": v for part, state in parts.items() for k, v in state.items()}

    def load_state(self, state: State) -> None:
        """Continue from what `state` returned."""

        def part(name: str) -> Any:
            prefix = f"{name}."
            return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

        own = part("peer")
        self.iteration, self.safeguard.last = (int(v) for v in own["iteration"])
        self.obs_moments = Moments.from_vector(own["obs_moments"])
        self.return_moments = Moments.from_vector(own["return_moments"])
        self.sampler.discounted[:] = own["discounted"]
        self._set_normaliser()
        self.engine.load_state(part("engine"))
        self.method.load_state(part("method"))
        self.sampler.envs.load_state(part("envs"))
        self._begin_iteration()
