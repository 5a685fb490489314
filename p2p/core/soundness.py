"""Whether numbers are finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_finite(vector: NDArray[np.floating[Any]]) -> bool:
    """Return whether all of a flat vector are finite: 1 us for an actor, `np.isfinite` takes 4."""
    return bool(np.isfinite(np.dot(vector, vector)) or np.isfinite(vector).all())


def not_finite(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Name the first number in `arrays` that is not finite, as `obs[3, 0] is nan`; else empty."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            index = f"[{', '.join(map(str, where))}]" if where else ""
            return f"{name}{index} is {array[where]}"
    return ""
