"""numba's `njit` with a cache that is keyed by the sources, in a writable folder.

Decorating a function imports numba (0.3 s): import modules with kernels late.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import p2p.core.platform  # noqa: F401 (before numba is imported)

IMPORTED = re.compile(r"^\s*from p2p\.([\w.]+) import", re.MULTILINE)

P = ParamSpec("P")
R = TypeVar("R")

# Sums may be reordered and products fused; a given binary does so the same way each time. Flags
# that let the compiler assume that there is no NaN or infinity are not among them.
FAST = {"contract", "reassoc", "nsz", "arcp"}


def sources() -> list[Path]:
    """Return the source files of kernels: those that use this module, and their imports."""
    top = Path(__file__).parents[1]
    users = [path for path in top.rglob("*.py") if b"p2p.core.jit" in path.read_bytes()]
    modules = {name for path in users for name in IMPORTED.findall(path.read_text("utf-8"))}
    places = [top.joinpath(*name.split(".")) for name in modules]
    imports = [file for p in places for file in (p.with_suffix(".py"), p / "__init__.py")]
    return sorted({*users, *(file for file in imports if file.is_file())})


def cache_folder() -> Path | None:
    """Return the folder of compiled code, or None if it is not writable.

    It lies in NUMBA_CACHE_DIR, else in `p2p` in the user's cache. numba checks the modification
    time of a kernel's own file, but not of the files that it takes functions, constants and tuples
    from. The folder is named after the content of all of them, so that it is never stale.
    """
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sources())).hexdigest()[:16]
    named = os.environ.get("NUMBA_CACHE_DIR")
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = (Path(named) if named else Path(user).expanduser() / "p2p") / f"kernels-{key}"
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):  # RuntimeError: no home
        return None
    drop_damaged(folder)
    return folder


def drop_damaged(folder: Path) -> None:
    """Remove files that a power cut or a full disk has left cut or empty: numba fails at them.

    They are pickles, which begin with one byte and end with another.
    """
    for path in folder.rglob("*.nb[ic]"):
        with suppress(OSError):
            data = path.read_bytes()
            if not (data.startswith(b"\x80") and data.endswith(b".")):
                path.unlink()


_FOLDER = cache_folder()


def can_cache() -> bool:
    """Return whether there is a folder to keep compiled kernels in."""
    return _FOLDER is not None


def is_cached() -> bool:
    """Return whether the kernels are compiled; if not, compiling takes some 20 s."""
    last = "*.discounted_sums*.nbi"  # of the kernel that is compiled last
    return _FOLDER is not None and any(_FOLDER.rglob(last))


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` for use within kernels."""
    return _jit(function, fastmath=FAST)


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function`, or load it from the cache, when Python first calls it."""
    return _jit(function, fastmath=FAST, cache=_FOLDER is not None)


def unlocked_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Like `kernel`; other threads of Python run meanwhile."""
    return _jit(function, fastmath=FAST, cache=_FOLDER is not None, nogil=True)


def exact(function: Callable[P, R]) -> Callable[P, R]:
    """Like `compiled`, but round every operation as numpy does: bit-identical results."""
    return _jit(function, fastmath=False)


def exact_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Like `kernel`, with the rounding of `exact`; other threads of Python run meanwhile."""
    return _jit(function, fastmath=False, cache=_FOLDER is not None, nogil=True)


def specialise(kernel: Callable[..., R], *args: Any) -> Callable[..., R]:
    """Return `kernel` as compiled for the types of `args`, without type checks in later calls.

    numba's dispatcher checks the type of each array in each call: 7 us for forty arrays. The
    function returned does not: it misreads an array of another dtype or memory order.
    """
    dispatcher: Any = kernel
    types = tuple(dispatcher.typeof_pyval(arg) for arg in args)
    return cast(Callable[..., R], dispatcher.compile(types))


def _jit(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    import numba

    settings: Any = numba.config
    njit: Any = numba.njit
    before, settings.CACHE_DIR = settings.CACHE_DIR, str(_FOLDER)  # read by `njit`
    try:
        # Without reference counts, which for views took a sixth of a minibatch step. So a kernel
        # must not allocate an array; numba refuses to compile one that does.
        return cast(Callable[P, R], njit(error_model="numpy", _nrt=False, **options)(function))
    finally:
        settings.CACHE_DIR = before
