"""N of Gymnasium's MuJoCo envs, each stepped by its own code, in domains.

A domain changes the env's own model in place, always from nominal values. Observations are named
by their index: "0", "1", ...
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.core.errors import BadArtefact, UsageError
from p2p.envs.base import Action, Sums, VectorEnvs
from p2p.envs.binding import Binding, Part
from p2p.envs.domain import Domain
from p2p.envs.gymnasium_tasks import GymTask
from p2p.envs.model import stop_timers
from p2p.envs.randomisation import Randomisation
from p2p.envs.simulation import domains_of, pack
from p2p.envs.state import blaming
from p2p.envs.terms import copy_fields

Floats = NDArray[np.float64]
SEEDS = 2**31  # of which each episode draws one
UNSTABLE = slice(mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQACC + 1)
NO_WARNINGS = np.zeros(3, np.intc).data
NUMBER = (float, int, np.floating)
LARGE = ("mesh_", "tex_", "skin_", "hfield_", "bvh_", "oct_")  # never rewritten, and large


class GymEnvs(VectorEnvs):
    """N envs of a task of Gymnasium's; see `VectorEnvs`.

    An episode is a function of its env's stream, its domain and the actions: the stream gives the
    seed of `reset`. At the nominal domain it is that of `gymnasium.make(...)`, bit for bit.

    Args:
        task: the task.
        num_envs: N.
        randomisation: what varies; None: nothing.
        max_episode_steps: steps after which an episode is truncated; None: the id's own.

    Raises:
        UsageError: p2p cannot train in the env, or a factor does not fit it.
    """

    def __init__(
        self,
        task: type[GymTask],
        num_envs: int,
        *,
        randomisation: Randomisation | None = None,
        max_episode_steps: int | None = None,
    ) -> None:
        limit = task.max_episode_steps if max_episode_steps is None else max_episode_steps
        super().__init__(num_envs, limit)
        stop_timers()
        self.task, self._name = task, repr(task.name)
        self._envs = [task.make() for _ in range(num_envs)]
        self._cores: list[Any] = [env.unwrapped for env in self._envs]
        self._models: list[mujoco.MjModel] = [core.model for core in self._cores]
        acts: Any = self._envs[0].action_space
        self.action_low, self.action_high = (v.astype(np.float32) for v in (acts.low, acts.high))
        self._action_type = acts.dtype
        self.dt = self._seconds_a_step()
        size = int(np.prod(self._envs[0].observation_space.shape or ()))
        varied = task.default_randomisation() if randomisation is None else randomisation
        names = {str(n): slice(n, n + 1) for n in range(size)}
        self.binding = Binding(varied, copy.copy(self._models[0]), names)
        self._starts = [part for part in self.binding.parts if part.term.acts == "start"]
        self._check_signals()
        self.domains = [self.binding.check(Domain())] * num_envs
        self._rewritten: tuple[str, ...] | None = None  # fields that the env's reset writes
        self._amid_lost_episodes = False
        self._running = list(range(num_envs))
        self._warnings: list[Any] = [None] * num_envs  # views of MuJoCo's counts
        self._sums: dict[str, tuple[Floats, Floats]] = {}  # of each term: sums, numbers of steps
        self._begin(np.zeros((num_envs, size)))

    def _seconds_a_step(self) -> float:
        core = self._cores[0]
        own = getattr(core, "dt", None)
        if isinstance(own, int | float) and own > 0:
            return float(own)
        return float(self._models[0].opt.timestep) * int(getattr(core, "frame_skip", 1))

    def _check_signals(self) -> None:
        """Refuse noise on actions that are not the actuators' own."""
        noisy = [part for part in self.binding.parts if part.term.acts == "action_noise"]
        actions, actuators = len(self.action_low), self._models[0].nu
        if noisy and actions != actuators:
            raise UsageError(
                f"[{noisy[0].factor.name}]: action_noise needs an action for each actuator, and "
                f"task {self._name} has {actions} for {actuators}; leave it out"
            )

    def _share_domain(self, domain: Domain) -> None:
        for env in range(self.num_envs):
            self._enter_domain(env, domain)

    def _enter_domain(self, env: int, domain: Domain) -> None:
        self.domains[env] = domain
        self.binding.apply(domain, self._models[env])
        self.binding.push_forces(domain, self._cores[env].data)

    def _update_active(self) -> None:
        super()._update_active()
        self._running = np.flatnonzero(self._ticks).tolist()

    def _observe(self) -> None:
        """Do nothing: an env says what is observed when it steps."""

    def _start_episode(self, env: int) -> None:
        """Reset the env by its own code, with a seed of its stream."""
        core, model, domain = self._cores[env], self._models[env], self.domains[env]
        before = copy.copy(model) if self._rewritten is None else None
        if self._rewritten:
            copy_fields(self._rewritten, self.binding.nominal, model)
            self.binding.apply(domain, model)
        seed = int(self.streams[env].integers(SEEDS))
        with blaming(self._name, "reset"):
            obs, _ = self._envs[env].reset(seed=seed)
        if core.model is not model:
            self._take_new_model(env)
        if before is not None:
            self._look_at_reset(before, core.model, core, obs)
        core.data.warning.number[UNSTABLE] = 0
        self._warnings[env] = core.data.warning.number[UNSTABLE].data
        self.binding.push_forces(domain, core.data)
        if any(any(domain[part.factor.name]) for part in self._starts):
            self.binding.start(domain, core.model, core.data)
            mujoco.mj_forward(core.model, core.data)
            obs = core._get_obs()
        self._clean[env] = obs
        if not np.isfinite(self._clean[env]).all():
            raise UsageError(f"task {self._name}: reset gives an observation that is not finite")

    def _take_new_model(self, env: int) -> None:
        """Take note of a model that a reset has compiled; a domain would be lost with the old."""
        if self.binding.parts:
            raise UsageError(
                f"task {self._name}: it makes a new model at each reset, in which no domain "
                "stays; train it without --randomise"
            )
        self._models[env] = self._cores[env].model

    # What the first reset shows ------------------------------------------------

    def _look_at_reset(
        self, before: mujoco.MjModel, after: mujoco.MjModel, core: Any, obs: Floats
    ) -> None:
        """Find what a reset writes into the model, and refuse what it would undo or cannot have.

        Such fields are put back to nominal before each reset, so that an episode depends on its
        seed alone.
        """
        changed = {
            name: getattr(before, name) != getattr(after, name)
            for name in _fields(before)
            if not np.array_equal(getattr(before, name), getattr(after, name), equal_nan=True)
        }
        self._rewritten = tuple(changed)
        for part in self.binding.parts:
            for name in changed.keys() & set(part.term.fields):
                if (changed[name] & self._moved(part, name)).any():
                    raise UsageError(
                        f"[{part.factor.name}]: task {self._name} writes {name} of some of these "
                        "itself at each reset, which undoes the factor; name others in `of`"
                    )
        if self._starts:
            self._check_starts(core, obs)

    def _moved(self, part: Part, name: str) -> NDArray[np.bool_]:
        """Return which numbers of a field a factor changes."""
        factor, model = part.factor, self.binding.new_model()
        off = factor.nominal + (factor.high or factor.low or 0.1)
        self.binding.apply(self.binding.check(Domain(**{factor.name: off})), model)
        moved: NDArray[np.bool_] = getattr(model, name) != getattr(self.binding.nominal, name)
        return moved

    def _check_starts(self, core: Any, obs: Floats) -> None:
        """Refuse other start poses where nothing can say what is then observed."""
        where = f"[{self._starts[0].factor.name}]: task {self._name}"
        wrapped = self._envs[0] is not core
        if wrapped or not callable(getattr(core, "_get_obs", None)):
            raise UsageError(
                f"{where} cannot say what it observes after a change of the start pose "
                + ("(it has wrappers)" if wrapped else "(it has no method _get_obs)")
                + "; leave the factor out"
            )
        with blaming(self._name, "_get_obs"):
            again = np.asarray(core._get_obs())
        if not np.array_equal(again, obs):
            raise UsageError(
                f"{where}: its _get_obs() is not what its reset returns, so a start pose would "
                "not be observed; leave the factor out"
            )

    # Steps ------------------------------------------------------------------------

    def reset(self, rng: Any = None) -> Floats:
        """Start an episode in every env, and return `obs`; see `VectorEnvs`."""
        self._amid_lost_episodes = False
        return super().reset(rng)

    def _simulate(self, action: Action) -> None:
        if self._amid_lost_episodes:
            raise UsageError(
                f"task {self._name} cannot go on amid an episode of a checkpoint: Gymnasium's envs "
                "have no state to save; reset first"
            )
        arrives = action
        if self.signals.on_action:
            noisy = self.signals.perturb_action(action, self._ticks, self.streams)
            arrives = np.clip(noisy, self.action_low, self.action_high)
        arrives = arrives.astype(self._action_type)  # anew: an env may keep what it is given
        if self._action_type != np.float32:  # a bound may have been rounded up
            space: Any = self._envs[0].action_space
            np.clip(arrives, space.low, space.high, out=arrives)
        with blaming(self._name, "step"):
            calm = True
            for env in self._running:
                obs, reward, terminated, truncated, info = self._envs[env].step(arrives[env])
                self._clean[env] = obs
                self.reward[env] = reward
                if terminated or truncated:
                    self.terminated[env], self.truncated[env] = terminated, truncated
                    self._flags_up = True
                calm &= self._warnings[env] == NO_WARNINGS
                self._add_terms(env, info)
        if not (calm and np.isfinite(self.reward).all() and np.isfinite(self._clean).all()):
            self._end_unstable()

    def _end_unstable(self) -> None:
        """End episodes whose physics diverged: MuJoCo has reset their state within the step."""
        for env in self._running:
            finite = np.isfinite(self.reward[env]) and np.isfinite(self._clean[env]).all()
            if not finite or self._warnings[env] != NO_WARNINGS:
                self._clean[env] = 0.0
                self.reward[env] = 0.0
                self.terminated[env], self.truncated[env], self.unstable[env] = True, False, True
                self._flags_up = True

    def _add_terms(self, env: int, info: Mapping[str, Any]) -> None:
        """Add up the terms of the reward that an env tells."""
        for name, value in info.items():
            if name.startswith("reward_") and isinstance(value, NUMBER):
                if name not in self._sums:
                    self._sums[name] = np.zeros(self.num_envs), np.zeros(self.num_envs)
                total, steps = self._sums[name]
                total[env] += float(value)
                steps[env] += 1

    def reward_sums(self) -> Sums:
        """Return the sum of each `reward_...` in the envs' infos since the last call."""
        found, self._sums = self._sums, {}
        return found

    @property
    def cores(self) -> tuple[Any, ...]:
        """The envs without wrappers, [N]."""
        return tuple(self._cores)

    def simulation(self, env: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Return what MuJoCo knows of one env."""
        return self._models[env], self._cores[env].data

    # Checkpoints --------------------------------------------------------------------

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that goes on after a reset, as new arrays: episodes are not among it."""
        return {
            **super().state(),
            "domains": pack(self.domains),
            "has_episodes": np.zeros(self.num_envs),
        }

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `state` returned, with a reset.

        Raises:
            BadArtefact: it is the state of other envs.
        """
        if state.keys() != self.state().keys() or len(state["domains"]) != self.num_envs:
            raise BadArtefact(f"state of other envs: has {sorted(state)}")
        self.set_domains(domains_of(state))
        self._ticks[:] = 1
        self._update_active()
        super().load_state(state)
        self._amid_lost_episodes = True


def _fields(model: mujoco.MjModel) -> list[str]:
    """Return the arrays of numbers that a model has, but large ones that nobody rewrites."""
    return [
        name
        for name in dir(model)
        if not name.startswith(("_", *LARGE))
        and isinstance(getattr(model, name), np.ndarray)
        and getattr(model, name).dtype.kind in "fiu"
    ]
