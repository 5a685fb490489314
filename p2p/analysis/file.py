"""What the results beside a run share: a file that is read once, and added to under a lock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import h5py

from p2p.analysis.hdf5 import reading
from p2p.runs.files import exclusive, write_atomically
from p2p.runs.hdf5 import build_in_memory

K = TypeVar("K")
V = TypeVar("V")


class ResultFile(ABC, Generic[K, V]):
    """Results kept beside one run, each by all that it is a function of.

    Attributes:
        name, lock: of the files; the lock is not the run's own, which may be training.
        format: that the file states.
        noun, verb: what is written, and what can be done anew without it, in messages.
        path: the file.
        rows: what it holds, as of `load` or `keep`.
    """

    name: ClassVar[str]
    lock: ClassVar[str]
    format: ClassVar[int] = 1
    noun: ClassVar[str]
    verb: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.path = folder / self.name
        self.rows: dict[K, V] = {}

    def load(self) -> None:
        """Read the file; one that is not there is empty.

        Raises:
            BadArtefact: it is damaged, or of another format.
        """
        if not self.path.exists():
            return
        with reading(self.path, self.format, self.verb) as file:
            self.read(file)

    def keep(self, rows: Mapping[K, V]) -> None:
        """Add rows to the file, and to what other processes have added meanwhile.

        Raises:
            NoRoom: the disk is full or cannot be written; the file is as it was.
        """
        with self.updating():
            self.rows |= rows

    @contextmanager
    def updating(self) -> Iterator[None]:
        """Read the file before the block and write it after, under its lock."""
        with exclusive(self.path.with_name(self.lock), self.noun):
            self.load()
            yield
            write_atomically(self.path, build_in_memory(self.fill), self.noun)

    @abstractmethod
    def read(self, file: h5py.File) -> None:
        """Add what `file` holds to `rows`."""

    @abstractmethod
    def fill(self, file: h5py.File) -> None:
        """Write everything into `file`."""
