r"""Training over two nodes beside one machine: steps/s by `--sync`, in turns.

    python benchmarks/nodes.py --envs hopper,humanoid --rounds 2 \
        --nodes "ip netns exec a" "ip netns exec b" --address 10.77.0.1 -o nodes.json

Each node is a command that p2p is run by, such as one that enters a network namespace of this
machine, whose wire has the rate and delay in question. One machine runs the same two peers, a
core each, in the same round; so do the nodes. Prints the medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = "from p2p.cli.main import main; main()"
SYNCS = ("minibatch", "epoch", "iteration")
STEPS = {"hopper": 160_000, "humanoid": 80_000}
WARM_UP = 3  # iterations


def rate(run: Path) -> float:
    """Return steps a second from the journal of a run, without its first iterations."""
    records = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    spent = [record["seconds"] for record in records[WARM_UP:]]
    return float(records[0]["steps"] / statistics.median(spent))


def train(task: str, sync: str, out: Path, nodes: list[str], address: str, port: int) -> float:
    """Train two peers on these nodes, or on one machine if there are none; return steps/s."""
    arguments = [
        "train", "--env", task, "--peers", "2", "--sync", sync, "--plain", "--final-episodes", "0",
        "--threads-per-peer", "1", "--milestones", "0", "--total-steps", str(STEPS[task]),
        "--out", str(out),
    ]  # fmt: skip
    command = [sys.executable, "-P", "-c", PROGRAM, *arguments]
    place = {"MASTER_ADDR": address, "MASTER_PORT": str(port), "WORLD_SIZE": str(len(nodes))}
    running = [
        subprocess.Popen(
            [*shlex.split(prefix), *command],
            env={**os.environ, **place, "RANK": str(node)} if nodes else None,
            stdout=subprocess.DEVNULL,
        )
        for node, prefix in enumerate(nodes or [""])
    ]
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit(f"{task}, {sync} failed")
    return rate(out)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--envs", default="hopper")
    parser.add_argument("--syncs", default=",".join(SYNCS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--nodes", nargs=2, required=True, help="commands that enter a node")
    parser.add_argument("--address", required=True, help="of the first node")
    parser.add_argument("--label", default="", help="what the wire is")
    parser.add_argument("-o", "--out", type=Path)
    given = parser.parse_args()
    rows = []
    port = 29_800
    for task in given.envs.split(","):
        for sync in given.syncs.split(","):
            rates: dict[str, list[float]] = {"one": [], "two": []}
            for _ in range(given.rounds):
                for name, nodes in (("one", []), ("two", given.nodes)):
                    port += 1
                    with tempfile.TemporaryDirectory() as folder:
                        out = Path(folder, "run")
                        found = train(task, sync, out, nodes, given.address, port)
                    rates[name].append(found)
            ratios = [b / a for a, b in zip(rates["one"], rates["two"], strict=True)]
            row = {"wire": given.label, "task": task, "sync": sync, **rates, "ratios": ratios}
            rows.append(row)
            shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            one, two = (statistics.median(rates[name]) for name in ("one", "two"))
            print(
                f"{given.label:10} {task:10} {sync:10} one {one:8,.0f}  two {two:8,.0f}  "
                f"ratio {statistics.median(ratios):.2f} ({shown})",
                flush=True,
            )
    if given.out:
        given.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
