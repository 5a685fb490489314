"""A randomisation bound to a robot's model: what each factor touches, and how it is applied."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.core.errors import UsageError
from p2p.core.names import did_you_mean
from p2p.envs.domain import Domain
from p2p.envs.randomisation import Factor, Randomisation
from p2p.envs.root import AXES, find_root
from p2p.envs.start import JointShift, shift_root
from p2p.envs.terms import Edit, Term, copy_fields, find_term
from p2p.envs.terms.catalogue import AXES_OF_ROOT, field_values

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
OBJECTS = {
    "body": (mujoco.mjtObj.mjOBJ_BODY, "nbody"),
    "geom": (mujoco.mjtObj.mjOBJ_GEOM, "ngeom"),
    "joint": (mujoco.mjtObj.mjOBJ_JOINT, "njnt"),
    "actuator": (mujoco.mjtObj.mjOBJ_ACTUATOR, "nu"),
    "tendon": (mujoco.mjtObj.mjOBJ_TENDON, "ntendon"),
    "site": (mujoco.mjtObj.mjOBJ_SITE, "nsite"),
}


class Part(NamedTuple):
    """A factor on this robot.

    Attributes:
        ids: what it acts on, as MuJoCo numbers it; columns of the observation; axes of the root.
        labels: [n], the names of these.
        size: number of values.
    """

    factor: Factor
    term: Term
    ids: Ints
    labels: tuple[str, ...]
    size: int


class Binding:
    """Applies domains of a randomisation to copies of a model.

    Args:
        randomisation: what varies.
        nominal: the model as it is; never changed.
        observations: which columns of the observation each name stands for.

    Attributes:
        parts: one a factor.
        sizes: number of values of each factor.
        root: how the robot moves about, if it does.

    Raises:
        UsageError: a factor does not fit the robot.
    """

    def __init__(
        self, randomisation: Randomisation, nominal: mujoco.MjModel,
        observations: Mapping[str, slice],
    ) -> None:  # fmt: skip
        self.randomisation, self.nominal, self.observations = randomisation, nominal, observations
        self.root = find_root(nominal)
        self.parts = tuple(self.bind(factor) for factor in randomisation)
        self._check_masses()
        self.sizes = {part.factor.name: part.size for part in self.parts}
        fields = (field for part in self.parts for field in part.term.fields)
        self._fields = tuple(dict.fromkeys(fields))
        self._editing = [part for part in self.parts if part.term.acts == "model"]
        self._starting = [part for part in self.parts if part.term.acts == "start"]
        self._joint_shifts = {
            part.factor.name: JointShift(nominal, part.ids, self.root)
            for part in self._starting
            if part.term.name == "joint_offset"
        }
        self._forces = [part for part in self.parts if part.term.acts == "force"]
        self._slides = self.root.slides if self.root is not None and self._forces else []
        self._scratch = mujoco.MjData(nominal)

    def bind(self, factor: Factor) -> Part:
        """Return what a factor acts on here.

        Raises:
            UsageError: nothing, or what it cannot act on.
        """
        where, term = f"[{factor.name}]", find_term(factor.vary)
        ids, labels = self._match(factor, term, where)
        if term.acts in ("force", "push") and self.root is None:
            raise UsageError(
                f"{where}: {term.name} needs a root that moves about, and this robot's is fixed "
                "or turns only; leave it out"
            )
        if term.of == "axis":
            self._check_axes(labels, where)
        if term.acts == "force":
            self._check_axes((str(dict(factor.options)["axis"]),), where)
        if term.of and not len(ids):
            raise UsageError(f"{where}: this robot has no {term.of} that {term.name} acts on")
        if reason := term.refuse(self.nominal, ids):
            raise UsageError(f"{where}: {reason}")
        self._check_range(factor, term, ids, labels, where)
        return Part(factor, term, ids, labels, len(ids) if factor.each and len(ids) else 1)

    def _check_range(
        self, factor: Factor, term: Term, ids: Ints, labels: tuple[str, ...], where: str
    ) -> None:
        """Refuse what would make a quantity negative that cannot be."""
        values = field_values(term, self.nominal, ids)
        if factor.scales or not (term.positive and values.size) or term.acts != "model":
            return
        least = int(values.argmin())
        low = values[least] + factor.low
        is_mass = term.fields[0] in ("body_mass", "body_inertia")
        if low < 0 or (low == 0 and is_mass):
            of = f" of {labels[least]}" if len(labels) == len(values) else ""
            raise UsageError(
                f"{where}: {factor.low:g} is too low: {term.name}{of} is {values[least]:g}, and "
                f"must stay {'positive' if is_mass else 'at least 0'}"
            )

    def _check_masses(self) -> None:
        """Refuse factors that together could leave a body without mass."""
        mass = self.nominal.body_mass.copy()
        for part in self.parts:
            if part.term.name == "mass":
                low = part.factor.low
                mass[part.ids] = (
                    mass[part.ids] * (1 + low) if part.factor.scales else mass[part.ids] + low
                )
        gone = np.flatnonzero((mass <= 0) & (self.nominal.body_mass > 0))
        if len(gone):
            name = self.nominal.body(int(gone[0])).name
            names = [f"[{p.factor.name}]" for p in self.parts if p.term.name == "mass"]
            raise UsageError(
                f"{', '.join(names)}: at their lowest, body {name!r} has no mass left; "
                "narrow a range"
            )

    def _check_axes(self, axes: tuple[str, ...], where: str) -> None:
        root = self.root
        for axis in axes:
            turns = root is not None and root.is_free
            if root is None or not (turns if axis == "yaw" else AXES[axis] in root.qpos):
                raise UsageError(f"{where}: this robot's root does not move along {axis}")

    def _match(self, factor: Factor, term: Term, where: str) -> tuple[Ints, tuple[str, ...]]:
        """Return what `of` names: indices, and how they are called."""
        if not term.of:
            return np.zeros(0, np.intp), ()
        if term.of == "axis":
            names = {axis: np.array([n]) for n, axis in enumerate(AXES_OF_ROOT)}
        elif term.of == "observation":
            names = {name: np.arange(s.start, s.stop) for name, s in self.observations.items()}
        else:
            kind, count = OBJECTS[term.of]
            numbers = range(getattr(self.nominal, count))
            called = [mujoco.mj_id2name(self.nominal, kind, n) for n in numbers]
            names = {label or f"{term.of} {n}": np.array([n]) for n, label in enumerate(called)}
        chosen = self._chosen(factor, names, where, term.of)
        if factor.of is None and term.links is not None:
            kept = term.links(self.nominal)
            by_id = {int(ids[0]): name for name, ids in names.items()}
            return kept, tuple(by_id[n] for n in kept.tolist())
        ids = [names[name] for name in chosen]
        labels = tuple(name for name in chosen for _ in names[name])
        return np.concatenate([np.zeros(0, np.intp), *ids]), labels

    @staticmethod
    def _chosen(factor: Factor, names: Mapping[str, Ints], where: str, of: str) -> list[str]:
        if factor.of is None:
            return list(names)
        if isinstance(factor.of, tuple):
            for name in factor.of:
                if name not in names:
                    raise UsageError(f"{where}: no {of} {name!r}{did_you_mean(name, names)}")
            return list(factor.of)
        pattern = re.compile(factor.of)
        found = [name for name in names if pattern.fullmatch(name)]
        if not found:
            some = ", ".join(list(names)[:8]) + (", ..." if len(names) > 8 else "")
            raise UsageError(
                f"{where}: no {of} matches {factor.of!r}{did_you_mean(factor.of, names)}; "
                f"there are {some}"
            )
        return found

    def new_model(self) -> mujoco.MjModel:
        """Return a copy of the nominal model, which `apply` can write to."""
        return copy.copy(self.nominal)

    def sample(self, rng: np.random.Generator, eps: float) -> Domain:
        """Draw a domain (line 6 of Algorithm 1)."""
        return self.randomisation.sample(rng, eps, self.sizes)

    def check(self, domain: Domain) -> Domain:
        """Return `domain` complete.

        Raises:
            UsageError: it is none of this robot's.
        """
        domain = self.randomisation.complete(domain)
        for part in self.parts:
            name, values = part.factor.name, np.asarray(domain[part.factor.name])
            several = len(part.ids)
            if part.size == 1 and "pair_friction" in part.term.fields:
                several = 1  # listed pairs follow the friction of all geoms alike
            if values.size not in (1, several):
                allowed = f"1, or one for each of {several}" if several > 1 else "1"
                raise UsageError(f"{name} has {values.size} values: give {allowed}")
            if not np.isfinite(values).all():
                raise UsageError(f"domain {domain} holds a value that is not finite")
            if part.term.prepare is not None and values.max() > part.factor.high:
                raise UsageError(
                    f"{name}={values.max():g} is beyond {part.factor.high:g}, for which the model "
                    "was prepared; widen the factor's range"
                )
            least = 0.0 if part.factor.scales or part.term.one_sided else -np.inf
            if values.min() < least or (part.term.name == "mass" and self._massless(part, values)):
                raise UsageError(
                    f"domain {domain}: {name} must "
                    + (
                        "leave all masses positive"
                        if part.term.name == "mass"
                        else "not be negative"
                    )
                )
        return domain

    def _massless(self, part: Part, values: Floats) -> bool:
        if part.factor.scales:
            return bool(values.min() <= 0)
        return bool(np.any(self.nominal.body_mass[part.ids] + values <= 0))

    def values(self, part: Part, domain: Domain) -> Floats:
        """Return a factor's values in a complete domain, one for each that it acts on."""
        return np.broadcast_to(np.array(domain[part.factor.name]), max(1, len(part.ids)))

    def apply(self, domain: Domain, model: mujoco.MjModel) -> None:
        """Set `model` to the nominal model changed by a complete domain.

        All values are computed from nominal ones: scaling scaled values would compound.
        """
        copy_fields(self._fields, self.nominal, model)
        for part in self._editing:
            assert part.term.apply is not None
            values, options = self.values(part, domain), dict(part.factor.options)
            part.term.apply(Edit(model, part.ids, values, part.factor.scales, options))
        if self._editing:
            derive(model, self._scratch)

    def start(self, domain: Domain, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Shift the start pose that lies in `data`; its forward pass is the caller's."""
        for part in self._starting:
            values = domain[part.factor.name]
            if not any(values):
                continue
            if shift := self._joint_shifts.get(part.factor.name):
                shift.apply(model, data, np.array(values))
            else:
                shift_root(model, data, part.labels, self.values(part, domain), self.root)

    def push_forces(self, domain: Domain, data: mujoco.MjData) -> None:
        """Apply the domain's constant forces, until the data is reset."""
        # Not xfrc_applied, which leaks into cfrc_ext, nor opt.wind, which needs a medium.
        if self._forces and self.root is not None:
            applied = data.qfrc_applied
            for dof in self._slides:  # three numbers: an index of numpy's takes longer
                applied[dof] = 0.0
            for part in self._forces:
                axis = AXES[str(dict(part.factor.options)["axis"])]
                self.root.add_force(data, axis, domain[part.factor.name][0])


def derive(model: mujoco.MjModel, scratch: mujoco.MjData) -> None:
    """Compute anew what MuJoCo's compiler derives from the fields that were changed.

    Args:
        scratch: of such a model; its state is overwritten.
    """
    mujoco.mj_setConst(model, scratch)
    # mj_setConst does not update the statistics, and the solver scales by the mean inertia.
    model.stat.meaninertia = _mean(model.dof_M0)
    model.stat.meanmass = _mean(model.body_mass[1:])


def _mean(values: Floats) -> float:
    """Return the mean, summed in order, as MuJoCo's compiler does."""
    return float(np.add.accumulate(values)[-1]) / len(values)
