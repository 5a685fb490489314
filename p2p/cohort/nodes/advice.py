"""What to change where peers on several machines mostly wait for one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from p2p.cohort.events import Noted
from p2p.core.config import TrainConfig

LIMIT = 0.3  # of the time
LOOKED_AT = 5  # iterations
RARER = {"minibatch": "epoch", "epoch": "iteration"}


class Advice:
    """Says once that a method which can exchange less often should, if peers wait too long."""

    def __init__(self, config: TrainConfig) -> None:
        self.rarer = RARER.get(config.get("sync") or "")
        self._waiting = self._all = 0.0
        self._seen = 0

    def of(self, record: Mapping[str, Any]) -> Iterator[Noted]:
        """Yield the advice if it is due after an iteration's journal record."""
        if self.rarer is None or self._seen == LOOKED_AT:
            return
        self._seen += 1
        for peer in record["peers"]:
            self._waiting += peer["time"]["waiting"]
            self._all += sum(peer["time"].values())
        if self._seen == LOOKED_AT and self._waiting > LIMIT * self._all:
            yield Noted(
                f"peers wait for one another {self._waiting / self._all:.0%} of the time: "
                f"try --sync {self.rarer} in a new run",
                is_warning=True,
            )
