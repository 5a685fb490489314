"""A run that is played rather than trained: the events of `p2p.cohort.cohort`, at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from p2p.cohort.events import Checkpointed, Event, Finished, Iterated, Started
from p2p.core.config import TrainConfig
from p2p.envs.domain import Domain
from p2p.envs.randomisation import table_1


class PlayedRun:
    """What the console asks of a run folder."""

    def __init__(self, config: TrainConfig, past: int = 0) -> None:
        self.path = Path("runs/played")
        self.config = config
        self.past = past
        self.journal = self

    def stream(self) -> Iterator[dict[str, Any]]:
        return (record(self.config, n) for n in range(self.past))


def record(config: TrainConfig, iteration: int, seconds: float = 1.0) -> dict[str, Any]:
    """Return a journal record in which every number can be told from every other."""
    domain = Domain(wind=-0.25, gravity=1.02, friction=0.95, mass=1.10, initial_position=0.07)
    peers = [
        {
            "domain": str(domain),
            "factors": table_1().summary(domain),
            "episodes": [[100.0 * iteration + 10 * rank, 200 + rank]],
            "unstable": 0,
            "reward_per_step": 0.5,
            "terminations_per_step": 0.0,
            "penalty_kl": 0.0012 if config.num_peers > 1 else None,
            "entropy": -0.5,
            "clip_fraction": 0.081,
            "value_loss": 0.25,
            "time": {"physics": 0.4, "policy": 0.1, "update": 0.3, "waiting": 0.2},
        }
        for rank in range(config.num_peers)
    ]
    steps = (iteration + 1) * config.steps_per_iteration
    return {"iteration": iteration, "steps": steps, "seconds": seconds, "peers": peers}


def score(rank: int) -> dict[str, float]:
    """Return the final score of a peer."""
    return {"peer": rank, "mean": 3000.0 + 10 * rank, "std": 123.4, "length": 990.0, "episodes": 20}


def play(config: TrainConfig, past: int = 0) -> Iterator[Event]:
    """Yield the events of a run of which `past` iterations lie in an earlier session."""
    run: Any = PlayedRun(config, past)
    yield Started(run, config, past, ["a note"])
    for iteration in range(past, config.num_iterations):
        yield Iterated(record(config, iteration))
    yield Checkpointed(run.path / "checkpoints" / "3", config.num_iterations)
    scores = [score(rank) for rank in range(config.num_peers)]
    yield Finished(run, scores, 65.0, config.num_iterations * config.steps_per_iteration)
