"""Builds the envs of a task, whoever steps them."""

from __future__ import annotations

from p2p.envs.base import VectorEnvs
from p2p.envs.binding import Binding
from p2p.envs.gymnasium_tasks import GymTask
from p2p.envs.randomisation import Randomisation
from p2p.envs.robot import Robot
from p2p.envs.task import Task, find_task
from p2p.envs.vector import RandomisedEnvs


def build_envs(
    task: str | type[Task], num_envs: int, randomisation: Randomisation | None = None
) -> VectorEnvs:
    """Return N envs of a task.

    Args:
        randomisation: what varies; None: the task's default.

    Raises:
        UsageError: the task cannot be built, or a factor does not fit it.
    """
    kind = find_task(task)
    if issubclass(kind, GymTask):
        from p2p.envs.gymnasium_envs import GymEnvs

        return GymEnvs(kind, num_envs, randomisation=randomisation)
    return RandomisedEnvs(kind, num_envs, randomisation=randomisation)


def bind(task: str | type[Task], randomisation: Randomisation | None = None) -> Binding:
    """Return what varies, on the robot of a task.

    Raises:
        UsageError: the task cannot be built, or a factor does not fit it.
    """
    kind = find_task(task)
    if issubclass(kind, GymTask):
        return build_envs(kind, 1, randomisation).binding
    return Robot(kind, randomisation).binding
