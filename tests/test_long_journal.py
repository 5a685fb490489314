"""A run of 100,000 iterations through whole commands: what each takes of time and memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from test_cohort import drain
from test_soak import TINY

from p2p.cohort import cohort
from p2p.core.config import TrainConfig
from p2p.runs import RunFolder

PROGRAM = "from p2p.cli.start import main; main()"
SECONDS, MEMORY = 20.0, 1.2e9  # of the processor, the command's and its processes'; bytes
MORE = 3  # iterations of `--resume`


class Cost(NamedTuple):
    """What a command took.

    Attributes:
        seconds: of the processor, with those of the processes that it started.
        memory: bytes, the largest of all processes.
    """

    seconds: float
    memory: int
    said: str


MEASURING = """
import json, os, sys
child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, *sys.argv[2:]])
_, status, used = os.wait4(child, 0)
code = os.waitstatus_to_exitcode(status)
with open(sys.argv[1], "w") as file:
    json.dump([code, used.ru_utime + used.ru_stime, 1024 * used.ru_maxrss], file)
"""


def cost(here: Path, *args: object) -> Cost:
    """Run a command, which must end well, below a small process: a fork counts what it was."""
    command = [sys.executable, "-S", "-c", MEASURING, "used", "-P", "-c", PROGRAM, *map(str, args)]
    done = subprocess.run(
        command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    code, seconds, memory = json.loads((here / "used").read_text())
    assert code == 0, done.stdout
    return Cost(seconds, memory, done.stdout)


def lengthened(short: Path, path: Path, iterations: int) -> RunFolder:
    """Make of a real run one of so many iterations, with a checkpoint of the last."""
    old = RunFolder.open(short)
    checkpoint, records = old.load_checkpoint(), old.records()
    assert checkpoint is not None
    config = TrainConfig(**TINY, total_steps=128 * (iterations + 1))
    with RunFolder.create(config, path) as run:
        with (path / "journal.jsonl").open("w") as file:
            for n in range(iterations):
                record = records[n % len(records)]
                record |= {"iteration": n, "steps": 128 * (n + 1)}
                file.write(json.dumps(record, separators=(",", ":")) + "\n")
        tensors = dict(checkpoint.tensors)
        for rank in range(config.num_peers):
            name = f"peer{rank}.peer.iteration"
            tensors[name] = tensors[name].copy()
            tensors[name][0] = iterations
        run.save_checkpoint(iterations, tensors, checkpoint.meta)
        for file in (short / "policies").iterdir():
            shutil.copy(file, path / "policies")
    return RunFolder.open(path)


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_a_run_of_a_hundred_thousand_iterations_is_handled_in_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """P2P_RECORDS iterations: it goes on for three more, and is listed, drawn, shown and tested."""
    iterations = int(os.environ.get("P2P_RECORDS", "100000"))
    drain(cohort.train(TrainConfig(**TINY, total_steps=128 * 4), out=tmp_path / "short"))
    run = lengthened(tmp_path / "short", tmp_path / "run", iterations)
    size = run.journal.path.stat().st_size
    commands = {
        "train --resume": ("train", "--resume", "run", "--plain",
                           "--total-steps", 128 * (iterations + MORE)),
        "runs": ("runs", "."),
        "plot": ("plot", "run", "--out", "curves.png"),
        "report": ("report", "run", "--frames", 2),
        "eval": ("eval", "run", "--domains", 2, "--eps-te", 0.5),
    }  # fmt: skip
    found = {name: cost(tmp_path, *args) for name, args in commands.items()}
    with capsys.disabled():
        print(f"\n{iterations} iterations, {size / 1e6:.0f} MB")
        for name, (seconds, memory, _) in found.items():
            print(f"{name}: {seconds:.1f} s, {memory / 1e6:.0f} MB")
    assert run.journal.count() == iterations + MORE
    assert [r["iteration"] for r in run.journal.last(2)] == [iterations + 1, iterations + 2]
    assert (tmp_path / "curves.png").exists()
    assert (tmp_path / "run" / "report.html").exists()
    assert "run" in found["runs"].said
    for name, (seconds, memory, _) in found.items():
        assert seconds < SECONDS, name
        assert memory < MEMORY, name
