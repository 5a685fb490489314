"""HDF5 files that others may have written, so read that libhdf5 neither loops nor takes memory.

libhdf5 believes what a file says of its strings: at a free object of no size in a heap of strings
it loops for ever, and it takes the memory that a string claims before it looks for the string. So
the heaps are walked first. Their layout is that of the HDF5 File Format Specification, III.E: a
collection is "GCOL", a version, 3 bytes unused, its size in 8, and objects: index 2, references 2,
unused 4, size 8, data to a multiple of 8. Index 0 is what is free. Whoever holds a string has its
length in 4 bytes, the collection's address in 8 and the object's index in 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from p2p.core.errors import BadArtefact
from p2p.core.reading import DAMAGE, read_bytes

SIGNATURE = b"\x89HDF\r\n\x1a\n"
COLLECTION = b"GCOL\x01"
HEAD = 16  # bytes, of a collection and of an object


class Extent(NamedTuple):
    """Bytes of a file from `start` on, before `end`."""

    start: int
    end: int


@contextmanager
def reading(path: Path, form: int, purpose: str) -> Iterator[h5py.File]:
    """Open a file that an analysis keeps in a run folder.

    Args:
        form: the format that the file must have.
        purpose: a verb; the error says that the file can be moved away to do this anew.

    Raises:
        BadArtefact: the file is damaged or of another format, or reading fails in the block.
    """
    try:
        data = read_bytes(path)  # once: the file may be replaced between two looks at it
        heaps = _heaps(data)
        with h5py.File(h5py.h5f.open_file_image(data)) as file:
            _check_strings(data, heaps, list(_numbers(file, file, len(data))))
            if not np.array_equal(file.attrs.get("format"), form):
                raise BadArtefact(f"{path} has another format; move it out of the way")
            yield file
    except (OSError, RuntimeError, *DAMAGE) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BadArtefact(
            f"{path} cannot be read ({reason}); move it out of the way to {purpose} anew"
        ) from None


def column(file: h5py.Group, name: str, kinds: str) -> list[Any]:
    """Return a dataset of one axis.

    Args:
        kinds: numpy's letters for what its numbers may be: "iu", "fiu", "b".

    Raises:
        ValueError: it is of another kind or shape.
    """
    data = file[name]
    if data.dtype.kind not in kinds or data.ndim != 1:
        raise ValueError(f"{name} is {data.dtype} {data.shape}")
    found: list[Any] = data[:].tolist()
    return found


def _heaps(data: bytes) -> dict[Extent, set[int]]:
    """Return the collections of strings in a file, and the indices of their objects.

    Raises:
        ValueError: it is no HDF5 file as p2p writes it, or a collection's objects do not fit.
    """
    version = data[8] if data.startswith(SIGNATURE) and len(data) > HEAD else -1
    if version not in (0, 1) or data[13:15] != b"\x08\x08":  # sizes of addresses and of lengths
        raise ValueError("not an HDF5 file")
    heaps: dict[Extent, set[int]] = {}
    at = data.find(COLLECTION)
    while at >= 0:
        end = at + _whole(data, at + 8, 8)
        if end > len(data):
            raise ValueError("a heap of strings is larger than the file")
        heaps[Extent(at, end)] = indices = set()
        place = at + HEAD
        while place + HEAD <= end:
            index, size = _whole(data, place, 2), _whole(data, place + 8, 8)
            if index:
                indices.add(index)
                size = HEAD + size + -size % 8
            if not HEAD <= size <= end - place:
                raise ValueError("a heap of strings is damaged")
            place += size
        at = data.find(COLLECTION, max(end, at + 1))
    return heaps


def _whole(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _numbers(file: h5py.File, group: h5py.Group, size: int) -> Iterator[Extent]:
    """Yield where in the file the numbers of each dataset are.

    Args:
        size: of the file, bytes.

    Raises:
        ValueError: the file has what p2p never writes: links out of it, or more data than it has. A
            dataset may claim terabytes without a byte of them, or take its data from another file.
    """
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is a link")
        part = group[name]
        if isinstance(part, h5py.Group):
            if part in (file, group):
                raise ValueError(f"{name} holds itself")
            yield from _numbers(file, part, size)
        elif part.external or part.is_virtual or part.nbytes > size:
            raise ValueError(f"the data of {name} are not in the file")
        elif part.dtype.kind != "O" and (start := part.id.get_offset()) is not None:
            yield Extent(start, start + part.nbytes)


def _check_strings(data: bytes, heaps: dict[Extent, set[int]], numbers: list[Extent]) -> None:
    """Raise ValueError if strings claim more bytes than the file has.

    Those who hold a string are found by its address, wherever that is not a number or a string.
    """
    indices = {heap.start: found for heap, found in heaps.items()}
    starts, ends = np.array(sorted([(-1, 0), *heaps, *numbers])).T
    claimed = 0
    for shift in range(8):
        words = np.frombuffer(data, "<u8", (len(data) - shift) // 8, shift)
        places = np.flatnonzero(np.isin(words, np.array([*indices], np.uint64))) * 8 + shift
        outside = places >= ends[np.searchsorted(starts, places, "right") - 1]
        for at in places[outside].tolist():
            if _whole(data, at + 8, 4) in indices[_whole(data, at, 8)]:
                claimed += _whole(data, at - 4, 4)
    if claimed > len(data):
        raise ValueError("its strings claim more than it has")
