"""Part exchange: what one exchange costs beyond the peers' own work."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from p2p.bench.measure import Candidate, Measurement, Tell, compare
from p2p.bench.processes import run_together
from p2p.bench.settings import Settings, cores
from p2p.exchange.base import Exchange

FLOATS = 5702  # of an actor with 17 observations and 6 actions: those of HalfCheetah, Walker2d
NUM_PEERS = (2, 4)

Seconds = NDArray[np.float64]


def work_and_exchange(exchange: Exchange, turns: int, work: float) -> tuple[float, Seconds]:
    """Work `work` seconds and exchange, `turns` times.

    Work is counted in CPU time: with more peers than cores the clock runs on for a peer that
    has to give way.

    Returns:
        Wall seconds in all, and the CPU seconds of each turn's work [turns].
    """
    vector, own = np.zeros(FLOATS, np.float32), np.zeros(turns)
    now = time.thread_time
    exchange(vector)
    start = time.perf_counter()
    for turn in range(turns):
        begun = now()
        while (spent := now() - begun) < work:
            pass
        own[turn] = spent
        exchange(vector)
    return time.perf_counter() - start, own


def cost(walls: list[float], own: NDArray[np.float64], num_cores: int) -> float:
    """Return the microseconds of a turn that are nobody's work.

    That is the wall time beyond the least that a turn can take: the work of its slowest peer,
    or all work spread over the cores if there are more peers than cores.

    Args:
        walls: seconds in all, by peer.
        own: [K, turns], seconds of work.
    """
    least = max(own.max(axis=0).sum(), own.sum() / num_cores)
    return float((max(walls) - least) / own.shape[1] * 1e6)


def _measure(num_peers: int, settings: Settings) -> float:
    given = [(settings.exchange_turns, settings.exchange_work)] * num_peers
    found = run_together(work_and_exchange, given, slot_bytes=4 * FLOATS)
    own = np.stack([seconds for _, seconds in found])
    return cost([wall for wall, _ in found], own, cores())


def measure_exchange(settings: Settings, tell: Tell) -> list[Measurement]:
    """Return microseconds an exchange."""
    includes = (
        f"{FLOATS} floats a peer, {settings.exchange_work * 1e6:.0f} us of work a turn; wall time "
        f"a turn less the slowest peer's work, or all work over {cores()} cores if that is more"
    )
    candidates = [
        Candidate(f"exchange, K={K}", lambda K=K: _measure(K, settings), includes)  # type: ignore[misc]
        for K in NUM_PEERS
    ]
    return compare("exchange", "", "us", candidates, settings.rounds, tell)
