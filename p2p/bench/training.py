"""Parts train, scaling and envs: `p2p train` as a user runs it, beside the limit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from p2p.bench.bare_loop import DOMAINS, ENVS, bare_rate
from p2p.bench.measure import Candidate, Measurement, Tell, alternate, compare
from p2p.bench.processes import run_together
from p2p.bench.settings import Settings, cores
from p2p.core.config import build_config
from p2p.core.errors import P2PError

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
    flags: Sequence[str] = ("--method", "p2pdrl"),
) -> Trained:  # fmt: skip
    """Run `p2p train` into `folder` (made anew) and watch it.

    Args:
        iterations: how many to time, after one that is not.
        flags: which method, and its settings.

    Raises:
        P2PError: the command failed; with its last line.
    """
    shutil.rmtree(folder, ignore_errors=True)
    steps = build_config().steps_per_iteration * (iterations + 1)
    # A core a peer, as what is measured beside it has.
    method = [*flags, "--peers", str(num_peers), "--threads-per-peer", "1", "--seed", str(seed)]
    command = [
        sys.executable, "-P", "-c", PROGRAM, "train", "--env", task, *method,
        "--total-steps", str(steps), "--final-episodes", "0", "--out", str(folder), "--json",
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
        if len(records) == iterations:  # the next one is running
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
    """Return training steps/s at K=2; its ratio to the bare loop is the efficiency."""
    num_peers, rounds = 2, iter(range(settings.rounds))
    num, latest, startups = min(num_peers, cores()), [Path()], []

    def train() -> float:
        found = train_once(task, folder, settings.iterations, num_peers, next(rounds))
        latest[0] = found.policy
        startups.append(found.startup)
        return found.steps_per_second

    def bare() -> float:
        return bare_on_cores(num, task, settings.physics_steps, len(startups), latest[0])

    name = f"bare mj_step, {num} processes"
    limit = (
        f"mj_step(model, data, frame_skip) and writing ctrl, nothing else, summed over {num} "
        f"processes at once; actions of the policy that this round trained, sampled; {DOMAINS} "
        f"domains of its training distribution, {ENVS} episodes in each; resets included"
    )
    candidates = [
        Candidate(f"p2p train, K={num_peers}", train, trained_for(settings.iterations), name),
        Candidate(name, bare, limit),
    ]
    found = compare("train", task, "steps/s", candidates, settings.rounds, tell)
    startup = "from the command to the first iteration's start; kernels in the cache"
    name = f"start-up, K={num_peers}"
    return [*found, Measurement("train", task, name, "s", startup, tuple(startups))]


COLUMNS = {  # of parts scaling and envs: unit and what is included, by field of `Trained`
    "steps_per_second": ("steps/s", TRAINED),
    "waiting": ("share", "of the peers' time, spent waiting for one another; mean over peers"),
    "private": (
        "MiB", "of a peer, in no other process (Private_* of smaps_rollup); mean over peers",
    ),
    "startup": ("s", "from the command to the first iteration's start; kernels in the cache"),
}  # fmt: skip


def measure_scaling(settings: Settings, task: str, folder: Path, tell: Tell) -> list[Measurement]:
    """Return speed, waiting, memory and start-up by K; the ratio is to K=2, else to the first."""

    def train(K: int, seed: int) -> Trained:
        return train_once(task, folder, settings.iterations, K, seed)

    return _scan("scaling", task, "K", settings.num_peers, train, settings.rounds, tell)


def measure_envs(settings: Settings, task: str, folder: Path, tell: Tell) -> list[Measurement]:
    """Return speed, waiting, memory and start-up by the envs of each of two peers."""

    def train(N: int, seed: int) -> Trained:
        flags = ("--method", "p2pdrl", "--envs-per-peer", str(N))
        return train_once(task, folder, settings.iterations, 2, seed, flags)

    return _scan("envs", task, "N", settings.envs_per_peer, train, settings.rounds, tell)


def _scan(
    part: str, task: str, symbol: str, numbers: Sequence[int],
    train: Callable[[int, int], Trained], rounds: int, tell: Tell,
) -> list[Measurement]:  # fmt: skip
    """Train with each of `numbers` in turns; the ratio of speeds is to 2, else to the first.

    Args:
        train: of a number and a seed.
    """
    trained: dict[int, list[Trained]] = {number: [] for number in numbers}

    def measure(number: int) -> Callable[[], float]:
        def run() -> float:
            trained[number].append(train(number, len(trained[number])))
            return trained[number][-1].steps_per_second

        return run

    alternate(
        [measure(number) for number in trained], rounds,
        lambda turn: tell(f"{part} {task}: round {turn + 1} of {rounds}"),
    )  # fmt: skip
    base, out = 2 if 2 in trained else numbers[0], []
    for column, (unit, includes) in COLUMNS.items():
        by_number = {
            number: Measurement(
                part, task, f"{symbol}={number}", unit, includes,
                tuple(getattr(t, column) for t in runs),
            )
            for number, runs in trained.items()
        }  # fmt: skip
        relative = column == "steps_per_second"
        out += [m.over(by_number[base]) if relative else m for m in by_number.values()]
    return out
