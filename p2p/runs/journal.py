"""The journal: one JSON record per iteration, one per line; run.h5 is built from it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic_core import from_json

from p2p.core.errors import BadArtefact
from p2p.core.reading import open_regular
from p2p.runs.files import disk_errors, replacing, sync, write_all

MOST_ITERATIONS = 1 << 53
LONG = 1 << 63
BLOCK = 1 << 20  # bytes that are copied at once
PART = 1 << 24  # bytes of a journal that are held as records at once
Record = dict[str, Any]


class Mark(NamedTuple):
    """A place between two lines of a journal.

    Attributes:
        lines: complete ones before it.
        offset: bytes before it.
    """

    lines: int = 0
    offset: int = 0


class Journal:
    """An append-only file of records.

    A line is complete when it ends in a newline. Readers ignore what a killed writer left after
    the last newline, and the next `append` cuts it off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record in one write; non-finite numbers become null, to stay valid JSON.

        Raises:
            NoRoom: the disk is full or cannot be written; the journal is unchanged.
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
        """Return all complete records, oldest first.

        Raises:
            BadArtefact: a line before the last is damaged, or the file cannot be read.
        """
        return list(self.stream())

    def stream(self) -> Iterator[Record]:
        """Yield all complete records one at a time: long journals do not fit into memory.

        Raises:
            BadArtefact: a line before the last is damaged, or the file cannot be read.
        """
        return (record for record, _ in self.stream_from(Mark()))

    def stream_from(self, mark: Mark) -> Iterator[tuple[Record, Mark]]:
        """Yield the complete records after `mark`, each with the mark of its end.

        Raises:
            BadArtefact: as `stream`.
        """
        for line, end in self._lines(mark):
            if (record := _parse(line)) is None:
                raise self._damaged(end.lines)
            yield record, end

    def last(self, number: int) -> list[Record]:
        """Return the last `number` complete records, without parsing those before.

        Raises:
            BadArtefact: one of them is damaged, or the file cannot be read.
        """
        first = self.count() - number
        lines = (found for found in self._lines(Mark()) if found[1].lines > first)
        records = []
        for line, end in lines:
            if (record := _parse(line)) is None:
                raise self._damaged(end.lines)
            records.append(record)
        return records[-number:] if number > 0 else []

    def count(self) -> int:
        """Return the number of complete lines, without parsing them.

        Raises:
            BadArtefact: the file cannot be read.
        """
        try:
            with open_regular(self.path) as file:
                return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise BadArtefact(f"cannot read {self.path}: {error.strerror}") from error

    def tail(self, offset: int) -> tuple[list[Record], int]:
        """Return complete records from byte `offset` on, and the offset after them.

        Of a long rest only the first ones, about `PART` bytes of them. What is damaged is left
        out: a reader of a running journal must go on.
        """
        try:
            with open_regular(self.path) as file:
                file.seek(offset)
                data = file.read(PART)
                while b"\n" not in data and (more := file.read(PART)):
                    data += more
        except OSError:
            return [], offset
        whole = data.rfind(b"\n") + 1
        parsed = map(_parse, data[:whole].splitlines())
        return [record for record in parsed if record is not None], offset + whole

    def parts(self, offset: int) -> Iterator[tuple[list[Record], int]]:
        """Yield what `tail` returns until there is no more."""
        while (found := self.tail(offset))[1] > offset:
            yield found
            offset = found[1]

    def truncate(self, iterations: int) -> None:
        """Delete the records of iteration `iterations` and later; the others keep their bytes.

        Damaged lines after the last record kept are deleted as well: the iterations that they
        described will be run again.

        Raises:
            BadArtefact: a line among those to keep is damaged.
        """
        kept: list[list[int]] = []  # stretches of bytes
        damaged = begin = 0
        for line, end in self._lines(Mark()):
            record = _parse(line)
            if record is None:
                damaged = damaged or end.lines
            elif record["iteration"] < iterations:
                if damaged:
                    raise self._damaged(damaged)
                if kept and kept[-1][1] == begin:
                    kept[-1][1] = end.offset
                else:
                    kept.append([begin, end.offset])
            begin = end.offset
        if sum(stop - start for start, stop in kept) < begin:
            self._keep(kept)

    def sync(self) -> None:
        """Force the journal to the disk."""
        if self.path.exists():
            with disk_errors("journal", self.path):
                sync(self.path)

    def _keep(self, stretches: Iterable[Sequence[int]]) -> None:
        """Replace the journal by these stretches of its bytes."""
        with open_regular(self.path) as old, replacing(self.path, "journal") as tmp:
            fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            try:
                for start, stop in stretches:
                    old.seek(start)
                    while start < stop and (block := old.read(min(BLOCK, stop - start))):
                        write_all(fd, block)
                        start += len(block)
            finally:
                os.close(fd)

    def _lines(self, mark: Mark) -> Iterator[tuple[bytes, Mark]]:
        """Yield the complete lines after `mark`, each with the mark of its end."""
        number, offset = mark
        try:
            with open_regular(self.path) as file:
                file.seek(offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    number, offset = number + 1, offset + len(line)
                    yield line, Mark(number, offset)
        except FileNotFoundError:
            return
        except OSError as error:
            raise BadArtefact(f"cannot read {self.path}: {error.strerror}") from error

    def _damaged(self, number: int) -> BadArtefact:
        return BadArtefact(
            f"{self.path} line {number} is not a record; delete that line to continue without it"
        )


def jsonable(value: Any) -> Any:
    """Return `value` as strict JSON can hold it: numpy unpacked, NaN and infinity as null."""
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
    """Return the record of a line, or None if the line is not a record."""
    try:
        record = from_json(line)  # three times as fast as json's, which counts in long journals
    except ValueError:
        return None
    return record if _is_record(record) else None


TABLES = {"factors", "time", "test", "grad_variance", "reward_terms"}  # of a peer, by name


def _is_record(value: Any) -> bool:
    """Tell whether readers may take it for a record: by the kinds of what it holds."""
    if not isinstance(value, dict):
        return False
    number, peers = value.get("iteration"), value.get("peers", [])
    return (
        type(number) is int
        and 0 <= number < MOST_ITERATIONS
        and isinstance(peers, list)
        and all(_is_number(item) for name, item in value.items() if name != "peers")
        and all(isinstance(peer, dict) and _is_peer(peer) for peer in peers)
    )


def _is_peer(peer: Mapping[str, Any]) -> bool:
    for name, value in peer.items():
        if name == "episodes":
            pairs = isinstance(value, list) and all(
                isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair))
                and type(pair[1]) is int for pair in value
            )  # fmt: skip
            if not pairs:
                return False
        elif isinstance(value, dict):
            if not all(map(_is_number, value.values())):
                return False
        elif name in TABLES or not (
            isinstance(value, str) if name == "domain" else _is_plain(value)
        ):
            return False
    return True


def _is_plain(value: Any) -> bool:
    return isinstance(value, str) or _is_number(value)


def _is_number(value: Any) -> bool:
    kind = type(value)
    return kind is float or value is None or kind is bool or (kind is int and -LONG <= value < LONG)


def _cut_torn_line(fd: int) -> int:
    """Cut what follows the last newline; return the file's size after that, bytes."""
    size = os.fstat(fd).st_size
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return size
    whole = os.pread(fd, size, 0).rfind(b"\n") + 1
    os.ftruncate(fd, whole)
    return whole
