"""Nodes of a cohort on this machine: a p2p each, on loopback or in network namespaces."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PROGRAM = "from p2p.cli.main import main; main()"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def flags(settings: dict[str, object]) -> list[str]:
    """Return settings as the command line has them."""
    return [part for k, v in settings.items() for part in (f"--{k.replace('_', '-')}", str(v))]


class Node:
    """A `p2p train` of a launched run, and what it has printed."""

    def __init__(
        self, log: Path, node: int, num_nodes: int, port: int, arguments: Sequence[str],
        address: str = "127.0.0.1", prefix: Sequence[str] = (), **environment: str,
    ) -> None:  # fmt: skip
        place = {
            "RANK": str(node), "WORLD_SIZE": str(num_nodes), "MASTER_ADDR": address,
            "MASTER_PORT": str(port),
        }  # fmt: skip
        self.log = log / f"node-{node}.log"
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-P", "-c", PROGRAM, "train", "--plain", *arguments],
                env={**os.environ, "COLUMNS": "200", **place, **environment},
                stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def last(self) -> str:
        return (self.said.strip().splitlines() or [""])[-1]

    def ended(self, seconds: float = 120) -> int:
        """Wait for the end, and return the exit code."""
        return self.process.wait(seconds)

    def await_iteration(self, seconds: float = 120) -> None:
        """Wait until an iteration is shown."""
        deadline = time.monotonic() + seconds
        while not re.search(r"^ +\d+/\d+ ", self.said, re.MULTILINE):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


def run_nodes(log: Path, num_nodes: int, arguments: Sequence[str]) -> list[Node]:
    """Run nodes on loopback to their end."""
    port = free_port()
    nodes = [Node(log, node, num_nodes, port, arguments) for node in range(num_nodes)]
    try:
        for node in nodes:
            node.ended()
    finally:
        for node in nodes:
            node.kill()
    return nodes
