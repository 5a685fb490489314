"""The checks of `p2p doctor`. None imports torch or MuJoCo here; those are tried in processes."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from p2p.core import machine
from p2p.core import platform as system
from p2p.core.version import DISTRIBUTION, p2p_version

SHOWN = ("torch", "mujoco", "numpy", "numba", "gymnasium")
PATIENCE = 4.0  # s, for the processes that try something
PEER_MEMORY = 150 * 2**20  # bytes that a peer has for itself, about
PURPOSES = {  # of extras; one that is not here has its name alone
    "figures": "pictures: p2p figures, eval --by-factor, surface",
    "export": "p2p export",
    "slurm": "p2p study --engine slurm",
    "track": "p2p train --track",
    "video": "p2p video",
}
RENDER = """
import sys, mujoco
text = "<mujoco><worldbody><light pos='0 0 3'/><geom size='1'/></worldbody></mujoco>"
model = mujoco.MjModel.from_xml_string(text)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 32, 32) as renderer:
    renderer.update_scene(data)
    sys.exit(0 if renderer.render().std() > 0 else 3)
"""


class Check(NamedTuple):
    """What one check found.

    Attributes:
        state: "wrong" keeps p2p from working, a "note" costs something.
        advice: what to do; empty if there is nothing to do.
    """

    name: str
    state: Literal["ok", "note", "wrong"]
    found: str
    advice: str = ""


class Attempt:
    """A Python process that tries something, while others do."""

    def __init__(self, code: str, **env: str) -> None:
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", code], env={**os.environ, **env},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def result(self) -> tuple[bool | None, str]:
        """Return whether it worked (None: it takes too long), and its last line of complaint."""
        left = self.begun + PATIENCE - time.monotonic()
        try:
            _, said = self.process.communicate(timeout=max(0.1, left))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            return None, ""
        lines = said.strip().splitlines()
        return self.process.returncode == 0, lines[-1] if lines else "no picture"


def run_checks() -> list[Check]:
    """Return what all checks find; it takes about as long as importing torch."""
    imports = Attempt("import torch, mujoco, numba, gymnasium")
    renders = {gl: Attempt(RENDER, MUJOCO_GL=gl) for gl in _back_ends()}
    return [
        Check("p2p", "ok", f"{p2p_version()}, Python {platform.python_version()}, {_place()}"),
        _versions(),
        *_cores(),
        _memory(),
        _shared_memory(),
        _temporary_files(),
        _disk(),
        _open_files(),
        _kernels(),
        _extras(),
        _rendering(renders),
        _imports(imports),
    ]


def _place() -> str:
    return f"{platform.platform(terse=True)}, {os.uname().machine}"


def _versions() -> Check:
    """Check that what is installed is what this version of p2p asks for."""
    unmet = [text for text in _requirements() if not _is_met(text)]
    shown = ", ".join(f"{name} {_version(name) or 'MISSING'}" for name in SHOWN)
    if unmet:
        named = " ".join(f"'{text}'" for text in unmet)
        return Check("versions", "wrong", shown, f"pip install {named}")
    return Check("versions", "ok", shown)


def _requirements(extra: str | None = None) -> Iterator[str]:
    """Yield the requirements of p2p, or those that an extra adds."""
    for text in metadata.requires(DISTRIBUTION) or []:
        needed, _, marker = (part.strip() for part in text.partition(";"))
        named = re.search(r"extra == ['\"]([^'\"]+)", marker)
        if (named and named[1]) == extra:
            yield needed


def _is_met(requirement: str) -> bool:
    """Say whether a requirement such as `mujoco<4,>=3.8` is met by what is installed."""
    name = re.match(r"[\w.-]+", requirement)
    found = _version(name[0]) if name else None
    if found is None:
        return False
    ours = _numbers(found)
    for sign, bound in re.findall(r"(>=|<=|==|<|>)\s*([\d.]+)", requirement):
        theirs = _numbers(bound)
        order = (ours > theirs) - (ours < theirs)
        if order not in {">=": (0, 1), "<=": (0, -1), "==": (0,), "<": (-1,), ">": (1,)}[sign]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    found = [int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3]]
    return tuple(found + [0] * (3 - len(found)))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cores() -> Iterator[Check]:
    cores, there, quota = len(system.usable_cores()), os.cpu_count() or 1, machine.cpu_quota()
    found = f"{cores} of {there} usable; {system.processor()}"
    load = system.load_average()
    if quota is not None and quota < cores:
        advice = (
            f"peers beyond {max(1, int(quota))} wait for the quota: raise it (docker --cpus), or "
            f"train with --peers {max(1, int(quota))}"
        )
        yield Check("cores", "note", f"{found}; a quota of {quota:.3g} cores' time", advice)
    elif load > cores:
        busy = f"{found}; load {load:.1f}"
        yield Check("cores", "note", busy, "other programs run here: training is slower by them")
    else:
        yield Check("cores", "ok", f"{found}; no quota")


def _memory() -> Check:
    total, limit = machine.memory(), machine.memory_limit()
    usable = min((size for size in (total, limit) if size is not None), default=None)
    found = machine.gibibytes(total)
    if limit is not None and (total is None or limit < total):
        found = f"{machine.gibibytes(limit)} by a limit, of {found}"
    if usable is not None and usable < 2**30:
        return Check("memory", "note", found, "importing torch alone takes 300 MiB: allow 1 GiB")
    if usable is None:
        return Check("memory", "ok", found)
    return Check("memory", "ok", f"{found}; enough for {usable // PEER_MEMORY} peers")


def _shared_memory() -> Check:
    free = system.free_shared_memory()
    if free is None:
        found = f"no /dev/shm: peers exchange through a file in {tempfile.gettempdir()}"
        return Check("/dev/shm", "note", found, "slower if that is on a disk; else mount a tmpfs")
    found = f"{machine.gibibytes(free)} free"
    if free < 2**20:
        advice = "peers cannot exchange: free some, or enlarge it (docker --shm-size 64m)"
        return Check("/dev/shm", "wrong", found, advice)
    return Check("/dev/shm", "ok", found)


def _temporary_files() -> Check:
    try:
        return Check("temporary", "ok", tempfile.gettempdir())
    except OSError:
        advice = "set TMPDIR to a folder that is writable"
        return Check("temporary", "note", "no folder for temporary files is writable", advice)


def _disk() -> Check:
    """Check that runs can be written where this was called."""
    free = machine.free_disk(Path())
    try:
        tempfile.TemporaryFile(dir=".").close()
    except OSError as error:
        found = f"cannot write here: {error.strerror}"
        return Check("disk", "note", found, "change to a folder of yours, or train with --out")
    found = f"{machine.gibibytes(free)} free here"
    if free is not None and free < 2**30:
        return Check("disk", "note", found, "a long run may take 1 GiB: make room")
    return Check("disk", "ok", found)


def _open_files() -> Check:
    most = machine.open_files()
    found = "no limit" if most is None else f"at most {most:,} open files"
    if most is not None and most < 256:
        return Check("limits", "note", found, "many peers need more: ulimit -n 1024")
    return Check("limits", "ok", found)


def _kernels() -> Check:
    """Check where compiled code of the fused engine is kept."""
    from p2p.core import jit

    folder = jit.cache_folder()
    if folder is None:
        advice = "set NUMBA_CACHE_DIR to a folder that is writable; until then each run compiles"
        return Check("kernels", "note", "no folder to keep compiled kernels in", advice)
    if not jit.is_cached():
        return Check("kernels", "ok", f"none yet in {folder}: the first run compiles, some 20 s")
    return Check("kernels", "ok", f"compiled, in {folder}")


def _extras() -> Check:
    """Say which extras are installed, and what the others are for."""
    names = metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    missing = [name for name in names if not all(map(_is_met, _requirements(name)))]
    there = [name for name in names if name not in missing]
    found = f"installed: {', '.join(there) or 'none'}"
    if not missing:
        return Check("extras", "ok", found)
    wanted = "; ".join(
        f"{name} ({PURPOSES[name]})" if name in PURPOSES else name for name in missing
    )
    advice = f"pip install 'p2pdrl[{','.join(missing)}]' if you want them"
    return Check("extras", "ok", f"{found}; not installed: {wanted}", advice)


def _back_ends() -> Iterable[str]:
    """Return the ways of rendering to try: the one that is set, else all that may work here."""
    chosen = os.environ.get("MUJOCO_GL")
    if chosen:
        return [chosen]
    if sys.platform == "darwin":
        return ["cgl"]
    shown = [name for name in ("DISPLAY", "WAYLAND_DISPLAY") if os.environ.get(name)]
    return ["egl", "osmesa", *(["glfw"] if shown else [])]


def _rendering(attempts: dict[str, Attempt]) -> Check:
    """Check that pictures of a robot can be made; training needs none."""
    results = {gl: attempt.result() for gl, attempt in attempts.items()}
    working = [gl for gl, (works, _) in results.items() if works]
    if working:
        return Check("rendering", "ok", f"works by {', '.join(working)}")
    why = "; ".join(
        f"{gl}: {'no answer in time' if works is None else said}"
        for gl, (works, said) in results.items()
    )
    advice = (
        "only videos and render_mode need it. Debian, Ubuntu: apt install libegl1 libgl1-mesa-dri, "
        "or libosmesa6; then MUJOCO_GL=egl or osmesa"
    )
    return Check("rendering", "note", f"no picture by {why}", advice)


def _imports(attempt: Attempt) -> Check:
    """Check that what p2p imports can be imported, and how long that takes."""
    works, said = attempt.result()
    if works is None:
        advice = "a busy machine or a slow disk: every command starts as slowly"
        return Check("imports", "note", f"more than {PATIENCE:.0f} s", advice)
    if not works:
        return Check("imports", "wrong", said, "install it anew: pip install --force-reinstall")
    return Check("imports", "ok", f"torch, mujoco, numba, gymnasium: {_seconds(attempt)}")


def _seconds(attempt: Attempt) -> str:
    return f"at most {time.monotonic() - attempt.begun:.1f} s"
