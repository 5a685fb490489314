"""What PPO learns, by p2p and by stable-baselines3: same tasks, same settings, eight seeds.

Both train in the nominal domain with 4096 steps an iteration, 10 epochs of 32 minibatches, Adam
at 3e-4, and running normalisation of observations and rewards. What is measured is the training
return: the mean over the episodes that end in the last 100,000 steps, undiscounted and as
the env gave it. One process and one thread a run; a run whose file is there is not run again.

    python benchmarks/learning.py run --out /scratch/learning --jobs 2
    python benchmarks/learning.py table --out /scratch/learning --csv data/results/ppo-sb3.csv
"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
from learning_runs import (
    BIN,
    SEEDS,
    STEPS,
    TASKS,
    VARIANTS,
    Run,
    Variant,
    all_runs,
    load,
    mean_return,
    train_and_save,
)

POLL = 2.0  # s


class Pool:
    """Runs under way, each a process group of its own."""

    def __init__(self, out: Path, steps: int) -> None:
        self.out, self.steps = out, steps
        self.processes: dict[Run, subprocess.Popen[bytes]] = {}
        self.paused = False
        self.failed: list[Run] = []

    def start(self, run: Run) -> None:
        """Start it; what it prints goes to a log."""
        log = self.out / "logs" / f"{run.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, str(Path(__file__).resolve()), "one", *map(str, run),
            "--out", str(self.out), "--steps", str(self.steps),
        ]  # fmt: skip
        env = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        with log.open("wb") as stream:
            self.processes[run] = subprocess.Popen(
                command, stdout=stream, stderr=subprocess.STDOUT, env=env, start_new_session=True
            )

    def reap(self) -> None:
        """Forget those that are over."""
        for run, process in list(self.processes.items()):
            if process.poll() is None:
                continue
            del self.processes[run]
            if run.file(self.out).exists():
                _say(f"{run.name} is over")
            else:
                self.failed.append(run)
                _say(f"{run.name} failed, see {self.out / 'logs' / run.name}.log")

    def pause(self, wanted: bool) -> None:
        """Let all stand still, or go on."""
        if wanted != self.paused:
            self.paused = wanted
            _say("paused" if wanted else "going on")
            self.signal(signal.SIGSTOP if wanted else signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes of all runs."""
        for process in self.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, number)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _stop(number: int, frame: object) -> None:
    sys.exit(128 + number)


@click.group()
def main() -> None:
    """Train PPO by p2p and by stable-baselines3, and compare what they learn."""


OUT = click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the runs' files."
)
ONLY = click.option("--only", multiple=True, metavar="TEXT", help="Runs whose name contains it.")
STEPS_OPTION = click.option("--steps", default=STEPS, show_default=True, help="Steps of a run.")


@main.command()
@OUT
@ONLY
@STEPS_OPTION
@click.option("--seeds", default=SEEDS, show_default=True, help="Seeds 0 to this less one.")
@click.option("--jobs", default=1, show_default=True, help="Runs at a time.")
@click.option("--pause-file", type=click.Path(path_type=Path), help="While it is there, all wait.")
@click.option("--p2p-after", type=click.Path(path_type=Path), help="p2p's wait for this file.")
@click.option("--rows", type=click.Path(path_type=Path), help="Saved rows: these runs are done.")
def run(
    out: Path, only: tuple[str, ...], steps: int, seeds: int, jobs: int,
    pause_file: Path | None, p2p_after: Path | None, rows: Path | None,
) -> None:  # fmt: skip
    """Train all that has no file and no saved row yet."""
    signal.signal(signal.SIGTERM, _stop)
    pool = Pool(out, steps)
    done = {run_of(row) for row in saved_rows(rows)}
    waiting = [r for r in all_runs(only, seeds) if r not in done and not r.file(out).exists()]
    _say(f"{len(waiting)} runs to do")
    try:
        while waiting or pool.processes:
            pool.reap()
            pool.pause(pause_file is not None and pause_file.exists())
            ready = p2p_after is None or p2p_after.exists()
            waiting = [r for r in waiting if not r.file(out).exists()]  # another driver's
            can_start = [r for r in waiting if ready or VARIANTS[r.variant].trainer != "p2p"]
            if can_start and len(pool.processes) < jobs and not pool.paused:
                pool.start(can_start[0])
                waiting.remove(can_start[0])
                continue
            time.sleep(POLL)
    finally:
        pool.signal(signal.SIGCONT)  # what stands still cannot end
        pool.signal(signal.SIGTERM)
    if pool.failed:
        raise click.ClickException(f"{len(pool.failed)} runs failed")


@main.command(hidden=True)
@click.argument("variant", type=click.Choice(list(VARIANTS)))
@click.argument("task", type=click.Choice(list(TASKS)))
@click.argument("seed", type=int)
@OUT
@STEPS_OPTION
def one(variant: str, task: str, seed: int, out: Path, steps: int) -> None:
    """Train once and write the curve."""
    train_and_save(Run(variant, task, seed), steps, out)


def saved_rows(file: Path | None) -> list[dict[str, str]]:
    """Return the rows that were saved before, perhaps on another machine."""
    if file is None or not file.exists():
        return []
    with file.open() as stream:
        return list(csv.DictReader(stream))


def run_of(row: Mapping[str, str]) -> Run:
    """Return the run that a saved row is of."""
    return Run(row["variant"], row["task"], int(row["seed"]))


def write_rows(file: Path, columns: Sequence[str], new: Sequence[Sequence[object]]) -> None:
    """Write rows of runs, and keep the saved ones of other runs."""
    made = {Run(str(r[0]), str(r[1]), int(str(r[2]))) for r in new}
    kept = [[row[c] for c in columns] for row in saved_rows(file) if run_of(row) not in made]
    order = {run: n for n, run in enumerate(all_runs())}
    rows = sorted([*kept, *new], key=lambda r: order[Run(str(r[0]), str(r[1]), int(str(r[2])))])
    with file.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([columns, *rows])


def lines(returns: Mapping[Run, float], against: str = "sb3") -> Iterator[str]:
    """Yield a Markdown table: mean, Student's interval, and Welch's test against a variant."""
    from p2p.analysis.statistics import mean_interval, welch

    yield f"| task | variant | n | return | 95 % | minus {against} | 95 % | p |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for task in TASKS:
        scores = {
            name: [v for run, v in returns.items() if (run.variant, run.task) == (name, task)]
            for name in VARIANTS
        }
        for name, values in scores.items():
            if not values:
                continue
            interval = mean_interval(values)
            spread = f"{interval.low:.0f} - {interval.high:.0f}" if interval else ""
            test = welch(values, scores[against]) if name != against and scores[against] else None
            differs = ["", "", ""]
            if test:
                low, high = test.interval()
                p = f"{test.p_value:.3f}" if test.p_value >= 0.001 else "< 0.001"
                differs = [f"{test.estimate:+.0f}", f"{low:+.0f} to {high:+.0f}", p]
            mean = sum(values) / len(values)
            cells = [task, name, str(len(values)), f"{mean:.0f}", spread, *differs]
            yield f"| {' | '.join(cells)} |"


@main.command()
@OUT
@ONLY
@click.option("--csv", "rows", type=click.Path(path_type=Path), help="Write a row a run.")
@click.option("--curves", type=click.Path(path_type=Path), help="Write the curves, a row a bin.")
@click.option("--against", default="sb3", show_default=True, type=click.Choice(list(VARIANTS)))
def table(
    out: Path, only: tuple[str, ...], rows: Path | None, curves: Path | None, against: str
) -> None:
    """Print a Markdown table of the runs that are over, and of those with a saved row."""
    learned = load(out, only)
    returns = {run_of(row): float(row["return"]) for row in saved_rows(rows)}
    returns |= {x.run: x.last[1] for x in learned}
    if rows:
        columns = [*Run._fields, *Variant._fields, "episodes", "return", "seconds"]
        ends = [(x, *x.last) for x in learned]
        write_rows(rows, columns, [
            [*x.run, *VARIANTS[x.run.variant], n, f"{mean:.6g}", f"{x.seconds:.0f}"]
            for x, n, mean in ends
        ])  # fmt: skip
    if curves:
        points = [
            (x.run, after + BIN, *mean_return(x.points, after, after + BIN))
            for x in learned
            for after in range(0, x.points[-1].steps, BIN)
        ]
        write_rows(curves, [*Run._fields, "steps", "episodes", "return"], [
            [*run, steps, n, f"{mean:.6g}"] for run, steps, n, mean in points if n
        ])  # fmt: skip
    print("\n".join(lines(returns, against)))


if __name__ == "__main__":
    main()
