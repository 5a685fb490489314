"""A run of a study that is played rather than trained, in place of `p2p.study.run_process`.

Its seed says how it goes: 66 fails, 67 is killed, 68 crashes, 98 is signalled with its scheduler
and ends first, 99 goes on until a SIGINT.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from p2p.analysis.conditions import simulated_by


def main() -> int:
    """Play one run."""
    fd, folder = int(sys.argv[1]), Path(sys.argv[3])
    given = json.load(sys.stdin)
    config = given["settings"]
    seed, size = config["seed"], config["steps_per_iteration"]
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))

    def note(word: str) -> None:
        with (folder.parent / "order.txt").open("a") as file:
            file.write(f"{word} {folder.name}\n")

    def tell(**message: object) -> None:
        os.write(fd, json.dumps(message).encode() + b"\n")

    note("start")
    if seed == 66:
        tell(error="no room on the disk", exit_code=6)
        return 6
    if seed == 67:
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == 68:
        raise RuntimeError("the last line")
    tell(steps=size, seconds=0.5)
    if seed == 98:
        os.kill(os.getppid(), signal.SIGUSR2)
        return 128 + signal.SIGUSR2
    if seed == 99:
        time.sleep(60)
    time.sleep(0.2)  # so that two overlap if they may
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "versions.json").write_text(json.dumps({"p2p": simulated_by()["p2p"]}))
    steps = -(-config["total_steps"] // size) * size
    lines = [json.dumps({"iteration": n, "seconds": 0.5}) + "\n" for n in range(steps // size)]
    (folder / "journal.jsonl").write_text("".join(lines))
    peers = range(config["num_peers"])
    scores = [{"peer": rank, "mean": 100.0 * seed + 10 * rank} for rank in peers]
    result = {"steps": steps, "seconds": 1.0, "scores": scores}
    (folder / "result.json").write_text(json.dumps(result))
    if tests := given["tests"]:
        play_tests(folder, steps, peers, tests[""])
    note("end")
    return 0


def play_tests(folder: Path, steps: int, peers: range, tests: dict[str, list[float]]) -> None:
    """Let each peer's return fall by 50 from eps_te 0 to 1."""
    sets = [
        {
            "eps_te": eps,
            "peers": [{"mean": 50 * (1 - eps) + rank, "worst": -1.0 * rank} for rank in peers],
        }
        for eps in tests["eps_te"]
    ]
    kept = {"steps": steps, "config": tests, "versions": simulated_by(), "tests": sets}
    (folder / "evaluation.json").write_text(json.dumps(kept))


if __name__ == "__main__":
    sys.exit(main())
