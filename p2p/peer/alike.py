"""Whether all peers hold the same bits of what they must hold alike."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p2p.core.errors import UsageError
from p2p.policy.normaliser import Moments

BYTES = 6  # of a hash: an integer below 2^53, which a float64 holds exactly


def fingerprint(obs: Moments, returns: Moments, replicas: Sequence[NDArray[np.generic]]) -> float:
    """Return a hash of the normalisers and of the method's replicas, as a number."""
    digest = hashlib.blake2b(digest_size=BYTES)
    for values in (obs.to_vector(), returns.to_vector(), *replicas):
        digest.update(np.ascontiguousarray(values).data)
    return float(int.from_bytes(digest.digest(), "little"))


def check_alike(prints: NDArray[np.float64], iteration: int) -> None:
    """Compare the fingerprints of all peers [K]; each peer comes to the same conclusion.

    Args:
        iteration: iterations completed.

    Raises:
        UsageError: they differ.
    """
    differing = np.flatnonzero(prints != prints[0]).tolist()
    if differing:
        raise UsageError(
            f"after iteration {iteration} peers {', '.join(map(str, differing))} hold other "
            "replicas or normalisers than peer 0: their machine rounds differently; use nodes of "
            "one processor type, and continue from the last checkpoint"
        )
