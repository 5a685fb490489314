"""numba's `njit` as p2p uses it: its cache is keyed by the sources and lies where one can write.

A module that decorates functions with this imports numba (0.3 s): import it late.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

IMPORTED = re.compile(r"^\s*from p2p\.([\w.]+) import", re.MULTILINE)

P = ParamSpec("P")
R = TypeVar("R")

# Sums may be reordered and products fused, which a given binary does the same way each time.
# What would let the compiler assume away NaN and infinity is left out.
FAST = {"contract", "reassoc", "nsz", "arcp"}


def sources() -> list[Path]:
    """Return the files that kernels are made of: those that use this module, and their imports."""
    top = Path(__file__).parents[1]
    users = [path for path in top.rglob("*.py") if b"p2p.core.jit" in path.read_bytes()]
    modules = {name for path in users for name in IMPORTED.findall(path.read_text("utf-8"))}
    places = [top.joinpath(*name.split(".")) for name in modules]
    imports = [file for p in places for file in (p.with_suffix(".py"), p / "__init__.py")]
    return sorted({*users, *(file for file in imports if file.is_file())})


def cache_folder() -> Path | None:
    """Return where machine code is kept, or None if that is not writable.

    Under NUMBA_CACHE_DIR, else p2p in the user's cache. numba looks at the time of change of
    the file that a kernel stands in, but not of those that it takes functions, constants and
    tuples from: a folder named after all of these is never stale.
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
    return folder


_FOLDER = cache_folder()


def is_cached() -> bool:
    """Return whether kernels were compiled here before; if not, that will take some 20 s."""
    return _FOLDER is not None and any(_FOLDER.rglob("recursions.discounted_sums*.nbi"))  # the last


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` as a part of the kernels that call it."""
    return _jit(function, fastmath=FAST)


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function`, to be called from Python, at its first call; or load it if cached."""
    return _jit(function, fastmath=FAST, cache=_FOLDER is not None)


def exact(function: Callable[P, R]) -> Callable[P, R]:
    """Do as `compiled`, but round every operation as numpy does, so that the bits are the same."""
    return _jit(function, fastmath=False)


def exact_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Do as `kernel`, with the rounding of `exact`."""
    return _jit(function, fastmath=False, cache=_FOLDER is not None)


def specialise(kernel: Callable[..., R], *args: Any) -> Callable[..., R]:
    """Return `kernel` as compiled for the types of `args`, to be called with such only.

    numba's dispatcher looks at the type of each array in each call, 7 us for forty of them.
    Nobody does here: an array of another dtype or memory order would be misread.
    """
    dispatcher: Any = kernel
    types = tuple(dispatcher.typeof_pyval(arg) for arg in args)
    return cast(Callable[..., R], dispatcher.compile(types))


def _jit(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    import numba

    settings: Any = numba.config
    njit: Any = numba.njit
    before, settings.CACHE_DIR = settings.CACHE_DIR, str(_FOLDER)  # read when a cache is set up
    try:
        # Nothing counts references: to count those to views took a sixth of a minibatch step.
        # So no kernel may allocate an array, which numba then refuses to compile.
        return cast(Callable[P, R], njit(error_model="numpy", _nrt=False, **options)(function))
    finally:
        settings.CACHE_DIR = before
