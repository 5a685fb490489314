"""surface-peer-<k>.h5: return surfaces as arrays, built from the episodes in eval.h5.

Axes: N points along each axis of the plane, D domains, 3 policies that span it.

    /                                  attributes: format, task, method, seed, eps_tr,
                                       config (JSON)
    /x, /y                             [N]        float64  distance between parameters (L2)
    /policies                          [N, N]     string   by y and x: as eval.h5 names it
    /train, /test                      attributes: eps, hash (of the domains)
    /train/return, /test/return        [N, N]     float64  mean over domains, undiscounted
    /train/return_by_domain, /test/... [N, N, D]  float64
    /marks/<column>                    [3]        initial, middle and final policy: name, steps,
                                                  x, y, train, test and the returns as trained

The format is that of HDF5 1.8 to 1.10, which every tool opens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from p2p.runs.hdf5 import build_in_memory

FORMAT = 1


def encode_surface(
    attributes: Mapping[str, Any],
    axes: tuple[NDArray[np.float64], NDArray[np.float64]],
    scenarios: Mapping[str, tuple[NDArray[np.float64], float | None, str]],
    marks: Sequence[Mapping[str, Any]],
    policies: NDArray[np.str_],
) -> bytes:
    """Return the bytes of the file.

    Args:
        attributes: of the file; what is no number or text is written as JSON.
        axes: x and y, [N] each.
        scenarios: by name the returns [N, N, D], the strength, and the domains' hash.
        marks: a row a policy.
        policies: [N, N].
    """

    def fill(file: h5py.File) -> None:
        file.attrs["format"] = FORMAT
        for name, value in attributes.items():
            file.attrs[name] = json.dumps(value) if isinstance(value, dict) else value
        for name, values in zip("xy", axes, strict=True):
            file[name] = values
        text = h5py.string_dtype()
        file.create_dataset("policies", data=policies.astype(object), dtype=text)
        for name, (returns, eps, sha) in scenarios.items():
            file[f"{name}/return"] = returns.mean(axis=-1)
            file[f"{name}/return_by_domain"] = returns
            file[name].attrs.update({"eps": eps, "hash": sha})
        for column in marks[0]:
            cells = [mark[column] for mark in marks]
            kind = text if isinstance(cells[0], str) else None
            file.create_dataset(f"marks/{column}", data=cells, dtype=kind)

    return build_in_memory(fill)
