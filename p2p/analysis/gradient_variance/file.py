"""grad-variance.h5: what `p2p grad-variance` measured on a run, kept to be reused.

Axes: R rows, one a checkpoint, peer and condition.

    /                          attributes: format, parameters (of the actor)
    /conditions                [C]  string   JSON: steps, minibatches, engine, versions
    /condition                 [R]  int64    index into it
    /checkpoint                [R]  string   SHA-256 of the checkpoint's file
    /iteration, /steps, /peer  [R]  int64    iterations and environment steps of training; rank
    /<quantity>                [R]  float64  as p2p.peer.gradient_variance has it; `ppo_`: PPO part

The format is that of HDF5 1.8 to 1.10, which every tool opens.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from p2p.analysis.file import ResultFile
from p2p.analysis.hdf5 import column as read_column


class Key(NamedTuple):
    """What a measurement is a function of."""

    checkpoint: str
    condition: str
    peer: int


class Row(NamedTuple):
    """What was measured on a peer at a checkpoint."""

    iteration: int
    steps: int
    log_variance: float
    trace: float
    snr: float
    ppo_log_variance: float
    ppo_trace: float
    ppo_snr: float


COUNTS = ("iteration", "steps")
QUANTITIES = Row._fields[len(COUNTS) :]


class GradientFile(ResultFile[Key, Row]):
    """The measurements kept beside one run."""

    name, lock = "grad-variance.h5", ".grad-variance.lock"
    noun, verb = "measurements", "measure"

    def __init__(self, folder: Path, parameters: int) -> None:
        super().__init__(folder)
        self.parameters = parameters

    def read(self, file: h5py.File) -> None:
        """Add what `file` holds to `rows`."""
        self.rows |= dict(_read(file))

    def fill(self, file: h5py.File) -> None:
        """Write everything into `file`, in an order that does not depend on who was first."""
        rows = sorted(self.rows.items(), key=lambda pair: (pair[1].iteration, *pair[0]))
        conditions = sorted({key.condition for key, _ in rows})
        text = h5py.string_dtype()
        file.attrs.update({"format": self.format, "parameters": self.parameters})
        file.create_dataset("conditions", data=conditions, dtype=text)
        file.create_dataset("checkpoint", data=[key.checkpoint for key, _ in rows], dtype=text)
        file["condition"] = np.array([conditions.index(key.condition) for key, _ in rows], np.int64)
        file["peer"] = np.array([key.peer for key, _ in rows], np.int64)
        for name in Row._fields:
            dtype = np.int64 if name in COUNTS else np.float64
            file[name] = np.array([getattr(row, name) for _, row in rows], dtype)


def _read(file: h5py.File) -> Iterator[tuple[Key, Row]]:
    conditions = list(file["conditions"].asstr()[:])
    keys = (read_column(file, name, "iu") for name in ("condition", "peer"))
    columns = (read_column(file, name, "iu" if name in COUNTS else "f") for name in Row._fields)
    for checkpoint, condition, peer, *row in zip(
        file["checkpoint"].asstr()[:], *keys, *columns, strict=True
    ):
        yield Key(str(checkpoint), conditions[condition], peer), Row(*row)
