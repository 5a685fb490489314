"""Parts train and envs: `p2p train` as a user runs it, beside the limit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from p2p.bench.arithmetic import LIMIT, PEAK, limit, peak_on_cores, products_a_step
from p2p.bench.bare_loop import DOMAINS, ENVS, bare_rate
from p2p.bench.measure import Candidate, Measurement, Tell, alternate, compare
from p2p.bench.processes import run_together
from p2p.bench.settings import Settings, cores
from p2p.core.config import build_config
from p2p.core.errors import P2PError
from p2p.envs.build import build_envs

# The command, but that it dies with the benchmark, whatever ends that. With -P, as a console
# script has it: files of the working directory must not pass for modules.
PROGRAM = (
    "from p2p.cohort.launch import die_with_parent; die_with_parent(); "
    "from p2p.cli.main import main; main()"
)
TRAINED = (
    "p2p train with its default settings: randomised domains, physics, inference, update, "
    "exchange, journal; the first iteration, checkpoints and start-up not counted"
)


def trained_for(iterations: int) -> str:
    """Return what steps/s of training include, and over how many iterations."""
    return f"{TRAINED}; over {iterations} iterations"


class Trained(NamedTuple):
    """What one run of the command showed of itself."""

    steps_per_second: float
    waiting: float  # share of the peers' time
    private: float  # MiB that one peer shares with nobody, mean over peers
    startup: float  # s, from the command to the start of the first iteration
    seconds: tuple[float, ...]  # of each iteration that is timed
    policy: Path  # of peer 0, at the end


def train_once(
    task: str, folder: Path, iterations: int, num_peers: int = 2, seed: int = 0,
    flags: Sequence[str] = ("--method", "p2pdrl"), *, threads: int = 1, steps: int | None = None,
) -> Trained:  # fmt: skip
    """Run `p2p train` into `folder` (made anew) and watch it.

    Args:
        iterations: how many to time, after one that is not.
        flags: which method, and its settings.
        threads: of each peer; one, so that it has as many cores as what is measured beside it.
        steps: of an iteration, if the flags set them.

    Raises:
        P2PError: the command failed; with its last line.
    """
    shutil.rmtree(folder, ignore_errors=True)
    total = (steps or build_config().steps_per_iteration) * (iterations + 1)
    layout = ["--peers", str(num_peers), "--threads-per-peer", str(threads), "--seed", str(seed)]
    command = [
        sys.executable, "-P", "-c", PROGRAM, "train", "--env", task, *flags, *layout,
        "--total-steps", str(total), "--final-episodes", "0", "--out", str(folder), "--json",
    ]  # fmt: skip
    begun = time.perf_counter()
    with tempfile.TemporaryFile("w+") as complaints:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=complaints, text=True
        ) as process:
            try:
                records, first, private = _watch(process, iterations, begun)
            finally:
                if process.poll() is None:
                    process.kill()
        complaints.seek(0)
        if process.returncode or len(records) <= iterations:
            last = complaints.read().strip().splitlines()[-1:]
            raise P2PError(f"`p2p train` failed (exit {process.returncode}): {' '.join(last)}")
    policy = folder / "policies" / "peer-0.safetensors"
    return summarise(records, first, private, policy)


def _watch(
    process: subprocess.Popen[str], iterations: int, begun: float
) -> tuple[list[dict[str, Any]], float, float]:
    """Return the iterations' records, when the first was over (s), and private memory (MiB)."""
    records: list[dict[str, Any]] = []
    first = private = 0.0
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] != "iteration":
            continue
        records.append(event)
        if len(records) == 1:
            first = time.perf_counter() - begun
        if len(records) == max(1, iterations // 2):  # the next one is running
            private = private_memory(process.pid)
    return records, first, private


def summarise(records: list[dict[str, Any]], first: float, private: float, policy: Path) -> Trained:
    """Return what the records say.

    Args:
        records: the journal's, one an iteration; the first is not timed.
        first: seconds from the command to the end of the first iteration.
    """
    timed = records[1:]
    steps = timed[-1]["steps"] - records[0]["steps"]
    seconds = tuple(record["seconds"] for record in timed)
    times = [peer["time"] for record in timed for peer in record["peers"]]
    waiting = sum(time["waiting"] for time in times) / sum(sum(time.values()) for time in times)
    busy = max(sum(peer["time"].values()) for peer in records[0]["peers"])
    return Trained(steps / sum(seconds), waiting, private, first - busy, seconds, policy)


def private_memory(parent: int) -> float:
    """Return the private MiB of a peer of the `p2p train` with this id, mean over peers."""
    peers = [peer for server in _children(parent) for peer in _children(server)]
    return mean([_private(peer) for peer in peers] or [0.0])


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        return [int(child) for file in tasks for child in file.read_text().split()]
    return []


def _private(pid: int) -> float:
    total = 0
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_"):
                total += int(line.split()[1])  # KiB
    return total / 1024


def bare_on_cores(num: int, task: str, steps: int, seed: int, policy: Path) -> float:
    """Return steps/s of the bare loop in `num` processes at once, in training's domains."""
    arguments = (task, steps, seed, policy, build_config().eps_tr)
    return sum(run_together(bare_rate, [arguments] * num))


def measure_training(settings: Settings, task: str, folder: Path, tell: Tell) -> list[Measurement]:
    """Return training steps/s at K=2, over the bare loop's and over those of the whole limit."""
    num_peers, rounds = 2, iter(range(settings.rounds))
    num, latest, startups = min(num_peers, cores()), [Path()], []
    peaks: list[float] = []

    def train() -> float:
        found = train_once(task, folder, settings.iterations, num_peers, next(rounds))
        latest[0] = found.policy
        startups.append(found.startup)
        return found.steps_per_second

    def bare() -> float:
        peaks.append(peak_on_cores(num))
        return bare_on_cores(num, task, settings.physics_steps, len(startups), latest[0])

    name = f"bare mj_step, {num} processes"
    physics = (
        f"mj_step(model, data, frame_skip) and writing ctrl, nothing else, summed over {num} "
        f"processes at once; actions of the policy that this round trained, sampled; {DOMAINS} "
        f"domains of its training distribution, {ENVS} episodes in each; resets included"
    )
    candidates = [
        Candidate(f"p2p train, K={num_peers}", train, trained_for(settings.iterations), name),
        Candidate(name, bare, physics),
    ]
    found = compare("train", task, "steps/s", candidates, settings.rounds, tell)
    startup = "from the command to the first iteration's start; kernels in the cache"
    start = Measurement(
        "train", task, f"start-up, K={num_peers}", "s", startup, tuple(startups)
    )  # fmt: skip
    return [*found, *_beside_limit(found, peaks, num, num_peers), start]


def _beside_limit(
    found: Sequence[Measurement], peaks: Sequence[float], num: int, num_peers: int
) -> list[Measurement]:
    """Return the peak of products, the limit of physics and products, and training over it."""
    training, bare = found
    config = build_config(task=training.task, num_peers=num_peers)
    envs = build_envs(config.task, 1, config.randomisation)
    products = products_a_step(config, envs.obs_dim, envs.action_dim)
    rates = [
        limit(rate, peak, products, num) for rate, peak in zip(bare.values, peaks, strict=True)
    ]
    row = partial(Measurement, "train", training.task)
    most = row("bare mj_step and the updates' products", "steps/s", LIMIT, tuple(rates))
    peak = row(f"matrix products, {num} processes", "GFLOP/s a core", PEAK, tuple(peaks))
    return [most, training.over(most), peak]


COLUMNS = {  # of several runs: unit and what is included, by field of `Trained`
    "steps_per_second": ("steps/s", TRAINED),
    "waiting": ("share", "of the peers' time, spent waiting for one another; mean over peers"),
    "private": (
        "MiB", "of a peer, in no other process (Private_* of smaps_rollup); mean over peers",
    ),
    "startup": ("s", "from the command to the first iteration's start; kernels in the cache"),
}  # fmt: skip


def columns(
    part: str, task: str, trained: Mapping[str, Sequence[Trained]],
    baselines: Mapping[str, Measurement] | None = None,
) -> list[Measurement]:  # fmt: skip
    """Return what runs showed of themselves, column by column.

    Args:
        trained: by name, a run a round.
        baselines: by name, what its speed is compared with.
    """
    out = []
    for column, (unit, includes) in COLUMNS.items():
        for name, runs in trained.items():
            values = tuple(getattr(run, column) for run in runs)
            found = Measurement(part, task, name, unit, includes, values)
            if baselines and column == "steps_per_second":
                found = found.over(baselines[name])
            out.append(found)
    return out


def measure_envs(settings: Settings, task: str, folder: Path, tell: Tell) -> list[Measurement]:
    """Return speed, waiting, memory and start-up by the envs of each of two peers.

    Ratios of speed are to N=2, else to the first.
    """
    numbers = settings.envs_per_peer
    trained: dict[str, list[Trained]] = {f"N={number}": [] for number in numbers}

    def measure(number: int) -> Callable[[], float]:
        def run() -> float:
            own = trained[f"N={number}"]
            flags = ("--method", "p2pdrl", "--envs-per-peer", str(number))
            own.append(train_once(task, folder, settings.iterations, 2, len(own), flags))
            return own[-1].steps_per_second

        return run

    alternate(
        [measure(number) for number in numbers], settings.rounds,
        lambda turn: tell(f"envs {task}: round {turn + 1} of {settings.rounds}"),
    )  # fmt: skip
    found = columns("envs", task, trained)
    speeds = {m.name: m for m in found[: len(numbers)]}
    base = speeds.get("N=2", found[0])
    return [*(m.over(base) for m in speeds.values()), *found[len(numbers) :]]
