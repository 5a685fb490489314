"""The returns that the claims are about, a table a task, from committed rows.

    python benchmarks/returns.py data/results fig4

makes the tables of docs/results.md, of the studies in SETTINGS; benchmarks/claims.py tests what
they show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
from claims import CONFOUNDERS, measures
from comparisons import Row, dynamics_return, mean_return, read, scores, training_return
from gradients import gradient_columns

from p2p.core import registry

SETTINGS = {  # what varies within a method
    "fig2": ("eps_tr",), "fig4": (), "fig6": ("eps_tr",), "fig7": (),
    "fig8a": ("entropy_coef",), "fig9": ("num_peers", "steps"),
    "fig8bc": (), "variance-rate": ("learning_rate",),
    "brakes": ("entropy_coef", "target_kl", "learning_rate"),
    **{study: (setting,) for study, setting in CONFOUNDERS.items()},
}  # fmt: skip
LABELS: dict[str, Callable[[str], str]] = {
    "eps_tr": lambda value: f"eps_tr {value}",
    "learning_rate": lambda value: f"at {value}",
    "target_kl": lambda value: f"target_kl {value}",
    "num_peers": lambda value: f"K = {value}",
    "steps": lambda value: f"{int(value) / 1e6:.0f}M steps",
}


def return_lines(
    rows: Sequence[Row], settings: Sequence[str] = (), curves: Sequence[Row] = ()
) -> list[str]:
    """Return a table a task: mean ± standard deviation of what the claims use.

    Args:
        settings: what varies within a method, too; their values are rows of their own.
        curves: those of the rows; what they have of the gradient is shown.
    """
    columns: dict[str, Callable[[Row], float]] = {"training, last tenth": training_return}
    if rows and "eps_te=1" in rows[0]:
        columns["eps_te 0"] = lambda row: float(row["eps_te=0"])
        columns["0.5"] = lambda row: float(row["eps_te=0.5"])
        columns["1"] = lambda row: float(row["eps_te=1"])
        columns["mean of 0.3 to 1"] = mean_return
    elif rows and "eps_te=0.5" in rows[0]:
        columns["eps_te 0.5"] = lambda row: float(row["eps_te=0.5"])
    if "A2, dynamics" in measures(rows):
        columns["the same, dynamics alone"] = dynamics_return
    gradient = gradient_columns(curves)
    columns |= {name: measure for name, (measure, _) in gradient.items()}
    lines: list[str] = []
    for task in dict.fromkeys(row["task"] for row in rows):
        lines += [
            "",
            f"| {registry.find('task', task).label} | {' | '.join(columns)} |",
            "|---" + "|---:" * len(columns) + "|",
        ]
        groups = dict.fromkeys(
            (row["method"], *(row.get(name, "") for name in settings)) for row in rows
        )
        for method, *values in groups:
            chosen = dict(zip(settings, values, strict=True))
            labels = [LABELS.get(name, str)(value) for name, value in chosen.items() if value]
            cells = [", ".join([registry.find("method", method).label, *labels])]
            for name, measure in columns.items():
                if found := scores(rows, measure, task=task, method=method, **chosen).get(task):
                    digits = gradient[name][1] if name in gradient else 0
                    cell = f"{np.mean(found):.{digits}f}"
                    if len(found) > 1:
                        cell += f" ± {np.std(found, ddof=1):.{digits}f}"
                    cells.append(cell)
            lines += [f"| {' | '.join(cells)} |"] if cells[1:] else []
    return lines


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("study", type=click.Choice(list(SETTINGS)))
def main(folder: Path, study: str) -> None:
    """Print the returns of STUDY by the rows in FOLDER, as tables in Markdown."""
    rows, curves = read(folder, study), read(folder, f"{study}-curves")
    print("\n".join(return_lines(rows, SETTINGS[study], curves)[1:]))


if __name__ == "__main__":
    main()
