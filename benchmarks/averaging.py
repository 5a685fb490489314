"""Is the peers' averaged action more robust than the best peer?

For each run the best peer is chosen in the domains that `p2p export` holds out (seed 1). Then all
peers and their averaged action are tested in the domains of `p2p eval` (seed 0), at one strength.
A row of the table is a task; its interval is Student's t over runs, of paired differences.

    python benchmarks/averaging.py RUN... --csv data/results/averaging.csv
    python benchmarks/averaging.py --from data/results/averaging.csv
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import numpy as np

from p2p.analysis.statistics import mean_interval
from p2p.core.version import p2p_version
from p2p.export.choice import Held, load_peers, score_peers
from p2p.export.request import DOMAIN_SEED
from p2p.runs import RunFolder

CHOOSING_DOMAINS = 24
Row = Mapping[str, str | float]


def measure(path: Path, eps: float, domains: int) -> Row:
    """Return the returns of one run: of the best peer, of all on average, of the mean action."""
    subject = load_peers(path, "mean")

    def scored(seed: int, count: int) -> Held:
        return score_peers(
            subject, eps_te=eps, domains=count, domain_seed=seed,
            save=False, workers=None, report=None,
        )  # fmt: skip

    chosen = scored(DOMAIN_SEED, CHOOSING_DOMAINS).choose("best")[0].peer
    *peers, averaged = scored(0, domains).scores
    config = RunFolder.open(path).config
    assert isinstance(chosen, int)
    return {
        "run": path.name, "task": config.task, "learning_rate": config.learning_rate,
        "num_peers": len(peers), "seed": config.seed, "eps_te": eps, "domains": domains,
        "best_peer": chosen, "best": peers[chosen].mean, "best_worst": peers[chosen].worst,
        "peers": float(np.mean([p.mean for p in peers])),
        "peers_worst": float(np.mean([p.worst for p in peers])),
        "averaged": averaged.mean, "averaged_worst": averaged.worst, "version": p2p_version(),
    }  # fmt: skip


def table(rows: Sequence[Row]) -> list[str]:
    """Return the table in Markdown: a row a task."""
    lines = [
        "| task | runs | best peer | averaged | minus best | 95 % | minus mean of peers | 95 % |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for end, what in (("", ""), ("_worst", ", worst 10 %")):
        for task in dict.fromkeys(row["task"] for row in rows):
            of_task = [row for row in rows if row["task"] == task]
            best, peers, averaged = (
                np.array([float(row[name + end]) for row in of_task])
                for name in ("best", "peers", "averaged")
            )
            cells = [f"{task}{what}", str(len(of_task)), f"{best.mean():.0f}"]
            cells.append(f"{averaged.mean():.0f}")
            for other in (best, peers):
                interval = mean_interval(averaged - other)
                text = "" if interval is None else f"{interval[0]:.0f} to {interval[1]:+.0f}"
                cells += [f"{(averaged - other).mean():+.0f}", text]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--csv", "out", type=click.Path(path_type=Path), help="Where the rows go.")
@click.option("--from", "rows_file", type=click.Path(path_type=Path, exists=True))
@click.option("--eps-te", default=0.5, show_default=True)
@click.option("--domains", default=48, show_default=True)
def main(
    runs: tuple[Path, ...], out: Path | None, rows_file: Path | None, eps_te: float, domains: int
) -> None:
    """Measure RUNS, or read the rows of an earlier call, and print the table."""
    rows: list[Row] = []
    if rows_file:
        with rows_file.open() as file:
            rows += csv.DictReader(file)
    for run in runs:
        rows.append(measure(run, eps_te, domains))
        print(rows[-1], flush=True)
    if out and rows:
        with out.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
