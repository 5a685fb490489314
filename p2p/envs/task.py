"""A task: a robot, what is observed of it, what is rewarded, and when an episode ends.

A task of a user's own is a subclass of `Task` in a file of theirs. `p2p.envs.locomotion` has the
five of the paper.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from p2p.core import registry
from p2p.core.errors import UsageError

if TYPE_CHECKING:
    import mujoco

    from p2p.envs.randomisation import Randomisation
    from p2p.envs.state import State

Floats = NDArray[np.float64]
OVERRIDABLE = ("observe", "reward", "terminated", "remember", "reset")


@dataclass(frozen=True)
class Servo:
    """Makes MuJoCo's position servos of the torque motors of a robot.

    An action asks for angles: those of the start pose plus `scale` times the action. A motor's
    range of torques becomes the servo's largest force.

    Attributes:
        kp: position gain, N m/rad.
        kd: velocity gain, N m s/rad.
        scale: rad per unit of action.
    """

    kp: float
    kd: float
    scale: float = 1.0


class Task:
    """What a robot is to do; one object serves N envs, whose numbers are columns.

    Attributes:
        label: in figures; by default the class's name.
        camera: where the viewer looks from, as Gymnasium's `default_camera_config`.
        steps_per_second: about, of one core: a study starts long runs first.
        model: the MJCF file: a path, relative to the file of the class; or `package:path` in an
            installed Python package.
        frame_skip: physics steps a step.
        start: what episodes start from: the name of a keyframe, qpos [nq], or None for the pose of
            the file.
        reset_noise: half-width of what a reset adds to the angles and slides of joints, rad or m,
            and to velocities.
        servo: makes servos of motors.
        reads: fields of MuJoCo's MjData that `State` has; begins with qpos and qvel.
        memory: further numbers that each env has from step to step, by name, with their count;
            zeros at a reset. They are part of checkpoints.
        max_episode_steps: steps after which an episode is truncated.
    """

    label: ClassVar[str] = ""
    camera: ClassVar[Mapping[str, Any]] = {}
    steps_per_second: ClassVar[float] = 3000.0

    model: ClassVar[str]
    frame_skip: ClassVar[int]
    start: ClassVar[str | Sequence[float] | None] = None
    reset_noise: ClassVar[float] = 0.0
    servo: ClassVar[Servo | None] = None
    reads: ClassVar[tuple[str, ...]] = ("qpos", "qvel")
    memory: ClassVar[Mapping[str, int]] = {}
    max_episode_steps: ClassVar[int] = 1000
    discards_visuals: ClassVar[bool] = True  # what is only seen is not loaded for training
    helpers: ClassVar[tuple[str, ...]] = ()  # methods that those below are made of

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.label or "label" not in vars(cls):
            cls.label = vars(cls).get("label") or cls.__name__

    def observe(self, s: State) -> Mapping[str, Any]:
        """Return what the policy sees: by name, arrays [N] or [N, k]. Must change nothing."""
        raise NotImplementedError

    def reward(self, s: State, action: NDArray[Any]) -> Mapping[str, Any]:
        """Return the reward's terms: by name, arrays [N]; their sum is the reward.

        Args:
            action: [N, A], within the bounds, before any noise.
        """
        raise NotImplementedError

    def terminated(self, s: State) -> Any:
        """Return which episodes end here, [N] bool; by default none does."""
        return np.zeros(s.num_envs, np.bool_)

    def remember(self, s: State, action: NDArray[Any]) -> None:
        """Write the memory, in place, after the reward: `s.last_action[:] = action`."""

    def reset(self, s: State, env: int, rng: np.random.Generator) -> None:
        """Write the memory of one env whose episode starts, which is zeros: a command, say."""

    def draw_noise(self, rng: np.random.Generator, model: mujoco.MjModel) -> tuple[Floats, Floats]:
        """Draw what a reset adds to qpos [nq] and qvel [nv]."""
        position = np.zeros(model.nq)
        angles = model.jnt_qposadr[model.jnt_type >= 2]  # slides and hinges
        position[angles] = rng.uniform(-1.0, 1.0, len(angles))
        return self.reset_noise * position, self.reset_noise * rng.uniform(-1.0, 1.0, model.nv)

    @classmethod
    def default_randomisation(
        cls, initial_position: str = "joints", mass_randomisation: str = "global"
    ) -> Randomisation:
        """Return what varies unless a domains file is given: nothing.

        Args:
            initial_position, mass_randomisation: how Table 1 is read, for tasks that have it.

        Raises:
            UsageError: they say other than by default, and this task does not have Table 1.
        """
        from p2p.envs.randomisation import Randomisation

        if (initial_position, mass_randomisation) != ("joints", "global"):
            raise UsageError(
                f"initial_position and mass_randomisation are about Table 1, which {cls.__name__} "
                "does not have; say it in a domains file"
            )
        return Randomisation()

    @classmethod
    def ends_early(cls) -> bool:
        """Whether an episode can terminate."""
        return cls.terminated is not Task.terminated

    @classmethod
    def computed_anew(cls) -> list[str]:
        """Return which methods a class outside p2p has overridden: compiled code ignores them."""
        own = next((c for c in cls.__mro__ if c.__module__.startswith("p2p.envs.")), Task)
        if own is Task:  # which compiled code knows nothing of
            return []
        names = (*OVERRIDABLE, *cls.helpers)
        return [name for name in names if getattr(cls, name) is not getattr(own, name)]

    @classmethod
    def problem(cls) -> str:
        """Return what is wrong with the class's definition, or nothing."""
        for name in ("observe", "reward"):
            if getattr(cls, name) is getattr(Task, name):
                return f"it has no method {name}: see docs/own-robot.md"
        skip = getattr(cls, "frame_skip", None)
        if not isinstance(skip, int) or skip < 1:
            return "write frame_skip = 5, the number of physics steps a step"
        if tuple(cls.reads[:2]) != ("qpos", "qvel"):
            return "reads must begin with 'qpos', 'qvel'"
        if not isinstance(cls.max_episode_steps, int) or cls.max_episode_steps < 1:
            return "max_episode_steps must be a whole number, at least 1"
        if taken := sorted(
            {"num_envs", "dt", "model", "start", "sensor", "before"} & {*cls.memory}
        ):
            return f"memory cannot be called {taken[0]!r}"
        if any(not isinstance(size, int) or size < 1 for size in cls.memory.values()):
            return "memory gives each name a number of numbers, such as {'last_action': 12}"
        return ""

    @classmethod
    def model_path(cls) -> Path:
        """Return the path of the model file.

        Raises:
            UsageError: the class names none, or the package that has it is not installed.
        """
        name = getattr(cls, "model", None)
        if not isinstance(name, str | Path):
            raise UsageError(f"task {cls.__name__} names no model; write model = 'robot.xml'")
        package, colon, inside = str(name).partition(":")
        if colon:
            spec = find_spec(package) if package.isidentifier() else None
            folders = list(spec.submodule_search_locations or ()) if spec else []
            if not folders:
                raise UsageError(
                    f"task {cls.__name__}: model {name!r} is in package {package!r}, which is not "
                    "installed"
                )
            return Path(folders[0]) / inside
        owner = next(c for c in cls.__mro__ if "model" in vars(c))
        return Path(inspect.getfile(owner)).parent / name


def find_task(name: str | type[Task]) -> type[Task]:
    """Return the task called `name`: one of p2p's own, or one that was added.

    Raises:
        UsageError: there is none.
        BadArtefact: it is code of a user's that was not named in this process.
    """
    found: type[Task] = name if isinstance(name, type) else registry.find("task", name)
    return found
