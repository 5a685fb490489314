"""The figures of the paper by name; each is a function that lays out panels, or draws them."""

from __future__ import annotations

from collections.abc import Callable

from p2p.plots.data import Data
from p2p.plots.hyperparameters import entropy_scatter, sweep
from p2p.plots.panels import Drawn, Layout, compose
from p2p.plots.selection import need
from p2p.plots.strengths import over_training_strength, regularised, test_curves
from p2p.plots.surface import return_surfaces
from p2p.plots.training import cohort_size, gradient_variance, learning_curves

FIGURES: dict[str, Callable[[Data], Layout | Drawn]] = {
    "fig2": over_training_strength,
    "fig3": learning_curves,
    "fig4": test_curves,
    "fig5": return_surfaces,
    "fig6": over_training_strength,
    "fig7": regularised,
    "fig8a": entropy_scatter,
    "fig8bc": gradient_variance,
    "fig9": cohort_size,
    "a2": sweep,
}


def draw(figure: str, data: Data) -> Drawn:
    """Draw one of `FIGURES`; equal data gives equal bytes.

    Raises:
        UsageError: the data holds nothing of what the figure shows, or matplotlib is missing.
    """
    tasks, methods = data.tasks, data.methods
    known = data.select(lambda row: row.task in tasks and row.method in methods)
    need(data, known, "run of the study's tasks and methods")
    found = FIGURES[figure](data)
    return compose(found) if isinstance(found, Layout) else found
