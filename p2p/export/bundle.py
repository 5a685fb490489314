"""Writes bundles: beside their place first, checked there, and moved when all is well."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from p2p.analysis.session import Progress
from p2p.core.errors import UsageError
from p2p.core.version import p2p_version
from p2p.export.check import (
    LIMIT,
    NUM_OBSERVATIONS,
    check_graph,
    check_header,
    find_compiler,
    sample_episodes,
)
from p2p.export.choice import Chosen, Held, load_peers, score_peers
from p2p.export.description import as_properties, describe
from p2p.export.graph import check_onnx, onnx_bytes
from p2p.export.header import c_header
from p2p.export.request import DOMAIN_SEED, check_request
from p2p.runs import RunFolder
from p2p.runs.bundle import DESCRIPTION, GRAPH, HEADER, SCRIPT, is_bundle
from p2p.runs.files import disk_errors, is_alive, reachable, sync

SCRIPT_SOURCE = Path(__file__).with_name(SCRIPT)
DEFAULT_FOLDER = "bundle"  # in the run folder


@dataclass(frozen=True)
class Bundle:
    """What was written to one folder.

    Attributes:
        path: the folder.
        told: what its policy.json says.
        sizes: bytes, by the name of each file.
    """

    path: Path
    told: dict[str, Any]
    sizes: dict[str, int]


@dataclass(frozen=True)
class Export:
    """What `export_policy` did.

    Attributes:
        held: the peers and their scores in held-out domains.
        bundles: one, or with `all` one a peer.
    """

    held: Held
    bundles: tuple[Bundle, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {
            "run": self.held.subject.path,
            "bundles": [
                {"path": str(one.path), "files": one.sizes, "policy": one.told}
                for one in self.bundles
            ],
        }


def export_policy(
    run: str | Path | RunFolder,
    out: str | Path | None = None,
    *,
    peer: str | int = "best",
    formats: Sequence[str] = ("onnx", "c"),
    eps_te: float = 0.5,
    domains: int = 24,
    domain_seed: int = DOMAIN_SEED,
    save: bool = True,
    workers: int | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Export:
    """Export a trained policy as a bundle that needs nothing of p2p.

    Every file is compared with the policy on a thousand observations of real episodes. If one
    differs by more than 1e-5 of an action's range, nothing is written.

    Args:
        run: a run folder, or a policy file.
        out: the folder to make; a bundle that is there is replaced. None: `bundle` in the run
            folder, or beside a policy file.
        peer: "best" in held-out test domains, a rank, "all" (a sub-folder a peer), or "mean", the
            peers' averaged action.
        formats: of "onnx" and "c".
        eps_te, domains, domain_seed: the held-out test domains.
        save, workers, report: as `evaluate` has them.

    Raises:
        UsageError: a setting is wrong, `out` holds other files, or onnx is not installed.
        BadArtefact: there is no policy, it is damaged, or a file acts otherwise than the policy.
        NoRoom: the disk is full or cannot be written.
    """
    peer, formats = str(peer), list(dict.fromkeys(formats))
    check_request(peer, formats)
    if "onnx" in formats:
        check_onnx()
    place = _place(run, out)
    check_replaceable(place)
    subject = load_peers(run, peer)
    held = score_peers(
        subject, eps_te=eps_te, domains=domains, domain_seed=domain_seed,
        save=save, workers=workers, report=report,
    )  # fmt: skip
    bundles = []
    with _replacing_folder(place) as new:
        for one in held.choose(peer):
            inside = f"peer-{one.peer}" if peer == "all" else ""
            bundles.append(Bundle(place / inside, *_write(new / inside, held, one, formats)))
    return Export(held, tuple(bundles))


def _write(
    folder: Path, held: Held, chosen: Chosen, formats: Sequence[str]
) -> tuple[dict[str, Any], dict[str, int]]:
    """Write one bundle and check it; return what its policy.json says, and sizes by file."""
    folder.mkdir(exist_ok=True)
    told = describe(held, chosen)
    if "onnx" in formats:
        (folder / GRAPH).write_bytes(onnx_bytes(chosen.policies, as_properties(told)))
        shutil.copyfile(SCRIPT_SOURCE, folder / SCRIPT)
    if "c" in formats:
        title = f"{told['task']}, {told['method']}, peer {told['peer']}; p2p {p2p_version()}"
        (folder / HEADER).write_text(c_header(chosen.policies, title, told["step_dt"]))
    told["check"] = _check(folder, held, chosen, formats)
    told["files"] = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.iterdir())
    }
    (folder / DESCRIPTION).write_text(json.dumps(told, indent=2) + "\n")
    sizes = {}
    for file in sorted(folder.iterdir()):
        sync(file)
        sizes[file.name] = file.stat().st_size
    return told, sizes


def _check(folder: Path, held: Held, chosen: Chosen, formats: Sequence[str]) -> dict[str, Any]:
    """Check the files; return the worst differences, None for what could not be checked."""
    config, compiler = held.found.config, find_compiler()
    sample = sample_episodes(
        chosen.acts, held.subject.randomisation, config.eps_te[0], config.domain_seed
    )
    worst: dict[str, float | None] = {}
    if "onnx" in formats:
        worst[GRAPH] = check_graph(folder / GRAPH, sample)
    if "c" in formats:
        header = folder / HEADER
        worst[HEADER] = check_header(header, sample, compiler) if compiler else None
    return {
        "observations": NUM_OBSERVATIONS, "limit": LIMIT, "worst": worst, "compiler": compiler,
    }  # fmt: skip


def _place(run: str | Path | RunFolder, out: str | Path | None) -> Path:
    if out is not None:
        place = reachable(Path(out), UsageError)
        if place.name in ("", ".."):
            raise UsageError(f"--out {out}: name a folder to make")
        return place
    path = reachable(Path(run))
    beside = path.with_name(f"{path.stem}-{DEFAULT_FOLDER}")
    return beside if path.is_file() else path / DEFAULT_FOLDER


def check_replaceable(path: Path) -> None:
    """Raise UsageError unless `path` is free, an empty folder, or holds bundles and nothing else.

    Pictures and scores that other commands left in a bundle may go with it.
    """
    for folder in (path, *path.parents):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file; choose another folder with --out")
    ours = {DESCRIPTION, GRAPH, HEADER, SCRIPT}
    for inside in path.iterdir() if path.is_dir() else ():
        drawn = inside.name.startswith("eval-") and inside.suffix == ".png"
        if inside.name in ours or (drawn and is_bundle(path)):
            continue
        if inside.is_dir() and is_bundle(inside):
            check_replaceable(inside)
            continue
        raise UsageError(
            f"{path} holds {inside.name}, which is no part of a bundle; "
            "choose another folder with --out"
        )


@contextmanager
def _replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder that becomes `path` when the block ends.

    After an exception all is as it was. After a crash the old folder is whole, there or, between
    two renames, beside it under a name that ends in `.old`; the next export clears up.

    Raises:
        NoRoom: the disk is full or cannot be written.
    """
    missing = [folder for folder in path.absolute().parents if not folder.exists()]
    new, old = (path.with_name(f".{path.name}.{os.getpid()}.{end}") for end in ("new", "old"))
    aside = shown = False
    try:
        with disk_errors("bundle", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_stale(path, "new")
            new.mkdir()
            yield new
            sync(new)
            if path.exists():
                shutil.rmtree(old, ignore_errors=True)  # of an export before, which failed at that
                path.rename(old)
                aside = True
            new.rename(path)
            shown = True
            sync(path.parent)
    except BaseException:
        with suppress(OSError):
            if shown:
                path.rename(new)
            if aside:
                old.rename(path)
        shutil.rmtree(new, ignore_errors=True)
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)
    _remove_stale(path, "old")


def _remove_stale(path: Path, end: str) -> None:
    """Remove the folders beside `path` of exports that were killed."""
    for folder in path.parent.glob(f".{escape(path.name)}.*.{end}"):
        writer = folder.name.split(".")[-2]
        if writer.isdecimal() and not is_alive(int(writer)):
            shutil.rmtree(folder, ignore_errors=True)
