"""Studies through submitit: what is submitted, what is said of it, and the job of a run.

Slurm is played (`played_slurm`); `test_slurm_cluster.py` has a real one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from test_study import P2P, TINY, p2p, plan, study_file, wait_for

from p2p.core import registry
from p2p.core.errors import UsageError
from p2p.runs import RunFolder
from p2p.study import State, slurm, slurm_job
from p2p.study.slurm_queue import Job
from p2p.study.submissions import Status, Submissions

SCRIPT = Path(__file__).with_name("played_slurm.py")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster that takes jobs and runs none; return the folder with its jobs."""
    pytest.importorskip("submitit")
    commands, jobs = tmp_path / "bin", tmp_path / "cluster"
    commands.mkdir()
    jobs.mkdir()
    for name in ("sbatch", "srun", "squeue", "scontrol", "sacct"):
        (commands / name).write_text(f'#!/bin/sh\nexec {sys.executable} -S {SCRIPT} {name} "$@"\n')
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("PLAYED_SLURM", str(jobs))
    return jobs


def command(folder: Path, *args: str) -> list[str]:
    words = ["study", folder / "tiny.toml", "--out", folder / "out", "--engine", "slurm", *args]
    return [str(word) for word in words]


def study(folder: Path, *args: str) -> Result:
    return p2p(*command(folder, *args))


def scripts(cluster: Path) -> list[str]:
    return [file.read_text() for file in sorted(cluster.glob("*.sh"))]


def options(script: str) -> dict[str, str]:
    return dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", script, re.MULTILINE))


def say(cluster: Path, job: str, **fields: str) -> None:
    """Let a job be in another state."""
    file = cluster / f"{job}.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


# What is submitted


def test_each_run_is_a_job_of_one_array(tmp_path, cluster):
    """With as many CPUs as it has peers, a queue to go back to, and a notice before the end."""
    study_file(tmp_path, 'method = "p2pdrl"\nseed = [0, 1, 2, 3, 4, 5]')
    done = study(tmp_path, "--jobs", "2", "--time", "3h30m", "--slurm", "partition=cpu",
                 "--slurm", "signal-delay-s=240", "--slurm", "setup=module load python",
                 "--slurm", "setup=ulimit -c 0", "--slurm", "exclusive=true")  # fmt: skip
    assert done.exit_code == 0, done.output
    (script,) = scripts(cluster)
    asked = options(script)
    assert asked["array"] == "0-5%2"
    assert asked["cpus-per-task"] == "2"
    assert (asked["time"], asked["partition"], asked["signal"]) == ("3:30:00", "cpu", "USR2@240")
    assert {"requeue", "exclusive"} <= asked.keys()
    assert "wckey" not in asked
    assert "\nmodule load python\nulimit -c 0\n" in script
    (srun,) = [line for line in script.splitlines() if line.startswith("srun ")]
    assert "--cpus-per-task=2" in srun.split()
    assert f"{sys.executable} -P -m p2p.study.slurm_job {tmp_path}" in srun
    assert "submitted 6 runs as job 1, p2p-tiny-1-" in done.stdout
    assert "0 of 6 runs complete, 6 queued; 0% of 6,144 steps" in done.stdout


def test_without_a_time_the_limit_is_the_partitions(tmp_path, cluster):
    """That of submitit would be five minutes."""
    study_file(tmp_path, "seed = 1")
    study(tmp_path)
    assert "time" not in options(scripts(cluster)[0])


def test_runs_that_need_other_cpus_are_other_arrays_and_the_longest_go_first(tmp_path, cluster):
    study_file(tmp_path, 'task = ["hopper", "humanoid"]\nnum_peers = [1, 4]',
               "threads_per_peer = 2\nnum_peers = 4")  # fmt: skip
    done = study(tmp_path)
    assert [options(script)["cpus-per-task"] for script in scripts(cluster)] == ["1", "4", "8"]
    arrays = Submissions(tmp_path / "out").all()
    assert [len(array.runs) for array in arrays] == [2, 2, 1]
    assert all(array.runs[0].startswith("humanoid") for array in arrays[:2])
    assert done.stdout.count("submitted") == 3


def test_nothing_is_pickled_and_code_is_named_by_the_command_alone(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(registry, "_added", {})
    own = tmp_path / "own.py"
    own.write_text("import p2p\nclass Own(p2p.task('hopper')):\n    pass\n")
    study_file(tmp_path, 'task = "own.py:Own"')
    done = study(tmp_path, "--task", f"{own}:Own")
    assert done.exit_code == 0, done.output
    assert str(own) in scripts(cluster)[0]
    kept = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert {file.suffix for file in kept} <= {".sh", ".json", "", ".status"}
    assert not any(str(own) in file.read_text() for file in kept if file.suffix == ".json")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--slurm", "partiton=x"], "--slurm partiton: submitit has no such parameter; did you"),
        (["--slurm", "partition"], "--slurm partition: write KEY=VALUE, as in partition=cpu"),
        (["--slurm", "qos=a", "--slurm", "qos=b"], "--slurm qos is given twice"),
        (["--slurm", "time=5"], "--slurm time: give --time"),
        (["--slurm", "nodes=2"], "--slurm nodes: a run's job has one node"),
        (["--slurm", "cpus_per_task=two"], "--slurm cpus_per_task=two: give a whole number"),
        (["--engine", "local", "--retry", "--time", "1h"], "--time, --retry: only with --engine"),
        (["--time", "1m"], "--time 60s is within the notice of its end, 90 s; give a longer one"),
        (["--time", "90"], "Invalid value for '--time': '90' is not a valid time; write 90m"),
    ],
)
def test_what_cannot_be_asked_for_is_one_line_before_anything_is_submitted(
    tmp_path, cluster, args, message
):
    study_file(tmp_path, "seed = 1")
    done = study(tmp_path, *args)
    (line,) = done.stderr.splitlines()
    assert (done.exit_code, line.startswith(f"error: {message}")) == (2, True), line
    assert not (tmp_path / "out").exists()
    assert scripts(cluster) == []


def test_what_slurm_refuses_is_one_line(tmp_path, cluster):
    (cluster / "refuse").write_text("sbatch: error: invalid partition specified: cpus\n")
    study_file(tmp_path, "seed = 1")
    done = study(tmp_path, "--slurm", "partition=cpus")
    said = "error: sbatch failed: invalid partition specified: cpus; these runs were not submitted"
    assert (done.exit_code, done.stderr.splitlines()) == (1, [said])
    (cluster / "refuse").unlink()
    assert "submitted 1 run" in study(tmp_path).stdout


def test_without_slurm_or_submitit_it_says_what_is_missing(tmp_path, monkeypatch):
    study_file(tmp_path, "seed = 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    done = study(tmp_path)
    assert (done.exit_code, "there is no srun here" in done.stderr) == (2, True)
    monkeypatch.setitem(sys.modules, "submitit", None)
    done = study(tmp_path)
    assert done.exit_code == 2
    assert "install it with: pip install 'p2pdrl[slurm]'" in done.stderr
    assert not (tmp_path / "out").exists()


# What is said of it


def test_the_same_command_submits_only_what_is_neither_done_nor_queued(tmp_path, cluster):
    file = study_file(tmp_path, "seed = [1, 2]")
    study(tmp_path)
    assert "submitted" not in study(tmp_path).stdout
    file.write_text(file.read_text().replace("[1, 2]", "[1, 2, 3]"))
    done = study(tmp_path, "--plain")
    assert "queued    hopper-p2pdrl-seed=1  Resources" in done.stdout
    assert "submitted 1 run as job 2" in done.stdout
    (first, second) = Submissions(tmp_path / "out").all()
    assert (len(first.runs), list(second.runs)) == (2, ["hopper-p2pdrl-seed=3"])
    say(cluster, "1_1", state="CANCELLED")
    looked = study(tmp_path, "--results-only", "--plain").stdout
    assert "0 of 3 runs complete, 2 queued, 1 waiting" in looked
    assert "submitted 1 run as job 3" in study(tmp_path).stdout


def test_if_slurm_does_not_answer_nothing_is_submitted(tmp_path, cluster):
    """Else a run that is queued might be submitted twice."""
    study_file(tmp_path, "seed = 1")
    study(tmp_path)
    (cluster / "down").touch()
    done = study(tmp_path)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: squeue failed: slurm_load_jobs error: Unable to contact")
    assert len(scripts(cluster)) == 1


def test_a_submitter_that_is_killed_loses_nothing_and_needs_no_torch(tmp_path, cluster):
    """Slurm has taken the jobs, and the submitter does not know yet."""
    study_file(tmp_path, "seed = [1, 2]")
    (cluster / "hang").touch()
    submitter = subprocess.Popen(
        [*P2P, *command(tmp_path)], stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 30
    while not (cluster / "1_1.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(submitter.pid, signal.SIGKILL)
    submitter.wait()
    (cluster / "hang").unlink()
    (one,) = Submissions(tmp_path / "out").all()
    assert one.job is None
    light = "import atexit; atexit.register(lambda: print('torch' in __import__('sys').modules))"
    again = [*P2P[:-1], f"{light}; {P2P[-1]}", *command(tmp_path)]
    said = subprocess.run(again, capture_output=True, text=True, check=True).stdout
    assert "2 queued" in said
    assert said.endswith("False\n")
    assert len(scripts(cluster)) == 1


WAITS, FAILED = State.WAITING, State.FAILED


def status(code: int | None, error: str = "") -> Status:
    return Status("s", "7_0", "node3", "7_0.out", code, error)


@pytest.mark.parametrize(
    ("job", "said", "state", "shown"),
    [
        (Job("7_0", "PENDING", "Priority"), None, State.QUEUED, "Priority"),
        (Job("7_0", "REQUEUE_HOLD", "JobHeldUser"), status(140), State.QUEUED, "JobHeldUser"),
        (Job("7_0", "RUNNING"), status(None), State.RUNNING, "job 7_0 on node3"),
        (Job("7_0", "RUNNING"), None, State.RUNNING, "job 7_0"),
        (Job("7_0", "FAILED"), status(3, "diverged"), FAILED, "diverged (see 7_0.out)"),
        (None, status(4, "peer 1 died"), FAILED, "peer 1 died (see 7_0.out)"),
        (Job("7_0", "FAILED"), status(143), WAITS, ""),
        (Job("7_0", "CANCELLED"), status(None), WAITS, ""),
        (Job("7_0", "TIMEOUT"), status(None), WAITS, ""),
        (Job("7_0", "NODE_FAIL"), status(None), WAITS, ""),
        (Job("7_0", "OUT_OF_MEMORY"), status(None), FAILED, "Slurm says OUT_OF_MEMORY (see LOG)"),
        (Job("7_0", "FAILED"), None, FAILED, "Slurm says FAILED (see LOG)"),
        (Job("7_0", "COMPLETED"), status(0), WAITS, ""),  # the study now asks for more
        (None, status(None), WAITS, ""),
        (None, None, WAITS, ""),
    ],
)
def test_what_a_job_and_slurm_say_makes_the_state_of_a_run(tmp_path, job, said, state, shown):
    """What was cut off goes on by itself; what failed by itself waits for a person."""
    (run,) = plan(tmp_path, "").runs
    log = tmp_path / "LOG"
    slurm.judge(run, job, said, log)
    assert (run.state, (run.error or run.note).replace(str(log), "LOG")) == (state, shown)


def test_a_job_that_ends_before_python_does_is_known_by_its_log(tmp_path):
    """Slurm forgets a job after minutes, where it has no accounting."""
    (run,) = plan(tmp_path, "").runs
    log = tmp_path / "log"
    log.write_text("srun: error: python: no such file\n")
    slurm.judge(run, None, None, log)
    assert (run.state, run.error) == (FAILED, f"its job ended before it began (see {log})")


def test_accounting_tells_of_a_job_that_the_queue_has_forgotten(tmp_path, cluster):
    study_file(tmp_path, "seed = [1, 2]")
    study(tmp_path)
    (one,) = Submissions(tmp_path / "out").all()
    for job in cluster.glob("1_*.json"):
        job.unlink()
    (cluster / "accounted").write_text(
        f"{one.name}|1_0|OUT_OF_MEMORY\n{one.name}|1_1|CANCELLED by 1000\n"
    )
    done = study(tmp_path, "--plain")
    assert "failed    hopper-p2pdrl-seed=1  Slurm says OUT_OF_MEMORY (see " in done.stdout
    assert done.exit_code == 1
    assert "submitted 1 run as job 2" in done.stdout
    assert "submitted 1 run as job 3" in study(tmp_path, "--retry").stdout


def test_json_has_the_state_of_every_run_and_what_was_submitted(tmp_path, cluster):
    study_file(tmp_path, "seed = [1, 2]")
    events = [json.loads(line) for line in study(tmp_path, "--json").stdout.splitlines()]
    assert [e["state"] for e in events if e["event"] == "run"][-2:] == ["queued", "queued"]
    (made,) = [event for event in events if event["event"] == "submitted"]
    assert (made["job"], made["runs"]) == ("1", ["hopper-p2pdrl-seed=1", "hopper-p2pdrl-seed=2"])


# The job


@pytest.fixture
def job(tmp_path: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes the job of a run that was submitted, and has said so."""
    study_file(tmp_path, "seed = 1")
    study(tmp_path)
    (one,) = Submissions(tmp_path / "out").all()
    monkeypatch.setenv("SLURM_JOB_ID", "1_0")

    def make() -> slurm_job.Job:
        say(cluster, "1_0", requeue="")
        made = slurm_job.Job(tmp_path / "out" / "slurm" / f"{one.name}.json", 0, "1_0")
        made.begin()
        return made

    return make


def is_requeued(cluster: Path) -> bool:
    return bool(json.loads((cluster / "1_0.json").read_text())["requeue"])


@pytest.mark.parametrize(
    ("number", "again"),
    [(signal.SIGUSR1, True), (signal.SIGUSR2, True), (signal.SIGTERM, False)],
)
def test_a_notice_puts_the_job_into_the_queue_again_and_scancel_does_not(
    job, cluster, number, again
):
    one = job()
    one.progress(steps=512, seconds=1.0)
    assert one.stopped(number) == 128 + number
    assert is_requeued(cluster) is again


def test_the_signal_of_its_own_requeue_does_not_change_what_a_job_has_said(job, monkeypatch):
    """Slurm sends SIGTERM before `scontrol requeue` has returned."""
    monkeypatch.setattr(slurm_job, "end_now", lambda *_: None)
    one = job()
    one.stopped(signal.SIGUSR2)
    one.end_now(signal.SIGTERM, None)
    status = one.submissions.status_of(one.run)
    assert status is not None
    assert status.exit_code == 128 + signal.SIGUSR2


def test_a_limit_that_leaves_no_time_for_an_iteration_ends_it_for_good(job, cluster, tmp_path):
    """Three times in a row, that is: what an iteration gains counts anew."""
    codes = []
    for gained in (None, None, 1.0, None, None, None):
        one = job()
        one.progress(steps=512, seconds=gained)
        codes.append(one.stopped(signal.SIGUSR2))
    assert codes == [140] * 5 + [UsageError.exit_code]
    assert not is_requeued(cluster)
    say(cluster, "1_0", state="FAILED")
    assert "give them a longer --time" in study(tmp_path).stderr


def test_a_run_that_fails_is_not_requeued_and_is_tried_again_when_asked(tmp_path, job, cluster):
    assert job().ended(3, "peer 0 diverged") == 3
    assert not is_requeued(cluster)
    say(cluster, "1_0", state="FAILED")
    for _ in range(2):
        done = study(tmp_path)
        assert done.exit_code == 3
        assert "1 of 1 runs failed, first hopper-p2pdrl-seed=1: peer 0 diverged" in done.stderr
    assert len(scripts(cluster)) == 1
    done = study(tmp_path, "--retry")
    assert (done.exit_code, len(scripts(cluster))) == (0, 2)


def test_a_job_trains_checkpoints_at_a_notice_and_goes_on_to_the_table(
    tmp_path, cluster, monkeypatch
):
    """Its own process, under a played Slurm that runs it: what people see of a time limit."""
    monkeypatch.setenv("PLAYED_SLURM_RUNS", "1")
    head = TINY.replace("1024", "30720") + "checkpoint_every = 1000\nmilestones = 0\n"
    study_file(tmp_path, 'method = "ppo"\nhidden_sizes = [8, 8]\nseed = 1', head=head)
    study(tmp_path, "--time", "1h")
    path = tmp_path / "out" / "hopper-ppo-seed=1"
    log = tmp_path / "out" / "slurm" / "1_0_0_log.out"
    wait_for(lambda: (path / "journal.jsonl").exists())
    pid = json.loads((cluster / "1_0.json").read_text())["pid"]
    os.killpg(int(pid), signal.SIGUSR2)
    wait_for(lambda: log.read_text().count("job 1_0 on") == 2)
    assert f"running   {path.name}" in study(tmp_path, "--plain").stdout
    stopped = re.search(r"stopped after iteration (\d+) of 60", log.read_text())
    assert stopped is not None, log.read_text()
    assert 0 < int(stopped[1]) < 60
    wait_for(lambda: json.loads((cluster / "1_0.json").read_text())["state"] == "COMPLETED")
    said = study(tmp_path, "--save", str(tmp_path / "saved")).stdout
    assert "1 of 1 runs complete; 100% of 30,720 steps" in said
    assert "hopper  ppo" in said
    assert (tmp_path / "saved" / "tiny.csv").read_text().count("\n") == 2
    records = RunFolder.open(path).records()
    assert [record["iteration"] for record in records] == list(range(60))
    assert "Traceback" not in log.read_text()
