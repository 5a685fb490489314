"""Files that others may have written: regular ones alone, and no error but those of `DAMAGE`."""

from __future__ import annotations

import errno
import json
import os
import select
import stat
import tomllib
from pathlib import Path
from typing import Any

# What code raises that takes a file's content for what p2p writes
DAMAGE = (
    KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError,
    AssertionError, MemoryError,
)  # fmt: skip
MOST_SETTINGS = 4_000_000  # bytes of a file of settings, for people
PATIENCE = 2.0  # s, for the other end of a pipe
LARGEST = 1 << 128  # of whole numbers; larger ones make arithmetic slow, and floats overflow


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """Return a regular file's content; a pipe or a device would keep the reader for ever.

    Raises:
        OSError: it cannot be read, is of another kind, or has more than `most` bytes.
    """
    with open_regular(path) as file:
        if most is not None and os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"larger than {most:,} bytes", str(path))
        data: bytes = file.read()
        return data


def open_regular(path: Path) -> Any:
    """Return a regular file, open for reading bytes.

    Raises:
        OSError: it cannot be read, or is of another kind.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise


def parse_json(data: bytes | str) -> Any:
    """Return what a JSON document says.

    Raises:
        ValueError: it is none, is nested too deeply, or has a number that is too large.
    """
    try:
        return json.loads(data, parse_int=_whole)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Return a TOML document that a user has named; it may be a pipe.

    Raises:
        OSError: it cannot be read.
        ValueError: it is none, is nested too deeply, or has more than `MOST_SETTINGS` bytes.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            if not select.select([file], [], [], PATIENCE)[0]:
                raise OSError(errno.EAGAIN, "a pipe that nobody writes to", str(path))
            os.set_blocking(file.fileno(), True)
        data = file.read(MOST_SETTINGS + 1) or b""
    if len(data) > MOST_SETTINGS:
        raise ValueError(f"larger than {MOST_SETTINGS:,} bytes")
    return parse_toml(data.decode("utf-8"))


def parse_toml(text: str) -> dict[str, Any]:
    """Return what a TOML document says.

    Raises:
        ValueError: it is none, or is nested too deeply.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _whole(text: str) -> int:
    number = int(text)
    if abs(number) > LARGEST:
        raise ValueError("a number is too large")
    return number
