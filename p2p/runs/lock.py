"""One writer per run folder: a lock that ends with its process."""

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
_NO_LOCKING = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM)


class FolderLock:
    """An exclusive `flock` on `<folder>/.lock`, whose content is the holder's process id.

    The kernel releases it when the holder ends, however it ends, so that no lock goes stale. A
    forked (not spawned) child shares the lock, and holds it until it ends as well.
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
        """Take the lock; do nothing if this object holds it already.

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
        """Release the lock. The file stays: unlinking it would race with the next holder."""
        if self._fd is None or self._closer is None:
            return
        fd, self._fd = self._fd, None
        try:
            with suppress(OSError):
                os.ftruncate(fd, 0)
        finally:
            self._closer()


def is_locked(folder: Path) -> bool:
    """Tell whether another process writes in a folder.

    A lock file without a holder's id is held by nobody, and not touched: taking the lock for a
    moment could be in the way of a process that begins to write.
    """
    try:
        fd = os.open(folder / NAME, os.O_RDONLY)
    except OSError:
        return False
    try:
        if not os.pread(fd, 32, 0).strip():
            return False
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # held; or a file system without locks, where the id is all there is to know
        return True
    finally:
        os.close(fd)
    return False


def _open_locked(file: Path) -> int:
    """Return a file descriptor of `file` that holds its lock."""
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
                f"{file.parent} is being written by {who}; wait until that ends, or stop it first"
            ) from None
        except OSError as error:
            # A cluster file system mounted without locks: train there all the same.
            if error.errno in _NO_LOCKING:
                return fd
            os.close(fd)
            raise
        os.close(fd)


def _same(fd: int, file: Path) -> bool:
    """Whether `fd` still refers to the file at that path."""
    try:
        return os.path.samestat(os.fstat(fd), file.stat())
    except FileNotFoundError:
        return False
