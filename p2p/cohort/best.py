"""The best policy of each peer, by its tests in held-out domains (`test_every`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from p2p.peer.reports import Tested
from p2p.policy.policy import Policy
from p2p.runs import RunFolder, write_atomically


class BestPolicies:
    """Keeps `policies/best-<rank>.safetensors`: of equal scores the first.

    A file is written before the checkpoint that follows its test. After a kill the iterations
    since the last checkpoint are run again, and write the same files again.

    Args:
        run: the run folder.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.returns: dict[int, float] = {}

    def note(self, record: Mapping[str, Any]) -> None:
        """Learn from a record of the journal how good the kept policies are."""
        for rank, peer in enumerate(record.get("peers", ())):
            if (found := peer.get("test", {}).get("return")) is not None:
                self.returns[rank] = max(found, self.returns.get(rank, found))

    def keep(self, rank: int, tested: Tested) -> None:
        """Write the policy of peer `rank` if none was better before.

        Raises:
            NoRoom: the disk is full or cannot be written.
        """
        found = tested.score["return"]
        if not found > self.returns.get(rank, float("-inf")):  # NaN: the physics diverged
            return
        self.returns[rank] = found
        path, config = self.run.best_policy_path(rank), self.run.config
        policy = Policy.from_bytes(tested.policy, path)
        score = {name: value for name, value in tested.score.items() if name != "seconds"}
        policy.meta["test"] = {**score, "domains": config.test_domains, "eps": config.test_eps}
        write_atomically(path, policy.to_bytes(), "policy")
