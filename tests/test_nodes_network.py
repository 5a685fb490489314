"""A cohort over machines that can fail: two network namespaces, joined by a cable.

`tox -e nodes` runs it. It takes minutes, root, `ip netns`, and a machine at rest, since seconds
count.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes import Node, flags, free_port, run_nodes
from test_cohort import SMALL, assert_same_end, drain, find_peers, small

from p2p.cohort import cohort

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("P2P_TEST_NODES") != "1", reason="takes minutes: tox -e nodes runs it"
    ),
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and `ip netns`"
    ),
]

ADDRESSES = "10.79.0.1", "10.79.0.2"
PORT = 29600


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


class Network:
    """Two namespaces, one a node."""

    names = "p2p-test-a", "p2p-test-b"

    def up(self) -> None:
        for name in self.names:
            ip("netns", "add", name)
        ip("link", "add", "p2ptest0", "type", "veth", "peer", "name", "p2ptest1")
        for n, name in enumerate(self.names):
            ip("link", "set", f"p2ptest{n}", "netns", name)
            ip("-n", name, "addr", "add", f"{ADDRESSES[n]}/24", "dev", f"p2ptest{n}")
            ip("-n", name, "link", "set", f"p2ptest{n}", "up")
            ip("-n", name, "link", "set", "lo", "up")

    def down(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def cut(self) -> None:
        ip("-n", self.names[0], "link", "set", "p2ptest0", "down")

    def left(self, seconds: float = 2.0) -> list[str]:
        """Return the processes that live on after `seconds`."""
        deadline = time.monotonic() + seconds
        while pids := [pid for name in self.names for pid in ip("netns", "pids", name).split()]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        return pids

    def listening(self) -> list[str]:
        """Return what is listened on, as address:port, in both namespaces."""
        found = []
        for name in self.names:
            command = ["ip", "netns", "exec", name, "ss", "-ltnH"]
            lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found += [line.split()[3] for line in lines.splitlines()]
        return found


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    network.down()
    network.up()
    yield network
    network.down()


@pytest.fixture
def start(network, tmp_path) -> Iterator:
    """Start a long run of K = 4 on both nodes, and return them once it trains."""
    running: list[Node] = []

    def begin(**settings: object) -> list[Node]:
        given = {**SMALL, "num_peers": 4, "total_steps": 10**7, "out": tmp_path / "run"}
        for n, name in enumerate(network.names):
            prefix = "ip", "netns", "exec", name
            arguments = flags({**given, **settings})
            running.append(Node(tmp_path, n, 2, PORT, arguments, ADDRESSES[0], prefix))
        running[0].await_iteration()
        return running

    yield begin
    for node in running:
        node.kill()


METHODS = {
    "p2pdrl, minibatch": {"sync": "minibatch", "grad_variance_every": 3},
    "p2pdrl, epoch": {"sync": "epoch"},
    "p2pdrl, iteration": {"sync": "iteration", "grad_variance_every": 3},
    "dppo": {"method": "dppo"},
    "distral": {"method": "distral"},
    "dnc": {"method": "dnc", "distill_every": 2},
}


@pytest.mark.parametrize(("num_peers", "num_nodes"), [(4, 2), (3, 2), (4, 3)])
@pytest.mark.parametrize("method", METHODS)
def test_nodes_end_as_one_machine(tmp_path, method, num_peers, num_nodes):
    given = {
        "num_peers": num_peers, "steps_per_iteration": 128 * num_peers,
        "total_steps": 512 * num_peers, **METHODS[method],
    }  # fmt: skip
    drain(cohort.train(small(**given), out=tmp_path / "one"))
    nodes = run_nodes(tmp_path, num_nodes, flags({**SMALL, **given, "out": tmp_path / "several"}))
    assert [node.process.returncode for node in nodes] == [0] * num_nodes, nodes[0].said
    assert_same_end(tmp_path / "one", tmp_path / "several")


@pytest.mark.parametrize("victim", ["leader", "peer", "parent"])
def test_who_is_killed_is_named_at_once_and_nobody_stays(start, network, victim):
    nodes = start()
    parent = nodes[1].process.pid
    peers = find_peers(parent)
    pid = {"leader": peers[0], "peer": peers[1], "parent": parent}[victim]
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    assert nodes[0].ended(20) == 4
    assert time.monotonic() - killed < 1
    nodes[1].ended(20)
    assert network.left() == []
    if victim == "parent":
        assert re.search(r"error: node 1 \(.*\) is gone", nodes[0].last)
    else:
        rank = 2 + peers.index(pid)
        assert re.search(
            rf"node 1 \(.*\): peer {rank} \(pid {pid}\) died while \w+: signal SIGKILL",
            nodes[0].last,
        )


def test_a_hung_peer_of_another_node_is_named(start):
    nodes = start(peer_timeout=5)
    hung = find_peers(nodes[1].process.pid)[1]
    os.kill(hung, signal.SIGSTOP)
    assert [node.ended(40) for node in nodes] == [4, 4]
    for node in nodes:
        assert re.search(rf"node 1 \(.*\): peer 3 \(pid {hung}\) hangs while", node.last)


def test_both_sides_of_a_cut_cable_end(start, network):
    nodes = start(peer_timeout=5)
    network.cut()
    assert [node.ended(35) for node in nodes] == [4, 4]
    for node, other in zip(nodes, (1, 0), strict=True):
        assert f"no sign of life from node {other} (" in node.last
    assert network.left() == []


def test_signals_on_both_nodes_end_the_same_iteration(start, tmp_path):
    nodes = start()
    os.kill(nodes[0].process.pid, signal.SIGINT)
    os.kill(nodes[1].process.pid, signal.SIGTERM)
    assert [node.ended(40) for node in nodes] == [130, 143]
    one, other = (re.search(r"stopped after iteration (\d+)", node.last)[1] for node in nodes)
    assert one == other
    assert (tmp_path / f"run/checkpoints/iteration-{int(one):08d}.safetensors").exists()


def test_only_the_named_addresses_listen_and_pickles_stay_unread(start, network, tmp_path):
    """A stranger in the network puts a pickle where torch's object collectives would read one."""
    nodes = start()
    listening = network.listening()
    assert f"{ADDRESSES[0]}:{PORT}" in listening
    assert {where.rpartition(":")[0] for where in listening} == set(ADDRESSES)
    trap = tmp_path / "executed"
    hostile = pickle.dumps(_Hostile(str(trap)))
    script = (
        "import sys; from torch.distributed import TCPStore;"
        "store = TCPStore(sys.argv[1], int(sys.argv[2]), is_master=False);"
        "[store.set(key, bytes.fromhex(sys.argv[3])) for key in"
        " ('p2p/0/node/0', 'p2p/0/node/1', 'leaders/0/0', 'parents/0/0', 'object', 'state')]"
    )
    command = [sys.executable, "-c", script, ADDRESSES[0], str(PORT), hostile.hex()]
    subprocess.run(["ip", "netns", "exec", network.names[1], *command], check=True)
    os.kill(nodes[0].process.pid, signal.SIGINT)
    assert [node.ended(40) for node in nodes] == [130, 130]
    assert not trap.exists()


class _Hostile:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (Path(self.path),)


def test_two_processes_a_node_are_refused(tmp_path):
    """Torchrun's --nproc-per-node 2."""
    place = {"LOCAL_WORLD_SIZE": "2"}
    node = Node(tmp_path, 0, 2, free_port(), flags(SMALL), **place)
    assert node.ended(30) == 2
    assert node.said.startswith("error: LOCAL_WORLD_SIZE=2, but one p2p a node")
    assert node.said.count("\n") == 1
