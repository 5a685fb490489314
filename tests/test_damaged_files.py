"""Files that ended a command with a traceback, took gigabytes or were waited for, one by one.

Fuzzing found them (`tests/strangers.py`); each failed before it was mended.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors.numpy
import strangers

from p2p.core import reading

Change = Callable[[bytes], bytes]
DEEP = b"[" * 20_000 + b"]" * 20_000


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("damaged").resolve()
    strangers.make_base(here)
    return here


def _at(tree: Any, *path: Any) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def in_json(*path: Any, to: Any) -> Change:
    """Put a value where `path` leads."""

    def change(data: bytes) -> bytes:
        tree = json.loads(data)
        _at(tree, *path[:-1])[path[-1]] = to
        return json.dumps(tree).encode()

    return change


def in_record(*path: Any, to: Any) -> Change:
    """The same, in the journal's fourth line."""

    def change(data: bytes) -> bytes:
        lines = data.splitlines()
        lines[3] = in_json(*path, to=to)(lines[3])
        return b"\n".join(lines) + b"\n"

    return change


def in_head(*path: Any, to: Any) -> Change:
    """The same, in what p2p says of tensors; with the right checksum, where they have one."""

    def change(data: bytes) -> bytes:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        kept = header["__metadata__"]
        name = "policy" if "policy" in kept else "p2p"
        inner = json.loads(kept[name])
        _at(inner, *path[:-1])[path[-1]] = to
        if "sha256" in inner:
            strangers._seal(inner, data)
        kept[name] = json.dumps(inner)
        return safetensors.numpy.save(safetensors.numpy.load(data), kept)

    return change


def in_tensor(name: str, to: np.ndarray) -> Change:
    def change(data: bytes) -> bytes:
        length = int.from_bytes(data[:8], "little")
        kept = json.loads(data[8 : 8 + length])["__metadata__"]
        return safetensors.numpy.save(safetensors.numpy.load(data) | {name: to}, kept)

    return change


def in_hdf5(name: str, to: Any, attribute: str = "") -> Change:
    """Replace a dataset, or an attribute of it or of a group of one dataset."""

    def change(data: bytes) -> bytes:
        changed = io.BytesIO(data)
        with h5py.File(changed, "r+") as file:
            if attribute:
                part = file[name]
                part = part[next(iter(part))] if name == "sets" else part
                part.attrs[attribute] = to
            else:
                del file[name]
                file[name] = to
        return changed.getvalue()

    return change


def whole(content: bytes) -> Change:
    return lambda data: content


def huge(data: bytes) -> bytes:
    """A column claims 8 TiB without a byte of them."""
    changed = io.BytesIO(data)
    with h5py.File(changed, "r+") as file:
        name = "episodes/return" if "episodes" in file else "trace"
        del file[name]
        file.create_dataset(name, (2**40,), "f8", chunks=(1024,))
    return changed.getvalue()


JSON_FILES = ("config", "versions", "result", "evaluation", "journal", "bench", "bundle")
CASES: dict[str, tuple[str, Change]] = {
    **{f"{name}, deep": (name, whole(DEEP + b"\n{}\n")) for name in JSON_FILES},
    **{f"{name}, deep": (name, whole(b"x = " + DEEP)) for name in ("study", "settings")},
    "result, a score is no table": ("result", in_json("scores", to=[3])),
    "result, a score is text": ("result", in_json("scores", 0, "mean", to="x")),
    "config, track": ("config", in_json("track", to=[["none"]])),
    "journal, episodes": ("journal", in_record("peers", 0, "episodes", to=[3])),
    "journal, episodes of one": ("journal", in_record("peers", 0, "episodes", to=[[1.0]])),
    "journal, episodes of three": ("journal", in_record("peers", 0, "episodes", to=[[1, 2, 3]])),
    "journal, times are no table": ("journal", in_record("peers", 0, "time", to=0.5)),
    "journal, no tests' table": ("journal", in_record("peers", 0, "test", to=[5.0])),
    "journal, a test's return": ("journal", in_record("peers", 0, "test", "return", to=[5.0])),
    "journal, the run's list for a number": ("journal", in_record("seconds", to=[1.0])),
    "journal, 1e400": ("journal", in_record("steps", to=10**400)),
    "checkpoint, config": ("checkpoint", in_head("config", to=3)),
    "checkpoint, iteration": ("checkpoint", in_head("iteration", to={})),
    "milestone, config": ("milestone", in_head("config", to=0.5)),
    "milestone, iteration": ("milestone", in_head("iteration", to={"a": 1})),
    "milestone, track": ("milestone", in_head("config", "track", to=[["none"]])),
    "policy, limits of an action": ("policy", in_tensor("action_low", np.zeros(2, np.float32))),
    "policy, shape of the mean": ("policy", in_tensor("obs_mean", np.zeros((11, 1)))),
    "eval, indices are fractions": ("eval", in_hdf5("episodes/domain", np.zeros(3))),
    "eval, indices of two axes": ("eval", in_hdf5("episodes/domain", np.zeros((2, 2), int))),
    "eval, domains are numbers": ("eval", in_hdf5("domains", np.zeros(3))),
    "eval, nominal is a list": ("eval", in_hdf5("/", np.arange(3), "nominal")),
    "eval, nominal is deep": ("eval", in_hdf5("/", DEEP[:30_000].decode(), "nominal")),
    "eval, a strength of three": ("eval", in_hdf5("sets", np.arange(3.0), "eps_te")),
    "eval, a seed that is not finite": ("eval", in_hdf5("sets", np.inf, "domain_seed")),
    "eval, terabytes": ("eval", huge),
    "grad-variance, terabytes": ("grad-variance", huge),
    "grad-variance, peers are text": ("grad-variance", in_hdf5("peer", [b"a", b"b"])),
    "settings, track": ("settings", whole(b'track = [["none"]]\n')),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_read_or_refused_in_one_line(base, monkeypatch, case):
    kind, change = CASES[case]
    target, watch = strangers.TARGETS[kind], strangers.Watch()
    path = base / target.file
    sound = {kind: path.read_bytes()}
    monkeypatch.chdir(base)
    damaged = change(sound[kind])
    for read in target.reads:
        path.write_bytes(damaged)
        try:
            assert strangers.fault_of(target, read, base, watch) == ""
        finally:
            strangers._restore(base, sound, kind)


@pytest.mark.parametrize("kind", strangers.TARGETS)
@pytest.mark.parametrize("place", ["pipe", "device"])
def test_what_is_no_file_is_not_waited_for(base, monkeypatch, kind, place):
    target, watch = strangers.TARGETS[kind], strangers.Watch()
    path = base / target.file
    sound = {kind: path.read_bytes()}
    monkeypatch.chdir(base)
    monkeypatch.setattr(reading, "PATIENCE", 0.1)
    path.unlink()
    os.mkfifo(path) if place == "pipe" else path.symlink_to("/dev/zero")
    try:
        assert strangers.fault_of(target, target.reads[0], base, watch) == ""
    finally:
        strangers._restore(base, sound, kind)


def test_the_cases_change_what_is_read(base):
    """They would else pass by doing nothing."""
    for kind, change in CASES.values():
        sound = (base / strangers.TARGETS[kind].file).read_bytes()
        assert change(sound) != sound
