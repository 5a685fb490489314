"""The returns that the claims are about, a table a task, from committed rows.

    python benchmarks/returns.py data/results fig4

makes the tables of docs/results.md, of fig4, learning-rate or rollout; benchmarks/claims.py tests
what they show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
from claims import (
    CONFOUNDERS,
    Row,
    dynamics_return,
    mean_return,
    read,
    scores,
    training_return,
)

from p2p.core import registry


def return_lines(rows: Sequence[Row], setting: str = "") -> list[str]:
    """Return a table a task: mean ± standard deviation of what A1 and A2 use.

    Args:
        setting: what varies within a method, too; its values are rows of their own.
    """
    columns: dict[str, Callable[[Row], float]] = {
        "training, last tenth": training_return,
        "eps_te 0": lambda row: float(row["eps_te=0"]),
        "0.5": lambda row: float(row["eps_te=0.5"]),
        "1": lambda row: float(row["eps_te=1"]),
        "mean of 0.3 to 1": mean_return,
    } | ({} if setting else {"the same, dynamics alone": dynamics_return})
    lines: list[str] = []
    for task in dict.fromkeys(row["task"] for row in rows):
        lines += [
            "",
            f"| {registry.find('task', task).label} | {' | '.join(columns)} |",
            "|---" + "|---:" * len(columns) + "|",
        ]
        groups = dict.fromkeys((row["method"], row.get(setting, "")) for row in rows)
        for method, value in groups:
            where = {"task": task, "method": method} | ({setting: value} if setting else {})
            cells = [", ".join(filter(None, (registry.find("method", method).label, value)))]
            for measure in columns.values():
                if values := scores(rows, measure, **where).get(task):
                    cells.append(f"{np.mean(values):.0f} ± {np.std(values, ddof=1):.0f}")
            lines += [f"| {' | '.join(cells)} |"] if cells[1:] else []
    return lines


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("study", type=click.Choice(["fig4", *CONFOUNDERS]))
def main(folder: Path, study: str) -> None:
    """Print the returns of STUDY by the rows in FOLDER, as tables in Markdown."""
    print("\n".join(return_lines(read(folder, study), CONFOUNDERS.get(study, ""))[1:]))


if __name__ == "__main__":
    main()
