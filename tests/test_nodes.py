"""A cohort over several machines: bits, refusals and failures, on loopback.

What needs networks of its own is in test_nodes_network.py.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from nodes import Node, flags, free_port, run_nodes
from test_cohort import SMALL, alive, assert_same_end, drain, find_peers, small

from p2p.algorithm import run_peer
from p2p.cohort import cohort
from p2p.cohort.nodes import frames
from p2p.cohort.nodes.advice import Advice
from p2p.cohort.nodes.frames import Frame
from p2p.cohort.nodes.identity import check_equal
from p2p.cohort.nodes.start import plan_start
from p2p.core.errors import Interrupted, PeerLost, UsageError
from p2p.exchange.base import Exchange, Phase
from p2p.exchange.nodes import LeaderExchange, MemberExchange
from p2p.exchange.place import Place, find_place
from p2p.exchange.shared_memory import Arena
from p2p.peer import reports
from p2p.peer.alike import check_alike
from p2p.runs import RunFolder

LAUNCHED = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def place(node: int = 0, num_nodes: int = 2, port: int = 0) -> Place:
    return Place(node, num_nodes, "127.0.0.1", port, own="127.0.0.1", host="here")


# Where a node is ---------------------------------------------------------------


def test_without_a_launcher_there_is_one_machine():
    assert find_place({}) is None
    assert find_place({"MASTER_ADDR": "somewhere", "MASTER_PORT": "1"}) is None


def test_a_launchers_variables_say_where_a_node_is():
    found = find_place(LAUNCHED | {"TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert (found.node, found.num_nodes, found.address, found.port) == (1, 2, "127.0.0.1", 29500)
    assert found.own == "127.0.0.1"
    assert found.agent_has_store


def test_a_launcher_of_one_node_needs_no_network():
    """Torchrun gives the machine's name, which a container may not be able to resolve."""
    alone = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "no.such.host.invalid"}
    assert find_place(LAUNCHED | alone).num_nodes == 1


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"LOCAL_WORLD_SIZE": "2"}, r"LOCAL_WORLD_SIZE=2, but one p2p a node .*nproc-per-node 1"),
        ({"MASTER_ADDR": "0.0.0.0"}, r"0\.0\.0\.0 means all interfaces"),
        ({"MASTER_ADDR": "::"}, ":: means all interfaces"),
        ({"MASTER_ADDR": ""}, "RANK and WORLD_SIZE are set, but not MASTER_ADDR"),
        ({"MASTER_ADDR": "no.such.host.invalid"}, r"no\.such\.host\.invalid cannot be resolved"),
        ({"RANK": "2"}, r"RANK=2 is none of 0\.\.1"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE='two' is no whole number"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(variables, why):
    with pytest.raises(UsageError, match=why):
        find_place(LAUNCHED | variables)


def test_a_name_that_means_this_machine_alone_is_refused_on_node_0(monkeypatch):
    """Debian has the machine's own name as 127.0.1.1 in /etc/hosts: no other node gets there."""
    found = [(2, 1, 6, "", ("127.0.1.1", 29500))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    with pytest.raises(UsageError, match=r"which no other one reaches; give its address"):
        find_place(LAUNCHED | {"RANK": "0", "MASTER_ADDR": "node-a"})


def test_peers_are_shared_out_contiguously():
    assert place(num_nodes=3).spans(4) == [range(2), range(2, 3), range(3, 4)]
    assert place().spans(3) == [range(2), range(2, 3)]
    with pytest.raises(UsageError, match="use --peers 2 or more"):
        place().spans(1)


# The exchange ------------------------------------------------------------------


def test_leaders_bring_what_all_peers_of_all_nodes_show():
    """Three peers on two nodes, in threads: exchanges and those begun ahead, in turns."""
    from torch._C._distributed_c10d import TCPStore

    port = free_port()
    store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    spans = place().spans(3)
    arenas = [Arena(3, 64, 64) for _ in spans]
    wrong, ended = [], []

    def run(node: int, rank: int) -> None:
        here = place(node, port=port)
        if rank == spans[node].start:
            arguments = arenas[node], rank, lambda: False, here, spans, 30.0
            exchange: MemberExchange = LeaderExchange(*arguments)
        else:
            exchange = MemberExchange(arenas[node], rank)
        for turn in range(50):
            exchange.begin(np.full(2, 1000 * turn + rank, np.float32))
            if turn % 2:
                now = exchange(np.full(3, 10.0 * turn + rank))
            else:
                exchange.publish(np.full(3, 10.0 * turn + rank))
                now = exchange.gather()
            if now.tolist() != [[10.0 * turn + k] * 3 for k in range(3)]:
                wrong.append((rank, turn, now))
            ahead = exchange.finish()
            if ahead.tolist() != [[1000 * turn + k] * 2 for k in range(3)]:
                wrong.append((rank, turn, ahead))
        exchange.close()
        ended.append(rank)

    threads = [
        threading.Thread(target=run, args=(n, k), daemon=True)
        for n, span in enumerate(spans)
        for k in span
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    del store
    assert sorted(ended) == [0, 1, 2]
    assert not wrong


def test_a_leader_that_is_through_waits_for_the_others():
    """What it has sent may be on its way, and goes with a process that ends."""
    from torch._C._distributed_c10d import TCPStore

    port = free_port()
    store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    took: dict[int, float] = {}

    def run(node: int) -> None:
        spans = place().spans(2)
        exchange = LeaderExchange(
            Arena(2, 64, 64), node, lambda: False, place(node, port=port), spans, 30.0
        )
        exchange(np.zeros(1))
        time.sleep(0.5 * node)
        begun = time.monotonic()
        exchange.close()
        took[node] = time.monotonic() - begun

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    del store
    assert took.keys() == {0, 1}
    assert took[0] > 0.3


class Mirror(Exchange):
    """A peer of another machine that shows what this one shows, but at last another hash."""

    across_machines = True

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        return np.stack((vector, vector + (vector.size == 1)))

    def heartbeat(self, phase: Phase | None = None) -> None:
        pass


def test_the_last_iterations_numbers_are_compared_before_they_are_kept():
    config = small(num_peers=2, total_steps=512 * 2, checkpoint_every=1)
    told: list[object] = []
    with pytest.raises(UsageError, match="after iteration 2 peers 1 hold other replicas"):
        run_peer(0, config, Mirror(0, 2), told.append)
    assert [r.iteration for r in told if isinstance(r, reports.Checkpoint)] == [1]


def test_peers_that_hold_other_numbers_end_the_run():
    check_alike(np.array([5.0, 5.0, 5.0]), 3)
    with pytest.raises(UsageError, match="after iteration 3 peers 1, 2 hold other replicas"):
        check_alike(np.array([5.0, 6.0, 6.0]), 3)


# What parents tell one another ---------------------------------------------------


def test_a_report_travels_bit_for_bit():
    """Scalars stay scalars: a checkpoint would else have other bytes than on one machine."""
    state = {"a.b": np.array([np.nan, -0.0]), "step": np.float32(3), "flag": np.zeros((0, 2), bool)}
    sent = reports.Checkpoint(7, {k: np.asarray(v) for k, v in state.items()}, b"\0policy")
    rank, got = frames.to_report(frames.from_bytes(frames.to_bytes(frames.of_report(2, sent))))
    assert (rank, got.iteration, got.policy) == (2, 7, b"\0policy")
    assert got.state.keys() == sent.state.keys()
    for name, value in sent.state.items():
        assert got.state[name].dtype == value.dtype
        assert got.state[name].shape == value.shape
        assert got.state[name].tobytes() == value.tobytes()


def test_numbers_of_a_record_travel_exactly():
    sent = reports.Iteration(3, {"x": 0.1 + 0.2, "n": np.int64(4), "nan": float("nan"), "no": None})
    _, got = frames.to_report(frames.from_bytes(frames.to_bytes(frames.of_report(0, sent))))
    assert got.metrics["x"] == 0.1 + 0.2
    assert got.metrics["n"] == 4
    assert np.isnan(got.metrics["nan"])


@pytest.mark.parametrize("error", [PeerLost("peer 1 died"), Interrupted("stopped", signal.SIGTERM)])
def test_what_ended_a_node_ends_the_others_with_the_same_code(error):
    got = frames.to_error(frames.of_error(error), "node 1 (b)")
    assert type(got) is type(error)
    assert got.exit_code == error.exit_code
    assert str(got) == f"node 1 (b): {error}"
    assert str(frames.to_error(frames.of_error(got), "node 0 (a)")) == str(got)


def test_a_frame_is_no_pickle():
    data = frames.to_bytes(Frame("end", {"error": "PeerLost", "text": "x"}))
    assert b"PeerLost" in data
    with pytest.raises(ValueError, match="no frame of p2p's"):
        frames.from_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")


def test_nodes_that_differ_are_told_in_what():
    def identity(**settings: object) -> dict:
        return {
            "host": "a", "nodes": 2, "versions": {"torch": "2.13"}, "settings": settings,
        }  # fmt: skip

    check_equal([identity(seed=0), identity(seed=0)])
    with pytest.raises(UsageError, match=r"node 1 \(a\) has seed 1, not 0 as node 0"):
        check_equal([identity(seed=0), identity(seed=1)])
    old = identity(seed=0) | {"versions": {"torch": "2.12"}}
    with pytest.raises(UsageError, match=r"has torch '2\.12', not '2\.13' as"):
        check_equal([identity(seed=0), old])


def test_advice_comes_once_if_peers_wait_for_more_than_a_third():
    def noted(sync: str, waiting: float) -> list[str]:
        advice = Advice(small(sync=sync))
        record = {"peers": [{"time": {"update": 1.0, "waiting": waiting}}]}
        return [note.text for _ in range(9) for note in advice.of(record)]

    (text,) = noted("minibatch", 1.0)
    assert text == "peers wait for one another 50% of the time: try --sync epoch in a new run"
    assert noted("minibatch", 0.4) == noted("iteration", 9.0) == []


# Whole runs --------------------------------------------------------------------


def test_uneven_nodes_and_then_one_end_as_one_machine(tmp_path):
    """K = 3 as 2 + 1, shown ahead; stopped by a signal on node 1, continued by one machine."""
    settings = {
        "num_peers": 3,
        "steps_per_iteration": 384,
        "sync": "iteration",
        "threads_per_peer": 1,
    }
    config = small(**{**settings, "total_steps": 384 * 10})
    drain(cohort.train(config, out=tmp_path / "whole"))
    arguments = flags({**SMALL, **settings, "total_steps": 384 * 2000, "out": tmp_path / "cut"})
    port = free_port()
    nodes = [Node(tmp_path, node, 2, port, arguments) for node in range(2)]
    try:
        nodes[0].await_iteration()
        os.kill(nodes[1].process.pid, signal.SIGTERM)
        assert [node.ended() for node in nodes] == [143, 143]
    finally:
        for node in nodes:
            node.kill()
    run = RunFolder.open(tmp_path / "cut")
    done = len(run.records())
    assert run.load_checkpoint().iteration == done
    for node in nodes:
        assert f"stopped after iteration {done} of 2000" in node.last
    whole = tmp_path / "whole"
    drain(cohort.resume(whole if done < 10 else run.path, total_steps=384 * (max(done, 10) + 1)))
    drain(cohort.resume(run.path if done < 10 else whole, total_steps=384 * (max(done, 10) + 1)))
    assert_same_end(whole, run.path)


def test_one_machine_and_then_two_nodes_end_as_one_machine(tmp_path):
    """The command of a launcher, started again, continues; once more, there is nothing to do."""
    settings = {"num_peers": 4, "method": "dnc", "distill_every": 2}
    config = small(**settings, total_steps=512 * 4)
    drain(cohort.train(config, out=tmp_path / "whole"))
    drain(cohort.train(config, out=tmp_path / "run"), upto=2)
    arguments = flags({**SMALL, **settings, "total_steps": 512 * 4, "out": tmp_path / "run"})
    nodes = run_nodes(tmp_path, 2, arguments)
    assert [node.process.returncode for node in nodes] == [0, 0], nodes[0].said + nodes[1].said
    assert "resumed after iteration 2" in nodes[0].said
    assert_same_end(tmp_path / "whole", tmp_path / "run")
    start = plan_start(replace(place(), num_nodes=2), config, out=tmp_path / "run")
    assert start.complete == f"{tmp_path / 'run'} is complete: 2,048 steps"


def test_a_folder_of_another_run_is_not_continued(tmp_path):
    RunFolder.create(small(seed=1), tmp_path / "run").unlock()
    with pytest.raises(UsageError, match="holds another run: seed=1, here 0; choose another"):
        plan_start(place(), small(), out=tmp_path / "run")


def test_a_leader_that_dies_on_node_1_is_named_on_node_0(tmp_path):
    arguments = flags({**SMALL, "num_peers": 2, "total_steps": 10**7, "out": tmp_path / "run"})
    port = free_port()
    nodes = [Node(tmp_path, node, 2, port, arguments) for node in range(2)]
    try:
        nodes[0].await_iteration()
        peers = [pid for node in nodes for pid in find_peers(node.process.pid)]
        os.kill(peers[1], signal.SIGKILL)
        assert [node.ended(20) for node in nodes] == [4, 4], [node.last for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    for node in nodes:
        assert f"peer 1 (pid {peers[1]}) died while" in node.last
        assert "error: node 1 (" in node.last
        assert "signal SIGKILL" in node.last
    assert not any(map(alive, peers))


def test_other_settings_are_refused_on_all_nodes_in_one_line(tmp_path):
    port = free_port()
    nodes = [
        Node(tmp_path, node, 2, port, flags({**SMALL, "seed": node, "out": tmp_path / "run"}))
        for node in range(2)
    ]
    try:
        assert [node.ended(60) for node in nodes] == [2, 2]
    finally:
        for node in nodes:
            node.kill()
    for node in nodes:
        assert node.last.startswith("error: node 1 (")
        assert ") has seed 1, not 0 as node 0 (" in node.last
        assert node.said.count("\n") == 1
    assert not (tmp_path / "run").exists()
