"""Studies on a real Slurm cluster: what becomes of a run whatever happens to its job.

It needs a cluster of one node or more whose queue is empty, and takes minutes; `test_slurm.py`
tests the same with a Slurm that is played.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from test_study import P2P

from p2p.cohort import api
from p2p.runs import RunFolder
from p2p.study import read_study
from p2p.study.submissions import Submissions

pytestmark = [
    pytest.mark.skipif(
        shutil.which("sbatch") is None, reason="needs a Slurm cluster: there is no sbatch here"
    ),
    pytest.mark.timeout(1500),
]
LONG = 300.0  # s; Slurm alone leaves a job that was requeued in the queue for two minutes
HEAD = """
name = "{name}"
[settings]
method = "ppo"
steps_per_iteration = 512
num_minibatches = 8
num_epochs = 2
checkpoint_every = 5
final_episodes = 2
total_steps = {steps}
[[grid]]
{grid}
"""


class Cluster:
    """A study on the cluster."""

    def __init__(self, folder: Path, steps: int, grid: str = "seed = 1", more: str = "") -> None:
        self.out, self.file = folder / "out", folder / "s.toml"
        self.file.write_text(HEAD.format(name=folder.name[:20], steps=steps, grid=grid) + more)
        (self.path, *_) = [self.out / f"hopper-ppo-seed={c.seed}" for c in self.configs]
        self.submissions = Submissions(self.out)

    @property
    def configs(self):
        return read_study(self.file).configs

    def study(self, *args: str, code: int = 0) -> str:
        """Run the command, and return what it prints."""
        done = subprocess.run(
            [*P2P, *self.command(*args)], capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def command(self, *args: str) -> list[str]:
        words = ["study", self.file, "--out", self.out, "--engine", "slurm", "--plain", *args]
        return [str(word) for word in words]

    def job(self) -> str:
        (one,) = self.submissions.all()
        return f"{one.job}_0"

    def wait(self, until: Callable[[], object], seconds: float = LONG) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                logs = [log.read_text() for log in self.submissions.folder.glob("*.out")]
                raise AssertionError("\n".join([self.study("--results-only"), *logs, queue()]))
            time.sleep(0.5)

    def has_begun(self) -> bool:
        return any((self.path / "checkpoints").glob("*")) and self.done > 12

    @property
    def done(self) -> int:
        return len(RunFolder.open(self.path).records()) if self.path.exists() else 0

    def finish(self) -> None:
        self.wait(lambda: "1 complete" in self.study("--results-only"))


def queue() -> str:
    return subprocess.check_output(["squeue", "-h", "-r", "-o", "%i %T %r"], text=True)


def bits(path: Path) -> list[object]:
    """Return all that a run computes: its last checkpoint, journal and scores."""
    run = RunFolder.open(path)
    last = run.load_checkpoint()
    result = run.result()
    assert last is not None
    assert result is not None
    with safe_open(last.path, "numpy") as file:
        tensors = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
    peers = [{k: v for k, v in r["peers"][0].items() if k != "time"} for r in run.records()]
    return [last.iteration, tensors, peers, result["scores"]]


@pytest.fixture
def cluster(tmp_path):
    made = []

    def make(*args: object, **kwargs: object) -> Cluster:
        made.append(Cluster(tmp_path, *args, **kwargs))
        return made[0]

    yield make
    for one in made:
        for submission in one.submissions.all():
            subprocess.run(["scancel", "--name", submission.name], check=False)


def undisturbed(one: Cluster, tmp_path: Path) -> list[object]:
    return bits(api.train(one.configs[0], tmp_path / "alone").path)


def test_an_array_of_six_runs_completes(cluster):
    """Nobody stays; the same command shows how they do and at last has the table."""
    more = "[evaluate]\neps_te = [0, 1]\ndomains = 2\n"
    one = cluster(4096, "seed = [0, 1, 2, 3, 4, 5]", more)
    said = one.study("--jobs", "2", "--time", "10m")
    assert "submitted 6 runs as job" in said
    assert "6 queued" in said
    again = one.study()
    assert "submitted" not in again
    one.wait(lambda: "6 of 6 runs complete" in one.study())
    assert (one.out / "results.csv").read_text().count("\n") == 7
    (submission,) = one.submissions.all()
    script = (one.submissions.folder / f"{submission.job}_submission.sh").read_text()
    assert "#SBATCH --array=0-5%2" in script


def test_a_run_that_is_requeued_midway_has_the_bits_of_one_left_alone(cluster, tmp_path):
    one = cluster(200 * 512)
    one.study()
    one.wait(one.has_begun)
    subprocess.run(["scontrol", "requeue", one.job()], check=True)
    one.wait(lambda: "PENDING" in queue())
    assert 0 < one.done < 200
    assert "1 queued" in one.study("--results-only")
    one.finish()
    assert bits(one.path) == undisturbed(one, tmp_path)


def test_a_run_goes_on_after_its_time_limit(cluster, tmp_path):
    """A minute is the least that Slurm takes; the notice comes after a quarter of it."""
    one = cluster(1200 * 512)  # longer than a quarter of a minute, also on a quick core
    one.study("--time", "1m", "--slurm", "signal_delay_s=45")
    log = one.submissions.log_of(one.job())
    one.wait(lambda: log.exists() and "$ scontrol requeue" in log.read_text())
    kept = RunFolder.open(one.path).load_checkpoint()
    assert kept is not None
    assert kept.iteration == one.done < 1200
    status = one.submissions.status_of(one.path.name)
    assert status is not None
    assert (status.exit_code, status.idle) == (128 + signal.SIGUSR2, 0)
    assert "1 queued" in one.study()
    one.wait(lambda: "1 complete" in one.study("--results-only"), 1200)
    assert bits(one.path) == undisturbed(one, tmp_path)


def test_the_run_of_a_lost_node_goes_on(cluster, tmp_path):
    """Slurm itself puts its job into the queue again."""
    one = cluster(200 * 512)
    one.study()
    one.wait(one.has_begun)
    status = one.submissions.status_of(one.path.name)
    assert status is not None
    change = ["scontrol", "update", f"nodename={status.host}", "reason=test"]
    subprocess.run([*change, "state=down"], check=True)
    one.wait(lambda: "PENDING" in queue())
    assert one.done < 200
    subprocess.run([*change, "state=resume"], check=True)
    one.finish()
    assert bits(one.path) == undisturbed(one, tmp_path)


def test_scancel_leaves_a_checkpoint_and_the_same_command_goes_on(cluster, tmp_path):
    one = cluster(200 * 512)
    one.study()
    one.wait(one.has_begun)
    subprocess.run(["scancel", one.job()], check=True)
    one.wait(lambda: not queue())
    checkpoint = RunFolder.open(one.path).load_checkpoint()
    assert checkpoint is not None
    assert 0 < checkpoint.iteration == one.done < 200
    said = one.study("--results-only")
    assert "1 waiting" in said
    assert "submitted 1 run as job" in one.study()
    one.finish()
    assert bits(one.path) == undisturbed(one, tmp_path)


def test_a_submitter_that_is_killed_loses_nothing_and_no_run_is_submitted_twice(cluster, tmp_path):
    """It is killed when Slurm has the jobs, and it does not know yet."""
    one = cluster(20 * 512, "seed = [1, 2]")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    shim, real = bin_ / "sbatch", shutil.which("sbatch")
    shim.write_text(f'#!/bin/sh\n{real} "$@" >{bin_}/said\nsleep 60\n')
    shim.chmod(0o755)
    env = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}"}
    submitter = subprocess.Popen([*P2P, *one.command()], env=env, stdout=subprocess.DEVNULL)
    one.wait(lambda: (bin_ / "said").exists() and (bin_ / "said").read_text())
    submitter.kill()
    submitter.wait()
    (submission,) = one.submissions.all()
    assert submission.job is None
    assert "submitted" not in one.study()
    one.wait(lambda: "2 of 2 runs complete" in one.study())
    assert len(one.submissions.all()) == 1


def test_a_run_that_fails_by_itself_is_not_run_again_until_it_is_asked_for(cluster):
    one = cluster(20 * 512, "seed = 1\nlearning_rate = 1e30")
    one.study()
    one.wait(lambda: not queue())
    said = one.study(code=3)
    assert "failed    hopper-ppo-seed=1" in said
    assert f"(see {one.submissions.log_of(one.job())})" in " ".join(said.split())
    assert len(one.submissions.all()) == 1
    assert not queue()
    assert "submitted 1 run as job" in one.study("--retry")


def test_a_job_has_a_log_that_begins_with_its_run_and_runs_the_submitters_python(cluster):
    """So a person who looks at Slurm's files knows what is what."""
    one = cluster(20 * 512)
    one.study()
    one.wait(lambda: not queue())
    log = one.submissions.log_of(one.job()).read_text()
    assert log.startswith(f"hopper-ppo-seed=1: job {one.job()} on ")
    assert sys.executable in next(one.submissions.folder.glob("*_submission.sh")).read_text()
