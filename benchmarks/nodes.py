r"""Training over two nodes beside one machine: steps/s by wire and `--sync`, in turns.

    python benchmarks/nodes.py --envs hopper,humanoid --rounds 2 --address 10.88.0.1 \
        --nodes "ip netns exec a taskset -c 0" "ip netns exec b taskset -c 1" \
        --wire "10G=./wire.sh 10g" --wire "10 ms=./wire.sh 10ms" -o nodes.json
    python benchmarks/nodes.py --from nodes.json

Each node is a command that p2p is run by, such as one that enters a network namespace of this
machine and keeps to a core, as if the node had one. A wire is a name, and a command that joins the
nodes by it. One machine runs the same two peers, a core each, once a round; so do the nodes over
each wire. Prints the rates and their ratios as Markdown.
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
from typing import Any

from p2p.runs.versions import collect_versions

PROGRAM = "from p2p.cli.main import main; main()"
SYNCS = ("minibatch", "epoch", "iteration")
STEPS = 4096  # an iteration
ITERATIONS = {"hopper": 40, "humanoid": 16}
FEWER = {"minibatch": 8}  # an exchange a minibatch over a distance takes long, and always as long
WARM_UP = 3  # iterations
HERE = "shared memory"

Row = dict[str, Any]  # wire, task, sync; rates, steps/s by round; ratios to HERE, by round


def rate(run: Path) -> float:
    """Return steps a second from the journal of a run, without its first iterations.

    Over all that follow: on a node of one core, node 0's parent may get several records at once.
    """
    records = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    spent = [record["seconds"] for record in records[WARM_UP:]]
    return float(STEPS * len(spent) / sum(spent))


def train(task: str, sync: str, out: Path, nodes: list[str], address: str, port: int) -> float:
    """Train two peers on these nodes, or on one machine if there are none; return steps/s."""
    iterations = FEWER.get(sync, ITERATIONS[task]) if nodes else ITERATIONS[task]
    arguments = [
        "train", "--env", task, "--peers", "2", "--sync", sync, "--plain", "--final-episodes", "0",
        "--threads-per-peer", "1", "--milestones", "0", "--steps-per-iteration", str(STEPS),
        "--total-steps", str(STEPS * iterations), "--out", str(out),
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


def measure(given: argparse.Namespace) -> list[Row]:
    """Return a row for each task, sync and wire, and for each task and sync on one machine."""
    wires = dict(text.split("=", 1) for text in given.wire)
    rows: dict[tuple[str, str, str], Row] = {}
    port = 29_800
    for _ in range(given.rounds):
        for task in given.envs.split(","):
            for wire, command in {HERE: "", **wires}.items():
                if command:
                    subprocess.run(command, shell=True, check=True)
                for sync in given.syncs.split(","):
                    port += 1
                    nodes = given.nodes if command else []
                    with tempfile.TemporaryDirectory() as folder:
                        out = Path(folder, "run")
                        found = train(task, sync, out, nodes, given.address, port)
                    row = {"wire": wire, "task": task, "sync": sync, "rates": [], "ratios": []}
                    row = rows.setdefault((wire, task, sync), row)
                    row["rates"].append(found)
                    row["ratios"].append(found / rows[HERE, task, sync]["rates"][-1])
                    print(f"{task} {sync} {wire}: {found:,.0f} steps/s", file=sys.stderr)
    return list(rows.values())


def table(rows: list[Row]) -> str:
    """Return rates on one machine and ratios by wire, medians of the rounds, as Markdown."""
    wires = list(dict.fromkeys(row["wire"] for row in rows if row["wire"] != HERE))
    lines = [
        f"| | sync | {HERE}, steps/s | " + " | ".join(wires) + " |",
        "|---|---|" + "---:|" * (1 + len(wires)),
    ]
    found = {(row["task"], row["sync"], row["wire"]): row for row in rows}
    for task, sync in dict.fromkeys((row["task"], row["sync"]) for row in rows):
        here = statistics.median(found[task, sync, HERE]["rates"])
        ratios = (found[task, sync, wire]["ratios"] for wire in wires)
        cells = " | ".join(f"{statistics.median(each):.2f}" for each in ratios)
        lines.append(f"| {task.capitalize()} | `{sync}` | {here:,.0f} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and save, or read; print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--envs", default="hopper")
    parser.add_argument("--syncs", default=",".join(SYNCS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--nodes", nargs=2, help="commands that enter a node")
    parser.add_argument("--address", help="of the first node")
    parser.add_argument("--wire", action="append", default=[], help="NAME=COMMAND")
    parser.add_argument("--from", dest="saved", type=Path, help="print what was saved")
    parser.add_argument("-o", "--out", type=Path)
    given = parser.parse_args()
    if given.saved:
        print(table(json.loads(given.saved.read_text())["rows"]))
        return
    if not (given.nodes and given.address and given.wire):
        parser.error("--nodes, --address and --wire say what to measure")
    rows = measure(given)
    if given.out:
        about = {**collect_versions(), "load": os.getloadavg()[0]}
        given.out.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
