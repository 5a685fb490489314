"""Two processes in one folder: one writes, and who reads meanwhile sees one state."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from made import make_policy, make_run

import p2p
from p2p.analysis.evaluation.file import EvalFile
from p2p.analysis.evaluation.subjects import load_subjects
from p2p.analysis.learning import read_learning
from p2p.core.errors import UsageError
from p2p.policy.normaliser import Moments, Normaliser
from p2p.policy.policy import Policy
from p2p.runs import RunFolder, write_atomically
from p2p.runs.listing import State, list_runs

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_two_at_once import write_rounds
write_rounds(Path(sys.argv[1]))
"""
KEEPER = """
import sys
from pathlib import Path
from p2p.analysis.evaluation.file import EvalFile, Key, Outcome
print("ready", flush=True)
sys.stdin.read()
for n in range(int(sys.argv[3])):
    key = Key(sys.argv[2], "{}", "", n, 0)
    EvalFile(Path(sys.argv[1])).keep({key: Outcome(1.0, 1, True, False)})
"""

READINGS = 10  # at least, however fast the other process writes


def policy_at(iteration: int, rank: int) -> Policy:
    """Return a policy of which every part says which iteration it is of."""
    made = make_policy(peer=rank, iterations=iteration)
    number = np.full_like(made.actor, iteration)
    moments = Moments(1.0, np.full(made.obs_dim, float(iteration)), np.ones(made.obs_dim))
    return made.with_actor(number, Normaliser.of(moments, 10.0, True))


def write_rounds(folder: Path) -> None:
    """Write records, checkpoints and policies as a run does, until the parent closes stdin."""
    stopped = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
    with RunFolder.open(folder) as run:
        iteration = 0
        while not stopped.is_set():
            write_round(run, iteration := iteration + 1)
            print(iteration, flush=True)


def write_round(run: RunFolder, iteration: int) -> None:
    """Write what one checkpoint writes, in the parent's order."""
    peer = {"domain": "", "factors": {}, "episodes": [[1.0, 2]], "reward_per_step": 1.0,
            "terminations_per_step": 0.0, "entropy": 1.0}  # fmt: skip
    record = {"iteration": iteration - 1, "steps": 4096 * iteration, "seconds": 1.0}
    run.append({**record, "peers": [peer, peer]})
    policies = [policy_at(iteration, rank) for rank in range(2)]
    tensors = {}
    for rank, policy in enumerate(policies):
        moments = Moments(1.0, policy.normaliser.mean, np.ones(policy.obs_dim))
        tensors[f"peer{rank}.engine.actor"] = policy.actor
        tensors[f"peer{rank}.peer.obs_moments"] = moments.to_vector()
    run.save_checkpoint(iteration, tensors, {})
    for rank, policy in enumerate(policies):
        write_atomically(run.policy_path(rank), policy.to_bytes(), "policy")
    run.write_h5()


def check_one_state(folder: Path, least: int = 1) -> int:
    """Check that all policies that an evaluation would test are of one iteration; return which."""
    (subject,) = load_subjects([folder])
    seen = {int(policy.meta["iterations"]) for policy in subject.policies}
    for policy in subject.policies:
        seen |= {int(n) for n in (policy.actor[0], policy.actor[-1])}
        seen |= {int(n) for n in policy.normaliser.mean}
    (iteration,) = seen
    assert iteration >= least
    return iteration


def watch(folder: Path, iterations: int) -> int:
    """Read what commands read, while another process writes that many; return the readings."""
    command = [sys.executable, "-P", "-c", WRITER, str(folder), str(Path(__file__).parent)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as writer:
        assert writer.stdout.readline() == b"1\n"
        seen, readings = 1, 0
        while seen < iterations or readings < READINGS:
            seen, readings = check_one_state(folder, seen), readings + 1
            run = RunFolder.open(folder)
            assert run.load_checkpoint().iteration >= seen
            numbers = [record["iteration"] for record in run.records()]
            assert numbers == list(range(len(numbers)))
            assert len(numbers) >= seen
            assert read_learning(folder).points[-1]["iterations"] >= seen
            (listed,) = list_runs(folder)
            assert listed.state is State.RUNNING
            assert listed.steps >= 4096 * seen
            with pytest.raises(UsageError, match=f"is being written by process {writer.pid}"):
                run.lock()
        writer.stdin.close()
        assert writer.wait() == 0
    return readings


def two_evaluations(folder: Path, rows: int) -> None:
    """Let two processes keep episodes in one file; none of them may be lost."""
    commands = [[sys.executable, "-P", "-c", KEEPER, str(folder), name, str(rows)] for name in "ab"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    running = [subprocess.Popen(command, **pipes) for command in commands]
    assert [process.stdout.readline() for process in running] == [b"ready\n"] * 2
    for process in running:
        process.stdin.close()
        process.stdout.close()
    assert [process.wait() for process in running] == [0, 0]
    kept = EvalFile(folder)
    kept.load()
    assert {(key.policy, key.start) for key in kept.rows} == {
        (name, n) for name in "ab" for n in range(rows)
    }


def test_who_reads_a_run_that_trains_sees_one_state(tmp_path):
    """Policies and normalisers of one iteration, the journal that led there, and no older ones."""
    assert watch(make_run(tmp_path / "run", num_peers=2), iterations=3) >= READINGS


def test_two_evaluations_keep_each_others_episodes(tmp_path):
    two_evaluations(tmp_path, rows=5)


def test_an_evaluation_waits_for_a_checkpoint_that_is_being_written(tmp_path):
    """One peer's policy was of the new iteration, the other's of the old one."""
    folder = make_run(tmp_path / "run", num_peers=2)
    with RunFolder.open(folder) as run:
        write_round(run, 1)
        write_atomically(run.policy_path(0), policy_at(2, 0).to_bytes())
        late = run.policy_path(1), policy_at(2, 1).to_bytes()
        threading.Timer(0.3, write_atomically, late).start()
        assert check_one_state(folder) == 2


def test_of_a_run_killed_between_two_policies_the_checkpoint_is_evaluated(tmp_path):
    folder = make_run(tmp_path / "run", num_peers=2)
    with RunFolder.open(folder) as run:
        write_round(run, 1)
        old = run.policy_path(1).read_bytes()
        write_round(run, 2)
    run.policy_path(1).write_bytes(old)
    assert check_one_state(folder) == 2
    assert p2p.load_policy(folder, 1).meta["iterations"] == 1  # the file is as it was


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_two_at_once(tmp_path):
    """P2P_ROUNDS=n: readings while a run writes n iterations, and n rows by two."""
    rounds = int(os.environ.get("P2P_ROUNDS", "500"))
    print(f"{watch(make_run(tmp_path / 'run', num_peers=2), rounds)} readings")
    two_evaluations(tmp_path, rounds)
