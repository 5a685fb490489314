"""N envs of one task as the trainer sees them: episodes that restart, returns, domains.

How an env is stepped is up to a subclass: `p2p.envs.vector` steps a `Task` itself, and
`p2p.envs.gymnasium_envs` lets Gymnasium's envs step themselves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.core.errors import UsageError
from p2p.envs.binding import Binding
from p2p.envs.domain import Domain
from p2p.envs.signals import Signals

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Action = NDArray[np.floating[Any]]


Sums = Mapping[str, tuple[Floats, Floats]]


def mean_terms(parts: Sequence[Sums]) -> dict[str, float]:
    """Return the mean a step of each reward term, from `VectorEnvs.reward_sums` of all envs."""
    means = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        total, steps = zip(*(part[name] for part in parts if name in part), strict=True)
        # Means before the quotient: the same bits however the envs are grouped.
        means[name] = float(np.concatenate(total).mean() / np.concatenate(steps).mean())
    return means


class Episode(NamedTuple):
    """One finished episode."""

    env: int
    episode_return: float
    length: int
    terminated: bool
    unstable: bool


class VectorEnvs(ABC):
    """N envs of one task, each in a domain; ended episodes restart in the same step.

    Args:
        num_envs: N.
        max_episode_steps: steps after which an episode is truncated.

    Attributes:
        obs: [N, obs_dim], current, so after an auto-reset that of the new episode.
        final_obs: [N, obs_dim], the last of an ended episode; only rows where `terminated`
            or `truncated` are valid.
        reward: [N], 0 where `unstable`.
        terminated, truncated: [N] bool.
        unstable: [N] bool, physics diverged in this step; implies `terminated`. MuJoCo has
            lost the state by then: the obs is zeros and must not be bootstrapped from.
        elapsed: [N] int64, steps of the running episode.
        episode_return: [N], undiscounted, of the running episode.
        finished: episodes that ended, appended to; the caller drains it.
        next_domain: if set, called with the env's index before each auto-reset. Return None to
            deactivate the env until `reset`: it is not simulated, and its rows are undefined.
        binding: what varies, on this robot.
        domains: what each env has now, with all factors.
        action_low, action_high: [A] float32.
        dt: seconds a step.
        streams: what each env draws its reset noise, and noise on its signals, from. One each, so
            that no env's episodes depend on when those of others end; the caller may replace them.
        is_compiled: whether compiled code may step the envs.

    All arrays are overwritten in place by `step` and `reset`.
    """

    obs_dim: int
    action_dim: int
    binding: Binding
    domains: list[Domain]
    obs: Floats
    action_low: NDArray[np.float32]
    action_high: NDArray[np.float32]
    dt: float
    is_compiled = False

    def __init__(self, num_envs: int, max_episode_steps: int) -> None:
        if num_envs < 1 or max_episode_steps < 1:
            raise UsageError(f"{num_envs=} and {max_episode_steps=} must be at least 1")
        self.num_envs, self.max_episode_steps = num_envs, max_episode_steps
        self.streams = np.random.default_rng(0).spawn(num_envs)
        self.reward = np.zeros(num_envs)
        self.episode_return = np.zeros(num_envs)
        self.elapsed = np.zeros(num_envs, np.int64)
        self._ticks = np.ones(num_envs, np.int64)  # steps that a step counts: 0 if inactive
        self._some_inactive = False
        self._flags_up = False
        self._steps_left = max_episode_steps
        self.terminated = np.zeros(num_envs, np.bool_)
        self.truncated = np.zeros(num_envs, np.bool_)
        self.unstable = np.zeros(num_envs, np.bool_)
        self.finished: list[Episode] = []
        self.next_domain: Callable[[int], Domain | None] | None = None

    def _begin(self, obs: Floats) -> None:
        """Allocate what depends on the observation [N, obs_dim], and start all episodes."""
        self._clean = obs  # of the task, before noise
        self.obs_dim, self.action_dim = obs.shape[1], len(self.action_low)
        self.signals = Signals(self.binding, self.num_envs, self.obs_dim, self.dt)
        self.obs = obs.copy() if self.signals.on_obs else obs
        self.final_obs = np.zeros_like(obs)
        self.set_domains([Domain()])
        self.reset()

    # What a subclass does -----------------------------------------------------

    @abstractmethod
    def _share_domain(self, domain: Domain) -> None:
        """Put all envs in one complete domain; running episodes go on."""

    @abstractmethod
    def _enter_domain(self, env: int, domain: Domain) -> None:
        """Put one env in a complete domain of its own."""

    @abstractmethod
    def _start_episode(self, env: int) -> None:
        """Put one env at the start of an episode."""

    @abstractmethod
    def _observe(self) -> None:
        """Write what is observed into the array that `_begin` was given."""

    @abstractmethod
    def _simulate(self, action: Action) -> None:
        """Step the active envs; write observation, reward, terminated and unstable."""

    @abstractmethod
    def simulation(self, env: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Return what MuJoCo knows of one env, to look inside."""

    def _update_active(self) -> None:
        """Take note of the envs that are active."""
        self._some_inactive = not self._ticks.all()

    def reward_sums(self) -> Sums:
        """Return what each named reward term has come to since the last call.

        Returns:
            By name, the sum over steps [N] and the number of steps [N].
        """
        return {}

    def reward_terms(self) -> dict[str, float]:
        """Return the mean a step of each named reward term since the last call."""
        return mean_terms([self.reward_sums()])

    # What all have --------------------------------------------------------------

    def set_domains(self, domains: Sequence[Domain]) -> None:
        """Put all envs in one domain, or each in its own; running episodes go on.

        What changes the model or is a force acts from the next step, start poses from the next
        reset.

        Raises:
            UsageError: neither 1 nor N domains, or one that does not fit the robot.
        """
        if len(domains) not in (1, self.num_envs):
            raise UsageError(
                f"{len(domains)} domains for {self.num_envs} envs: give 1, or each its own"
            )
        complete = [self.binding.check(domain) for domain in domains]
        if len(complete) == 1:
            self._share_domain(complete[0])
        else:
            for env, domain in enumerate(complete):
                self._enter_domain(env, domain)
        for env in range(self.num_envs):
            self.signals.set_domain(env, complete[env if len(complete) > 1 else 0])
        self._update_active()
        self._observe()  # a centre of mass moves with the masses, and that is no velocity
        self._perturb(range(self.num_envs))

    def _perturb(self, envs: Sequence[int]) -> None:
        """Write the rows of `obs` of these envs, with their noise."""
        if self.signals.on_obs:
            self.signals.perturb_obs(envs, self._clean, self.obs, self.streams)

    def reset(
        self, rng: np.random.Generator | Sequence[np.random.Generator] | None = None
    ) -> Floats:
        """Start an episode in every env, and return `obs`.

        Args:
            rng: new `streams`, or what to spawn them from.
        """
        if rng is not None:
            streams = list(rng) if isinstance(rng, Sequence) else rng.spawn(self.num_envs)
            if len(streams) != self.num_envs:
                raise UsageError(f"{len(streams)} streams for {self.num_envs} envs: one each")
            self.streams = streams
        self._ticks[:] = 1
        self._update_active()
        for env in range(self.num_envs):
            self._start(env)
        self._observe()
        self._perturb(range(self.num_envs))
        self._lower_flags()
        self._steps_left = self.max_episode_steps
        return self.obs

    def _start(self, env: int) -> None:
        self._start_episode(env)
        self.elapsed[env] = 0
        self.episode_return[env] = 0.0

    def _lower_flags(self) -> None:
        for flags in (self.terminated, self.truncated, self.unstable):
            flags[:] = False
        self._flags_up = False

    def step(self, action: Action) -> None:
        """Step every env with its row of `action` [N, A]; restart those whose episode ends."""
        self.advance(action)
        np.add(self.elapsed, self._ticks, out=self.elapsed)
        np.add(self.episode_return, self.reward, out=self.episode_return)
        self._steps_left -= 1
        if self._steps_left == 0:
            self.truncated |= self.elapsed >= self.max_episode_steps
            self._flags_up = True
        if self._flags_up:
            self._restart(np.flatnonzero(self.terminated | self.truncated))

    def advance(self, action: Action) -> None:
        """Step every env and write obs, reward, terminated and unstable; restart none."""
        if action.shape != (self.num_envs, self.action_dim):
            shape = (self.num_envs, self.action_dim)
            raise ValueError(f"action has shape {action.shape}, expected {shape}")
        if self._flags_up:
            self._lower_flags()
        if self.signals.on_motion:
            self.signals.push(self.elapsed, self._ticks, self.simulation, self.streams)
        self._simulate(action)
        if self._some_inactive:
            self.reward[self._ticks == 0] = 0.0
        if self.signals.on_obs:
            self._perturb(np.flatnonzero(self._ticks).tolist())

    def _restart(self, ended: Ints) -> None:
        self.final_obs[ended] = self.obs[ended]
        for env in ended.tolist():
            self.finished.append(
                Episode(
                    env,
                    float(self.episode_return[env]),
                    int(self.elapsed[env]),
                    bool(self.terminated[env]),
                    bool(self.unstable[env]),
                )
            )
            if self.next_domain is not None:
                domain = self.next_domain(env)
                if domain is None:
                    self._ticks[env] = 0
                else:
                    domain = self.binding.check(domain)
                    self._enter_domain(env, domain)
                    self.signals.set_domain(env, domain)
            self._start(env)  # also if inactive: its state must be healthy, and stay so
        if self.next_domain is not None:
            self._update_active()
        self._observe()
        self._perturb(ended.tolist())
        self._steps_left = self.max_episode_steps - int(self.elapsed.max())

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that stepping on depends on, but `streams`, as new arrays."""
        return {"elapsed": self.elapsed.copy(), "episode_return": self.episode_return.copy()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `state` returned, bit for bit, also amid episodes.

        Raises:
            BadArtefact: it is the state of other envs.
        """
        self.elapsed[:] = state["elapsed"]
        self.episode_return[:] = state["episode_return"]
        self._lower_flags()
        self._steps_left = self.max_episode_steps - int(self.elapsed.max())
