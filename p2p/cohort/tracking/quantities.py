"""What trackers are told: numbers of a journal's record by tag, settings, and final scores.

docs/track.md has the table of tags.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from p2p.core.returns import RecentReturns, mean_of

FIELDS = {  # of a peer in the journal, with their tags
    "penalty_kl": "kl",
    "approx_kl": "approx_kl",
    "entropy": "entropy",
    "clip_fraction": "clip_fraction",
    "policy_loss": "policy_loss",
    "value_loss": "value_loss",
    "explained_variance": "explained_variance",
    "grad_norm_actor": "grad_norm_actor",
    "grad_norm_critic": "grad_norm_critic",
    "log_std": "log_std",
    "learning_rate": "learning_rate",
    "reward_per_step": "reward_per_step",
    "terminations_per_step": "terminations_per_step",
    "unstable": "unstable",
}
TABLES = {"reward_terms": "reward", "grad_variance": "grad_variance", "test": "test"}
SUMMED = {"unstable"}  # over the peers; of all others the mean

Values = dict[str, float]


class Quantities:
    """Turns the records of a run into numbers by tag; it must see all of them, in order.

    Args:
        num_peers: K.
        cut, limit: as `RecentReturns` takes them.
    """

    def __init__(self, num_peers: int, cut: bool, limit: int) -> None:
        self.recent = [RecentReturns(cut, limit) for _ in range(num_peers)]
        self.best: dict[int, float] = {}  # by rank, of tests in held-out domains

    def of(self, record: Mapping[str, Any]) -> Values:
        """Return the numbers of an iteration; those that are not known are left out."""
        peers = [self._peer(rank, peer) for rank, peer in enumerate(record["peers"])]
        found: Values = {}
        for tag in dict.fromkeys(tag for peer in peers for tag in peer):
            values = [peer[tag] for peer in peers if tag in peer]
            prefix = "" if tag.startswith("test/") else "train/"
            found[prefix + tag] = sum(values) / (1 if tag in SUMMED else len(values))
        for rank, peer in enumerate(peers):
            found |= {f"peer{rank}/{tag}": value for tag, value in peer.items()}
            factors = record["peers"][rank].get("factors", {})
            found |= _finite({f"peer{rank}/domain/{name}": v for name, v in factors.items()})
        return found | self._speed(record)

    def _peer(self, rank: int, peer: Mapping[str, Any]) -> Values:
        recent = self.recent[rank]
        recent.add(peer)
        found: dict[str, float | None] = {"return": recent.mean, "length": recent.length}
        found |= {tag: peer.get(name) for name, tag in FIELDS.items()}
        for name, table in TABLES.items():
            found |= {f"{table}/{part}": value for part, value in peer.get(name, {}).items()}
        tested = found.get("test/return")
        if tested is not None:
            self.best[rank] = max(tested, self.best.get(rank, tested))
        return _finite(found)

    def _speed(self, record: Mapping[str, Any]) -> Values:
        """Return steps/s of this iteration, and the share of each phase in the peers' time."""
        iteration, seconds = record["iteration"], record.get("seconds")
        found = {}
        if seconds and record.get("steps"):
            size = record["steps"] / (iteration + 1)
            found["speed/steps_per_second"] = size / seconds
        times = [peer.get("time", {}) for peer in record["peers"]]
        total = sum(sum(phases.values()) for phases in times)
        for phase in times[0] if total else ():
            spent = sum(phases.get(phase, 0.0) for phases in times)
            found[f"speed/{phase}"] = spent / total
        return found

    def final(self, scores: Iterable[Mapping[str, float]]) -> Values:
        """Return the final scores, and the best of the tests."""
        scores = list(scores)
        found: dict[str, float | None] = {}
        for tag, name in {"final/return": "mean", "final/length": "length"}.items():
            found[tag] = mean_of(score[name] for score in scores)
            found |= {f"peer{score['peer']:.0f}/{tag}": score[name] for score in scores}
        found["best/return"] = mean_of(self.best.values())
        found |= {f"peer{rank}/best/return": value for rank, value in self.best.items()}
        return _finite(found)


def _finite(values: Mapping[str, float | None]) -> Values:
    return {tag: float(v) for tag, v in values.items() if v is not None and math.isfinite(v)}


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Return settings as pairs, those of a table as `table/name`; lists and null as JSON text."""
    found: dict[str, bool | int | float | str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}/")
        else:
            plain = isinstance(value, bool | int | float | str)
            found[prefix + name] = value if plain else json.dumps(value)
    return found
