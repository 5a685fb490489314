"""A disk that fails at one call: whoever writes into a folder, by `os` or by files of Python's."""

from __future__ import annotations

import builtins
import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest

BY_PATH = ("mkdir", "rmdir", "unlink", "rename", "replace")
BY_FD = ("write", "pwrite", "fsync", "ftruncate")
NOTHING = 1 << 30


class FaultyDisk:
    """The calls of this process that change files below a folder, one of which fails.

    Args:
        monkeypatch: pytest's.
        folder: what lies on the disk.
        at: number of the call that fails, from 0.
        code: the errno that it fails with. None: a write takes one byte of many, as it may.
        lasting: every later call that needs room fails too, as on a disk that is full.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path, at: int = NOTHING,
        code: int | None = errno.ENOSPC, *, lasting: bool = False,
    ) -> None:  # fmt: skip
        self.folder, self.at, self.code, self.lasting = str(folder), at, code, lasting
        self.calls: list[str] = []
        self._fds: set[int] = set()
        self._open, self._close = os.open, os.close
        monkeypatch.setattr(os, "open", self._opened)
        monkeypatch.setattr(os, "close", self._closed)
        for module in (io, builtins):
            monkeypatch.setattr(module, "open", self._file(module.open))
        for name in (*BY_PATH, *BY_FD):
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))

    @property
    def reached(self) -> bool:
        return len(self.calls) > self.at

    def _fails(self, name: str, path: Any = None) -> bool:
        """Count a call, and tell whether it is to fail."""
        self.calls.append(name)
        number = len(self.calls) - 1
        later = self.lasting and number > self.at and name not in ("unlink", "rmdir", "ftruncate")
        return number == self.at or later

    def _error(self, path: Any) -> OSError:
        assert self.code is not None
        return OSError(self.code, os.strerror(self.code), path)

    def _below(self, path: Any) -> bool:
        if not isinstance(path, str | os.PathLike):
            return False
        return os.path.abspath(os.fspath(path)).startswith(self.folder)  # noqa: PTH100

    def _opened(self, path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        writes = flags & (os.O_WRONLY | os.O_RDWR) and self._below(path)
        if writes and flags & os.O_CREAT and self._fails("open") and self.code:
            raise self._error(path)
        fd = self._open(path, flags, *args, **kwargs)
        if writes or self._below(path):
            self._fds.add(fd)
        return fd

    def _closed(self, fd: int) -> None:
        self._fds.discard(fd)
        self._close(fd)

    def _file(self, real: Any) -> Any:
        def opened(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if set(mode) & set("wax+") and self._below(path) and self._fails("file") and self.code:
                if self.code != errno.ENOSPC:
                    raise self._error(path)
                real(path, mode, *args, **kwargs).close()
                path, mode = "/dev/full", mode.replace("x", "w")
            return real(path, mode, *args, **kwargs)

        return opened

    def _wrapped(self, name: str, real: Any) -> Any:
        def call(what: Any, *args: Any, **kwargs: Any) -> Any:
            ours = what in self._fds if name in BY_FD else self._below(what)
            if not ours or not self._fails(name):
                return real(what, *args, **kwargs)
            if writes := name in ("write", "pwrite"):
                data, *at = args
                taken = real(what, data[: 1 if self.code is None else len(data) // 2], *at)
            if self.code is None:
                return taken if writes else real(what, *args, **kwargs)
            raise self._error(None if name in BY_FD else str(what))

        return call
