"""A picture of a benchmark: efficiency by task, and speed by the number of peers."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from p2p.bench.measure import Measurement
from p2p.bench.results import Results
from p2p.errors import UsageError


def draw(results: Results) -> bytes:
    """Return a PNG of parts train and scaling.

    Raises:
        UsageError: neither was measured, or matplotlib is not installed.
    """
    efficiency = [m for m in results.part("train") if m.ratios]
    scaling = [m for m in results.part("scaling") if m.unit == "steps/s"]
    if not efficiency and not scaling:
        raise UsageError("--plot draws parts train and scaling; neither was measured")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("--plot needs matplotlib; pip install 'p2p[figures]'") from None
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _efficiency_bars(left, efficiency)
    _scaling_lines(right, scaling)
    out = BytesIO()
    figure.savefig(out, format="png", dpi=150)
    return out.getvalue()


def _efficiency_bars(axes: Any, measured: list[Measurement]) -> None:
    for i, m in enumerate(measured):
        ratio = m.ratio
        assert ratio is not None
        error = [[ratio.median - ratio.low], [ratio.high - ratio.median]]
        axes.bar(i, ratio.median, yerr=error, color="tab:blue", capsize=3)
    axes.set_xticks(range(len(measured)), [m.task for m in measured], rotation=20)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_ylabel("training steps/s over bare mj_step")


def _scaling_lines(axes: Any, measured: list[Measurement]) -> None:
    for task in dict.fromkeys(m.task for m in measured):
        own = [m for m in measured if m.task == task]
        peers = [int(m.name.removeprefix("K=")) for m in own]
        axes.plot(peers, [m.spread.median for m in own], marker="o", label=task)
        lows, highs = [m.spread.low for m in own], [m.spread.high for m in own]
        axes.fill_between(peers, lows, highs, alpha=0.2)
    axes.set(xlabel="peers K", ylabel="training steps/s", ylim=(0, None))
    if measured:
        axes.legend()
