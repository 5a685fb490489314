"""A picture of a benchmark: efficiency by task, and how cost grows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from p2p.bench.measure import Measurement, Results
from p2p.bench.scaling import Setup
from p2p.core.config import build_config
from p2p.core.errors import UsageError
from p2p.envs.vector import RandomisedEnvs
from p2p.plots.method_styles import TASKS
from p2p.plots.style import BAND, PALETTE, RC, add_caption, check_matplotlib, picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MARKERS = "osD^v"
PARTS = ("train", "scaling", "envs", "engine")


def check_drawable(parts: Iterable[str]) -> None:
    """Raise UsageError if none of `parts` can be drawn, or matplotlib is not installed."""
    if not set(parts) & set(PARTS):
        raise UsageError(f"--plot draws parts {', '.join(PARTS)}; measure one of them")
    check_matplotlib()


def draw(results: Results) -> bytes:
    """Return a PNG of `PARTS`: what was measured of them, on which machine, how often.

    Raises:
        UsageError: none was measured, or matplotlib is not installed.
    """
    panels: list[tuple[str, list[Measurement], Callable[[Any, list[Measurement]], None]]] = [
        (
            "Training, two peers, over bare mj_step",
            [m for m in results.part("train") if m.ratios and "products" not in m.baseline],
            _efficiency_bars,
        ),
        (
            "Training by peers and threads",
            [m for m in results.part("scaling") if m.ratios],
            _scaling_lines,
        ),
        (
            "Training by the number of envs",
            _speeds(results, "envs"),
            partial(_scan_lines, xlabel="envs N of each of 2 peers"),
        ),
        ("One minibatch step by engine", results.part("engine"), _engine_lines),
    ]
    panels = [panel for panel in panels if panel[1]]
    check_drawable(m.part for panel in panels for m in panel[1])

    def paint(figure: Figure) -> None:
        from matplotlib import rc_context

        with rc_context(RC):
            shape = -(-len(panels) // 2), min(2, len(panels))
            all_axes = figure.subplots(*shape, squeeze=False)
            for axes, (title, measured, draw_panel) in zip(all_axes.flat, panels, strict=False):
                draw_panel(axes, measured)
                axes.set_title(title)
            for axes in all_axes.flat[len(panels) :]:
                axes.remove()
            add_caption(
                figure, f"{results.caption}. Bars and lines: medians; whiskers and bands: ranges."
            )

    return picture(paint, 4.0 * min(2, len(panels)), 3.0 * -(-len(panels) // 2))


def _speeds(results: Results, part: str) -> list[Measurement]:
    return [m for m in results.part(part) if m.unit == "steps/s"]


def _efficiency_bars(axes: Any, measured: list[Measurement]) -> None:
    for i, m in enumerate(measured):
        ratio = m.ratio
        assert ratio is not None
        error = [[ratio.median - ratio.low], [ratio.high - ratio.median]]
        axes.bar(i, ratio.median, yerr=error, color=PALETTE[0], capsize=3)
        axes.annotate(f"{ratio.median:.2f}", (i, 0.03), ha="center", color="white", fontsize=8)
    names = [TASKS[m.task] for m in measured]
    axes.set_xticks(range(len(measured)), names, fontsize=7)
    axes.set_axisbelow(True)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("steps/s over bare mj_step")


def _scan_lines(axes: Any, measured: list[Measurement], xlabel: str) -> None:
    for n, task in enumerate(dict.fromkeys(m.task for m in measured)):
        own = [m for m in measured if m.task == task]
        numbers = [int(m.name.partition("=")[2]) for m in own]
        _line(axes, numbers, own, TASKS[task], n)
    axes.set_xscale("log", base=2)
    axes.set_xticks(numbers, [str(number) for number in numbers])
    axes.set(xlabel=xlabel, ylabel="training steps/s", ylim=(0, None))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.legend()


def _scaling_lines(axes: Any, measured: list[Measurement]) -> None:
    """Draw efficiency over K: a line a task and counting, apart for one thread and several."""
    groups: dict[tuple[str, bool, bool], dict[int, Measurement]] = {}
    layouts = [(m, layout) for m in measured if (layout := Setup.parse(m.name))]
    for m, layout in layouts:
        for each in sorted({layout.each for _, layout in layouts}):
            if layout._replace(each=each).steps == layout.steps:  # two peers': measured once
                key = m.task, each, layout.threads > 1
                groups.setdefault(key, {})[layout.num_peers] = m
    tasks = list(dict.fromkeys(task for task, _, _ in groups))
    numbers = sorted({K for by_K in groups.values() for K in by_K})
    for (task, each, threaded), by_K in groups.items():
        n, own = tasks.index(task), [by_K[K] for K in sorted(by_K)]
        config = build_config()
        steps = f"{config.steps_per_peer} each" if each else f"{config.steps_per_iteration} in all"
        axes.plot(
            sorted(by_K), [m.ratio.median for m in own if m.ratio], color=PALETTE[n],
            marker=MARKERS[n], linestyle="--" if each else "-",
            fillstyle="none" if threaded else "full",
            label=f"{TASKS[task]}, {steps}{', threads' * threaded}",
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_xticks(numbers, [str(K) for K in numbers])
    axes.set(xlabel="peers K", ylabel="steps/s over bare mj_step", ylim=(0, 1))
    axes.legend(fontsize=6, handlelength=4)


def _engine_lines(axes: Any, measured: list[Measurement]) -> None:
    tasks = dict.fromkeys(m.task for m in measured)
    sizes = {task: RandomisedEnvs(task, 1).obs_dim for task in tasks}
    for n, engine in enumerate(dict.fromkeys(m.name for m in measured)):
        own = sorted((m for m in measured if m.name == engine), key=lambda m: sizes[m.task])
        _line(axes, [sizes[m.task] for m in own], own, engine, n)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sorted(set(sizes.values())), [str(n) for n in sorted(set(sizes.values()))])
    axes.minorticks_off()
    axes.set(xlabel="numbers in an observation", ylabel="microseconds")
    axes.legend()


def _line(axes: Any, at: list[int], measured: list[Measurement], label: str, n: int) -> None:
    """Draw medians over `at`, with a band from least to largest, in the n-th colour."""
    look = {"color": PALETTE[n % len(PALETTE)], "marker": MARKERS[n % len(MARKERS)]}
    axes.plot(at, [m.spread.median for m in measured], label=label, **look)
    lows, highs = [m.spread.low for m in measured], [m.spread.high for m in measured]
    axes.fill_between(at, lows, highs, color=look["color"], alpha=BAND, lw=0)
