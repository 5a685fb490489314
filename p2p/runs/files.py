"""Files that are whole or absent, and what the disk's errors mean to a user."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from p2p.core.errors import BadArtefact, NoRoom, P2PError

_MAKE_ROOM = "make room there, then run it again (--resume continues a run)"
_MAKE_WRITABLE = "make it writable, or choose another folder with --out"
_ELSEWHERE = "choose another folder with --out"

ADVICE = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EFBIG: _MAKE_ROOM,
    errno.EROFS: _MAKE_WRITABLE,
    errno.EACCES: _MAKE_WRITABLE,
    errno.EPERM: _MAKE_WRITABLE,
    errno.EIO: "check that disk (dmesg), or " + _ELSEWHERE,
    errno.ENOENT: "was the folder moved or deleted? " + _ELSEWHERE,
    errno.ENOTDIR: _ELSEWHERE,
    errno.ENAMETOOLONG: _ELSEWHERE,
    errno.ELOOP: _ELSEWHERE,
}
WRITER = re.compile(r"\.(\d+)\.tmp$")  # of a temporary file; earlier versions named none


@contextmanager
def disk_errors(what: str, path: Path) -> Iterator[None]:
    """Turn an OSError that a user can mend into NoRoom; a bug's (EBADF, ...) passes through.

    Args:
        what: what was being written, as in "cannot write {what} {path}".
        path: where.

    Raises:
        NoRoom: what, where, the system's reason, and what to do.
    """
    try:
        yield
    except OSError as error:
        advice = ADVICE.get(error.errno or 0)
        if advice is None:
            raise
        reason = os.strerror(error.errno or 0).lower()
        raise NoRoom(f"cannot write {what} {path}: {reason}; {advice}") from error


@contextmanager
def advising(what_to_do: str) -> Iterator[None]:
    """Let a file that cannot be written have this advice rather than that of `disk_errors`."""
    try:
        yield
    except NoRoom as error:
        reason = str(error).partition(";")[0]
        raise NoRoom(f"{reason}; {what_to_do}") from None


@contextmanager
def replacing(path: Path, what: str = "file") -> Iterator[Path]:
    """Yield a temporary path whose content becomes `path` when the block ends.

    After a crash at any point, or an exception, `path` is the old file or the new one,
    whole. The temporary name starts with a dot and ends in `.tmp`, so no glob that looks
    for results meets it, and has the process id, so that two writers of one file do not
    meet; `sweep` removes what a crash left.

    Raises:
        NoRoom: the disk is full or cannot be written; `path` is as it was.
    """
    tmp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(what, path):
        try:
            yield tmp
            sync(tmp)
            tmp.replace(path)
        except BaseException:
            with suppress(OSError):
                tmp.unlink()
            raise
        # The rename itself lies in the folder: without this a power cut may undo it.
        sync(path.parent)


def write_atomically(path: Path, data: bytes, what: str = "file") -> None:
    """Make `data` the content of `path`, as `replacing` does."""
    with replacing(path, what) as tmp:
        fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`: a disk that fills up takes a part first and complains next time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def reachable(path: Path, error: type[P2PError] = BadArtefact) -> Path:
    """Return `path` if it can be asked what is there; there need be nothing.

    Raises:
        BadArtefact, or `error`: a name is too long, links lead in a circle, or a folder on the
            way is closed.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as refusal:
        reason = os.strerror(refusal.errno or 0).lower()
        raise error(f"cannot reach {path}: {reason}; name another path") from None
    return path


def sync(path: Path) -> None:
    """Force a file's or a folder's content to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(fd)


def sweep(folder: Path) -> None:
    """Remove the temporary files of writers that are gone.

    Others stay: eval.h5 and its like are written beside a run by who does not hold its lock.
    """
    for tmp in folder.glob(".*.tmp"):
        writer = WRITER.search(tmp.name)
        if writer is None or not _is_alive(int(writer[1])):
            tmp.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:  # it is another user's
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


@contextmanager
def alone(lock: Path, what: str = "file") -> Iterator[None]:
    """Hold a lock file for the block, waiting for it; do without where there are no locks."""
    with disk_errors(what, lock):
        fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object for people to read, as `replacing` does."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode(), path.name)


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file of the run folder.

    Raises:
        BadArtefact: it is not there, unreadable, or no JSON object.
    """
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise BadArtefact(
            f"{path.parent} is no run folder (it has no {path.name}); "
            "name one that `p2p train` made"
        ) from None
    except OSError as error:
        raise BadArtefact(f"cannot read {path}: {error.strerror}") from error
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise BadArtefact(f"{path} is damaged: it holds no JSON object; restore it from a copy")
    return value
