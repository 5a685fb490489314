"""What a domain does between the steps of physics: noise on signals, and pushes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.envs.binding import Binding
from p2p.envs.domain import Domain

Floats = NDArray[np.float64]


class Signals:
    """Noise and bias on observations and actions, and pushes, of N envs.

    Each env draws from a stream of its own, and nothing where its domain has no noise.

    Args:
        binding: what varies.
        num_envs: N.
        obs_dim: length of an observation.
        dt: seconds a step.

    Attributes:
        on_obs, on_action, on_motion: whether anything may act there.
    """

    def __init__(self, binding: Binding, num_envs: int, obs_dim: int, dt: float) -> None:
        self._binding = binding
        acts = {part.term.acts for part in binding.parts}
        self.on_obs = bool(acts & {"obs_noise", "obs_bias"})
        self.on_action, self.on_motion = "action_noise" in acts, "push" in acts
        self._noise, self._bias = np.zeros((2, num_envs, obs_dim))
        self._action_noise = np.zeros((num_envs, binding.nominal.nu))
        self._pushes = [part for part in binding.parts if part.term.acts == "push"]
        self._speed = np.zeros((num_envs, len(self._pushes)))
        self._every = [
            max(1, round(dict(part.factor.options)["every"] / dt)) for part in self._pushes
        ]

    @property
    def any(self) -> bool:
        """Whether anything may act at all."""
        return self.on_obs or self.on_action or self.on_motion

    def set_domain(self, env: int, domain: Domain) -> None:
        """Take the levels of a complete domain for one env."""
        if not self.any:
            return
        rows = {
            "obs_noise": self._noise[env], "obs_bias": self._bias[env],
            "action_noise": self._action_noise[env],
        }  # fmt: skip
        for row in rows.values():
            row[:] = 0.0
        for part in self._binding.parts:
            if part.term.acts in rows:
                rows[part.term.acts][part.ids] += self._binding.values(part, domain)
        for n, part in enumerate(self._pushes):
            self._speed[env, n] = domain[part.factor.name][0]

    def perturb_obs(
        self, envs: Iterable[int], clean: Floats, out: Floats,
        streams: Sequence[np.random.Generator],
    ) -> None:  # fmt: skip
        """Write the rows of `out` [N, obs_dim] of these envs: `clean` with bias and noise."""
        for env in envs:
            np.add(clean[env], self._bias[env], out=out[env])
            if self._noise[env].any():
                out[env] += self._noise[env] * streams[env].standard_normal(out.shape[1])

    def perturb_action(
        self, action: NDArray[Any], ticks: NDArray[np.int64],
        streams: Sequence[np.random.Generator],
    ) -> NDArray[Any]:  # fmt: skip
        """Return the actions [N, A] as they arrive."""
        arrived = action.astype(np.float64)
        for env in np.flatnonzero(ticks).tolist():
            if self._action_noise[env].any():
                noise = streams[env].standard_normal(action.shape[1])
                arrived[env] += self._action_noise[env] * noise
        return arrived

    def push(
        self, elapsed: NDArray[np.int64], ticks: NDArray[np.int64],
        simulation: Callable[[int], tuple[mujoco.MjModel, mujoco.MjData]],
        streams: Sequence[np.random.Generator],
    ) -> None:  # fmt: skip
        """Change the root's velocity where a push is due, in a random horizontal direction."""
        root = self._binding.root
        assert root is not None
        for n, every in enumerate(self._every):
            due = (elapsed > 0) & (elapsed % every == 0) & (ticks > 0)
            for env in np.flatnonzero(due).tolist():
                speed = self._speed[env, n]
                if speed > 0:
                    angle = streams[env].uniform(0.0, 2.0 * np.pi)
                    _, data = simulation(env)
                    for axis, share in ((0, np.cos(angle)), (1, np.sin(angle))):
                        if axis in root.dof:
                            data.qvel[root.dof[axis]] += root.sign[axis] * speed * share
