"""The critic's steps of an epoch, ahead of the actor's: in a thread of their own, or all at first.

Actor and critic share no parameter, and peers wait for the actor alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p.engine import STATS, kernels

DONE, STOP, FAILED = range(3)  # of the words that both threads use
SPINS = 200  # looks at the critic's progress before the actor gives up its core between them


class AtOnce(Executor):
    """Calls what is submitted, in the thread that submits it."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return the result, as a future."""
        done: Future[Any] = Future()
        done.set_result(call(*args, **kwargs))
        return done


class CriticAhead:
    """Runs `kernels.critic_epoch`; what is seen of it does not depend on how far it is ahead.

    Args:
        has_thread: whether it runs in a thread of its own, or has run when `begin` returns.

    Attributes:
        runs: whether an epoch has begun and not ended.
    """

    def __init__(self, has_thread: bool) -> None:
        self.runs, self.has_thread = False, has_thread
        self._pool: Executor = ThreadPoolExecutor(1, "critic") if has_thread else AtOnce()
        self._shared = np.zeros(3, np.int64)
        self._taken = 0
        self._seen = np.zeros((0, len(STATS)))
        self._epoch: Future[None] | None = None

    def begin(self, *args: Any) -> None:
        """Start an epoch.

        Args:
            args: of `kernels.critic_epoch`, up to `seen`; the sixth is the order [M, B].
        """
        self.end()
        self._shared[:] = 0
        self._taken, self._seen = 0, np.zeros((len(args[5]), len(STATS)))
        epoch: Any = kernels.critic_epoch  # numba has no types
        self._epoch = self._pool.submit(partial(epoch, *args, self._seen, self._shared))
        self.runs = True

    def follow(self, stats: NDArray[np.float64]) -> bool:
        """Wait for the critic's next step, and add what it saw to `stats`.

        Returns:
            False if its gradient, or what it led to, was not finite.
        """
        assert self._epoch is not None
        looks = 0
        while self._shared[DONE] <= self._taken:
            looks += 1
            if looks > SPINS:
                time.sleep(0)
                if self._epoch.done() and self._shared[DONE] <= self._taken:
                    self._epoch.result()
                    raise RuntimeError("the epoch has no further step")
        row = self._seen[self._taken]
        self._taken += 1
        stats += row
        return bool(self._shared[FAILED] != self._taken)

    def end(self) -> None:
        """Stop the critic, if it still runs, and wait until it has."""
        if self._epoch is not None:
            self._shared[STOP] = 1
            self._epoch.result()
        self._epoch, self.runs = None, False
