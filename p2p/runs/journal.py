"""The journal: one JSON record a line and an iteration; the truth that run.h5 is built from."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from p2p.core.errors import BadArtefact
from p2p.runs.files import disk_errors, sync, write_all, write_atomically

Record = dict[str, Any]


class Journal:
    """An append-only file of records.

    A line counts when it ends in a newline: what a killed writer left after the last one
    is ignored by readers and cut off by the next `append`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record in one write; non-finite numbers become null, to stay valid JSON.

        Raises:
            NoRoom: the disk is full or cannot be written; the journal is as it was.
        """
        line = json.dumps(jsonable(record), separators=(",", ":"), allow_nan=False) + "\n"
        with disk_errors("journal", self.path):
            fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                whole = _cut_torn_line(fd)
                try:
                    write_all(fd, line.encode())
                except BaseException:
                    os.ftruncate(fd, whole)
                    raise
            finally:
                os.close(fd)

    def records(self) -> list[Record]:
        """Return all whole records, oldest first.

        Raises:
            BadArtefact: a line before the last is damaged, or the file cannot be read.
        """
        parsed = [(n, _parse(line)) for n, line in enumerate(self._lines(), 1)]
        for number, record in parsed:
            if record is None:
                raise self._damaged(number)
        return [record for _, record in parsed if record is not None]

    def truncate(self, iterations: int) -> None:
        """Drop the records of iteration `iterations` and later; the others keep their bytes.

        Damaged lines after the last record kept are dropped as well: the iterations that
        they told of are about to be run again.

        Raises:
            BadArtefact: a line among those to keep is damaged.
        """
        lines = self._lines()
        parsed = [_parse(line) for line in lines]
        kept = [n for n, r in enumerate(parsed) if r is not None and r["iteration"] < iterations]
        for number in range(kept[-1] if kept else 0):
            if parsed[number] is None:
                raise self._damaged(number + 1)
        if len(kept) < len(lines):
            write_atomically(self.path, b"".join(lines[n] for n in kept), "journal")

    def sync(self) -> None:
        """Force the journal to the disk."""
        if self.path.exists():
            with disk_errors("journal", self.path):
                sync(self.path)

    def _lines(self) -> list[bytes]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BadArtefact(f"cannot read {self.path}: {error.strerror}") from error
        return data[: data.rfind(b"\n") + 1].splitlines(keepends=True)

    def _damaged(self, number: int) -> BadArtefact:
        return BadArtefact(
            f"{self.path} line {number} is no record; delete that line to go on without it"
        )


def jsonable(value: Any) -> Any:
    """Return `value` as what strict JSON can hold: numpy unpacked, NaN and infinities null."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value


def _parse(line: bytes) -> Record | None:
    """Return the record of a line, or None if it is none."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(record, dict) and isinstance(record.get("iteration"), int)
    return record if whole else None


def _cut_torn_line(fd: int) -> int:
    """Cut what follows the last newline; return the size in bytes then."""
    size = os.fstat(fd).st_size
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return size
    whole = os.pread(fd, size, 0).rfind(b"\n") + 1
    os.ftruncate(fd, whole)
    return whole
