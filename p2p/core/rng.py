"""Random streams, each keyed by (seed, peer, purpose, iteration).

Nothing is drawn from a stream that lives across iterations, so a checkpoint holds
no generator state: the stream of an iteration is a function of its key, whatever
was drawn before it, on whatever machine, at whatever load.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for. The numbers are part of the format: never renumber."""

    INIT = 0
    DOMAIN = 1
    RESET = 2
    ACTION = 3
    SHUFFLE = 4
    EVALUATE = 5
    TEST_DOMAINS = 6
    DISTIL = 7
    GRADIENT = 8
    HELD_OUT = 9


class Streams:
    """The streams of one peer.

    Args:
        seed: the run's seed, >= 0.
        rank: the peer, 0..K-1.
        apart: gives streams of the same purposes that have nothing to do with training's.
    """

    def __init__(self, seed: int, rank: int, apart: Purpose | None = None) -> None:
        self.seed = seed
        self.rank = rank
        self.apart = apart

    def generator(self, purpose: Purpose, *key: int) -> np.random.Generator:
        """Return a fresh generator for `purpose` at `key` (usually the iteration)."""
        if self.apart is None:
            return keyed_generator(self.seed, purpose, self.rank, *key)
        return keyed_generator(self.seed, self.apart, self.rank, int(purpose), *key)

    def of_envs(self, purpose: Purpose, iteration: int, num_envs: int) -> list[np.random.Generator]:
        """Return a generator for each env: what one draws is apart from what others have drawn."""
        return [self.generator(purpose, iteration, env) for env in range(num_envs)]


def keyed_generator(seed: int, purpose: Purpose, *key: int) -> np.random.Generator:
    """Return the generator of (seed, purpose, key); equal keys give equal streams."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(purpose), *key)))
