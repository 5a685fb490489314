"""Atomic writes, and messages that turn errors of the disk into advice."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

from p2p.core import limits
from p2p.core.errors import BadArtefact, NoRoom, P2PError
from p2p.core.reading import parse_json, read_bytes

_MAKE_ROOM = "make room there, then run it again (--resume continues a run)"
_MAKE_WRITABLE = "make it writable, or choose another folder with --out"
_ELSEWHERE = "choose another folder with --out"
_LACKING = "that file system lacks what p2p needs; " + _ELSEWHERE

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
    errno.EISDIR: "a folder of that name is in the way; move it, or " + _ELSEWHERE,
    errno.ENOTEMPTY: "a folder of that name is in the way; move it, or " + _ELSEWHERE,
    errno.EEXIST: "something of that name is in the way, or that file system replaces no file; "
    + _ELSEWHERE,
    errno.EBUSY: "another program uses it; end that, or " + _ELSEWHERE,
    errno.EXDEV: _LACKING,
    errno.ENOSYS: _LACKING,
    errno.EOPNOTSUPP: _LACKING,
    errno.ESTALE: "that network file system has lost it; mount it again, or " + _ELSEWHERE,
    errno.ENOTCONN: "that network file system is gone; mount it again, or " + _ELSEWHERE,
    errno.ETIMEDOUT: "that network file system does not answer; wait, or " + _ELSEWHERE,
}
NO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
WRITER = re.compile(r"\.(\d+)\.tmp$")  # process id of a temporary file (earlier versions: none)


@contextmanager
def disk_errors(what: str, path: Path) -> Iterator[None]:
    """Turn an OSError that a user can act on into NoRoom; others (EBADF: a bug) pass.

    Args:
        what: the kind of file, as in "cannot write {what} {path}".
        path: the file.

    Raises:
        NoRoom: names the file, the system's reason, and what to do.
    """
    try:
        yield
    except OSError as error:
        advice = ADVICE.get(error.errno or 0)
        if advice is None:
            raise limits.explained(error) or error from None
        reason = os.strerror(error.errno or 0).lower()
        raise NoRoom(f"cannot write {what} {path}: {reason}; {advice}") from error


@contextmanager
def advising(what_to_do: str) -> Iterator[None]:
    """Replace the advice of `disk_errors` by `what_to_do`, if a file cannot be written."""
    try:
        yield
    except NoRoom as error:
        reason = str(error).partition(";")[0]
        raise NoRoom(f"{reason}; {what_to_do}") from None


@contextmanager
def replacing(path: Path, what: str = "file") -> Iterator[Path]:
    """Yield a temporary path whose content becomes `path` when the block ends.

    After a crash at any point, or an exception, `path` is the complete old file or the complete
    new one. The temporary name starts with a dot and ends in `.tmp`, so that no glob for results
    matches it, and contains the process id, so that two writers do not collide; after a crash,
    `remove_stale_files` removes it.

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
        # The rename changes the folder: without this a power cut may undo it.
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
    """Write all of `data`; a disk that fills up accepts a part first, then fails."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def reachable(path: Path, error: type[P2PError] = BadArtefact) -> Path:
    """Return `path` if it can be looked up, whether it exists or not.

    Raises:
        BadArtefact, or `error`: a name is too long, links form a circle, or a folder on the way
            is not accessible.
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
        if error.errno not in NO_SYNC:  # network file systems, sandboxes
            raise
    finally:
        os.close(fd)


def remove_stale_files(folder: Path, name: str = "") -> None:
    """Remove the temporary files of writers that no longer run.

    Those of running writers stay: analyses write eval.h5 without holding the run's lock.

    Args:
        name: of the only file whose temporary ones are meant; empty: all.
    """
    for tmp in folder.glob(f".{escape(name)}.*.tmp" if name else ".*.tmp"):
        writer = WRITER.search(tmp.name)
        if writer is None or not is_alive(int(writer[1])):
            tmp.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Say whether a process runs."""
    try:
        os.kill(pid, 0)
    except PermissionError:  # of another user
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


@contextmanager
def exclusive(lock: Path, what: str = "file") -> Iterator[None]:
    """Wait for a lock file and hold it for the block; a file system without locks is no error."""
    with disk_errors(what, lock):
        fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object, indented, as `replacing` does."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode(), path.name)


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file of the run folder.

    Raises:
        BadArtefact: it does not exist, cannot be read, or is not a JSON object.
    """
    try:
        value = parse_json(read_bytes(path))
    except (FileNotFoundError, NotADirectoryError):
        raise BadArtefact(
            f"{path.parent} is not a run folder (it has no {path.name}); "
            "name one that `p2p train` created"
        ) from None
    except OSError as error:
        raise BadArtefact(f"cannot read {path}: {error.strerror}") from error
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise BadArtefact(f"{path} is damaged: it is not a JSON object; restore it from a copy")
    return value
