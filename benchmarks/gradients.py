"""What the rows and curves of Fig. 8b-c say of the gradient, for claims.py and returns.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from comparisons import Row

ACTIONS = {"ant": 8, "humanoid": 17}
Measure = Callable[[Row], float]


def variances(curves: Sequence[Row]) -> dict[str, Measure]:
    """Return what measures the gradient's variance, at its last measurement, by what it is.

    ln Var, and the same plus twice the mean log-std: the gradient by a Gaussian's mean goes with
    1 / std, so that a policy that acts more at random has a smaller one for that alone.
    """
    last = last_measured(curves, "log_grad_variance")

    def mean_log_std(row: Row) -> float:
        # entropy = sum of log-stds + A / 2 ln(2 pi e)
        entropy = float(row["entropy"]) / ACTIONS[row["task"]]
        return entropy - 0.5 * float(np.log(2 * np.pi * np.e))

    return {
        "": lambda row: last[row["run"]],
        "without the std": lambda row: last[row["run"]] + 2 * mean_log_std(row),
    }


def gradient_columns(curves: Sequence[Row]) -> dict[str, tuple[Measure, int]]:
    """Return what a table shows of the gradient's last measurement, each with its decimals.

    The PPO part is the same minibatches' without the method's penalty. The signal-to-noise ratio
    of noise alone is one by the number of minibatches.
    """
    if not curves or "log_grad_variance" not in curves[0]:
        return {}
    found = {
        ", ".join(filter(None, ["ln Var", said])): (measure, 2)
        for said, measure in variances(curves).items()
    }
    for name, (quantity, decimals) in {
        "ln Var, PPO part": ("ppo_log_grad_variance", 2),
        "SNR": ("grad_snr", 4),
        "SNR, PPO part": ("ppo_grad_snr", 4),
    }.items():
        if quantity in curves[0]:
            found[name] = (_of_run(last_measured(curves, quantity)), decimals)
    return found


def last_measured(curves: Sequence[Row], quantity: str) -> dict[str, float]:
    """Return a quantity's last value of each run."""
    last: dict[str, tuple[int, float]] = {}  # by run: steps, value
    for point in curves:
        if value := point.get(quantity):
            steps = int(float(point["steps"]))
            last[point["run"]] = max(last.get(point["run"], (-1, 0.0)), (steps, float(value)))
    return {run: value for run, (_, value) in last.items()}


def _of_run(values: dict[str, float]) -> Measure:
    return lambda row: values[row["run"]]
