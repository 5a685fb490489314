"""A cohort that has lost a peer starts again from its checkpoint, and ends as if it had not."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import storms
from test_cohort import alive, assert_same_end, drain, find_peers, small

import p2p
from p2p.cohort import cohort, launch
from p2p.cohort.events import Event, Iterated, Noted, Started
from p2p.cohort.forkserver import ForkServer
from p2p.cohort.restarts import Restarts
from p2p.core.errors import PeerLost
from p2p.core.signals import StopSignals
from p2p.runs import RunFolder

SETTINGS = {
    "final_episodes": 1, "milestones": 1, "num_epochs": 1, "checkpoint_every": 3,
    "total_steps": 512 * 12,
}  # fmt: skip
Kill = Callable[[], None]


def kill_peer() -> None:
    os.kill(find_peers(os.getpid())[-1], signal.SIGKILL)


def kill_server() -> None:
    os.kill(launch.prepare("fused").pid, signal.SIGKILL)


def followed(events, kills: list[tuple[int, Kill]]) -> list[Event]:
    """Follow a run; at its start (-1) or after the iteration next in `kills`, kill something."""
    seen = []
    for event in events:
        seen.append(event)
        at = event.record["iteration"] if isinstance(event, Iterated) else None
        at = -1 if isinstance(event, Started) else at
        if kills and at == kills[0][0]:
            kills.pop(0)[1]()
    return seen


def warnings_of(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Noted) and event.is_warning]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "run"
    drain(cohort.train(small(**SETTINGS), out=path))
    return path


def test_a_cohort_that_loses_peers_starts_again_and_ends_with_the_same_bits(tmp_path, whole):
    """At its start, after a checkpoint, and with the process that starts the peers."""
    path = tmp_path / "run"
    kills = [(-1, kill_peer), (4, kill_server), (7, kill_peer)]
    seen = followed(cohort.train(small(**SETTINGS), out=path), kills)
    assert kills == []
    first, second, third = warnings_of(seen)
    assert "died while" in first
    assert first.endswith("restarting from the start (restart 1 of 3)")
    assert second.startswith("the process that starts others (pid ")
    assert "died: signal SIGKILL" in second
    begun = [event.resumed_from for event in seen if isinstance(event, Started)]
    assert begun[:2] == [0, 0]
    assert begun[2] in (3, 6)  # the peers are ahead of what is told
    assert second.endswith(f"restarting from iteration {begun[2]} (restart 2 of 3)")
    assert third.endswith(f"restarting from iteration {begun[3]} (restart 3 of 3)")
    assert_same_end(path, whole)
    run = RunFolder.open(path)
    result, undisturbed = run.result(), RunFolder.open(whole).result()
    assert result["scores"] == undisturbed["scores"]
    assert (result["restarts"], undisturbed.get("restarts")) == (3, None)
    noted = [json.loads(line) for line in (path / "restarts.jsonl").read_text().splitlines()]
    assert [one["why"] in said for one, said in zip(noted, warnings_of(seen), strict=True)]
    assert [one["again_from"] for one in noted] == begun[1:]
    times = [record["elapsed"] for record in run.records()]
    assert times == sorted(times)
    assert sum(record["seconds"] for record in run.records()) == pytest.approx(times[-1])


def test_a_run_that_loses_a_peer_each_time_ends_after_as_many_restarts_as_it_may(tmp_path):
    """With what to do, and where it always happened; the next session has its own restarts."""
    config = small(**SETTINGS, max_restarts=1)
    kills = [(4, kill_peer), (-1, kill_peer)]
    with pytest.raises(PeerLost) as lost:
        followed(cohort.train(config, out=tmp_path / "run"), kills)
    assert "; it was restarted once (--max-restarts 1)" in str(lost.value)
    assert str(lost.value).endswith(f"; continue with: p2p train --resume {tmp_path}/run")
    kills = [(-1, kill_peer)]
    with pytest.raises(PeerLost, match="died"):
        followed(cohort.resume(tmp_path / "run", max_restarts=0), kills)
    assert RunFolder.open(tmp_path / "run").config.max_restarts == 0
    assert len((tmp_path / "run" / "restarts.jsonl").read_text().splitlines()) == 1


def test_a_run_that_dies_in_the_same_iteration_each_time_says_so(tmp_path):
    with RunFolder.create(small(max_restarts=2), tmp_path / "run") as run, StopSignals() as signals:
        restarts = Restarts(run, run.config, "continue")
        lost = PeerLost("peer 0 died")
        for n in (1, 2):
            begin, said = restarts.go_back(lost, None, signals)
            assert said == f"peer 0 died; restarting from the start (restart {n} of 2)"
            assert (begin.states, begin.done) == (None, 0)
        with pytest.raises(
            PeerLost, match=r"2 times .*, and each time lost a peer after iteration"
        ):
            restarts.go_back(lost, None, signals)


def test_a_run_that_is_to_stop_is_not_started_again(tmp_path):
    with RunFolder.create(small(), tmp_path / "run") as run, StopSignals() as signals:
        signals.request(signal.SIGTERM)
        with pytest.raises(PeerLost, match=r"^peer 0 died$"):
            Restarts(run, run.config, "continue").go_back(PeerLost("peer 0 died"), None, signals)


def test_a_peer_does_not_outlive_a_fork_server_that_dies_as_it_begins(tmp_path):
    """The kernel ends a peer with its server only from the moment on at which it has asked for it.

    It went on beside those that were started in its place.
    """
    server = ForkServer(["storms"], dict(os.environ))
    process = server.Process(target=storms.outlive_server, args=(tmp_path / "mark",))
    process.start()
    deadline = time.monotonic() + 60
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(process.pid)
    assert not (tmp_path / "mark").exists()
    server.kill()


def test_the_library_warns_of_a_restart(tmp_path, whole):
    killed = []

    def report(event: Event) -> None:
        if isinstance(event, Iterated) and not killed:
            killed.append(kill_peer())

    with pytest.warns(UserWarning, match=r"died while .* \(restart 1 of 3\)"):
        p2p.train(small(**SETTINGS), tmp_path / "run", report=report)
    assert_same_end(tmp_path / "run", whole)
