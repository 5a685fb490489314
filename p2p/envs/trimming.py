"""A model that moves as another does, to the last bit, and costs less to step.

What it leaves out has no part in the motion as it stands; it may have if somebody edits it.
"""

from __future__ import annotations

import itertools
import warnings

import mujoco
import numpy as np
from numpy.typing import NDArray

FEW_PAIRS = 64  # of geoms; twice as many cost what the broadphase does
_OFF = mujoco.mjtDisableBit


def trim(spec: mujoco.MjSpec) -> mujoco.MjModel:
    """Compile `spec`, with what its motion does not need left out; `spec` is spent.

    That is cameras and lights, which are moved along in every step; springs and dry friction,
    if there are none; and the broadphase. Of few geoms, each pair that may touch is listed,
    and MuJoCo looks at these instead of sweeping and sorting boxes around bodies: 9 to 14 % of
    a step. Then contacts take their parameters from the pairs: to change the friction, change
    `pair_friction` too; the geoms' contype and conaffinity are 0.
    """
    if not spec.sensors:  # one may sit on a camera
        for part in (*spec.cameras, *spec.lights):
            spec.delete(part)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a deprecated attribute of half_cheetah.xml
        model = spec.compile()
        touching = find_pairs(model)
        if len(touching) <= FEW_PAIRS and not (model.npair or model.nflex):
            model = _list_pairs(spec, model, touching)
    model.opt.disableflags |= _idle_forces(model)
    return model


def _idle_forces(model: mujoco.MjModel) -> int:
    """Return the flags of forces that nothing in `model` exerts."""
    flags = 0
    if not (model.dof_frictionloss.any() or model.tendon_frictionloss.any()):
        flags |= _OFF.mjDSBL_FRICTIONLOSS
    names = [f"{part}_stiffness{poly}" for part in ("jnt", "tendon") for poly in ("", "poly")]
    springs = any(np.any(getattr(model, name, 0.0)) for name in names)  # old versions: no poly
    # With both flags MuJoCo leaves out every passive force, that of a fluid too.
    damped = not model.opt.disableflags & _OFF.mjDSBL_DAMPER
    if damped and not (springs or model.nflex):
        flags |= _OFF.mjDSBL_SPRING
    return int(flags)


def find_pairs(model: mujoco.MjModel) -> list[tuple[int, int]]:
    """Return the pairs of geoms that MuJoCo would look at if they were near, in its order.

    As its documentation's section on collision detection (Selection) has it.
    """
    body = model.geom_bodyid
    weld = model.body_weldid[body]
    parent = model.body_weldid[model.body_parentid[weld]]
    excluded = set(model.exclude_signature.tolist())
    filters_parents = not model.opt.disableflags & _OFF.mjDSBL_FILTERPARENT
    found = []
    for g, h in itertools.combinations(range(model.ngeom), 2):
        related = weld[g] == parent[h] or weld[h] == parent[g]
        if weld[g] == weld[h] or (filters_parents and weld[g] and weld[h] and related):
            continue
        if (body[g] << 16) + body[h] in excluded:
            continue
        if (
            model.geom_contype[g] & model.geom_conaffinity[h]
            or model.geom_contype[h] & model.geom_conaffinity[g]
        ):
            found.append((g, h))
    if not model.opt.disableflags & _OFF.mjDSBL_MIDPHASE:  # which sorts what two bodies share
        found.sort(key=lambda pair: _by_type(model, *pair))
    return found


def _by_type(model: mujoco.MjModel, g: int, h: int) -> tuple[int, int]:
    """Return two geoms in the order that their contact has them in."""
    return (h, g) if model.geom_type[g] > model.geom_type[h] else (g, h)


def _list_pairs(
    spec: mujoco.MjSpec, own: mujoco.MjModel, touching: list[tuple[int, int]]
) -> mujoco.MjModel:
    """Compile `spec` with explicit pairs, which get what MuJoCo would have mixed for each."""
    geoms = sorted(spec.geoms, key=lambda geom: geom.id)
    for geom in geoms:
        geom.name = geom.name or f"p2p/trimming/geom {geom.id}"
        geom.contype = geom.conaffinity = 0
    for g, h in touching:
        spec.add_pair(geomname1=geoms[g].name, geomname2=geoms[h].name)
    model = spec.compile()
    for pair, (g, h) in enumerate(zip(model.pair_geom1, model.pair_geom2, strict=True)):
        _mix(own, g, h, model, pair)
    return model


def _mix(own: mujoco.MjModel, g: int, h: int, model: mujoco.MjModel, pair: int) -> None:
    """Write the parameters of a contact of geoms g and h, as `mj_contactParam` mixes them."""
    g, h = _by_type(own, g, h)
    model.pair_margin[pair] = own.geom_margin[g] + own.geom_margin[h]
    model.pair_gap[pair] = own.geom_gap[g] + own.geom_gap[h]
    if own.geom_priority[g] != own.geom_priority[h]:
        g = h = g if own.geom_priority[g] > own.geom_priority[h] else h
    one, other = own.geom_solmix[[g, h]]
    share = one / (one + other) if one + other else 0.5
    solref, solimp = own.geom_solref[[g, h]], own.geom_solimp[[g, h]]
    is_mixed = (solref[:, 0] > 0).all()  # else given as stiffness and damping
    model.pair_solref[pair] = _between(solref, share) if is_mixed else solref.min(axis=0)
    model.pair_solimp[pair] = _between(solimp, share)
    model.pair_solreffriction[pair] = 0.0
    model.pair_friction[pair] = own.geom_friction[[g, h]].max(axis=0)[[0, 0, 1, 2, 2]]
    model.pair_dim[pair] = own.geom_condim[[g, h]].max()


def _between(two: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return `share` of the first row and the rest of the second."""
    mixed: NDArray[np.float64] = share * two[0] + (1 - share) * two[1]
    return mixed
