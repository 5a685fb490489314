"""What a domain does to a robot's model, and the pose that an episode starts from."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.core.errors import UsageError
from p2p.envs.domain import Domain
from p2p.envs.model import load_model
from p2p.envs.task import Task

Floats = NDArray[np.float64]


class Robot:
    """A task's model as compiled, and how a domain changes a copy of it.

    Args:
        task: whose model file to compile.
        initial_position: what `Domain.initial_position` shifts: "joints" or "root_x".
        trimmed: whether the model is the cheaper one of `p2p.envs.trimming`, which moves as the
            file's own but may ignore edits of contacts, springs and dry friction.

    Attributes:
        model: the nominal model; never changed.
        num_links: bodies with mass.
        num_joints: offsets that a start pose takes.
    """

    def __init__(
        self, task: type[Task], initial_position: str = "joints", *, trimmed: bool = True
    ) -> None:
        if initial_position not in ("joints", "root_x"):
            raise UsageError(f"initial_position={initial_position!r}: use 'joints' or 'root_x'")
        self.model = load_model(task.model_file, trimmed=trimmed)
        self._task = task
        self._moves_joints = initial_position == "joints"
        joints = self.model.actuator_trnid[:, 0]
        self._shifted = self.model.jnt_qposadr[joints] if self._moves_joints else np.array([0])
        limited = self.model.jnt_limited[joints].astype(bool)
        low, high = self.model.jnt_range[joints].T
        self._low, self._high = np.where(limited, low, -np.inf), np.where(limited, high, np.inf)
        self._links = np.flatnonzero(self.model.body_mass > 0)
        self._scratch = mujoco.MjData(self.model)
        self.num_links = len(self._links)
        self.num_joints = len(self._shifted)

    def new_model(self) -> mujoco.MjModel:
        """Return a copy of the nominal model, for `apply` to write to."""
        return copy.copy(self.model)

    def check(self, domain: Domain) -> None:
        """Raise UsageError unless `domain` makes sense for this robot."""
        masses, offsets = np.atleast_1d(domain.mass), np.atleast_1d(domain.initial_position)
        if masses.size not in (1, self.num_links):
            raise UsageError(
                f"{masses.size} mass factors: give 1, or one for each of {self.num_links} links"
            )
        if offsets.size not in (1, self.num_joints):
            raise UsageError(f"{offsets.size} initial offsets: give 1, or {self.num_joints}")
        if not np.isfinite(domain.to_vector()).all():
            raise UsageError(f"domain {domain} holds a value that is not finite")
        if masses.min() <= 0 or domain.friction < 0:
            raise UsageError(f"domain {domain}: mass must be positive, friction not negative")

    def apply(self, domain: Domain, model: mujoco.MjModel) -> None:
        """Make `model` the nominal one in `domain`; wind and start pose belong to the data.

        Always from nominal values: scaling what is already scaled would compound.
        """
        nominal = self.model
        scale = np.ones(nominal.nbody)
        scale[self._links] = domain.mass
        model.opt.gravity[:] = nominal.opt.gravity * domain.gravity
        # All geoms, not the floor alone: of a contact's two coefficients MuJoCo takes the larger.
        model.geom_friction[:, 0] = nominal.geom_friction[:, 0] * domain.friction
        model.pair_friction[:, :2] = nominal.pair_friction[:, :2] * domain.friction
        model.body_mass[:] = nominal.body_mass * scale
        model.body_inertia[:] = nominal.body_inertia * scale[:, None]
        mujoco.mj_setConst(model, self._scratch)  # overwrites the qpos of the data it is given
        # mj_setConst leaves the statistics as they were, and the solver scales by mean inertia.
        model.stat.meaninertia = _mean(model.dof_M0)
        model.stat.meanmass = _mean(model.body_mass[1:])

    def start(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        domain: Domain,
        rng: np.random.Generator,
    ) -> None:
        """Put `data` at the start of an episode.

        With no offset this is Gymnasium's reset. Offsets that shrink to 0 lead to it: a shifted
        joint is kept within its range, widened to hold where it would have started, and the root
        is lifted by as much as the offsets have driven the robot deeper into the floor.
        """
        mujoco.mj_resetData(model, data)
        position, velocity = self._task.draw_noise(rng, model.nq, model.nv)
        data.qpos[:] = model.qpos0 + position
        data.qvel[:] = velocity
        data.qfrc_applied[0] = domain.wind  # not xfrc_applied, which leaks into cfrc_ext
        if any(domain.initial_position):
            self._shift(model, data, np.atleast_1d(domain.initial_position))
        mujoco.mj_forward(model, data)

    def _shift(self, model: mujoco.MjModel, data: mujoco.MjData, offset: Floats) -> None:
        """Add the offsets, m along root x, or rad: then within the joints' ranges, and lifted."""
        start = data.qpos[self._shifted]
        if not self._moves_joints:
            data.qpos[self._shifted] = start + offset
            return
        before = _depth(model, data)
        # Some nominal poses lie at the end of a joint's range or, as Ant's ankles, outside.
        low, high = np.minimum(self._low, start), np.maximum(self._high, start)
        data.qpos[self._shifted] = np.clip(start + offset, low, high)
        data.qpos[self._task.root_z] += max(0.0, _depth(model, data) - before)


def _depth(model: mujoco.MjModel, data: mujoco.MjData) -> float:
    """Return how deep the robot's deepest geom is in the floor, m."""
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_collision(model, data)
    with_floor = (model.geom_bodyid[data.contact.geom] == 0).any(axis=1)
    return float(-data.contact.dist[with_floor].min(initial=0.0))


def _mean(values: Floats) -> float:
    """Return the mean, summed from first to last as MuJoCo's compiler does."""
    return float(np.add.accumulate(values)[-1]) / len(values)
