"""p2p_policy.h: the policy in plain C, without allocation, for a microcontroller or a robot."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p.policy.policy import Policy

PER_LINE = 8  # numbers
TOP = """\
/*
 * {title}
 *
 * p2p_policy_act(obs, actions) reads P2P_OBS_DIM raw observations and writes
 * P2P_ACTION_DIM actions within their bounds. Call it every P2P_STEP_DT seconds.
 * policy.json says what each number is. NaN in gives NaN out: check before.
 *
 *     #include "p2p_policy.h"
 *
 *     float obs[P2P_OBS_DIM] = {{0}}, actions[P2P_ACTION_DIM];
 *     p2p_policy_act(obs, actions);
 *
 * C99; no allocation; link with -lm. Include it in one file: it holds the weights.
 */
#ifndef P2P_POLICY_H
#define P2P_POLICY_H

#include <math.h>

"""
CODE = """\
static inline float p2p_clip(float x, float low, float high) {
    return x < low ? low : (x > high ? high : x);
}

/* out = w in + b, with w [outputs, inputs]. */
static inline void p2p_layer(const float *w, const float *b, const float *in, float *out,
                             int inputs, int outputs) {
    int i, n;
    for (n = 0; n < outputs; n++) {
        float sum = b[n];
        for (i = 0; i < inputs; i++) sum += w[n * inputs + i] * in[i];
        out[n] = sum;
    }
}

static inline void p2p_policy_act(const float *obs, float *actions) {
    float in[P2P_OBS_DIM], h1[P2P_HIDDEN_1], h2[P2P_HIDDEN_2], out[P2P_ACTION_DIM];
    float sum[P2P_ACTION_DIM] = {0};
    int i, k;
    for (k = 0; k < P2P_NUM_POLICIES; k++) {
        for (i = 0; i < P2P_OBS_DIM; i++)
            in[i] = p2p_clip((obs[i] - p2p_obs_mean[k][i]) * p2p_obs_inv_std[k][i],
                             -p2p_obs_clip[k], p2p_obs_clip[k]);
        p2p_layer(p2p_w1[k], p2p_b1[k], in, h1, P2P_OBS_DIM, P2P_HIDDEN_1);
        for (i = 0; i < P2P_HIDDEN_1; i++) h1[i] = tanhf(h1[i]);
        p2p_layer(p2p_w2[k], p2p_b2[k], h1, h2, P2P_HIDDEN_1, P2P_HIDDEN_2);
        for (i = 0; i < P2P_HIDDEN_2; i++) h2[i] = tanhf(h2[i]);
        p2p_layer(p2p_w3[k], p2p_b3[k], h2, out, P2P_HIDDEN_2, P2P_ACTION_DIM);
        for (i = 0; i < P2P_ACTION_DIM; i++)
            sum[i] += p2p_clip(out[i], p2p_action_low[i], p2p_action_high[i]);
    }
    for (i = 0; i < P2P_ACTION_DIM; i++)
        actions[i] = p2p_clip(sum[i] / (float)P2P_NUM_POLICIES, p2p_action_low[i],
                              p2p_action_high[i]);
}

#endif
"""


def c_header(policies: Sequence[Policy], title: str, step_dt: float) -> str:
    """Return the header; its numbers are float32, in digits that give the same bits again.

    Args:
        policies: one, or those whose actions are averaged.
        title: what it is, for the comment at its top.
        step_dt: seconds a step.
    """
    first = policies[0]
    sizes = {
        "P2P_OBS_DIM": first.obs_dim,
        "P2P_ACTION_DIM": first.action_dim,
        "P2P_HIDDEN_1": first.hidden[0],
        "P2P_HIDDEN_2": first.hidden[1],
        "P2P_NUM_POLICIES": len(policies),
    }
    defines = [f"#define {name} {size}\n" for name, size in sizes.items()]
    defines.append(f"#define P2P_STEP_DT {step_dt!r}\n\n")
    return TOP.format(title=_harmless(title)) + "".join([*defines, *_arrays(policies)]) + CODE


def _arrays(policies: Sequence[Policy]) -> Iterator[str]:
    """Yield the definition of each constant array."""
    first = policies[0]
    yield _array("p2p_action_low[P2P_ACTION_DIM]", [first.low])
    yield _array("p2p_action_high[P2P_ACTION_DIM]", [first.high])
    limits = np.array([policy.normaliser.limit for policy in policies])
    yield _array("p2p_obs_clip[P2P_NUM_POLICIES]", [limits])
    each: dict[str, Callable[[Policy], NDArray[Any]]] = {
        "obs_mean": lambda policy: policy.normaliser.mean,
        "obs_inv_std": lambda policy: policy.normaliser.inv_std,
    }
    for name, of in each.items():
        yield _of_each(name, [of(policy) for policy in policies])
    for name in first.weights:
        if name != "log_std":
            yield _of_each(name, [policy.weights[name] for policy in policies])


def _of_each(name: str, rows: Sequence[NDArray[Any]]) -> str:
    """Return an array with a row a policy."""
    return _array(f"p2p_{name}[P2P_NUM_POLICIES][{rows[0].size}]", rows, nested=True)


def _array(declared: str, rows: Sequence[NDArray[Any]], *, nested: bool = False) -> str:
    body = ",\n".join(_numbers(row.ravel()) for row in rows)
    if nested:
        body = ",\n".join(f"    {{\n{_numbers(row.ravel())}\n    }}" for row in rows)
    return f"static const float {declared} = {{\n{body}\n}};\n\n"


def _numbers(values: Iterable[Any]) -> str:
    texts = [_literal(value) for value in values]
    lines = [texts[n : n + PER_LINE] for n in range(0, len(texts), PER_LINE)]
    return ",\n".join("        " + ", ".join(line) for line in lines)


def _literal(value: Any) -> str:
    """Return a float32 as C has it: nine digits give its bits again."""
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _harmless(text: str) -> str:
    """Return text that a comment can hold: a task's name may be a path or have arguments."""
    return re.sub(r"[^\w .,:;=+()?@-]", "_", text)
