"""The checkpoint file: safetensors with a checksum, verified before anything in it is used.

The file's `__metadata__` has one key, `p2p`: a JSON object of

    format     int, of this layout
    iteration  int, iterations completed
    config     the run's TrainConfig
    meta       the caller's own JSON object
    sha256     hex, over the JSON of the above and every tensor's name, dtype, shape and bytes

Tensors and metadata lie in one file, so that one rename publishes both together.
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

from p2p.core.config import TrainConfig, stored_config
from p2p.core.errors import BadArtefact, UsageError
from p2p.core.reading import DAMAGE, parse_json, read_bytes
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
        skipped: a warning for each newer checkpoint that is not valid.
    """

    iteration: int
    tensors: Tensors
    meta: dict[str, Any]
    path: Path
    skipped: list[str] = field(default_factory=list)


class Rejected(Exception):
    """A file is not a valid checkpoint of this run; the message continues `<file> `."""


def checkpoint_name(iteration: int) -> str:
    """Return the file name; names sort as iterations do, up to 8 digits."""
    return f"iteration-{iteration:08d}.safetensors"


def iteration_of(path: Path) -> int:
    """Return the iteration that a checkpoint's name states, the inverse of `checkpoint_name`.

    Raises:
        BadArtefact: the file is not named like a checkpoint.
    """
    number = path.stem.removeprefix("iteration-")
    if not number.isdecimal():
        raise BadArtefact(f"{path} is not named like a checkpoint; move it to another folder")
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
        TypeError: `meta` cannot be written as JSON.
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
        data = read_bytes(path)
        head = _head(data)
        tensors = safetensors.numpy.load(data)
        # A bit flipped in the header can name a dtype or shape that numpy refuses.
    except OSError as error:
        raise Rejected(f"cannot be read ({error.strerror})") from error
    except (SafetensorError, *DAMAGE) as error:
        raise Rejected("is truncated or damaged, or not a checkpoint") from error
    if head.get("format") != FORMAT:
        raise Rejected(f"has format {head.get('format')!r}, this version reads {FORMAT}")
    if head.pop("sha256", None) != _digest(head, tensors):
        raise Rejected("is damaged: its checksum does not match")
    kinds = {"iteration": int, "config": dict, "meta": dict}
    if any(type(head.get(name)) is not kind for name, kind in kinds.items()):
        raise Rejected("is no checkpoint of p2p's: its metadata are of other kinds")
    _check_origin(path, head, config)
    return Checkpoint(head["iteration"], tensors, head["meta"], path)


def settings_that_differ(one: TrainConfig, other: TrainConfig) -> list[str]:
    """Return the names of settings that differ and change a computed number."""
    return [
        name
        for name in dict.fromkeys([*one.settings, *other.settings])
        if name not in one.changes_no_number and one.get(name) != other.get(name)
    ]


def _check_origin(path: Path, head: dict[str, Any], config: TrainConfig) -> None:
    """Raise Rejected unless the checkpoint is of this run and has the name that it was given."""
    try:
        origin = stored_config(head["config"])
    except UsageError as error:
        raise Rejected("has settings that this version does not know") from error
    differing = settings_that_differ(origin, config)
    if differing:
        theirs = ", ".join(f"{name}={origin.get(name)!r}" for name in differing)
        ours = ", ".join(repr(config.get(name)) for name in differing)
        raise Rejected(f"is of another run: {theirs}, here {ours}")
    if path.name != checkpoint_name(head["iteration"]):
        raise Rejected(f"was renamed: it holds iteration {head['iteration']}")


def _head(data: bytes) -> dict[str, Any]:
    """Return the JSON object that `write` put into a safetensors file's metadata."""
    length = int.from_bytes(data[:8], "little")
    head = parse_json(parse_json(data[8 : 8 + length])["__metadata__"]["p2p"])
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
    """Return the array contiguous, in the byte order of safetensors."""
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _unpack(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a checkpoint's meta must be JSON, not {type(value).__name__}")
