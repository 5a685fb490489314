"""Predicts training over many nodes from measured parts; prints docs/scaling.md's tables.

    python benchmarks/scaling.py

An iteration is 2048 steps a peer, one core a peer, four peers a node. It takes

    rest + 320 (minibatch step with K - 1 anchors) + exchanges,

and an exchange between nodes t0 + bytes (1/rate + copies), with what a node receives: the vectors
of all peers that are not its own. With `iteration` the actors travel during the rollout.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

STEPS = 2048  # a peer and iteration
PEERS = 4  # a node
MINIBATCHES = 320  # 10 epochs of 32
ANCHORS = (1, 3, 7, 15, 31, 63, 127)  # for which a step was measured
EXCHANGES = {"minibatch": 320, "epoch": 10, "iteration": 1}
SHARED = 7e-6  # s, an exchange of K = 2 in shared memory


@dataclass(frozen=True)
class Task:
    """What was measured of a task on two cores of an AMD EPYC."""

    floats: int  # of an actor
    obs: int
    rate: float  # steps/s a core, K = 2 (docs/performance.md)
    step: tuple[int, ...]  # us of a minibatch step of 64 samples, by ANCHORS

    def compute(self, num_peers: int) -> float:
        """Return the seconds of an iteration that no exchange takes."""
        first = self.step[0] * 1e-6
        rest = STEPS / self.rate - MINIBATCHES * (first + SHARED)
        beyond = (self.step[-1] - self.step[-2]) / (ANCHORS[-1] - ANCHORS[-2])
        found = float(np.interp(num_peers - 1, ANCHORS, self.step))
        found += max(0, num_peers - 1 - ANCHORS[-1]) * beyond
        return rest + MINIBATCHES * found * 1e-6

    def rollout(self) -> float:
        """Return the seconds of a rollout, nearly all that is no update."""
        return STEPS / self.rate - MINIBATCHES * (self.step[0] * 1e-6 + SHARED)


TASKS = {
    "hopper": Task(5126, 11, 22_830, (31, 38, 53, 83, 143, 265, 512)),
    "humanoid": Task(27618, 348, 6_005, (108, 137, 198, 326, 625, 1354, 2858)),
}
# Two points each, 6k and 60k floats between two nodes (docs/scaling.md): t0 in s, then s a byte
WIRES = {"10G": (0.56e-3, 2.44e-9), "1G": (0.76e-3, 15.7e-9)}


def iteration(task: Task, wire: str, sync: str, nodes: int) -> tuple[float, float]:
    """Return the seconds of an iteration, and bytes that a node receives in it."""
    t0, a_byte = WIRES[wire]
    num_peers = nodes * PEERS
    actors = (num_peers - PEERS) * 4 * task.floats
    moments = (num_peers - PEERS) * 8 * (6 + 2 * task.obs)
    each, number = t0 + actors * a_byte, EXCHANGES[sync]
    spent = number * each
    if sync == "iteration":
        spent = max(0.0, each - task.rollout())
    seconds = task.compute(num_peers) + spent + t0 + moments * a_byte
    return seconds, number * actors + moments


def main() -> None:
    """Print the tables as Markdown."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    for name, task in TASKS.items():
        single = task.rate
        print(f"\n### {name.capitalize()}\n")
        heads = [f"{wire} {sync}" for wire in WIRES for sync in EXCHANGES]
        print("| nodes | K | no network | " + " | ".join(heads) + " |")
        print("|" + "---:|" * (3 + len(heads)))
        for nodes in (2, 4, 8, 16, 32, 64):
            num_peers = nodes * PEERS
            ideal = STEPS / task.compute(num_peers) / single
            cells = [str(nodes), str(num_peers), f"{num_peers * single * ideal / 1e3:,.0f}k"]
            for wire in WIRES:
                for sync in EXCHANGES:
                    seconds, received = iteration(task, wire, sync, nodes)
                    rate = num_peers * STEPS / seconds
                    cells.append(f"{rate / 1e3:,.0f}k, {8e-9 * received / seconds:.2g}")
            print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
