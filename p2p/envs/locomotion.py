"""The five tasks of the paper: Gymnasium's v5, bit for bit at the nominal domain.

Constants are those of gymnasium/envs/mujoco/*_v5.py, and so is the order of every sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from p2p.envs.task import Floats, Task


class Hopper(Task):
    """One leg; ends when it leans, falls, or moves out of +-100."""

    label = "Hopper"
    camera: ClassVar = {
        "trackbodyid": 2,
        "distance": 3.0,
        "lookat": (0, 0, 1.15),
        "elevation": -20.0,
    }
    steps_per_second = 7000
    model_file = "hopper.xml"
    frame_skip = 4
    clips: ClassVar = {"qvel": 10.0}
    reset_noise = 5e-3
    healthy_range = ((slice(2, None), -100.0, 100.0), (1, 0.7, np.inf), (2, -0.2, 0.2))
    healthy_reward = 1.0
    control_weight = 1e-3


class Walker2d(Task):
    """Two legs in a plane; ends when it leans or falls."""

    label = "Walker2d"
    camera: ClassVar = {
        "trackbodyid": 2,
        "distance": 4.0,
        "lookat": (0, 0, 1.15),
        "elevation": -20.0,
    }
    steps_per_second = 5300
    model_file = "walker2d_v5.xml"
    frame_skip = 4
    clips: ClassVar = {"qvel": 10.0}
    reset_noise = 5e-3
    healthy_range = ((1, 0.8, 2.0), (2, -1.0, 1.0))
    healthy_reward = 1.0
    control_weight = 1e-3


class HalfCheetah(Task):
    """Two legs and a long back, in a plane; never ends by itself."""

    label = "HalfCheetah"
    camera: ClassVar = {"distance": 4.0}
    steps_per_second = 16000
    model_file = "half_cheetah.xml"
    frame_skip = 5
    reset_noise = 0.1
    normal_velocity_noise = True
    control_weight = 0.1


class Ant(Task):
    """Four legs; observes contact forces but the world's, and pays for all of them."""

    label = "Ant"
    camera: ClassVar = {"distance": 4.0}
    steps_per_second = 3000
    model_file = "ant.xml"
    frame_skip = 5
    root_z = 2
    reads = ("qpos", "qvel", "cfrc_ext", "torso_xpos")
    observes: ClassVar = {"qpos": 2, "qvel": 0, "cfrc_ext": 6}
    clips: ClassVar = {"cfrc_ext": 1.0}
    reset_noise = 0.1
    normal_velocity_noise = True
    healthy_range = ((2, np.nextafter(0.2, 0.0), np.nextafter(1.0, 2.0)),)  # [0.2, 1]
    x_field = "torso_xpos"  # of the last forward pass within the step: it lags qpos
    healthy_reward = 1.0
    control_weight = 0.5
    contact_weight = 5e-4


class Humanoid(Task):
    """A whole body; observes its inertias, velocities, torques and contact forces.

    Its x is that of the centre of mass, as of the last forward pass within the step.
    """

    label = "Humanoid"
    camera: ClassVar = {
        "trackbodyid": 1,
        "distance": 4.0,
        "lookat": (0, 0, 2.0),
        "elevation": -20.0,
    }
    steps_per_second = 2500
    model_file = "humanoid.xml"
    frame_skip = 5
    root_z = 2
    reads = ("qpos", "qvel", "cinert", "cvel", "qfrc_actuator", "cfrc_ext", "xipos")
    observes: ClassVar = {
        "qpos": 2,
        "qvel": 0,
        "cinert": 10,
        "cvel": 6,
        "qfrc_actuator": 6,
        "cfrc_ext": 6,
    }
    reset_noise = 1e-2
    healthy_range = ((2, 1.0, 2.0),)
    forward_weight = 1.25
    healthy_reward = 5.0
    control_weight = 0.1
    control_in_float64 = True  # Gymnasium takes it from data.ctrl
    contact_weight = 5e-7
    max_contact_cost = 10.0

    def __init__(
        self, raw: Floats, columns: Mapping[str, slice], action_dim: int, dt: float
    ) -> None:
        super().__init__(raw, columns, action_dim, dt)
        self._centres = raw[:, columns["xipos"]].reshape(len(raw), -1, 3)
        self._mass = np.ones(self._centres.shape[:2])
        self._x = np.zeros(len(raw))

    def set_mass(self, env: int, body_mass: Floats) -> None:
        """Weigh the bodies of `env` for its centre of mass, kg."""
        self._mass[env] = body_mass
        self._total_mass[env] = body_mass.sum()

    def observe(self) -> None:
        """Write `obs` from `raw`, and find the centre of mass."""
        super().observe()
        # All three axes, as in Gymnasium: for x alone einsum would sum in another order.
        moment = np.einsum("nb,nbj->nj", self._mass, self._centres)[:, 0]
        np.divide(moment, self._total_mass, out=self._x)
