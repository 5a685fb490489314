"""Run folders with journals that were made up: a run without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from made import make_run

SIZE = 4096  # steps of an iteration


def record(n: int, peers: int, value: float, **more: Any) -> dict[str, Any]:
    """Return the record of iteration `n`: the reward is `value` a step, no episode terminates."""
    peer = {
        "episodes": [], "unstable": 0, "reward_per_step": value, "terminations_per_step": 0.0,
        "entropy": 3.0 - n, "penalty_kl": None, "approx_kl": 0.01, **more,
    }  # fmt: skip
    steps = (n + 1) * SIZE
    return {"iteration": n, "steps": steps, "seconds": 2.0, "peers": [peer] * peers}


def make_trained(
    path: Path, value: float = 1.0, iterations: int = 4, score: float | None = 100.0,
    more: dict[str, Any] | None = None, **settings: Any,
) -> Path:  # fmt: skip
    """Make a run of `iterations` whose return is 1000 `value`; with a score it is finished."""
    settings = {"total_steps": iterations * SIZE, **settings}
    make_run(path, **settings)
    peers = json.loads((path / "config.json").read_text())["num_peers"]
    lines = [json.dumps(record(n, peers, value, **(more or {}))) for n in range(iterations)]
    (path / "journal.jsonl").write_text("".join(line + "\n" for line in lines))
    if score is not None:
        scores = [
            {"peer": k, "mean": score + 2 * k, "std": 1.0, "length": 900.0, "episodes": 20}
            for k in range(peers)
        ]
        result = {"steps": iterations * SIZE, "seconds": 2.0 * iterations, "scores": scores}
        (path / "result.json").write_text(json.dumps(result))
    return path
