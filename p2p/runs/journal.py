"""The journal: one JSON record per iteration, one per line; run.h5 is built from it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import from_json

from p2p.core.errors import BadArtefact
from p2p.core.reading import open_regular, read_bytes
from p2p.runs.files import disk_errors, sync, write_all, write_atomically

MOST_ITERATIONS = 1 << 53
LONG = 1 << 63
Record = dict[str, Any]


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
        try:
            with open_regular(self.path) as file:
                for number, line in enumerate(file, 1):
                    if not line.endswith(b"\n"):
                        return
                    if (record := _parse(line)) is None:
                        raise self._damaged(number)
                    yield record
        except FileNotFoundError:
            return
        except OSError as error:
            raise BadArtefact(f"cannot read {self.path}: {error.strerror}") from error

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
        """Return the complete records from byte `offset` on, and the offset after them.

        What is damaged is left out: a reader of a running journal must go on.
        """
        try:
            with open_regular(self.path) as file:
                file.seek(offset)
                data = file.read()
        except OSError:
            return [], offset
        whole = data.rfind(b"\n") + 1
        parsed = map(_parse, data[:whole].splitlines())
        return [record for record in parsed if record is not None], offset + whole

    def truncate(self, iterations: int) -> None:
        """Delete the records of iteration `iterations` and later; the others keep their bytes.

        Damaged lines after the last record kept are deleted as well: the iterations that they
        described will be run again.

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
            data = read_bytes(self.path)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BadArtefact(f"cannot read {self.path}: {error.strerror}") from error
        return data[: data.rfind(b"\n") + 1].splitlines(keepends=True)

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
