"""Reads an exported bundle: a folder with policy.json and policy.onnx. It holds no code for p2p."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from p2p.core.errors import BadArtefact
from p2p.core.reading import DAMAGE, read_bytes
from p2p.policy.exported import ExportedPolicy
from p2p.policy.policy import Policy
from p2p.runs.files import reachable, read_json
from p2p.runs.policies import load_policy

FORMAT = "p2p-bundle-1"
DESCRIPTION, GRAPH, HEADER, SCRIPT = "policy.json", "policy.onnx", "p2p_policy.h", "run_policy.py"


def is_bundle(path: Path) -> bool:
    """Say whether it is a folder that `p2p export` wrote, or the ONNX file in one."""
    return (_folder(path) / DESCRIPTION).is_file()


def _folder(path: Path) -> Path:
    return path.parent if path.name == GRAPH else path


def load_policy_or_bundle(
    path: str | PathLike[str], peer: int = 0, *, best: bool = False
) -> Policy | ExportedPolicy:
    """Load a trained policy. Needs neither torch nor MuJoCo.

    Args:
        path: a run folder, a `.safetensors` file from its `policies/`, or a bundle that
            `p2p export` wrote, which needs onnxruntime.
        peer: which peer's policy, if a run folder is given.
        best: of a run folder the policy with which the peer did best in its tests in held-out
            domains (`test_every`), not the last one.

    Raises:
        BadArtefact: there is no policy, or it is damaged or not accessible.
        UsageError: the run has no such peer, or onnxruntime is not installed.
    """
    path = reachable(Path(path))
    return load_bundle(path) if is_bundle(path) else load_policy(path, peer, best=best)


def load_bundle(path: Path) -> ExportedPolicy:
    """Return the exported policy of a bundle; its `meta` says what policies' files say.

    Raises:
        BadArtefact: the bundle is damaged, of another format, or has no ONNX graph.
        UsageError: onnxruntime is not installed.
    """
    path = _folder(path)
    told = read_description(path)
    try:
        content = read_bytes(path / GRAPH)
    except FileNotFoundError:
        raise BadArtefact(f"{path} has no {GRAPH}; export it again with --format onnx,c") from None
    except OSError as error:
        raise BadArtefact(f"cannot read {path / GRAPH}: {error.strerror}") from None
    try:
        if hashlib.sha256(content).hexdigest() != told["files"][GRAPH]:
            raise ValueError(f"{GRAPH} is not the one that was exported")
        _check_kinds(told)
        low, high = (np.array(told[f"action_{end}"], np.float32) for end in ("low", "high"))
        names = ("method", "seed", "iterations")
        meta: dict[str, Any] = {name: told[name] for name in names if name in told}
        if isinstance(told["peer"], int):
            meta["peer"] = told["peer"]
        settings = told["training"]["settings"]
        if settings is not None:  # a group apart from runs, and one over seeds
            way = told["chosen_by"]
            kind = f"of peer {told['peer']}" if way == "rank" else way
            sources = {**settings["source_sha256"], **told["model_sha256"]}
            meta["settings"] = {**settings, "source_sha256": sources, "bundle": kind}
        return ExportedPolicy(told["task"], content, low, high, meta)
    except DAMAGE as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise BadArtefact(f"{path} is damaged: {what}; export it again") from None


def _check_kinds(told: Mapping[str, Any]) -> None:
    """Raise ValueError for what is not of the kind that it was written as."""
    kinds = {"task": str, "method": str, "seed": int, "iterations": int | None}
    for name, kind in kinds.items():
        if not isinstance(told[name], kind):
            raise ValueError(f"{name} is {told[name]!r}")
    settings = told["training"]["settings"]
    eps = 0.0 if settings is None else settings.get("eps_tr", 0.0)
    if not isinstance(eps, int | float):
        raise ValueError(f"eps_tr is {eps!r}")


def read_description(path: Path) -> dict[str, Any]:
    """Return a bundle's policy.json.

    Raises:
        BadArtefact: it is damaged, or of another format.
    """
    told = read_json(path / DESCRIPTION)
    if told.get("format") != FORMAT:
        raise BadArtefact(
            f"{path / DESCRIPTION} is of format {told.get('format')!r}, and this version reads "
            f"{FORMAT}; export it again"
        )
    return told
