"""grad-variance.h5: what `p2p grad-variance` measured on a run, so that none is measured twice.

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

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from p2p.runs.files import alone, write_atomically
from p2p.runs.hdf5 import build_in_memory, reading

FORMAT = 1
NAME = "grad-variance.h5"
LOCK = ".grad-variance.lock"  # not the run's own: it may be training


class Key(NamedTuple):
    """What a measurement is a function of."""

    checkpoint: str
    condition: str
    peer: int


class Row(NamedTuple):
    """What came of it."""

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


class GradientFile:
    """The measurements kept beside one run.

    Attributes:
        path: the file.
        rows: what it holds, as of `load` or `keep`.
    """

    def __init__(self, folder: Path, parameters: int) -> None:
        self.path, self.parameters = folder / NAME, parameters
        self.rows: dict[Key, Row] = {}

    def load(self) -> None:
        """Read the file; one that is not there is empty.

        Raises:
            BadArtefact: it is damaged, or of another format.
        """
        if not self.path.exists():
            return
        with reading(self.path, FORMAT, "measure") as file:
            self.rows |= dict(_read(file))

    def keep(self, rows: Mapping[Key, Row]) -> None:
        """Add to the file, and to what others have added meanwhile.

        Raises:
            NoRoom: the disk is full or cannot be written; the file is as it was.
        """
        with alone(self.path.with_name(LOCK), "measurements"):
            self.load()
            self.rows |= rows
            write_atomically(self.path, build_in_memory(self._fill), "measurements")

    def _fill(self, file: h5py.File) -> None:
        """Write everything into `file`, in an order that does not depend on who was first."""
        rows = sorted(self.rows.items(), key=lambda pair: (pair[1].iteration, *pair[0]))
        conditions = sorted({key.condition for key, _ in rows})
        text = h5py.string_dtype()
        file.attrs.update({"format": FORMAT, "parameters": self.parameters})
        file.create_dataset("conditions", data=conditions, dtype=text)
        file.create_dataset("checkpoint", data=[key.checkpoint for key, _ in rows], dtype=text)
        file["condition"] = np.array([conditions.index(key.condition) for key, _ in rows], np.int64)
        file["peer"] = np.array([key.peer for key, _ in rows], np.int64)
        for name in Row._fields:
            dtype = np.int64 if name in COUNTS else np.float64
            file[name] = np.array([getattr(row, name) for _, row in rows], dtype)


def _read(file: h5py.File) -> Iterator[tuple[Key, Row]]:
    conditions = list(file["conditions"].asstr()[:])
    keys = (file[name][:].tolist() for name in ("condition", "peer"))
    columns = (file[name][:].tolist() for name in Row._fields)
    for checkpoint, condition, peer, *row in zip(
        file["checkpoint"].asstr()[:], *keys, *columns, strict=True
    ):
        yield Key(str(checkpoint), conditions[condition], peer), Row(*row)
