"""A comparison as one HDF5 file, for analysis; it belongs to no run, so the user says where.

Axes: R runs, G groups, H thresholds. A table is a group with one dataset a column; an interval is
two columns, `<name>_low` and `<name>_high`. A number that does not exist is NaN; a task that
stands for all of them is "".

    /                attributes: format, measure, normalisation, resamples, verdicts, warnings,
                     notes (the last three JSON), versions (JSON)
    /scale/task, scale               what a task's scores are divided by, if they can be
    /runs/path, task, group, seed, score     [R]
    /summaries/..., /overall/...     of `Summary`
    /tests/..., /overall_tests/...   of `PairTest`
    /improvements/...                of `Improvement`
    /profiles/group                  [G]
    /profiles/thresholds             [H]
    /profiles/share, low, high       [G, H]

The format is that of HDF5 1.8 to 1.10, which every tool opens.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from p2p.analysis.comparison.results import Comparison
from p2p.runs.hdf5 import build_in_memory
from p2p.runs.versions import collect_versions

FORMAT = 1
TABLES = ("runs", "summaries", "overall", "tests", "overall_tests", "improvements")
ONE_TEXT = ("measure", "normalisation")
SEVERAL_TEXTS = ("verdicts", "warnings", "notes")


def encode(found: Comparison) -> bytes:
    """Return the bytes of the file."""
    whole = found.to_dict()

    def fill(file: h5py.File) -> None:
        file.attrs["format"] = FORMAT
        file.attrs["resamples"] = found.resamples
        file.attrs["versions"] = json.dumps(collect_versions())
        file.attrs.update({name: whole[name] for name in ONE_TEXT})
        file.attrs.update({name: json.dumps(whole[name]) for name in SEVERAL_TEXTS})
        scale = [{"task": task, "scale": value} for task, value in (found.scale or {}).items()]
        for name, rows in [("scale", scale), *((table, whole[table]) for table in TABLES)]:
            _write_table(file.create_group(name), rows)
        _write_profiles(file.create_group("profiles"), whole["profiles"])

    return build_in_memory(fill)


def _write_table(group: h5py.Group, rows: Sequence[Mapping[str, Any]]) -> None:
    flat = [dict(_flat(row)) for row in rows]
    for name in dict.fromkeys(name for row in flat for name in row):
        cells = [row.get(name) for row in flat]
        if any(isinstance(cell, str) for cell in cells):
            _write_texts(group, name, ["" if cell is None else cell for cell in cells])
        elif name == "task":  # of all tasks
            _write_texts(group, name, [""] * len(cells))
        else:
            column = np.array([math.nan if cell is None else cell for cell in cells])
            group.create_dataset(name, data=column)


def _write_texts(group: h5py.Group, name: str, texts: Sequence[str]) -> None:
    """Write a column of texts as UTF-8; bytes of a path that are none are written as escapes."""
    data = [text.encode("utf-8", "backslashreplace") for text in texts]
    group.create_dataset(name, data=data, dtype=h5py.string_dtype())


def _flat(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the cells of a row, an interval as two."""
    for name, value in row.items():
        if name.endswith("_ci") or name == "interval":
            stem = name.removesuffix("_ci")
            low, high = value or (math.nan, math.nan)
            yield from ((f"{stem}_low", low), (f"{stem}_high", high))
        else:
            yield name, value


def _write_profiles(group: h5py.Group, profiles: Sequence[Mapping[str, Any]]) -> None:
    if not profiles:
        return
    _write_texts(group, "group", [profile["group"] for profile in profiles])
    group["thresholds"] = np.array(profiles[0]["thresholds"])
    for name in ("share", "low", "high"):
        group[name] = np.array([profile[name] for profile in profiles])
