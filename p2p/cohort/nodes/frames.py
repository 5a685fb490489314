"""What parents send one another, as bytes: JSON and tensors in the safetensors format, no pickle.

A frame is a kind, a JSON object and tensors. What a peer reports becomes a frame and the same
report again, bit for bit.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from p2p.core import errors
from p2p.core.errors import Interrupted, P2PError, PeerLost
from p2p.peer import reports

HEAD = "p2p"  # key of the metadata that holds kind and fields
STATE = "state."  # prefix of the tensors of a state
POLICY = "policy"  # tensor of a policy's bytes

Message = (
    reports.Checkpoint | reports.Milestone | reports.Iteration | reports.Tested
    | reports.Ended | reports.Stopped
)  # fmt: skip
REPORTS = {
    kind.__name__: kind
    for kind in (
        reports.Checkpoint, reports.Milestone, reports.Iteration, reports.Tested,
        reports.Ended, reports.Stopped,
    )
}  # fmt: skip


class Frame(NamedTuple):
    """One message between parents."""

    kind: str
    fields: dict[str, Any]
    tensors: dict[str, NDArray[Any]] = {}  # noqa: RUF012


def to_bytes(frame: Frame) -> bytes:
    """Return the bytes of a frame."""
    head = json.dumps([frame.kind, frame.fields], default=_plain)
    arrays = {name: np.asarray(value, order="C") for name, value in frame.tensors.items()}
    return safetensors.numpy.save(arrays, {HEAD: head})


def from_bytes(data: bytes) -> Frame:
    """Return the frame that `to_bytes` made into `data`.

    Raises:
        ValueError: it made no such bytes.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        kind, fields = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][HEAD])
        return Frame(kind, fields, safetensors.numpy.load(data))
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"{len(data)} bytes that are no frame of p2p's") from error


def of_report(rank: int, report: Message) -> Frame:
    """Return a peer's report as a frame."""
    fields, tensors = dict(report._asdict()), {}
    for name, value in fields.pop("state", {}).items():
        tensors[STATE + name] = np.asarray(value)
    if "policy" in fields:
        tensors[POLICY] = np.frombuffer(fields.pop("policy"), np.uint8)
    return Frame(type(report).__name__, {"rank": rank, **fields}, tensors)


def to_report(frame: Frame) -> tuple[int, Message]:
    """Return rank and report, the inverse of `of_report`."""
    fields, tensors = dict(frame.fields), dict(frame.tensors)
    rank = fields.pop("rank")
    if POLICY in tensors:
        fields["policy"] = tensors.pop(POLICY).tobytes()
    kind = REPORTS[frame.kind]
    if "state" in kind._fields:
        fields["state"] = {name.removeprefix(STATE): value for name, value in tensors.items()}
    return rank, kind(**fields)


def of_error(error: BaseException) -> Frame:
    """Return what ended a node as a frame."""
    if not isinstance(error, Exception):  # the run was closed, as by an error of a view
        error = PeerLost("it ended before the run was complete")
    fields: dict[str, Any] = {"error": type(error).__name__, "text": str(error)}
    if isinstance(error, Interrupted):
        fields["signum"] = error.signum
    return Frame("end", fields)


def to_error(frame: Frame, sender: str) -> Exception:
    """Return the error that ended another node: of the same class, so of the same exit code.

    Args:
        sender: what is said before the text, unless it names a node already.
    """
    kind = getattr(errors, frame.fields["error"], None)
    text = frame.fields["text"]
    text = text if text.startswith("node ") else f"{sender}: {text}"
    if kind is Interrupted:
        return Interrupted(text, frame.fields["signum"])
    if isinstance(kind, type) and issubclass(kind, P2PError):
        return kind(text)
    return RuntimeError(text)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot travel between nodes")
