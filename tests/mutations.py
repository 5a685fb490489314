"""Mutations of files, drawn from a seed: of their structure where it is known, else of bytes."""

from __future__ import annotations

import copy
import io
import json
import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

DEEP = "[" * 20_000 + "]" * 20_000
ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    2**64,
    -(2**63) - 1,
    10**400,
    0.5,
    -0.0,
    1e308,
    -1e308,
    5e-324,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    "x",
    "0",
    "nan",
    "../../../tmp/outside",
    "/etc/passwd",
    "a/b",
    "..",
    ".",
    "~",
    "a\nb",
    "a\0b",
    "\ud800",
    "é" * 50,
    "x" * 5000,
    "0:1:1e-9",
    [],
    {},
    [[]],
    [None],
    [1, "a", None],
    list(range(300)),
    [[1.0, 2.0]] * 50,
    {"": {}},
    {"a": {"b": 1}},
    "p2p.core:nothing",
    "os.py:system",
    "evil.py:Evil",
    [0, 0],
    [64, 64],
    [1e9, 1e9],
    [-1, -1],
]


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to each node of a tree of dicts and lists, at most 400 of them."""
    found, ways = [path], [(path, value)]
    while ways and len(found) < 400:
        way, node = ways.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node[:20])
        for key, inner in items:
            found.append((*way, key))
            if isinstance(inner, dict | list):
                ways.append(((*way, key), inner))
    return found


def mutated_tree(rng: random.Random, value: Any) -> Any:
    """Return the tree with one to three nodes removed, renamed, swapped or replaced."""
    tree = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        ways = paths_of(tree) if isinstance(tree, dict | list) else []
        if len(ways) < 2:
            return rng.choice(ODD)
        way = rng.choice(ways[1:])
        parent = tree
        for key in way[:-1]:
            parent = parent[key]
        kind, last = rng.randrange(6), way[-1]
        if kind == 0:
            del parent[last]
        elif kind == 1 and isinstance(parent, dict):
            parent[str(rng.choice(ODD))[:50]] = parent.pop(last)
        elif kind == 2:
            other = tree
            for key in rng.choice(ways[1:]):
                if isinstance(other, dict | list):
                    with_key = key in other if isinstance(other, dict) else key < len(other)
                    other = other[key] if with_key else other
            parent[last] = copy.deepcopy(other)
        else:
            parent[last] = copy.deepcopy(rng.choice(ODD))
    return tree


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    """Return the bytes cut, flipped, repeated, overwritten or lengthened."""
    kind, size = rng.randrange(9), len(data)
    at = rng.randrange(size + 1)
    if kind == 0:
        return data[:at]
    if kind in (1, 2):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            if changed:
                changed[rng.randrange(size)] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if kind == 3:
        return data[:at] + data[at + rng.randrange(1, 64) :]
    if kind == 4:
        return data[:at] + data[at : at + 64] * rng.randrange(2, 40) + data[at:]
    if kind == 5:
        return data[:at] + rng.randbytes(rng.randrange(1, 64)) + data[at:]
    if kind == 6:
        return data[:at] + bytes(min(64, size - at)) + data[at + 64 :]
    if kind == 7:
        return rng.choice(
            (
                b"",
                b"\n",
                b"\xff\xfe",
                b"{}",
                b"[]",
                b"null",
                DEEP.encode(),
                b"\0" * 4096,
                DEEP.replace("[", '{"a":').replace("]", "}").encode(),
            )
        )
    return data + data


def mutated_json(rng: random.Random, data: bytes) -> bytes:
    """Return a JSON document with another tree, or other bytes."""
    if rng.random() < 0.25:
        return mutated_bytes(rng, data)
    text = json.dumps(mutated_tree(rng, json.loads(data)))
    if rng.random() < 0.03:
        text = text.replace("null", DEEP)
    return text.encode("utf-8", "surrogatepass")


def mutated_lines(rng: random.Random, data: bytes) -> bytes:
    """Return JSON lines with one or two of them changed."""
    if rng.random() < 0.2:
        return mutated_bytes(rng, data)
    lines = data.splitlines()
    for _ in range(rng.choice((1, 1, 2))):
        n = rng.randrange(len(lines))
        with suppress(ValueError, RecursionError):  # it has been changed already
            lines[n] = mutated_json(rng, lines[n]).replace(b"\n", b" ")
    if rng.random() < 0.1:
        rng.shuffle(lines)
    return b"\n".join(lines) + b"\n"


def mutated_tensors(
    rng: random.Random, data: bytes, seal: Callable[[dict[str, Any], bytes], None] | None = None
) -> bytes:
    """Return a safetensors file with another header, other bytes, or both of an inner document.

    Args:
        seal: puts the right checksum into the header for tensors' bytes; half of the files get it.
    """
    if rng.random() < 0.25:
        return mutated_bytes(rng, data)
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    inner = json.loads(header["__metadata__"]["p2p"])
    kind = rng.randrange(4)
    if kind == 0:
        header = mutated_tree(rng, header)
    elif kind == 1:
        name = rng.choice([n for n in header if n != "__metadata__"])
        header[name]["dtype"] = rng.choice(
            ("F64", "F32", "F16", "I8", "BOOL", "U64", "BF16", "F8_E4M3")
        )
        size = header[name]["data_offsets"][1] - header[name]["data_offsets"][0]
        header[name]["shape"] = rng.choice(([size], [0], [], [size // 8], [1, size // 4], [2**40]))
    elif kind == 2:
        values = np.frombuffer(body[: len(body) // 4 * 4], np.float32).copy()
        values[rng.randrange(len(values))] = rng.choice((np.nan, np.inf, -np.inf, 1e38, 0))
        body = values.tobytes() + body[len(body) // 4 * 4 :]
    else:
        inner = mutated_tree(rng, inner)
    if isinstance(header, dict) and isinstance(header.get("__metadata__"), dict):
        if seal is not None and isinstance(inner, dict) and rng.random() < 0.7:
            with suppress(Exception):  # nothing to seal
                seal(inner, _packed(header, body))
        header["__metadata__"]["p2p"] = json.dumps(inner)
    return _packed(header, body)


def _packed(header: Any, body: bytes) -> bytes:
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def mutated_hdf5(rng: random.Random, data: bytes) -> bytes:
    """Return an HDF5 file with parts of it removed or replaced; bytes are flipped in few."""
    if rng.random() < 0.1:
        return mutated_bytes(rng, data)
    with h5py.File(io.BytesIO(data), "r") as file:
        names: list[str] = []
        file.visit(names.append)
    changed = io.BytesIO(data)
    with h5py.File(changed, "r+") as file:
        for _ in range(rng.choice((1, 1, 2))):
            name = rng.choice(names)
            if not isinstance(file.get(name), h5py.Dataset | h5py.Group):
                continue
            kind = rng.randrange(4)
            if kind == 0:
                where = rng.choice((file, file[name]))
                if len(where.attrs):
                    key = rng.choice(list(where.attrs))
                    where.attrs[key] = rng.choice(
                        (0, -1, "x", np.nan, np.arange(3), h5py.Empty("f"), DEEP[:30000])
                    )
                continue
            del file[name]
            if kind == 1:
                continue
            file[name] = rng.choice(
                [
                    np.zeros(0),
                    np.zeros(3),
                    np.full((2, 2), np.nan),
                    np.arange(5) * 10**12,
                    np.int64(-1),
                    "text",
                    np.array([b"a", b"\xff"]),
                    np.zeros(2, bool),
                    h5py.SoftLink("/nowhere"),
                    h5py.SoftLink("/"),
                    h5py.ExternalLink("/etc/passwd", "/"),
                    np.zeros(4, "i1,f8"),
                    np.ones(3, np.complex128),
                    h5py.Empty("f8"),
                ]
            )
            if kind == 3 and rng.random() < 0.3:
                del file[name]
                file.create_dataset(name, (2**40,), "f8", chunks=(1024,))  # 8 TiB of nothing
    return changed.getvalue()


def toml_of(value: Any) -> str:
    """Return a TOML document; what TOML lacks becomes text."""
    return (
        "\n".join(f"{json.dumps(str(key))} = {_toml(item)}" for key, item in value.items()) + "\n"
    )


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(str(value))


def mutated_table(rng: random.Random, data: bytes) -> bytes:
    """Return CSV with cells replaced, lines removed, or other bytes."""
    if rng.random() < 0.3:
        return mutated_bytes(rng, data)
    rows = [line.split(",") for line in data.decode().splitlines()]
    for _ in range(rng.choice((1, 2, 5))):
        row = rng.choice(rows)
        kind = rng.randrange(4)
        if kind == 0 and len(row) > 1:
            del row[rng.randrange(len(row))]
        elif kind == 1:
            row.append(str(rng.choice(ODD))[:50])
        else:
            row[rng.randrange(len(row))] = rng.choice(
                (str(rng.choice(ODD))[:200], '"', "\0", "1e999")
            )
    return "\n".join(map(",".join, rows)).encode("utf-8", "surrogatepass")


def misplaced(rng: random.Random, path: Path) -> None:
    """Put something else than a file where `path` was."""
    kind = rng.randrange(8)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.symlink_to(path)
    elif kind == 3:
        path.symlink_to("/dev/zero")
    elif kind == 4:
        path.symlink_to("/nowhere/at/all")
    elif kind == 5:
        path.symlink_to("/dev/full")
    elif kind == 6:
        path.symlink_to("/")
    # else: it is not there
