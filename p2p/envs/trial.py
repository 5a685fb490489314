"""Tries each factor in simulation: does it change the motion, and if not, why?"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from p2p.core.errors import UsageError
from p2p.envs.base import VectorEnvs
from p2p.envs.binding import Binding, Floats, Part
from p2p.envs.build import build_envs
from p2p.envs.domain import Domain
from p2p.envs.randomisation import Factor, Randomisation
from p2p.envs.terms.catalogue import field_values
from p2p.envs.units import unit

STEPS = 200  # of random actions, at both ends of a factor's range
SEED = 0


@dataclass(frozen=True)
class Found:
    """What a factor does on a robot.

    Attributes:
        touches: names of what it acts on.
        nominal: lowest and highest value of what it changes, or None if that is no one field.
        problem: why it cannot be used here; "" if it can.
        inert: why it changes no motion; "" if it does change it.
    """

    factor: Factor
    touches: tuple[str, ...] = ()
    nominal: tuple[float, float] | None = None
    unit: str = "1"
    problem: str = ""
    inert: str = ""


def try_factors(task: str, randomisation: Randomisation) -> list[Found]:
    """Return what each factor does, tried alone over `STEPS` steps of random actions.

    Raises:
        UsageError: the task cannot be built.
    """
    base = build_envs(task, 1, Randomisation()).binding
    return [_try(task, base, factor) for factor in randomisation]


def _try(task: str, base: Binding, factor: Factor) -> Found:
    try:
        envs = build_envs(task, 1, Randomisation((factor,)))
    except UsageError as error:
        problem = str(error).removeprefix(f"[{factor.name}]: ")
        return Found(factor, unit=unit(factor), problem=problem)
    (part,) = envs.binding.parts
    return Found(
        factor, part.labels, _nominal(envs.binding, part), unit(factor), inert=_inert(envs, part)
    )


def _nominal(binding: Binding, part: Part) -> tuple[float, float] | None:
    values = field_values(part.term, binding.nominal, part.ids)
    return (float(values.min()), float(values.max())) if values.size else None


def _inert(envs: VectorEnvs, part: Part) -> str:
    """Return why a factor changes nothing, or ""."""
    factor = part.factor
    ends = [v for v in factor.span(1.0) if v != factor.nominal]
    if not ends:
        return "its range is the nominal value alone"
    for steps, still in ((STEPS, False), (_until_pushed(envs, part), True)):
        nominal = _play(envs, Domain(), steps, still)
        for value in ends:
            found = _play(envs, Domain(**{factor.name: value}), steps, still)
            if not np.array_equal(found, nominal):
                return ""
    return _likely_reason(envs, part)


def _until_pushed(envs: VectorEnvs, part: Part) -> int:
    """Return how many steps a second trial takes, in which the robot is asked to stay as it is."""
    every = dict(part.factor.options).get("every", 0.0)
    return min(2 * STEPS + int(every / envs.dt), envs.max_episode_steps)


def _play(envs: VectorEnvs, domain: Domain, steps: int, still: bool) -> Floats:
    """Return all that is observed and earned in a domain, over random actions or none."""
    rng = np.random.default_rng(SEED)
    envs.set_domains([domain])
    envs.reset([np.random.default_rng(SEED)])
    envs.finished.clear()
    trace = np.zeros((steps, envs.obs_dim + 1))
    for row in trace:
        action = rng.uniform(np.maximum(envs.action_low, -1e3), np.minimum(envs.action_high, 1e3))
        if still:
            action = np.clip(0.0, envs.action_low, envs.action_high)
        envs.step(action.astype(np.float32)[None])
        row[:-1], row[-1] = envs.obs[0], envs.reward[0]
        _, data = envs.simulation(0)
        row[-1] += float(np.sum(data.qpos)) + float(np.sum(data.qvel))
    return trace


def _likely_reason(envs: VectorEnvs, part: Part) -> str:
    name, model = part.term.name, envs.binding.nominal
    values = field_values(part.term, model, part.ids)
    if name == "force_limit":
        limited = model.actuator_forcelimited[part.ids].any()
        joints = model.jnt_actfrclimited.any()
        if not (limited or joints):
            return "no actuator has a force limit (forcerange), nor has a joint (actuatorfrcrange)"
        return f"no actuator reached its limit in {STEPS} steps of random actions"
    if part.factor.scales and values.size and not values.any():
        return "what it scales is 0 on this robot: use add"
    if name == "friction" and _outranked(model, part):
        return "a geom of higher priority decides the friction of every contact"
    if name == "friction":
        return "the larger friction of a contact's two geoms counts, and the other one is larger"
    if name in ("damping", "frictionloss", "armature", "stiffness") and not len(part.ids):
        return "the robot has no such joint"
    if part.term.acts == "push":
        return "no episode lasts until the first push: lower `every`"
    return f"in {STEPS} steps of random actions nothing depended on it"


def _outranked(model: mujoco.MjModel, part: Part) -> bool:
    others = np.setdiff1d(np.arange(model.ngeom), part.ids)
    own = model.geom_priority[part.ids].max(initial=-(2**31))
    return bool(len(others)) and bool(model.geom_priority[others].max() > own)
