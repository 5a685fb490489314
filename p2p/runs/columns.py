"""The journal's numbers as columns of 8 bytes a cell: a tenth of its records' size as objects.

A cell is an iteration (of a number of the whole cohort), an iteration and peer, or an episode.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping
from itertools import repeat
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Record = Mapping[str, Any]
EPISODES = {"iteration": "q", "peer": "q", "return": "d", "length": "q"}  # array's type codes


class Columns:
    """Records of a journal, taken one at a time.

    Args:
        num_peers: K.

    Attributes:
        rows: I, records so far.
        iterations: numbers of the whole cohort, [I] each or shorter; what is missing at the end is
            missing in the records.
        peers: numbers of a peer, [I K] each or shorter; those in an inner object are `outer/inner`.
        domains: text of each peer's domain, [I K] or shorter.
        episodes: columns of `EPISODES`, [E] each.
    """

    def __init__(self, num_peers: int) -> None:
        self.num_peers, self.rows = num_peers, 0
        self.iterations: dict[str, array[float]] = {}
        self.peers: dict[str, array[float]] = {}
        self.domains: list[str | bytes] = []
        self.episodes: dict[str, array[Any]] = {n: array(code) for n, code in EPISODES.items()}

    @classmethod
    def of(cls, file: h5py.File, num_peers: int) -> Columns:
        """Return the columns that an earlier run.h5 holds."""
        found = cls(num_peers)
        found.rows = len(file["iteration"])
        for name, part in file.items():
            if isinstance(part, h5py.Dataset):
                found.iterations[name] = _array("d", part)

        def visit(name: str, part: h5py.Group | h5py.Dataset) -> None:
            if name == "domain":
                found.domains = part[:].ravel().tolist()
            elif isinstance(part, h5py.Dataset):
                found.peers[name] = _array("d", part)

        file["peers"].visititems(visit)
        for name, code in EPISODES.items():
            found.episodes[name] = _array(code, file["episodes"][name])
        return found

    def add(self, record: Record) -> None:
        """Add the next record.

        Raises:
            KeyError, IndexError, TypeError, ValueError: it is not as p2p writes it.
        """
        number = record["iteration"]
        for name, value in _numbers(record):
            _put(self.iterations, name, self.rows, _float(value))
        for rank, peer in enumerate(record.get("peers", ())):
            if rank >= self.num_peers:
                raise IndexError(f"iteration {number} has more than {self.num_peers} peers")
            cell = self.rows * self.num_peers + rank
            for name, value in _numbers(peer):
                _put(self.peers, name, cell, _float(value))
            self.domains.extend(repeat("", cell - len(self.domains)))
            self.domains.append(peer.get("domain", ""))
            for episode_return, length in peer.get("episodes", ()):
                row = (number, rank, _float(episode_return), length)
                for column, value in zip(self.episodes.values(), row, strict=True):
                    column.append(value)
        self.rows += 1

    def of_iterations(self, name: str) -> NDArray[np.float64]:
        """Return a number of the whole cohort, [I]; NaN where it is missing."""
        return _filled(self.iterations.get(name), self.rows)

    def of_peers(self, name: str) -> NDArray[np.float64]:
        """Return a number of the peers, [I, K]; NaN where it is missing."""
        flat = _filled(self.peers.get(name), self.rows * self.num_peers)
        return flat.reshape(self.rows, self.num_peers)

    def of_domains(self) -> NDArray[np.object_]:
        """Return the text of the domains, [I, K]; empty where it is missing."""
        flat = np.full(self.rows * self.num_peers, "", object)
        flat[: len(self.domains)] = self.domains
        return flat.reshape(self.rows, self.num_peers)


def _put(columns: dict[str, array[float]], name: str, cell: int, value: float) -> None:
    column = columns.get(name)
    if column is None:
        column = columns[name] = array("d")
    column.extend(repeat(math.nan, cell - len(column)))
    if len(column) == cell:
        column.append(value)
    else:  # twice in one record
        column[cell] = value


def _filled(column: array[float] | None, size: int) -> NDArray[np.float64]:
    data = np.full(size, np.nan)
    if column is not None:
        data[: len(column)] = column
    return data


def _array(code: str, dataset: h5py.Dataset) -> array[Any]:
    data = dataset[:].ravel()
    return array(code, data.astype(np.int64 if code == "q" else np.float64).tobytes())


def _numbers(record: Record, prefix: str = "") -> Iterator[tuple[str, float | None]]:
    """Yield the numbers of a record, those of a nested one as `outer/inner`."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{name}/")
        elif value is None or isinstance(value, int | float):
            yield prefix + name, value


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)
