"""run.h5: the journal as columns, for analysis.

Axes: I records (one an iteration), K peers, E episodes. Every dataset has the attributes
`units` ("1": a pure number) and `axes`. Missing or non-finite numbers are NaN.

    /                        attributes: format, config (JSON), versions (JSON)
    /iteration               [I]     int64    0-based
    /steps                   [I]     int64    environment steps so far over all peers
    /seconds, /elapsed       [I]     float64  s; of the iteration, since the session began
    /steps_per_second        [I]     float64  1/s
    /peers/domain            [I, K]  string   exact, as `Domain.parse` reads it
    /peers/factors/<factor>  [I, K]  float64  one number a factor, of each peer's first env
    /peers/<metric>          [I, K]  float64  penalty_kl, entropy, ...: see `METRICS`
    /peers/time/<phase>      [I, K]  float64  s
    /peers/grad_variance/<quantity>  [I, K]  float64  if measured (`p2p.peer.gradient_variance`)
    /peers/test/<quantity>   [I, K]  float64  in held-out domains, NaN between tests
    /episodes/iteration      [E]     int64    in which the episode ended
    /episodes/peer           [E]     int64    rank
    /episodes/return         [E]     float64  undiscounted, unscaled
    /episodes/length         [E]     int64    steps

A number that the journal holds under any other name is written as well, without units.
The format is that of HDF5 1.8 to 1.10, which every tool opens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from p2p.runs.columns import Columns

FORMAT = 1

ITERATION = {"steps": "1", "seconds": "s", "elapsed": "s", "steps_per_second": "1/s"}

METRICS = {
    "unstable": "1",
    "reward_per_step": "1",
    "terminations_per_step": "1",
    "penalty_kl": "nat",
    "approx_kl": "nat",
    "entropy": "nat",
    "clip_fraction": "1",
    "policy_loss": "1",
    "value_loss": "1",
    "grad_norm_actor": "1",
    "grad_norm_critic": "1",
    "log_std": "1",
    "explained_variance": "1",
    "learning_rate": "1",
    **{f"time/{phase}": "s" for phase in ("physics", "policy", "update", "waiting")},
}
OPTIONAL = {  # units of quantities that only some runs measure, in some iterations
    **{f"test/{name}": "1" for name in ("return", "std", "falls")},
    "test/length": "steps",
    "test/seconds": "s",
    "grad_variance/seconds": "s",
    **{
        f"grad_variance/{part}{name}": "1"
        for part in ("", "ppo_")
        for name in ("log_variance", "trace", "snr")
    },
}


def build_in_memory(fill: Callable[[h5py.File], None]) -> bytes:
    """Return the bytes of the HDF5 file that `fill` writes.

    The file is built in memory, so that neither a full disk nor a kill can leave a file that HDF5
    refuses to open. The upper bound of `libver` excludes features of HDF5 1.12 and later.
    """
    with h5py.File(
        "memory.h5", "w", driver="core", backing_store=False, libver=("earliest", "v110")
    ) as file:
        fill(file)
        file.flush()
        return bytes(file.id.get_file_image())


def encode_run(
    columns: Columns, attributes: Mapping[str, Any], factor_units: Mapping[str, str]
) -> bytes:
    """Return the bytes of run.h5.

    Args:
        columns: of the journal.
        attributes: further attributes of the file.
        factor_units: of the factors that vary, in their order.
    """
    factors = {f"factors/{name}": unit for name, unit in factor_units.items()}
    units = METRICS | factors | OPTIONAL

    def fill(file: h5py.File) -> None:
        file.attrs.update({"format": FORMAT, **attributes})
        number = columns.of_iterations("iteration").astype(np.int64)
        _dataset(file, "iteration", number, "1", "iteration")
        for name in sorted({**ITERATION, **columns.iterations}):
            if name == "iteration":
                continue
            data = columns.of_iterations(name)
            exact = name == "steps" and bool(np.isfinite(data).all())
            data = data.astype(np.int64) if exact else data
            _dataset(file, name, data, ITERATION.get(name), "iteration")
        peers = file.create_group("peers")
        for name in sorted({**METRICS, **factors, **columns.peers}):
            _dataset(peers, name, columns.of_peers(name), units.get(name), "iteration, peer")
        _dataset(peers, "domain", columns.of_domains(), "", "iteration, peer")
        episodes = file.create_group("episodes")
        for name, column in columns.episodes.items():
            unit = "steps" if name == "length" else "1"
            _dataset(episodes, name, np.array(column), unit, "episode")

    return build_in_memory(fill)


def _dataset(group: h5py.Group, name: str, data: NDArray[Any], unit: str | None, axes: str) -> None:
    dtype = h5py.string_dtype() if data.dtype == object else data.dtype
    dataset = group.create_dataset(name, data=data, dtype=dtype)
    dataset.attrs["axes"] = axes
    if unit:
        dataset.attrs["units"] = unit
