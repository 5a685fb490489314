"""N MuJoCo envs of one task, stepped together in this process.

Physics is `p2p.envs.simulation`; what it means is `p2p.envs.columns`, for all N at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.core.errors import BadArtefact, UsageError
from p2p.envs.base import Action, Episode, Sums, VectorEnvs
from p2p.envs.columns import build_columns
from p2p.envs.domain import Domain
from p2p.envs.randomisation import Randomisation
from p2p.envs.robot import Robot
from p2p.envs.simulation import Addresses, Simulations, domains_of
from p2p.envs.task import Task, find_task

__all__ = ["Episode", "RandomisedEnvs"]
Floats = NDArray[np.float64]


class RandomisedEnvs(VectorEnvs):
    """N MuJoCo envs of one task, each in a domain; see `VectorEnvs`.

    The five tasks of the paper are Gymnasium's v5 at the nominal domain, bit for bit. Actions are
    used as given: MuJoCo clamps the torque to the actuator's range, the control cost counts all of
    it.

    Args:
        task: the name of a task, or a class of one.
        num_envs: N.
        randomisation: what varies; None: the task's default.
        max_episode_steps: steps after which an episode is truncated; None: the task's own.
        trimmed: see `p2p.envs.robot.Robot`; False if somebody may edit the models.
    """

    def __init__(
        self,
        task: str | type[Task],
        num_envs: int,
        *,
        randomisation: Randomisation | None = None,
        max_episode_steps: int | None = None,
        trimmed: bool = True,
    ) -> None:
        kind = find_task(task)
        limit = kind.max_episode_steps if max_episode_steps is None else max_episode_steps
        super().__init__(num_envs, limit)
        self.robot = Robot(kind, randomisation, trimmed=trimmed)
        model = self.robot.model
        self.dt = float(model.opt.timestep) * kind.frame_skip
        self._sims = Simulations(self.robot, num_envs, kind.reads, kind.frame_skip)
        self.domains = self._sims.domains
        self.action_low, self.action_high = self.robot.action_bounds()
        self.columns = build_columns(kind, self._sims, self.robot, self.dt)
        self.binding = self.robot.binding
        self._begin(self.columns.obs)
        self.is_compiled = (
            self.columns.is_compiled and not self.signals.any and self.robot.servo_map() is None
        )

    def _share_domain(self, domain: Domain) -> None:
        self._sims.set_shared_domain(domain)
        for env in range(self.num_envs):
            self.columns.set_mass(env, self._sims.mass(env))

    def _enter_domain(self, env: int, domain: Domain) -> None:
        self._sims.set_domain(env, domain)
        self.columns.set_mass(env, self._sims.mass(env))

    def _update_active(self) -> None:
        super()._update_active()
        self._sims.set_active(self._ticks)

    def _start_episode(self, env: int) -> None:
        self._sims.start(env, self.streams[env])
        self.columns.start(env, self.streams[env])

    def _observe(self) -> None:
        self.columns.observe()

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

        By then it has written what `step` writes: `obs`, `reward`, `elapsed`, `episode_return`,
        the flags, and the rows of `raw`.
        """
        self._flags_up = True
        ended = np.flatnonzero(self.terminated | self.truncated)
        if len(ended):
            self._restart(ended)
        else:
            self._steps_left = self.max_episode_steps - int(self.elapsed.max())
            self.columns.observe()

    def _simulate(self, action: Action) -> None:
        columns = self.columns
        columns.before_step()
        arrives = action
        if self.signals.on_action:
            arrives = self.signals.perturb_action(action, self._ticks, self.streams)
        calm = self._sims.step(arrives)
        all_healthy = columns.all_healthy() and calm
        if not all_healthy:
            self._end_unhealthy()
        columns.settle(action, all_healthy, self.reward)
        if not all_healthy:
            self.reward[self.unstable] = 0.0

    def _end_unhealthy(self) -> None:
        """Flag what ended.

        A diverged state shows in two ways: MuJoCo reset it silently within the step and left a
        warning, or it came of the last substep and nothing has looked at it yet.
        """
        columns = self.columns
        columns.find_healthy()
        np.logical_not(columns.in_bounds(), out=self.unstable)
        self.unstable |= self._sims.diverged()
        self._sims.raw[self.unstable] = 0.0
        columns.healthy[self.unstable] = False
        np.logical_not(columns.healthy, out=self.terminated)
        self._flags_up = True

    def reward_sums(self) -> Sums:
        """See `VectorEnvs`."""
        return self.columns.reward_sums()

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that stepping on depends on, but `streams`, as new arrays."""
        noisy = {"obs": self.obs.copy()} if self.signals.on_obs else {}
        return {**self._sims.state(), **super().state(), **self.columns.state(), **noisy}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `state` returned, bit for bit, also amid episodes.

        Raises:
            BadArtefact: it is the state of other envs.
        """
        expected = {k: v.shape for k, v in self.state().items() if k != "domains"}
        found = {k: v.shape for k, v in state.items() if k != "domains"}
        if expected != found or len(state.get("domains", ())) != self.num_envs:
            raise BadArtefact(f"state of other envs: has {found}, expected {expected}")
        try:
            self.set_domains(domains_of(state))
        except UsageError as error:
            raise BadArtefact(f"state of other envs: {error}") from None
        self._ticks[:] = 1
        self._update_active()
        self._sims.load_state(state)
        self.columns.load_state(state)
        self.columns.observe()
        if self.signals.on_obs:
            self.obs[:] = state["obs"]
        super().load_state(state)
