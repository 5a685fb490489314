"""Checkpoints: one safetensors file each, checked before it is believed.

The file's `__metadata__` has one key, `p2p`: a JSON object of

    format     int, of this layout
    iteration  int, iterations completed
    config     the run's TrainConfig
    meta       what the caller gave
    sha256     hex, over the JSON of the above and every tensor's name, dtype, shape and bytes

It is inside the file, so one rename publishes tensors and metadata together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from p2p.core.config import TrainConfig
from p2p.core.errors import BadArtefact
from p2p.runs.files import write_atomically

FORMAT = 1
PATTERN = "iteration-*.safetensors"

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint.

    Attributes:
        iteration: iterations completed.
        tensors: by name; writable copies.
        meta: what the caller saved beside them.
        path: the file.
        skipped: a warning for each newer checkpoint that did not verify.
    """

    iteration: int
    tensors: Tensors
    meta: dict[str, Any]
    path: Path
    skipped: list[str] = field(default_factory=list)


class Rejected(Exception):
    """A file is no checkpoint of this run; the message says why, in a few words."""


def checkpoint_name(iteration: int) -> str:
    """Return the file name; names sort as iterations do, up to 8 digits."""
    return f"iteration-{iteration:08d}.safetensors"


def iteration_of(path: Path) -> int:
    """Return the iteration that a checkpoint's name states, the inverse of `checkpoint_name`.

    Raises:
        BadArtefact: the name states none.
    """
    number = path.stem.removeprefix("iteration-")
    if not number.isdecimal():
        raise BadArtefact(f"{path} is named like no checkpoint; move it out of the way")
    return int(number)


def write(
    path: Path,
    iteration: int,
    tensors: Mapping[str, NDArray[Any]],
    meta: Mapping[str, Any],
    config: TrainConfig,
) -> None:
    """Write a checkpoint atomically; equal content gives equal bytes.

    Raises:
        NoRoom: the disk is full or cannot be written; `path` is as it was.
        TypeError: `meta` holds what JSON cannot.
    """
    arrays = {name: _little_endian(array) for name, array in tensors.items()}
    head = {
        "format": FORMAT,
        "iteration": iteration,
        "config": config.model_dump(mode="json"),
        "meta": dict(meta),
    }
    head = json.loads(json.dumps(head, default=_unpack))  # as it will be read back
    head["sha256"] = _digest(head, arrays)
    data = safetensors.numpy.save(arrays, {"p2p": json.dumps(head)})
    write_atomically(path, data, "checkpoint")


def read(path: Path, config: TrainConfig) -> Checkpoint:
    """Read and verify a checkpoint of the run that `config` describes.

    Raises:
        Rejected: unreadable, damaged, of another format, or of another run.
    """
    try:
        data = path.read_bytes()
        head = _head(data)
        tensors = safetensors.numpy.load(data)
        # A bit flipped in the header can name a dtype or shape that numpy refuses.
    except OSError as error:
        raise Rejected(f"cannot be read ({error.strerror})") from error
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise Rejected("is truncated or damaged, or no checkpoint") from error
    if head.get("format") != FORMAT:
        raise Rejected(f"has format {head.get('format')!r}, this version reads {FORMAT}")
    if head.pop("sha256", None) != _digest(head, tensors):
        raise Rejected("is damaged: its checksum does not match")
    _check_origin(path, head, config)
    return Checkpoint(head["iteration"], tensors, head["meta"], path)


def settings_that_differ(one: TrainConfig, other: TrainConfig) -> list[str]:
    """Name the settings in which two configs differ, of those that change a number."""
    return [
        name
        for name in TrainConfig.model_fields
        if name not in one.changes_no_number and getattr(one, name) != getattr(other, name)
    ]


def _check_origin(path: Path, head: dict[str, Any], config: TrainConfig) -> None:
    """Raise Rejected unless the checkpoint is this run's, and goes by its own name."""
    try:
        origin = TrainConfig(**head["config"])
    except ValueError as error:
        raise Rejected("has settings that this version does not know") from error
    differing = settings_that_differ(origin, config)
    if differing:
        theirs = ", ".join(f"{name}={getattr(origin, name)!r}" for name in differing)
        ours = ", ".join(repr(getattr(config, name)) for name in differing)
        raise Rejected(f"is of another run: {theirs}, here {ours}")
    if path.name != checkpoint_name(head["iteration"]):
        raise Rejected(f"was renamed: it holds iteration {head['iteration']}")


def _head(data: bytes) -> dict[str, Any]:
    """Return the JSON object that `write` put into a safetensors file's metadata."""
    length = int.from_bytes(data[:8], "little")
    head = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["p2p"])
    if not isinstance(head, dict):
        raise TypeError("not a JSON object")
    return head


def _digest(head: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> str:
    """Return the sha256 of the metadata and of every tensor."""
    digest = hashlib.sha256(json.dumps(head).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"\n{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _little_endian(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array dense and in the byte order that safetensors stores."""
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _unpack(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a checkpoint's meta must be JSON, not {type(value).__name__}")
