"""Builds the envs of a task, whoever steps them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import mujoco
import numpy as np

from p2p.core import registry
from p2p.core.errors import BadArtefact
from p2p.envs.base import VectorEnvs
from p2p.envs.binding import Binding
from p2p.envs.gymnasium_tasks import GymTask
from p2p.envs.model import load_model
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


def check_model(task: str, recorded: Mapping[str, str]) -> dict[str, str]:
    """Compare the model of a task of a user's with what a run has recorded of it.

    The task's file may be as it was, and the MJCF that it names another. Other versions of MuJoCo
    compile other models, so that only those of one version are compared.

    Args:
        recorded: `source_sha256` of a run.

    Returns:
        The hash of the compiled model, by a name that has MuJoCo's version; {} for p2p's own tasks.

    Raises:
        BadArtefact: it is another model.
    """
    if task in registry.BUILT_IN["task"]:
        return {}
    name, found = hash_model(task)
    if recorded.get(name, found) != found:
        raise BadArtefact(
            f"the model of task {task} has changed: its hash is {found[:12]}, that of the run "
            f"{recorded[name][:12]}; restore the MJCF and what it includes"
        )
    return {name: found}


def hash_model(task: str) -> tuple[str, str]:
    """Return the SHA-256 of a task's compiled model, by a name that has MuJoCo's version."""
    kind = find_task(task)
    if issubclass(kind, GymTask):
        model, _ = build_envs(kind, 1, Randomisation()).simulation(0)
    else:
        model = load_model(kind)
    buffer = np.zeros(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return f"model, MuJoCo {mujoco.__version__}", hashlib.sha256(buffer.tobytes()).hexdigest()


def bind(task: str | type[Task], randomisation: Randomisation | None = None) -> Binding:
    """Return what varies, on the robot of a task.

    Raises:
        UsageError: the task cannot be built, or a factor does not fit it.
    """
    kind = find_task(task)
    if issubclass(kind, GymTask):
        return build_envs(kind, 1, randomisation).binding
    return Robot(kind, randomisation).binding
