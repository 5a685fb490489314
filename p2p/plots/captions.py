"""What axes and captions say."""

from __future__ import annotations

from p2p.core import registry
from p2p.methods import find_method
from p2p.plots.data import Data

MILLION = 1e6
STEPS = "environment steps (millions)"
TRAIN = "training return (undiscounted)"
TEST = "test return (undiscounted)"
EPS_TE = r"test randomisation strength $\epsilon^{te}$"
EPS_TR = r"training randomisation strength $\epsilon^{tr}$"


def strength_text(column: str) -> str:
    """Return the strength of a column of test returns, as an axis shows it."""
    return rf"$\epsilon^{{te}}$ = {column.partition('=')[2]}"


def how_trained(data: Data) -> str:
    """Say how the runs were trained, as far as it is the same for all."""
    steps = sorted({f"{(row.number('steps') or 0) / MILLION:.2g}" for row in data.rows}, key=float)
    parts = [f"{' to '.join(dict.fromkeys((steps[0], steps[-1])))}M steps a run"]
    strength = {config.eps_tr for config in data.study.configs}
    if len(strength) == 1:
        parts.append(f"trained at strength {strength.pop():g}")
    rates = {row.number("learning_rate") for row in data.rows}
    own = [row.number("learning_rate") == rate_of(row.method) for row in data.rows]
    if all(own):
        parts.append("each method's own learning rate")
    elif len(rates) == 1 and (rate := rates.pop()) is not None:
        parts.append(f"learning rate {rate:g}")
    return ", ".join(parts) + "."


def rate_of(method: str) -> float | None:
    """Return a method's default learning rate; None of one that is not loaded."""
    return find_method(method).learning_rate if registry.is_known("method", method) else None


def how_tested(data: Data) -> str:
    """Say in what the runs were tested."""
    one = data.study.evaluate
    if one is None:
        return "Tests: mean action."
    domains = f"{one.domains} domains" if one.domains > 1 else "one domain"
    episodes = f"{one.episodes} episode{'s' if one.episodes > 1 else ''} each"
    return (
        f"Tests: {action_text(one.sampled)}, {domains} a strength, the same for all, {episodes}; "
        "mean over a run's peers."
    )


def action_text(sampled: bool) -> str:
    """Return how a policy acts."""
    return "sampled actions" if sampled else "mean action"
