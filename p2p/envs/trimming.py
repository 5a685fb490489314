"""Trims a model: bit-identical motion, less time per step.

The parts that are left out do not affect the motion of the model as it is. They might after an
edit of the model.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Collection

import mujoco
import numpy as np
from numpy.typing import NDArray

FEW_PAIRS = 64  # of geoms; testing twice as many costs as much as the broadphase
_OFF = mujoco.mjtDisableBit


def trim(spec: mujoco.MjSpec, varied: Collection[str] = ()) -> mujoco.MjModel:
    """Compile `spec` without the parts that its motion does not need. `spec` is modified.

    Args:
        varied: fields of the model that will change: what they need stays.

    Left out are cameras and lights, which MuJoCo moves in every step; the computation of springs
    and dry friction, if there are none; and the broadphase. With few geoms, every pair that may
    touch is listed, and MuJoCo tests these pairs instead of sweeping and sorting boxes around
    bodies, which saves 9 to 14 % of a step. Contacts then take their parameters from the pairs: to
    change friction, change `pair_friction` too. The geoms' contype and conaffinity are 0.
    """
    if not spec.sensors:  # a sensor may be attached to a camera
        for part in (*spec.cameras, *spec.lights):
            spec.delete(part)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a deprecated attribute of half_cheetah.xml
        model = spec.compile()
        touching = find_pairs(model)
        by_geoms = any(name.startswith("geom_") for name in varied)
        if len(touching) <= FEW_PAIRS and not (model.npair or model.nflex or by_geoms):
            model = _list_pairs(spec, model, touching)
    model.opt.disableflags |= _idle_forces(model, varied)
    return model


def _idle_forces(model: mujoco.MjModel, varied: Collection[str]) -> int:
    """Return flags that disable the kinds of force that `model` does not have and will not get."""
    flags, dry = 0, ("dof_frictionloss", "tendon_frictionloss")
    if not any(getattr(model, name).any() or name in varied for name in dry):
        flags |= _OFF.mjDSBL_FRICTIONLOSS
    names = [f"{part}_stiffness{poly}" for part in ("jnt", "tendon") for poly in ("", "poly")]
    springs = any(np.any(getattr(model, name, 0.0)) or name in varied for name in names)
    # With both flags MuJoCo would leave out every passive force, also that of a fluid.
    damped = not model.opt.disableflags & _OFF.mjDSBL_DAMPER
    if damped and not (springs or model.nflex):
        flags |= _OFF.mjDSBL_SPRING
    return int(flags)


def find_pairs(model: mujoco.MjModel) -> list[tuple[int, int]]:
    """Return the pairs of geoms that MuJoCo would test for contact when near, in its order.

    The rules are those of its documentation, section Collision detection, Selection.
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
    if not model.opt.disableflags & _OFF.mjDSBL_MIDPHASE:  # which sorts the pairs of two bodies
        found.sort(key=lambda pair: _by_type(model, *pair))
    return found


def _by_type(model: mujoco.MjModel, g: int, h: int) -> tuple[int, int]:
    """Return two geoms in the order that they have in their contact."""
    return (h, g) if model.geom_type[g] > model.geom_type[h] else (g, h)


def _list_pairs(
    spec: mujoco.MjSpec, own: mujoco.MjModel, touching: list[tuple[int, int]]
) -> mujoco.MjModel:
    """Compile `spec` with explicit pairs, each with the contact parameters MuJoCo would mix."""
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
    is_mixed = (solref[:, 0] > 0).all()  # else they hold stiffness and damping
    model.pair_solref[pair] = _interpolate(solref, share) if is_mixed else solref.min(axis=0)
    model.pair_solimp[pair] = _interpolate(solimp, share)
    model.pair_solreffriction[pair] = 0.0
    model.pair_friction[pair] = own.geom_friction[[g, h]].max(axis=0)[[0, 0, 1, 2, 2]]
    model.pair_dim[pair] = own.geom_condim[[g, h]].max()


def _interpolate(two: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return `share` times the first row plus 1 - `share` times the second."""
    mixed: NDArray[np.float64] = share * two[0] + (1 - share) * two[1]
    return mixed
