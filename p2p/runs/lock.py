"""One writer a run folder: a lock that dies with its process."""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path

from p2p.core.errors import UsageError
from p2p.runs.files import disk_errors

NAME = ".lock"
_NO_LOCKING = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class FolderLock:
    """An exclusive `flock` on `<folder>/.lock`, whose content is the holder's process id.

    The kernel drops it when the holder ends in whatever way, so none goes stale. A forked
    (not spawned) child shares it, and holds it until it ends as well.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._fd: int | None = None
        self._closer: weakref.finalize[..., FolderLock] | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd is not None

    def acquire(self) -> None:
        """Take the lock; no effect if this object holds it already.

        Raises:
            UsageError: another process (or another RunFolder of this one) writes here.
            NoRoom: the lock file cannot be written.
        """
        if self.held:
            return
        file = self.folder / NAME
        with disk_errors("lock", file):
            fd = _open_locked(file)
            try:
                os.ftruncate(fd, 0)
                os.pwrite(fd, b"%d\n" % os.getpid(), 0)
            except BaseException:
                try:
                    file.unlink()
                finally:
                    os.close(fd)
                raise
        self._fd = fd
        self._closer = weakref.finalize(self, os.close, fd)

    def release(self) -> None:
        """Let go of the lock; the file stays, for unlinking it would race with the next holder."""
        if self._fd is None or self._closer is None:
            return
        fd, self._fd = self._fd, None
        try:
            with suppress(OSError):
                os.ftruncate(fd, 0)
        finally:
            self._closer()


def _open_locked(file: Path) -> int:
    """Return a descriptor of `file` that holds its lock."""
    while True:
        fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A creation that failed may have unlinked the file between open and flock.
            if _same(fd, file):
                return fd
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
            os.close(fd)
            who = f"process {holder}" if holder else "another process"
            raise UsageError(
                f"{file.parent} is being written by {who}; wait until it ends, or stop it first"
            ) from None
        except OSError as error:
            # Cluster file systems mounted without locks: training there beats refusing to.
            if error.errno in _NO_LOCKING:
                return fd
            os.close(fd)
            raise
        os.close(fd)


def _same(fd: int, file: Path) -> bool:
    """Whether `file` is still what `fd` has open."""
    try:
        return os.path.samestat(os.fstat(fd), file.stat())
    except FileNotFoundError:
        return False
