"""Compare two installations of p2p: equal settings must give equal bits.

    python tests/equal_bits.py --old OLD/bin/python --new NEW/bin/python

Trains each of the seven methods for ten iterations on two tasks with both engines, by either
Python in turn, and compares the tensors of all policies. K is 2 where the method allows it.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from safetensors.numpy import load_file

METHODS = {"p2pdrl": 2, "ppo": 1, "dppo": 2, "distral": 2, "dnc": 2, "self-kl": 1, "entropy": 1}
TASKS = ("hopper", "humanoid")
ENGINES = ("fused", "autograd")
ITERATIONS = 10
PROGRAM = "from p2p.cli.main import main; main()"


def train(python: str, task: str, method: str, engine: str, out: Path) -> None:
    """Train a run with the p2p that `python` imports."""
    steps = 1024 * METHODS[method]
    settings = {
        "task": task, "method": method, "engine": engine, "num-peers": METHODS[method], "seed": 7,
        "steps-per-iteration": steps, "total-steps": ITERATIONS * steps, "num-minibatches": 8,
        "num-epochs": 3, "final-episodes": 0, "out": out,
    }  # fmt: skip
    flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    command = [python, "-P", "-c", PROGRAM, "train", *flags, "--plain"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def differences(one: Path, other: Path) -> Iterator[str]:
    """Yield what differs between the policies of two runs."""
    policies = [sorted((run / "policies").glob("*.safetensors")) for run in (one, other)]
    if [p.name for p in policies[0]] != [p.name for p in policies[1]] or not policies[0]:
        yield f"policies {policies}"
        return
    for a, b in zip(*policies, strict=True):
        ours, theirs = load_file(a), load_file(b)
        for name in ours.keys() | theirs.keys():
            if (
                name not in ours
                or name not in theirs
                or ours[name].tobytes() != theirs[name].tobytes()
            ):
                yield f"{a.name}: {name}"


def main() -> int:
    """Compare everything; return 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", required=True, help="Python of the installation to compare with")
    parser.add_argument("--new", default=sys.executable, help="Python of the other [this one]")
    parser.add_argument("--only", action="append", default=[], help="a method, task or engine")
    given = parser.parse_args()
    different = 0
    for task, method, engine in itertools.product(TASKS, METHODS, ENGINES):
        if not set(given.only) <= {task, method, engine}:
            continue
        with tempfile.TemporaryDirectory() as folder:
            runs = [Path(folder) / name for name in ("old", "new")]
            for python, run in zip((given.old, given.new), runs, strict=True):
                train(python, task, method, engine, run)
            found = list(differences(*runs))
        different += bool(found)
        print(f"{task} {method} {engine}: {'; '.join(found) or 'equal'}", flush=True)
    print(f"{different} differ" if different else "all equal")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
