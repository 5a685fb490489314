"""N MuJoCo envs of one task, stepped together in this process.

Physics is `p2p.envs.simulation`; all else is done for all N at once, most by `p2p.envs.task`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.core.errors import BadArtefact, UsageError
from p2p.core.returns import MAX_EPISODE_STEPS
from p2p.envs.domain import Domain
from p2p.envs.robot import Robot
from p2p.envs.simulation import Addresses, Simulations, domains_of
from p2p.envs.task import Task, find_task

Floats = NDArray[np.float64]
Action = NDArray[np.floating[Any]]


class Episode(NamedTuple):
    """One finished episode."""

    env: int
    episode_return: float
    length: int
    terminated: bool
    unstable: bool


class RandomisedEnvs:
    """N MuJoCo envs of one task, each in a domain; ended episodes restart in the same step.

    At the nominal domain they are Gymnasium's v5, bit for bit. Actions are used as given:
    MuJoCo clamps the torque to the actuator's range, the control cost counts all of it.

    Args:
        task: the name of a task, or a class of one.
        num_envs: N.
        initial_position: what a domain's initial position shifts: "joints" or "root_x".
        max_episode_steps: steps after which an episode is truncated.
        trimmed: see `p2p.envs.robot.Robot`; False if somebody may edit the models.

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
        domains: what each env has now.
        action_low, action_high: [A] float32.
        dt: seconds a step.
        streams: what each env draws its reset noise from, one each, so that no env's episodes
            depend on when those of others end; the caller may replace them.

    All arrays are overwritten in place by `step` and `reset`.
    """

    def __init__(
        self,
        task: str | type[Task],
        num_envs: int,
        *,
        initial_position: str = "joints",
        max_episode_steps: int = MAX_EPISODE_STEPS,
        trimmed: bool = True,
    ) -> None:
        if num_envs < 1 or max_episode_steps < 1:
            raise UsageError(f"{num_envs=} and {max_episode_steps=} must be at least 1")
        kind = find_task(task)
        self.robot = Robot(kind, initial_position, trimmed=trimmed)
        self.num_envs, self.max_episode_steps = num_envs, max_episode_steps
        self.num_joints, self.num_links = self.robot.num_joints, self.robot.num_links
        model = self.robot.model
        self.dt = float(model.opt.timestep) * kind.frame_skip
        self.action_dim = int(model.nu)
        self.action_low, self.action_high = model.actuator_ctrlrange.T.astype(np.float32, order="C")
        self._sims = Simulations(self.robot, num_envs, kind.reads, kind.frame_skip)
        self.domains = self._sims.domains
        self.task = kind(self._sims.raw, self._sims.columns, self.action_dim, self.dt)
        self._action_shape = (num_envs, self.action_dim)
        self.streams = np.random.default_rng(0).spawn(num_envs)

        self.obs = self.task.obs
        self.obs_dim = self.obs.shape[1]
        self.final_obs = np.zeros_like(self.obs)
        self.reward = np.zeros(num_envs)
        self.episode_return = np.zeros(num_envs)
        self.elapsed = np.zeros(num_envs, np.int64)
        self._ticks = np.ones(num_envs, np.int64)  # steps that a step counts: 0 if inactive
        self.terminated = np.zeros(num_envs, np.bool_)
        self.truncated = np.zeros(num_envs, np.bool_)
        self.unstable = np.zeros(num_envs, np.bool_)
        self.finished: list[Episode] = []
        self.next_domain: Callable[[int], Domain | None] | None = None
        self.set_domains([Domain()])
        self.reset()

    def set_domains(self, domains: Sequence[Domain]) -> None:
        """Put all envs in one domain, or each in its own; running episodes go on.

        Gravity, friction, mass and wind act from the next step, the initial position from
        the next reset.

        Raises:
            UsageError: neither 1 nor N domains, or one that does not fit the robot.
        """
        N = self.num_envs
        if len(domains) not in (1, N):
            raise UsageError(f"{len(domains)} domains for {N} envs: give 1, or each its own")
        for domain in domains:
            self.robot.check(domain)
        if len(domains) == 1:
            self._sims.set_shared_domain(domains[0])
            for env in range(N):
                self.task.set_mass(env, self._sims.mass(env))
        else:
            for env, domain in enumerate(domains):
                self._set_own_domain(env, domain)
        self._update_active()
        self.task.observe()  # a centre of mass moves with the masses, and that is no velocity

    def _set_own_domain(self, env: int, domain: Domain) -> None:
        self.robot.check(domain)
        self._sims.set_domain(env, domain)
        self.task.set_mass(env, self._sims.mass(env))

    def _update_active(self) -> None:
        """Let the simulations step the envs that are active."""
        self._sims.set_active(self._ticks)
        self._some_inactive = not self._ticks.all()

    def simulation(self, env: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Return what MuJoCo knows of one env, to look inside; trimmed, it has no camera."""
        return self._sims.simulation(env)

    def addresses(self) -> Addresses:
        """Return what compiled code needs to step the envs itself; see `settle`.

        It steps all of them: each must be active.

        Raises:
            P2PError: MuJoCo's library cannot be found.
        """
        return self._sims.addresses()

    def settle(self) -> None:
        """Take over from compiled code, and restart what it says has ended with its last step.

        By then it has written what `step` writes: `reward`, `elapsed`, `episode_return`, the
        flags, and the rows of `raw`.
        """
        self._flags_up = True
        self._steps_left = self.max_episode_steps - int(self.elapsed.max())
        self.task.observe()
        ended = np.flatnonzero(self.terminated | self.truncated)
        if len(ended):
            self._restart(ended)

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
        self.task.observe()
        self._lower_flags()
        self._steps_left = self.max_episode_steps
        return self.obs

    def _start(self, env: int) -> None:
        self._sims.start(env, self.streams[env])
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
            np.greater_equal(self.elapsed, self.max_episode_steps, out=self.truncated)
            self._flags_up = True
        if self._flags_up:
            self._restart(np.flatnonzero(self.terminated | self.truncated))

    def advance(self, action: Action) -> None:
        """Step every env and write obs, reward, terminated and unstable; restart none."""
        if action.shape != self._action_shape:
            raise ValueError(f"action has shape {action.shape}, expected {self._action_shape}")
        if self._flags_up:
            self._lower_flags()
        task = self.task
        task.before_step()
        calm = self._sims.step(action)
        all_healthy = task.all_healthy() and calm
        if not all_healthy:
            self._end_unhealthy()
        task.observe()
        task.rewards(action, all_healthy, self.reward)
        if not all_healthy:
            self.reward[self.unstable] = 0.0
        if self._some_inactive:
            self.reward[self._ticks == 0] = 0.0

    def _end_unhealthy(self) -> None:
        """Flag what ended.

        A diverged state shows in two ways: MuJoCo reset it silently within the step and left a
        warning, or it came of the last substep and nothing has looked at it yet.
        """
        task = self.task
        task.find_healthy()
        np.logical_not(task.in_bounds(), out=self.unstable)
        self.unstable |= self._sims.diverged()
        self._sims.raw[self.unstable] = 0.0
        task.healthy[self.unstable] = False
        np.logical_not(task.healthy, out=self.terminated)
        self._flags_up = True

    def _restart(self, ended: NDArray[np.int64]) -> None:
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
                    self._set_own_domain(env, domain)
            self._start(env)  # also if inactive: its state must be healthy, and stay so
        if self.next_domain is not None:
            self._update_active()
        self.task.observe()
        self._steps_left = self.max_episode_steps - int(self.elapsed.max())

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that stepping on depends on, but `streams`, as new arrays."""
        return {
            **self._sims.state(),
            "elapsed": self.elapsed.copy(),
            "episode_return": self.episode_return.copy(),
        }

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `state` returned, bit for bit, also amid episodes.

        Raises:
            BadArtefact: it is the state of other envs.
        """
        expected = {k: v.shape for k, v in self.state().items() if k != "domains"}
        found = {k: v.shape for k, v in state.items() if k != "domains"}
        if expected != found or len(state.get("domains", ())) != self.num_envs:
            raise BadArtefact(f"state of other envs: has {found}, expected {expected}")
        self.set_domains(domains_of(state))
        self._ticks[:] = 1
        self._update_active()
        self._sims.load_state(state)
        self.elapsed[:] = state["elapsed"]
        self.episode_return[:] = state["episode_return"]
        self.task.observe()
        self._lower_flags()
        self._steps_left = self.max_episode_steps - int(self.elapsed.max())
