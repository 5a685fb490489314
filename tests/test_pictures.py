"""Pictures say what they show: which strength, how many episodes and seeds, and what lines mean."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import make_run
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from test_figures import write_tables

import p2p
from p2p.analysis.evaluation.results import Evaluation
from p2p.analysis.statistics import mean_interval
from p2p.bench import figures as bench
from p2p.bench.measure import Measurement, Results
from p2p.plots import comparison as comparisons
from p2p.plots import evaluation, load_data
from p2p.plots.hyperparameters import entropy_scatter
from p2p.plots.method_styles import METHODS
from p2p.plots.style import PALETTE
from p2p.study import find_study, read_study

MACHINE = {"cpu": "AMD EPYC", "cpus": 2, "load": 0.1}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Figure]:
    """Return a function that draws a picture and returns matplotlib's figure of it."""

    def draw(module: Any, function: Callable[..., bytes], *args: Any) -> Figure:
        kept: list[Figure] = []

        def picture(paint: Callable[[Figure], None], width: float, height: float) -> bytes:
            kept.append(Figure(figsize=(width, height), layout="constrained"))
            paint(kept[0])
            return b""

        monkeypatch.setattr(module, "picture", lambda paint, w, h, *_: picture(paint, w, h))
        function(*args)
        return kept[0]

    return draw


def caption(figure: Figure) -> str:
    """Return the words below a figure, on one line."""
    return " ".join(figure.get_supxlabel().split())


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    run = make_run(tmp_path_factory.mktemp("runs") / "run", num_peers=2)
    return p2p.evaluate(run, 0.5, by_factor=True, points=3, workers=2)


def test_curves_by_factor_have_a_legend_and_an_interval_over_starts(
    drawn: Callable[..., Figure], measured: Evaluation
):
    (run,) = measured.runs
    figure = drawn(evaluation, evaluation.factor_curves, run, measured.config)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "a peer", "mean of 2 peers", "95% interval over 10 starts", "nominal"
    ]  # fmt: skip
    assert legend.get_title().get_text() == "hopper, p2pdrl, 2 peers, seed 0"
    for axes, one in zip(figure.axes, run.measured, strict=True):
        (band,) = axes.collections
        corners = band.get_paths()[0].vertices
        for at, returns in zip(
            one.set.axes[0].values, one.episode_return.mean(axis=0), strict=True
        ):
            low, high = mean_interval(returns.tolist()) or (np.nan, np.nan)
            heights = corners[np.isclose(corners[:, 0], at)][:, 1]
            assert (heights.min(), heights.max()) == pytest.approx((low, high))
        assert to_hex(axes.lines[2].get_color()).upper() == METHODS["p2pdrl"].colour
    assert caption(figure) == (
        "Strength 0.5, other factors nominal; 10 episodes a point and peer, mean action, the same "
        "starts at all points (seed 0). Trained at strength 0.2. One training seed: no interval is "
        "over seeds."
    )


def test_one_episode_a_point_has_no_interval_and_says_so(
    drawn: Callable[..., Figure], tmp_path: Path
):
    run = make_run(tmp_path / "run", num_peers=1, method="ppo")
    found = p2p.evaluate(run, by_factor=True, points=3, episodes=1, workers=2)
    figure = drawn(evaluation, evaluation.factor_curves, found.runs[0], found.config)
    assert not figure.axes[0].collections
    assert "1 episode a point" in caption(figure)
    assert caption(figure).endswith("One episode a point has no interval: see --episodes.")


def test_a_heat_map_says_strength_episodes_and_seeds(drawn: Callable[..., Figure], tmp_path: Path):
    run = make_run(tmp_path / "run", num_peers=1)
    found = p2p.evaluate(run, 1.0, grid=("wind", "mass"), points=3, workers=2)
    figure = drawn(evaluation, evaluation.heat_map, found.runs[0], found.config)
    assert caption(figure).startswith("Strength 1, other factors nominal; 4 episodes a point")
    assert caption(figure).endswith("Ringed: the nominal domain.")


def numbers(part: str, task: str, name: str, unit: str = "steps/s", **extra: Any) -> Measurement:
    return Measurement(part, task, name, unit, "all", (1.0, 2.0, 3.0), **extra)


def test_a_benchmark_has_titles_the_machine_the_rounds_and_the_houses_colours(
    drawn: Callable[..., Figure],
):
    found = [
        numbers("train", "hopper", "K=2", baseline="bare", ratios=(0.7, 0.8, 0.9)),
        *(
            numbers("scaling", task, f"K={k}, T=1, 4096 in all", baseline="bare", ratios=(0.7,) * 3)
            for task in ("hopper", "ant")
            for k in (1, 2)
        ),
        *(numbers("envs", "hopper", f"N={n}") for n in (1, 2)),
        *(numbers("engine", "hopper", engine, "us") for engine in ("fused", "autograd")),
    ]
    figure = drawn(bench, bench.draw, Results(found, MACHINE, {"rounds": 3}))
    assert [axes.get_title() for axes in figure.axes] == [
        "Training, two peers, over bare mj_step", "Training by peers and threads",
        "Training by the number of envs", "One minibatch step by engine",
    ]  # fmt: skip
    assert caption(figure).startswith(
        "AMD EPYC, 2 CPUs, load 0.1 at the start; median and range of 3"
    )
    lines = figure.axes[1].lines
    assert [to_hex(line.get_color()).upper() for line in lines] == list(PALETTE[:2])
    assert len({line.get_marker() for line in lines}) == 2  # told apart without colour too
    assert to_hex(figure.axes[0].patches[0].get_facecolor()).upper() == PALETTE[0]


@pytest.mark.parametrize(
    ("study", "one_coefficient"), [("fig8a", False), ("fig7", False), ("fig8a", True)]
)
def test_fig_8a_promises_the_numbers_that_it_shows(
    tmp_path: Path, study: str, one_coefficient: bool
):
    """Study fig7 has no entropy bonus; a study with one coefficient has no column of it."""
    described = read_study(find_study(study))
    if one_coefficient:
        kept = tuple(c for c in described.configs if c.get("entropy_coef") in (0.1, None))
        described = replace(described, configs=kept)
        assert "entropy_coef" not in described.varying
    folder = write_tables(described, tmp_path)
    layout = entropy_scatter(load_data(described, folder, None, tmp_path))
    axes = Figure().subplots()
    layout.rows[0][0].draw(axes)
    assert bool(axes.texts) == ("Numbers: entropy coefficient c." in layout.caption)
    assert bool(axes.texts) == (study == "fig8a")


@pytest.mark.parametrize(("most", "scale"), [(5.0, "linear"), (500.0, "symlog")])
def test_fig_8a_keeps_small_entropies_apart_beside_large_ones(
    tmp_path: Path, most: float, scale: str
):
    """A bonus of 0.1 widens a policy without end; what matters lies within 15 nats."""
    described = read_study(find_study("fig8a"))
    folder = write_tables(described, tmp_path)
    table = folder / "fig8a.csv"
    found = list(csv.DictReader(table.read_text().splitlines()))
    for row in found:
        row["entropy"] = str(most if row["entropy_coef"] == "100.0" else -3.0)
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, found[0])
        writer.writeheader()
        writer.writerows(found)
    axes = Figure().subplots()
    entropy_scatter(load_data(described, folder, None, tmp_path)).rows[0][0].draw(axes)
    assert axes.get_xscale() == scale


def test_the_other_pictures_say_so_too(drawn: Callable[..., Figure], tmp_path: Path):
    """A comparison names its score and its seeds."""
    runs = [
        make_run(tmp_path / f"{m}{s}", method=m, seed=s) for m in ("ppo", "dppo") for s in (0, 1)
    ]
    found = p2p.compare(runs, eps_te=0.5, domains=2, workers=2)
    figure = drawn(comparisons, comparisons.scores_and_profiles, found)
    assert caption(figure).startswith("Scores: return at eps_te 0.5: 2 test domains, seed 0, ")
    assert "Rings: seeds (2 a group)" in caption(figure)
