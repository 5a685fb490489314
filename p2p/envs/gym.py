"""One randomised env behind Gymnasium's interface: `gymnasium.make("p2p/Hopper-v5", eps=0.2)`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from p2p.core.errors import UsageError
from p2p.core.registration import register_envs
from p2p.envs.domain import FACTORS, Domain, check_strength, sample_domain
from p2p.envs.task import Task, find_task
from p2p.envs.vector import RandomisedEnvs

register_envs()


class RandomisedEnv(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]], EzPickle):
    """A task of Gymnasium's v5 whose domain is drawn at each reset.

    `info` holds "domain", the text that `Domain.parse` reads (a str, because vector envs copy
    infos), and after a step "unstable", whether the physics diverged in it.

    Reset noise comes from `np_random` in Gymnasium's order, domains from a stream spawned
    from it at each seeding: equal seeds give equal domains, and eps has no effect on the noise.

    Args:
        task: the name of a task, or a class of one.
        eps: randomisation strength, 0..1 (Table 1).
        domain: a fixed domain instead, as `Domain`, its text form, or a dict of factors.
        initial_position: the coordinates that the initial position shifts: "joints" or "root_x".
        mass_randomisation: "global", or "per_link" for one mass factor per link.
        render_mode: "human", "rgb_array", "depth_array" or "rgbd_tuple".
        width, height: of the rendered image, pixels.

    Raises:
        UsageError: a setting, or an option of `reset`, is wrong.
    """

    metadata = {"render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"]}  # noqa: RUF012

    def __init__(
        self,
        task: str | type[Task],
        *,
        eps: float = 0.0,
        domain: Domain | str | Mapping[str, Any] | None = None,
        initial_position: str = "joints",
        mass_randomisation: str = "global",
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
    ) -> None:
        # A copy is a new env with the same settings, as in Gymnasium.
        settings = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        EzPickle.__init__(self, **settings)
        check_strength(eps, "eps")
        if eps and domain is not None:
            raise UsageError(
                f"eps={eps:g} draws domains and domain= fixes one: give only one of them"
            )
        if mass_randomisation not in ("global", "per_link"):
            raise UsageError(f"{mass_randomisation=}: use 'global' or 'per_link'")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise UsageError(f"{render_mode=}: use one of {self.metadata['render_modes']}")
        self.eps = eps
        # A wrapper may edit the model, so it is not trimmed.
        self.envs = RandomisedEnvs(task, 1, initial_position=initial_position, trimmed=False)
        self._fixed = None if domain is None else _as_domain(domain)
        if self._fixed is not None:
            self.envs.set_domains([self._fixed])
        self._num_masses = self.envs.num_links if mass_randomisation == "per_link" else 1
        self._domain_rng: np.random.Generator | None = None
        self._info: dict[str, Any] | None = None  # of the episode; None before the first
        self.observation_space = Box(-np.inf, np.inf, (self.envs.obs_dim,), np.float64)
        self.action_space = Box(self.envs.action_low, self.envs.action_high, dtype=np.float32)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": round(1.0 / self.envs.dt)}
        self._camera, self._size = find_task(task).camera, (width, height)
        self._renderer: Any = None

    @property
    def domain(self) -> Domain:
        """The current domain."""
        return self.envs.domains[0]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Start an episode, in `options["domain"]` if given, else in a domain drawn or fixed."""
        chosen = self._chosen(options or {})
        super().reset(seed=seed)
        if seed is not None or self._domain_rng is None:
            self._domain_rng = self.np_random.spawn(1)[0]
        if chosen is None:
            chosen = self._fixed or sample_domain(
                self._domain_rng, self.eps, self._num_masses, self.envs.num_joints
            )
        if chosen != self.domain:
            self.envs.set_domains([chosen])
        self._info = {"domain": str(chosen)}
        obs = self.envs.reset([self.np_random])[0].copy()
        if self.render_mode == "human":
            self.render()
        return obs, dict(self._info)

    @staticmethod
    def _chosen(options: Mapping[str, Any]) -> Domain | None:
        unknown = set(options) - {"domain"}
        if unknown:
            raise UsageError(f"unknown reset options {sorted(unknown)}; known: 'domain'")
        return _as_domain(options["domain"]) if options.get("domain") is not None else None

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Step once; Gymnasium's wrapper truncates at the time limit.

        Raises:
            ResetNeeded: `reset` was never called.
        """
        if self._info is None:
            raise ResetNeeded("cannot step before the first reset; call env.reset()")
        envs = self.envs
        envs.advance(np.asarray(action)[None])
        if self.render_mode == "human":
            self.render()
        info = {**self._info, "unstable": bool(envs.unstable[0])}
        return envs.obs[0].copy(), float(envs.reward[0]), bool(envs.terminated[0]), False, info

    def render(self) -> Any:
        """Return an image as `render_mode` says; without a display, set MUJOCO_GL=egl."""
        if self.render_mode is None:
            gymnasium.logger.warn('make the env with render_mode="rgb_array" to render it')
            return None
        if self._renderer is None:
            from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

            model, data = self.envs.simulation(0)
            model.vis.global_.offwidth = max(model.vis.global_.offwidth, self._size[0])
            model.vis.global_.offheight = max(model.vis.global_.offheight, self._size[1])
            camera = {k: np.array(v) if k == "lookat" else v for k, v in self._camera.items()}
            self._renderer = MujocoRenderer(model, data, camera, *self._size)
        return self._renderer.render(self.render_mode)

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _as_domain(value: Domain | str | Mapping[str, Any]) -> Domain:
    """Return a user's value as a Domain: text, or numbers (sequences for mass and position)."""
    if isinstance(value, Domain):
        return value
    if isinstance(value, str):
        return Domain.parse(value)
    if not isinstance(value, Mapping):
        raise UsageError(f"domain {value!r} is neither a Domain, nor a str, nor a dict")
    unknown = set(value) - set(FACTORS)
    if unknown:
        raise UsageError(f"unknown factors {sorted(unknown)}; use {', '.join(FACTORS)}")
    try:
        numbers = {
            name: tuple(np.atleast_1d(v).astype(float).tolist()) for name, v in value.items()
        }
    except (TypeError, ValueError):
        raise UsageError(f"domain {dict(value)!r} holds a value that is not a number") from None
    # Domain.parse checks the rest: how many numbers a factor takes, and that they are finite.
    return Domain.parse(",".join(f"{k}={'/'.join(map(repr, v))}" for k, v in numbers.items()))
