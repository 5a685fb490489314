"""policy.json: what whoever deploys a policy must know of robot, signals and training.

Keys that mjlab writes into its ONNX files, and those of Unitree's deploy.yaml, have their names
and meaning here, so that a reader of theirs finds them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.core import env_names
from p2p.core.registration import IDS
from p2p.core.version import p2p_version
from p2p.envs.base import VectorEnvs
from p2p.envs.build import build_envs, hash_model
from p2p.envs.domain_file import to_tables
from p2p.envs.gymnasium_tasks import GymTask
from p2p.envs.model import load_model
from p2p.envs.randomisation import Randomisation
from p2p.envs.robot import Robot
from p2p.envs.root import joints_of
from p2p.envs.task import find_task
from p2p.export.choice import Chosen, Held
from p2p.policy.policy import Policy
from p2p.runs.bundle import FORMAT

PACKAGES = ("mujoco", "gymnasium", "numpy", "onnx", "onnxruntime")


def describe(held: Held, chosen: Chosen) -> dict[str, Any]:
    """Return what policy.json says, but for files and the check of them."""
    task = chosen.acts.task
    envs = build_envs(task, 1, Randomisation())
    policy = chosen.policies[0]
    return {
        "format": FORMAT,
        "task": task,
        "method": held.subject.method,
        "seed": held.subject.seed,
        "peer": chosen.peer,
        "chosen_by": chosen.way,
        "iterations": policy.meta.get("iterations"),
        "env": _env(task),
        **_robot(task, envs),
        **_signals(chosen.policies, envs),
        "policy_sha256": chosen.acts.digest(),
        "training": _training(held),
        "scores": _scores(held, chosen),
        "versions": _versions(),
    }


def _env(task: str) -> dict[str, Any]:
    """Return how Gymnasium makes the env; its id is None where only p2p knows the task."""
    kind = find_task(task)
    of_ours = {name: env_id.removeprefix("p2p/") for env_id, name in IDS.items()}
    found: dict[str, Any] = {"gymnasium_id": of_ours.get(task), "kwargs": {}}
    if issubclass(kind, GymTask):
        found = {"gymnasium_id": env_names.base_of(task), "kwargs": dict(kind.kwargs)}
    return {**found, "max_episode_steps": kind.max_episode_steps}


def _robot(task: str, envs: VectorEnvs) -> dict[str, Any]:
    """Return the joints and actuators, in the order of the actions."""
    kind = find_task(task)
    if issubclass(kind, GymTask):
        model, _ = envs.simulation(0)
        start, servo = model.qpos0, None
    else:
        model, robot = load_model(kind), Robot(kind, Randomisation())
        start, servo = robot.start_qpos, robot.servo_map()
    joints = joints_of(model, np.arange(model.nu))
    has = joints >= 0
    scale, offset = servo if servo is not None else (1.0, 0.0)
    hinges = np.flatnonzero(model.jnt_type != int(mujoco.mjtJoint.mjJNT_FREE)).tolist()
    return {
        "step_dt": envs.dt,
        "physics_dt": float(model.opt.timestep),
        "decimation": round(envs.dt / float(model.opt.timestep)),
        "joint_names": [model.joint(n).name if n >= 0 else None for n in joints.tolist()],
        "joint_ids_map": [hinges.index(n) if n in hinges else -1 for n in joints.tolist()],
        "default_joint_pos": _floats(np.where(has, start[model.jnt_qposadr[joints]], 0.0)),
        **_gains(model),
        "actuator_names": [model.actuator(n).name or None for n in range(model.nu)],
        "action_kind": "joint position" if servo is not None else "actuator control",
        "action_scale": _floats(np.broadcast_to(scale, model.nu)),
        "action_offset": _floats(np.broadcast_to(offset, model.nu)),
        "start_qpos": _floats(start),
        "model_sha256": dict([hash_model(task)]),
    }


def _gains(model: mujoco.MjModel) -> dict[str, Any]:
    """Return what the joints feel of the actuators: position and velocity gains, and limits.

    The force is ctrl gain - kp length - kd speed; gears make length, speed and torque of it.
    """
    affine = model.actuator_biastype == int(mujoco.mjtBias.mjBIAS_AFFINE)
    gear = model.actuator_gear[:, 0]
    kp, kd = (np.where(affine, -model.actuator_biasprm[:, n], 0.0) * gear**2 for n in (1, 2))
    limits = np.sort(model.actuator_forcerange * gear[:, None], axis=1)
    return {
        "joint_stiffness": _floats(kp + 0.0),  # -0.0 becomes 0.0
        "joint_damping": _floats(kd + 0.0),
        "joint_effort_limit": [
            _floats(ends) if limited else None
            for limited, ends in zip(model.actuator_forcelimited, limits, strict=True)
        ],
    }


def _signals(policies: Sequence[Policy], envs: VectorEnvs) -> dict[str, Any]:
    """Return what the numbers of an observation and an action are."""
    first, named = policies[0], envs.binding.observations
    names = [""] * first.obs_dim
    for name, columns in named.items():
        several = columns.stop - columns.start > 1
        for n in range(columns.start, columns.stop):
            names[n] = f"{name}[{n - columns.start}]" if several else name
    frozen = np.all([policy.normaliser.inv_std == 0 for policy in policies], axis=0)
    return {
        "command_names": [],
        "observation_names": list(named),
        "observation_sizes": [columns.stop - columns.start for columns in named.values()],
        "constant_observations": [
            {"index": n, "name": names[n], "value": float(first.normaliser.mean[n])}
            for n in np.flatnonzero(frozen).tolist()
        ],
        "observation_clip": first.normaliser.limit,
        "action_low": _floats(first.low),
        "action_high": _floats(first.high),
    }


def _training(held: Held) -> dict[str, Any]:
    """Return the domains and settings of training; None where a policy file does not say."""
    one = held.subject
    told = held.policies[0].meta.get("settings") is not None or one.folder is not None
    return {
        "eps_tr": one.settings.get("eps_tr"),
        "domains": to_tables(one.randomisation),
        "settings": dict(one.settings) if told else None,
    }


def _scores(held: Held, chosen: Chosen) -> dict[str, Any]:
    """Return the scores of all that was tested, and of what is exported."""
    measured, config = held.found.runs[0].measured[0], held.found.config
    ranks: list[int | str] = list(held.subject.peers[: len(held.policies)])
    names = [*ranks, *(["mean"] if len(held.scores) > len(ranks) else [])]
    return {
        "eps_te": measured.set.eps,
        "domains": config.domains,
        "domain_seed": config.domain_seed,
        "hash": measured.set.hash,
        "exported": chosen.score._asdict(),
        "peers": [
            {"peer": name, **score._asdict()}
            for name, score in zip(names, held.scores, strict=True)
        ],
    }


def _versions() -> dict[str, str]:
    found = {"p2p": p2p_version()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def as_properties(told: Mapping[str, Any]) -> dict[str, str]:
    """Return the description as an ONNX model's metadata: text by name.

    Lists of numbers or names are separated by commas, as mjlab has them; what has parts is JSON.
    """
    return {name: _as_property(value) for name, value in told.items()}


def _as_property(value: Any) -> str:
    if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
        return ",".join(_as_property(item) for item in value)
    if isinstance(value, float):
        return f"{value:.9g}"
    if value is None:
        return "none"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _floats(values: NDArray[Any]) -> list[float]:
    """Return numbers as JSON has them, a float32 in as few digits as say it."""
    return [float(str(value)) for value in values]
