"""What `vector` and `locomotion_columns` do in a step, compiled, and calling MuJoCo directly.

Rounds every operation as numpy does there: the results are equal bit for bit. That code is
the reference, and the one to read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from p2p.core.jit import exact
from p2p.envs.locomotion_columns import MAX_STATE, Rules
from p2p.envs.simulation import Addresses

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
WORD = 8  # bytes of a double, and between two counts of warnings
NUM_WARNINGS = 3  # BADQPOS, BADQVEL, BADQACC


class Outcome(NamedTuple):
    """The arrays of `RandomisedEnvs` that a step writes, by the same names."""

    obs: Floats
    reward: Floats
    terminated: Flags
    truncated: Flags
    unstable: Flags
    elapsed: NDArray[np.int64]
    episode_return: Floats


def _call_c(typing: Any, function: Any, first: Any, second: Any) -> Any:
    """Call the C function at an address, which takes two words and returns nothing."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), (word, word)).as_pointer()
        builder.call(builder.inttoptr(args[0], kind), args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def _loader(kind: Any) -> Any:
    def load(typing: Any, address: Any) -> Any:
        """Return the number of this kind at an address."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = context.get_value_type(kind).as_pointer()
            return builder.load(builder.inttoptr(args[0], pointer))

        return kind(types.int64), generate

    return intrinsic(load)


def _store(typing: Any, address: Any, value: Any) -> Any:
    """Write a double to an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], args[1].type.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.float64), generate


call_c: Any = intrinsic(_call_c)
load_double, load_int = _loader(types.float64), _loader(types.int32)
store_double: Any = intrinsic(_store)


@exact
def simulate(addresses: Addresses, env: int, control: NDArray[np.float32]) -> bool:
    """Step env's physics under `control` [A] and read it into `raw`; True unless it diverged."""
    pointers, raw = addresses.pointers[env], addresses.raw[env]
    model, data = pointers[0], pointers[1]
    for a in range(len(control)):
        store_double(pointers[2] + WORD * a, np.float64(control[a]))
    for _ in range(addresses.frame_skip):
        call_c(addresses.mj_step, model, data)
    if addresses.mj_rne_post_constraint:
        call_c(addresses.mj_rne_post_constraint, model, data)
    column = 0
    for field in range(len(addresses.widths)):
        source = pointers[4 + field]
        for i in range(addresses.widths[field]):
            raw[column + i] = load_double(source + WORD * i)
        column += addresses.widths[field]
    calm = True
    for i in range(NUM_WARNINGS):
        calm &= load_int(pointers[3] + WORD * i) == 0
    return calm


@exact
def shown(rules: Rules, raw: Floats, column: int) -> float:
    """Return a number of `raw` within the bounds of what is observed; NaN stays NaN."""
    value = raw[column]
    value = rules.low_shown[column] if value < rules.low_shown[column] else value
    return float(rules.high_shown[column] if value > rules.high_shown[column] else value)


@exact
def observe(rules: Rules, raw: Floats, obs: Floats) -> None:
    """Write one env's `obs` from its row of `raw`."""
    end = 0
    for span in range(len(rules.spans)):
        for column in range(rules.spans[span, 0], rules.spans[span, 1]):
            obs[end] = shown(rules, raw, column)
            end += 1


@exact
def position(rules: Rules, raw: Floats, env: int) -> float:
    """Return the x that env's forward reward is about, m."""
    if rules.mass.shape[1] == 0:
        return float(raw[rules.x])
    moment = 0.0
    for body in range(rules.mass.shape[1]):
        moment += rules.mass[env, body] * raw[rules.centres + 3 * body]
    return float(moment / rules.total_mass[env])


@exact
def is_within(raw: Floats, low: Floats, high: Floats) -> bool:
    """Say whether the state, the first columns of `raw`, lies within open intervals."""
    inside = True
    for i in range(len(low)):
        inside &= (raw[i] > low[i]) & (raw[i] < high[i])
    return inside


@exact
def is_sound(raw: Floats, size: int) -> bool:
    """Say whether MuJoCo could go on from the state, the first `size` columns of `raw`."""
    sound = True
    for i in range(size):
        sound &= abs(raw[i]) < MAX_STATE
    return sound


@exact
def add_squares(total: Any, values: Any, zero: Any) -> Any:
    """Return `total` plus the squares of `values`, in the type of `total` and `zero`."""
    for value in values:
        total += (zero + value) * (zero + value)
    return total


@exact
def sum_of_squares(values: Any, zero: Any) -> Any:
    """Return the sum of squares of up to 128 numbers, added in numpy's order: every eighth apart.

    Args:
        zero: of the type that they are squared and added in.
    """
    whole = len(values) - len(values) % 8
    quarters = (
        add_squares(zero, values[0:whole:8], zero) + add_squares(zero, values[1:whole:8], zero),
        add_squares(zero, values[2:whole:8], zero) + add_squares(zero, values[3:whole:8], zero),
        add_squares(zero, values[4:whole:8], zero) + add_squares(zero, values[5:whole:8], zero),
        add_squares(zero, values[6:whole:8], zero) + add_squares(zero, values[7:whole:8], zero),
    )
    total = (quarters[0] + quarters[1]) + (quarters[2] + quarters[3])
    return add_squares(total, values[whole:], zero)


@exact
def costs(rules: Rules, raw: Floats, control: NDArray[np.float32], forces: Floats) -> float:
    """Return what one env pays for its `control` [A] and for the forces of contacts.

    Args:
        forces: room for the forces as they are shown.
    """
    if rules.control_in_float64:
        effort = sum_of_squares(control, 0.0) * rules.control_weight
    else:
        effort = np.float64(
            sum_of_squares(control, np.float32(0)) * np.float32(rules.control_weight)
        )
    if rules.contact_weight == 0.0:
        return float(effort)
    first, last = rules.forces
    for column in range(first, last):
        forces[column - first] = shown(rules, raw, column)
    contact = sum_of_squares(forces, 0.0) * rules.contact_weight
    contact = rules.max_contact_cost if contact > rules.max_contact_cost else contact
    return float(effort + contact)


@exact
def step_env(
    addresses: Addresses, rules: Rules, env: int, control: NDArray[np.float32],
    forces: Floats, max_episode_steps: int, outcome: Outcome,
) -> bool:  # fmt: skip
    """Step one env and write its rows of `outcome`; return whether its episode has ended."""
    raw = addresses.raw[env]
    before = position(rules, raw, env)
    calm = simulate(addresses, env, control)
    healthy = is_within(raw, rules.low, rules.high) & calm
    unstable = False
    if not healthy:
        unstable = not (calm and is_sound(raw, len(rules.low)))
        if unstable:
            raw[:] = 0.0
    observe(rules, raw, outcome.obs[env])
    reward = (position(rules, raw, env) - before) / rules.dt
    if rules.forward_weight != 1.0:
        reward *= rules.forward_weight
    if healthy:
        reward += rules.healthy_reward
    reward -= costs(rules, raw, control, forces)
    outcome.reward[env] = 0.0 if unstable else reward
    outcome.terminated[env] = not healthy
    outcome.unstable[env] = unstable
    outcome.elapsed[env] += 1
    outcome.episode_return[env] += outcome.reward[env]
    outcome.truncated[env] = outcome.elapsed[env] >= max_episode_steps
    return bool(outcome.terminated[env] or outcome.truncated[env])
