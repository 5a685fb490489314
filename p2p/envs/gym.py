"""One randomised env behind Gymnasium's interface: `gymnasium.make("p2p/Hopper-v5", eps=0.2)`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from p2p.core.errors import UsageError
from p2p.core.registration import register_envs
from p2p.envs import gl
from p2p.envs.domain import Domain, check_strength
from p2p.envs.domain_file import from_tables, read_domains
from p2p.envs.randomisation import Randomisation
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
        randomise: what varies, as a domains file, its tables, or a `Randomisation` [Table 1].
        initial_position: what Table 1's initial position shifts: "joints" or "root_x".
        mass_randomisation: in Table 1, "global", or "per_link" for one mass factor per link.
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
        randomise: Randomisation | str | Mapping[str, Any] | None = None,
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
        varied = find_task(task).default_randomisation(initial_position, mass_randomisation)
        if randomise is not None:
            varied = _as_randomisation(randomise)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise UsageError(f"{render_mode=}: use one of {self.metadata['render_modes']}")
        self.eps = eps
        # A wrapper may edit the model, so it is not trimmed.
        self.envs = RandomisedEnvs(task, 1, randomisation=varied, trimmed=False)
        self._fixed = None if domain is None else self.envs.binding.check(Domain.of(domain))
        if self._fixed is not None:
            self.envs.set_domains([self._fixed])
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
            chosen = self._fixed or self.envs.binding.sample(self._domain_rng, self.eps)
        if chosen != self.domain:
            self.envs.set_domains([chosen])
        self._info = {"domain": str(chosen)}
        obs = self.envs.reset([self.np_random])[0].copy()
        if self.render_mode == "human":
            self.render()
        return obs, dict(self._info)

    def _chosen(self, options: Mapping[str, Any]) -> Domain | None:
        unknown = set(options) - {"domain"}
        if unknown:
            raise UsageError(f"unknown reset options {sorted(unknown)}; known: 'domain'")
        given = options.get("domain")
        return None if given is None else self.envs.binding.check(Domain.of(given))

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
        envs.elapsed += 1  # which pushes are timed by
        if self.render_mode == "human":
            self.render()
        info = {**self._info, "unstable": bool(envs.unstable[0])}
        return envs.obs[0].copy(), float(envs.reward[0]), bool(envs.terminated[0]), False, info

    def render(self) -> Any:
        """Return an image as `render_mode` says; how it is drawn is found out (`p2p.envs.gl`).

        Raises:
            UsageError: nothing can draw here, or no window can be opened.
        """
        if self.render_mode is None:
            gymnasium.logger.warn('make the env with render_mode="rgb_array" to render it')
            return None
        if self.render_mode == "human" and not gl.has_display():
            raise UsageError(
                'there is no display, so render_mode="human" has no window; use "rgb_array"'
            )
        if self._renderer is None:
            from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

            model, data = self.envs.simulation(0)
            model.vis.global_.offwidth = max(model.vis.global_.offwidth, self._size[0])
            model.vis.global_.offheight = max(model.vis.global_.offheight, self._size[1])
            camera = {k: np.array(v) if k == "lookat" else v for k, v in self._camera.items()}
            self._renderer = MujocoRenderer(model, data, camera, *self._size)
        if self.render_mode == "human":
            return self._renderer.render("human")
        if self._renderer.viewer is not None:  # or it would draw in the env's that drew last
            self._renderer.viewer.make_context_current()
        with gl.chosen():
            return self._renderer.render(self.render_mode)

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _as_randomisation(value: Randomisation | str | Mapping[str, Any]) -> Randomisation:
    if isinstance(value, Randomisation):
        return value
    if isinstance(value, Mapping):
        return from_tables(value, "randomise")
    return read_domains(Path(value))
