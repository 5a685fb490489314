"""Cohorts: what happens when a run is stopped, killed, resumed or refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

import p2p
from p2p.cohort import cohort, recorder, supervisor
from p2p.cohort.checks import MAX_PEERS_PER_CORE
from p2p.cohort.events import Checkpointed, Event, Iterated, Noted
from p2p.cohort.peer_process import cores_for
from p2p.core.config import TrainConfig
from p2p.core.errors import BadArtefact, Interrupted, PeerLost, UsageError
from p2p.core.platform import STOP_SIGNALS, num_cores
from p2p.peer.reports import split_by_peer
from p2p.runs import RunFolder

SMALL = {
    "task": "hopper", "num_peers": 2, "steps_per_iteration": 512, "num_epochs": 2,
    "num_minibatches": 4, "final_episodes": 2, "checkpoint_every": 2, "total_steps": 512 * 6,
}  # fmt: skip


def small(**settings) -> TrainConfig:
    return TrainConfig(**{**SMALL, **settings})


def drain(events, upto: int | None = None, seen: list | None = None) -> list[Event]:
    """Follow a run to its end, or close it after the journal's record `upto`.

    Also adds what it sees to `seen`, which is there if it raises.
    """
    seen = [] if seen is None else seen
    for event in events:
        seen.append(event)
        if isinstance(event, Iterated) and event.record["iteration"] == upto:
            events.close()
            break
    return seen


def final_tensors(path: Path) -> dict[str, np.ndarray]:
    checkpoint = RunFolder.open(path).load_checkpoint()
    assert checkpoint is not None
    return checkpoint.tensors


def assert_same_end(one: Path, other: Path) -> None:
    """Assert that two runs ended with the same bits, in state and in journal."""
    ours, theirs = final_tensors(one), final_tensors(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)
    for a, b in zip(RunFolder.open(one).records(), RunFolder.open(other).records(), strict=True):
        assert without_times(a) == without_times(b)


TIMED = {"seconds", "elapsed", "steps_per_second", "time"}


def without_times(value: Any) -> Any:
    """Return JSON without what a clock said."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMED}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def content(file: Path) -> Any:
    """Return what a file of a run folder holds, but times."""
    if file.name == "result.json":
        return without_times(json.loads(file.read_text()))
    if file.name == "journal.jsonl":
        return [without_times(json.loads(line)) for line in file.read_text().splitlines()]
    if file.suffix != ".h5":
        return file.read_bytes()
    found: dict[str, Any] = {}
    with h5py.File(file) as h5:
        found["/"] = dict(h5.attrs)

        def keep(name: str, part: h5py.Dataset | h5py.Group) -> None:
            if not TIMED & set(name.split("/")):
                found[name] = dict(part.attrs), part[()] if hasattr(part, "shape") else None

        h5.visititems(keep)
    return found


@pytest.mark.parametrize("method", ["p2pdrl", "dnc"])
def test_equal_runs_leave_equal_folders(tmp_path, method):
    """Every byte of every file, but times: also of the state before the first reset."""
    own = {"distill_every": 2} if method == "dnc" else {}
    config = small(method=method, milestones=3, grad_variance_every=3, **own)
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        drain(cohort.train(config, out=folder))
    files = [sorted(p.relative_to(f) for p in f.rglob("*") if p.is_file()) for f in folders]
    assert files[0] == files[1]
    assert Path("milestones/iteration-00000000.safetensors") in files[0]
    for file in files[0]:
        np.testing.assert_equal(content(folders[0] / file), content(folders[1] / file), str(file))


def test_a_run_that_cuts_episodes_says_so_at_its_start(tmp_path):
    (note,) = next(cohort.train(TrainConfig(num_peers=4), out=tmp_path / "run")).notes
    assert "reset after 512 steps" in note
    assert note.endswith("with --envs-per-peer 1 episodes are whole")
    assert next(cohort.train(TrainConfig(), out=tmp_path / "other")).notes == []


def test_peers_share_cores_evenly_or_are_left_to_the_scheduler():
    """Three on two cores would leave one core with two of them for good."""
    assert [cores_for(k, 4, {3, 1}) for k in range(4)] == [{1}, {3}, {1}, {3}]
    assert cores_for(0, 3, {3, 1}) == cores_for(0, 2, {3, 1}) == cores_for(0, 1, {3, 1}) == {1, 3}


@pytest.mark.parametrize("stopped", [False, True])
def test_run_h5_is_written_now_and_then_and_whole_at_the_end(tmp_path, monkeypatch, stopped):
    """Of all its checkpoints only the first and the last are near enough to a writing."""
    monkeypatch.setattr(recorder, "H5_PAUSE", 1e9)
    written = []
    write = RunFolder.write_h5
    monkeypatch.setattr(RunFolder, "write_h5", lambda run: written.append(1) or write(run))
    config = small(checkpoint_every=1, total_steps=10**6 if stopped else 512 * 6)
    events = cohort.train(config, out=tmp_path / "run")
    if stopped:  # far from its end: the peers run ahead of what has been reported
        next(e for e in events if isinstance(e, Checkpointed) and e.iteration == 2)
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Interrupted) if stopped else nullcontext():
        drain(events)
    with h5py.File(tmp_path / "run" / "run.h5") as file:
        done = len(RunFolder.open(tmp_path / "run").records())
        assert len(file["iteration"]) == done
    assert done >= 2 if stopped else done == 6
    assert len(written) == 2


@pytest.mark.parametrize("schedule", ["iteration", "episode", "env", "carry"])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, schedule):
    """Stopped after iteration 3, so one iteration past its checkpoint is done again.

    With one thread a peer, with two, and with another number when it goes on.
    """
    varied = {"domain_schedule": schedule, "eps_tr": 1.0, "mass_randomisation": "per_link"}
    drain(cohort.train(small(**varied, threads_per_peer=1), out=tmp_path / "whole"))
    cut = small(**varied, threads_per_peer=2, envs_per_peer=2)
    drain(cohort.train(cut, out=tmp_path / "cut"), upto=2)
    events = drain(cohort.resume(tmp_path / "cut", threads_per_peer=1))
    assert events[0].resumed_from == 2
    assert_same_end(tmp_path / "whole", tmp_path / "cut")


def test_a_milestone_is_a_checkpoint_kept_for_good(tmp_path):
    """From any of them the run goes on to the same end; the start is one of them."""
    drain(cohort.train(small(milestones=3), out=tmp_path / "whole"))
    shutil.copytree(tmp_path / "whole", tmp_path / "back")
    run = RunFolder.open(tmp_path / "back")
    kept = run.milestones()
    assert [run.load_milestone(path).iteration for path in kept] == [0, 2, 4, 6]
    for path in kept[:2]:
        shutil.rmtree(run.path / "checkpoints")
        (run.path / "checkpoints").mkdir()
        shutil.copy(path, run.path / "checkpoints")
        (run.path / "result.json").unlink()
        drain(cohort.resume(run.path))
        assert_same_end(tmp_path / "whole", run.path)


def test_a_damaged_milestone_says_so(tmp_path):
    drain(cohort.train(small(milestones=1, total_steps=512), out=tmp_path / "run"))
    run = RunFolder.open(tmp_path / "run")
    path = run.milestones()[-1]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadArtefact, match=r"milestones/iteration-00000001.*other milestones"):
        run.load_milestone(path)


@pytest.mark.parametrize("goal", [{"total_steps": 512 * 6}, {"total_steps_per_peer": 256 * 6}])
def test_a_longer_goal_continues_the_same_run(tmp_path, goal):
    drain(cohort.train(small(), out=tmp_path / "whole"))
    drain(cohort.train(small(total_steps=1024), out=tmp_path / "grown"))
    drain(cohort.resume(tmp_path / "grown", **goal))
    assert_same_end(tmp_path / "whole", tmp_path / "grown")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"anneal_learning_rate": True}, "its learning rate is annealed to its end"),
        ({"method": "dnc"}, "DnC distils once more at its end"),
    ],
)
def test_a_run_whose_end_counts_keeps_its_goal(tmp_path, settings, why):
    """With a later one its numbers would not be those of a run that had it from the start."""
    RunFolder.create(small(**settings), tmp_path / "run").unlock()
    with pytest.raises(UsageError, match=f"cannot have another goal: {why}; start a new run"):
        drain(cohort.resume(tmp_path / "run", total_steps=512 * 12))
    assert RunFolder.open(tmp_path / "run").config == small(**settings)


def test_a_run_with_a_new_goal_gets_its_score_whatever_the_result_of_the_old_one(tmp_path):
    """Killed before its score, it still has the result of the goal that it had before."""
    drain(cohort.train(small(total_steps=512), out=tmp_path / "run"))
    old = (tmp_path / "run" / "result.json").read_bytes()
    (*_, whole) = drain(cohort.resume(tmp_path / "run", total_steps=1024))
    (tmp_path / "run" / "result.json").write_bytes(old)
    (*_, again) = drain(cohort.resume(tmp_path / "run"))
    assert again.scores == whole.scores
    assert RunFolder.open(tmp_path / "run").result()["steps"] == 1024


def test_the_result_has_the_seconds_of_all_sessions(tmp_path):
    drain(cohort.train(small(total_steps=512 * 4), out=tmp_path / "run"))
    first = RunFolder.open(tmp_path / "run").result()["seconds"]
    drain(cohort.resume(tmp_path / "run", total_steps=512 * 5))
    run = RunFolder.open(tmp_path / "run")
    spent = [record["seconds"] for record in run.records()]
    assert run.result()["seconds"] >= sum(spent)
    assert first >= sum(spent[:4])


def test_a_complete_run_says_so(tmp_path):
    drain(cohort.train(small(total_steps=512), out=tmp_path / "run"))
    with pytest.raises(UsageError, match=r"is complete.*--total-steps"):
        drain(cohort.resume(tmp_path / "run"))


def test_policies_act_and_peers_have_scores(tmp_path):
    run = p2p.train(small(total_steps=1024), tmp_path / "run")
    for rank in range(2):
        policy = p2p.load_policy(run.path, rank)
        assert policy.act(np.zeros((4, 11))).shape == (4, 3)
        assert policy.meta["peer"] == rank
        assert policy.meta["settings"] == run.config.identity(1024)
    with pytest.raises(UsageError, match=r"peers 0\.\.1, not 2"):
        p2p.load_policy(run.path, 2)


def test_peers_share_one_normaliser_and_start(tmp_path):
    """KL between peers means nothing if each normalises in its own way."""
    drain(cohort.train(small(total_steps=512), out=tmp_path / "run"))
    one, two = split_by_peer(final_tensors(tmp_path / "run"), 2)
    for name in ("peer.obs_moments", "peer.return_moments"):
        np.testing.assert_array_equal(one[name], two[name])
    assert one["peer.obs_moments"][0] == 512
    assert (one["engine.actor"] != two["engine.actor"]).any()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_dead_peer_ends_the_run_with_its_name(tmp_path, number):
    """The others wait for it in vain; the message names peer, phase and signal."""
    threads = 2 if number == signal.SIGKILL else 1
    config = small(total_steps=10**6, threads_per_peer=threads, max_restarts=0)
    events, seen = cohort.train(config, out=tmp_path / "run"), []
    for event in events:
        if isinstance(event, Checkpointed):
            seen.append(event)
            break
    children = find_peers(os.getpid())
    os.kill(children[1], number)
    with pytest.raises(PeerLost, match=rf"peer \d \(pid {children[1]}\) died.*{number.name}"):
        drain(events, seen=seen)
    assert not any(alive(pid) for pid in children)
    *_, saved = (event for event in seen if isinstance(event, Checkpointed))
    assert RunFolder.open(tmp_path / "run").load_checkpoint().iteration == saved.iteration


def test_a_hung_peer_is_named_and_the_run_goes_on_without_it(tmp_path):
    """Stopped, it is neither dead nor does it arrive; only its silence tells."""
    settings = {"peer_timeout": 20, "threads_per_peer": 2, "total_steps": 512 * 40}
    events = cohort.train(small(**settings), out=tmp_path / "run")
    for event in events:
        if isinstance(event, Iterated) and event.record["iteration"] == 1:
            break
    hung = find_peers(os.getpid())[0]
    os.kill(hung, signal.SIGSTOP)
    told = [event.text for event in drain(events) if isinstance(event, Noted)]
    assert len(told) == 1
    assert f"pid {hung}) hangs while" in told[0]
    assert not alive(hung)
    assert RunFolder.open(tmp_path / "run").result()["restarts"] == 1


def test_peers_that_were_suspended_with_their_parent_are_not_taken_for_hung(monkeypatch):
    """After Ctrl-Z and `fg` their last heartbeats are old, but nobody has waited for them."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic_ns", lambda: int(now[0] * 1e9))
    watched = supervisor.Supervisor(small(peer_timeout=20), None)
    watched.arena = SimpleNamespace(heartbeats=np.zeros((1, 2), np.int64))
    watched.processes = {0: SimpleNamespace(pid=1)}
    watched.since = watched.checked = 0

    def wait(seconds: float) -> None:
        for _ in range(int(seconds / supervisor.POLL)):
            now[0] += supervisor.POLL
            watched.check_heartbeats(set())

    wait(19)
    now[0] += 3600  # suspended
    wait(20)
    with pytest.raises(PeerLost, match=r"hangs while starting: no heartbeat for 2[01] s"):
        wait(1)


def find_peers(parent: int) -> list[int]:
    """Return the processes that descend from the fork server of `parent`, oldest first."""
    table: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.read_text().split(" (", 1)
            state, ppid = rest.rsplit(") ", 1)[1].split()[:2]
        except OSError:  # it ended while we looked
            continue
        if state != "Z":
            table.setdefault(int(ppid), []).append(int(pid))
    return sorted(p for child in table.get(parent, []) for p in table.get(child, []))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


SCRIPT = """
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests were started with
from p2p.cohort import cohort
from p2p.core.config import TrainConfig
from p2p.core.errors import P2PError
config = TrainConfig.model_validate_json(sys.argv[1])
try:
    for event in cohort.train(config, out=sys.argv[2]):
        print(type(event).__name__, flush=True)
except P2PError as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
"""


@pytest.fixture
def started(tmp_path):
    """A run in a process group of its own, as a terminal would start it, two iterations in.

    Its peers have two threads: those of the others in these tests, one.
    """
    config = small(total_steps=10**6, threads_per_peer=2)
    args = [sys.executable, "-P", "-c", SCRIPT, config.model_dump_json(), str(tmp_path / "run")]
    running = subprocess.Popen(args, stdout=subprocess.PIPE, text=True, start_new_session=True)
    for _ in range(3):
        running.stdout.readline()
    yield running
    running.stdout.close()
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_leaves_a_checkpoint_of_the_last_iteration(started, tmp_path, number):
    """It reaches the whole group, peers and fork server too: they leave it to the parent."""
    os.killpg(started.pid, number)
    *_, last = started.stdout.read().splitlines()
    assert started.wait(30) == 128 + number
    run = RunFolder.open(tmp_path / "run")
    done = len(run.records())
    assert f"stopped after iteration {done} of" in last
    assert f"--resume {run.path}" in last
    assert run.load_checkpoint().iteration == done


def test_peers_do_not_outlive_a_killed_parent(started):
    """SIGKILL lets nobody tidy up: the peers must notice by themselves."""
    peers = find_peers(started.pid)
    assert len(peers) >= 2
    started.kill()
    started.wait()
    deadline = time.monotonic() + 20
    while any(map(alive, peers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, peers))


def test_stopping_raises_interrupted_for_library_users(tmp_path):
    """Peers see the wish at different moments, yet all end after the same iteration."""
    events = cohort.train(small(total_steps=10**6), out=tmp_path / "run")
    for event in events:
        if isinstance(event, Iterated):
            os.kill(os.getpid(), signal.SIGINT)
            break
    with pytest.raises(Interrupted, match="continue with: p2p train --resume"):
        drain(events)


def test_ctrl_c_between_the_folder_and_the_peers_leaves_no_folder(tmp_path, monkeypatch):
    """Some milliseconds lie between, in which no run handles signals yet."""

    def interrupted(config: TrainConfig) -> list[str]:
        assert (tmp_path / "run" / "config.json").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(cohort, "_notes_on_task", interrupted)
    with pytest.raises(KeyboardInterrupt):
        drain(cohort.train(small(), out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_more_peers_than_sense_are_refused():
    many = num_cores() * MAX_PEERS_PER_CORE * 2
    config = TrainConfig(num_peers=many, steps_per_iteration=many * 64)
    with pytest.raises(UsageError, match="would only wait for one another; use at most"):
        drain(cohort.train(config))


def test_a_checkpoint_of_other_peers_is_foreign(tmp_path):
    with pytest.raises(BadArtefact, match=r"'peer7\.x', which no peer of this run owns"):
        split_by_peer({"peer7.x": np.zeros(1)}, 2)


def test_the_final_scores_stay_with_the_run(tmp_path):
    """So that a study reads them from the folder, and a run that has not ended has none."""
    (*_, last) = drain(cohort.train(small(), out=tmp_path / "run"))
    assert RunFolder.open(tmp_path / "run").result()["scores"] == last.scores
    assert [score["episodes"] for score in last.scores] == [2, 2]
    drain(cohort.train(small(), out=tmp_path / "cut"), upto=2)
    assert RunFolder.open(tmp_path / "cut").result() is None


def test_a_run_killed_before_its_score_can_still_get_it(tmp_path):
    """Its last checkpoint is there, its result and perhaps its policies are not."""
    (*_, whole) = drain(cohort.train(small(), out=tmp_path / "run"))
    for path in [tmp_path / "run" / "result.json", *(tmp_path / "run" / "policies").iterdir()]:
        path.unlink()
    (*_, again) = drain(cohort.resume(tmp_path / "run"))
    assert again.scores == whole.scores
    assert p2p.load_policy(tmp_path / "run", 1).meta["peer"] == 1


def test_an_interrupted_run_is_not_finished(started, tmp_path):
    """Whoever shows the run must not read of scores that it does not have."""
    started.send_signal(signal.SIGINT)
    assert "Finished" not in started.stdout.read().splitlines()
    assert RunFolder.open(tmp_path / "run").result() is None


def test_a_file_named_like_a_module_of_pythons_is_left_alone(tmp_path):
    """People train in folders with files of any name; the fork server must import none."""
    here, script = tmp_path / "here", tmp_path / "bin" / "run.py"
    here.mkdir()
    script.parent.mkdir()
    script.write_text(SCRIPT)
    (here / "selectors.py").write_text("raise SystemExit('imported by mistake')")
    config = small(total_steps=512).model_dump_json()
    args = [sys.executable, str(script), config, str(tmp_path / "run")]
    done = subprocess.run(args, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Finished"


def test_peers_compile_whatever_numba_is_told(tmp_path):
    """NUMBA_DISABLE_JIT, left over from debugging, killed the fork server without a word."""
    args = [sys.executable, "-P", "-c", SCRIPT, small(total_steps=512).model_dump_json()]
    done = subprocess.run(
        [*args, str(tmp_path / "run")], env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Finished"


def test_the_fork_server_ignores_signals_from_its_start():
    """Ctrl-C reaches it too, also while Python starts in it."""
    code = (
        "import os, signal, time\n"
        "from p2p.cohort import launch\n"
        "context = launch.start_server(); first = context.pid\n"
        "for _ in range(30): os.kill(first, signal.SIGINT); time.sleep(0.01)\n"
        "child = context.Process(target=os.getpid); child.start(); child.join()\n"
        "assert launch.start_server().pid == first, 'it died, another was started'"
    )
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
