"""The five tasks of the paper: Gymnasium's v5, bit for bit at the nominal domain.

Constants are those of gymnasium/envs/mujoco/*_v5.py, and so is the order of every sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2p.envs.task import Floats, Task

if TYPE_CHECKING:
    import mujoco

    from p2p.envs.randomisation import Randomisation
    from p2p.envs.state import State


class Locomotion(Task):
    """What the five share: to run along x.

    As long as a subclass changes constants alone it is stepped by compiled code
    (`p2p.envs.locomotion_columns`); the methods here say the same for subclasses to call.
    """

    # What is observed of what is read, leaving out so many leading numbers of each
    observes: ClassVar[Mapping[str, int]] = {"qpos": 1, "qvel": 0}
    clips: ClassVar[Mapping[str, float]] = {}  # bounds, wherever the field is used
    normal_velocity_noise: ClassVar[bool] = False
    discards_visuals = False
    helpers = ("is_healthy", "_x", "_shown")

    # Open intervals (index into [qpos, qvel], low, high) outside of which an episode ends
    healthy_range: ClassVar[tuple[tuple[int | slice, float, float], ...]] = ()

    # reward = forward * x velocity + healthy - control * |action|^2 - contact * |forces|^2
    x_field: ClassVar[str] = "qpos"  # its first number is the x that the velocity is that of;
    #                                  xipos: that of the centre of mass
    forward_weight: ClassVar[float] = 1.0
    healthy_reward: ClassVar[float] = 0.0
    control_weight: ClassVar[float]
    control_in_float64: ClassVar[bool] = False  # else in the precision of the action
    contact_weight: ClassVar[float] = 0.0
    max_contact_cost: ClassVar[float] = np.inf

    @classmethod
    def model_path(cls) -> Path:
        """Return the path of Gymnasium's model file, or of a subclass's own."""
        from p2p.envs.model import gymnasium_file

        owner = next(c for c in cls.__mro__ if "model" in vars(c))
        return gymnasium_file(cls.model) if owner.__module__ == __name__ else super().model_path()

    @classmethod
    def default_randomisation(
        cls, initial_position: str = "joints", mass_randomisation: str = "global"
    ) -> Randomisation:
        """Return the paper's Table 1, read as the arguments say."""
        from p2p.envs.randomisation import table_1

        return table_1(initial_position, mass_randomisation)

    @classmethod
    def problem(cls) -> str:
        """Return what is wrong with the class's definition, or nothing."""
        missing = [name for name in ("reset_noise", "control_weight") if not hasattr(cls, name)]
        if missing:
            return f"it lacks {', '.join(missing)}"
        if cls.contact_weight and "cfrc_ext" not in cls.reads:
            return "it pays for contacts: add 'cfrc_ext' to its reads"
        return super().problem()

    @classmethod
    def ends_early(cls) -> bool:
        """Whether an episode can terminate."""
        return bool(cls.healthy_range) or cls.terminated is not Locomotion.terminated

    def draw_noise(self, rng: np.random.Generator, model: mujoco.MjModel) -> tuple[Floats, Floats]:
        """Draw what a reset adds to qpos and qvel, in Gymnasium's order of draws."""
        width = self.reset_noise
        position = rng.uniform(low=-width, high=width, size=model.nq)
        if self.normal_velocity_noise:
            return position, width * rng.standard_normal(model.nv)
        return position, rng.uniform(low=-width, high=width, size=model.nv)

    def _shown(self, s: State, name: str) -> Floats:
        """Return a field within the bounds of what is observed and paid for, [N, width]."""
        field: Floats = getattr(s, name).reshape(s.num_envs, -1)
        bound = self.clips.get(name)
        return field if bound is None else np.clip(field, -bound, bound)

    def observe(self, s: State) -> dict[str, Floats]:
        """Return the fields of `observes`."""
        return {name: self._shown(s, name)[:, skip:] for name, skip in self.observes.items()}

    def _x(self, s: State) -> Floats:
        field: Floats = getattr(s, self.x_field)
        if self.x_field != "xipos":
            return field.reshape(s.num_envs, -1)[:, 0]
        mass: Floats = s.model.body_mass
        centre: Floats = np.einsum("b,nbj->nj", mass, field)[:, 0] / mass.sum()
        return centre

    def is_healthy(self, s: State) -> NDArray[np.bool_]:
        """Return whose state lies within `healthy_range`, [N]."""
        state = np.concatenate([s.qpos, s.qvel], axis=1)
        healthy = np.ones(s.num_envs, np.bool_)
        for index, low, high in self.healthy_range:
            part = state[:, index].reshape(s.num_envs, -1)
            healthy &= ((part > low) & (part < high)).all(axis=1)
        return healthy

    def terminated(self, s: State) -> NDArray[np.bool_]:
        """Return whose state has left `healthy_range`, [N]."""
        return ~self.is_healthy(s)

    def reward(self, s: State, action: NDArray[Any]) -> dict[str, Floats]:
        """Return forward velocity, health, and the costs of control and contacts, negative."""
        if self.control_in_float64:
            action = action.astype(np.float64)
        terms: dict[str, Any] = {
            "forward": self.forward_weight * (self._x(s) - self._x(s.before)) / s.dt,
            "healthy": self.healthy_reward * self.is_healthy(s),
            "control": -np.square(action).sum(axis=1) * action.dtype.type(self.control_weight),
        }
        if self.contact_weight:
            forces = np.square(self._shown(s, "cfrc_ext")).sum(axis=1)
            terms["contact"] = -np.minimum(self.contact_weight * forces, self.max_contact_cost)
        return terms


class Hopper(Locomotion):
    """One leg; ends when it leans, falls, or moves out of +-100."""

    label = "Hopper"
    camera: ClassVar = {
        "trackbodyid": 2,
        "distance": 3.0,
        "lookat": (0, 0, 1.15),
        "elevation": -20.0,
    }
    steps_per_second = 7000
    model = "hopper.xml"
    frame_skip = 4
    clips: ClassVar = {"qvel": 10.0}
    reset_noise = 5e-3
    healthy_range = ((slice(2, None), -100.0, 100.0), (1, 0.7, np.inf), (2, -0.2, 0.2))
    healthy_reward = 1.0
    control_weight = 1e-3


class Walker2d(Locomotion):
    """Two legs in a plane; ends when it leans or falls."""

    label = "Walker2d"
    camera: ClassVar = {
        "trackbodyid": 2,
        "distance": 4.0,
        "lookat": (0, 0, 1.15),
        "elevation": -20.0,
    }
    steps_per_second = 5300
    model = "walker2d_v5.xml"
    frame_skip = 4
    clips: ClassVar = {"qvel": 10.0}
    reset_noise = 5e-3
    healthy_range = ((1, 0.8, 2.0), (2, -1.0, 1.0))
    healthy_reward = 1.0
    control_weight = 1e-3


class HalfCheetah(Locomotion):
    """Two legs and a long back, in a plane; never ends by itself."""

    label = "HalfCheetah"
    camera: ClassVar = {"distance": 4.0}
    steps_per_second = 16000
    model = "half_cheetah.xml"
    frame_skip = 5
    reset_noise = 0.1
    normal_velocity_noise = True
    control_weight = 0.1


class Ant(Locomotion):
    """Four legs; observes contact forces but the world's, and pays for all of them."""

    label = "Ant"
    camera: ClassVar = {"distance": 4.0}
    steps_per_second = 3000
    model = "ant.xml"
    frame_skip = 5
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


class Humanoid(Locomotion):
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
    model = "humanoid.xml"
    frame_skip = 5
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
    x_field = "xipos"
