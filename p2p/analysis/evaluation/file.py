"""eval.h5: every episode that was run to evaluate a run, kept to be reused.

Axes: E episodes, P policies, C conditions, D domains. An episode points at its policy, its
conditions and its domain by their index.

    /                       attribute: format
    /policies               [P]  string   SHA-256 of everything that acts
    /conditions             [C]  string   JSON: seed, sampled, versions, ...
    /domains                [D]  string   exact, as `Domain.parse` reads it
    /factors/<factor>       [D]  float64  one number a domain (`randomisation.summarise`)
    /sets/<hash>            [n]  int64    a set of test domains, as indices; attributes say how
                                          it was made
    /episodes/policy, condition, domain   [E]  int64
    /episodes/start, episode              [E]  int64    which start noise
    /episodes/return        [E]  float64  undiscounted
    /episodes/length        [E]  int64    steps
    /episodes/terminated, unstable        [E]  bool     fell; physics diverged

The format is that of HDF5 1.8 to 1.10, which every tool opens.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from p2p.analysis.file import ResultFile
from p2p.analysis.hdf5 import column as read_column
from p2p.envs.domain import Domain
from p2p.envs.randomisation import Randomisation, summarise, table_1
from p2p.envs.units import unit


class Key(NamedTuple):
    """What an episode is a function of."""

    policy: str
    condition: str
    domain: str
    start: int
    episode: int


class Outcome(NamedTuple):
    """How an episode ended."""

    episode_return: float
    length: int
    terminated: bool
    unstable: bool


class KeptSet(NamedTuple):
    """A set of test domains by their text, and how it was made."""

    domains: tuple[str, ...]
    attributes: Mapping[str, Any]


class EvalFile(ResultFile[Key, Outcome]):
    """The episodes kept beside one run.

    Args:
        randomisation: what the domains that will be added are of.

    Attributes:
        sets: the sets of test domains that it holds, by their hash.
        nominal, units: of the factors that it knows.
    """

    name, lock = "eval.h5", ".eval.lock"
    noun, verb = "evaluation", "evaluate"

    def __init__(self, folder: Path, randomisation: Randomisation | None = None) -> None:
        super().__init__(folder)
        varied = list(table_1()) + list(randomisation or ())
        self.nominal = {factor.name: factor.nominal for factor in varied}
        self.units = {factor.name: unit(factor) for factor in varied}
        self.sets: dict[str, KeptSet] = {}

    def keep(self, rows: Mapping[Key, Outcome], sets: Mapping[str, KeptSet] | None = None) -> None:
        """Add episodes and sets of domains, as `ResultFile.keep` does."""
        with self.updating():
            self.rows |= rows
            self.sets |= sets or {}

    def read(self, file: h5py.File) -> None:
        """Add what `file` holds to `sets` and `rows`."""
        self.sets |= dict(_read_sets(file))
        self.nominal = {**json.loads(file.attrs.get("nominal", "{}")), **self.nominal}
        self.rows |= dict(_read_rows(file))

    def fill(self, file: h5py.File) -> None:
        """Write everything into `file`."""
        texts = [text for kept in self.sets.values() for text in kept.domains]
        domains = _Index([*texts, *(key.domain for key in self.rows)])
        policies = _Index(key.policy for key in self.rows)
        conditions = _Index(key.condition for key in self.rows)
        file.attrs["format"] = self.format
        for name, index in (("policies", policies), ("conditions", conditions)):
            file.create_dataset(name, data=list(index), dtype=h5py.string_dtype())
        file.create_dataset("domains", data=list(domains), dtype=h5py.string_dtype())
        file.attrs["nominal"] = json.dumps(self.nominal)
        summaries = [summarise(Domain.parse(text), self.nominal) for text in domains]
        for factor in dict.fromkeys(name for summary in summaries for name in summary):
            values = [summary.get(factor, math.nan) for summary in summaries]
            file[f"factors/{factor}"] = np.array(values, np.float64)
            if factor in self.units:
                file[f"factors/{factor}"].attrs["units"] = self.units[factor]
        for name, kept in self.sets.items():
            file[f"sets/{name}"] = np.array([domains[t] for t in kept.domains], np.int64)
            file[f"sets/{name}"].attrs.update(kept.attributes)
        keys, outcomes = list(self.rows), list(self.rows.values())
        columns: dict[str, tuple[Any, Sequence[Any]]] = {
            "policy": (np.int64, [policies[key.policy] for key in keys]),
            "condition": (np.int64, [conditions[key.condition] for key in keys]),
            "domain": (np.int64, [domains[key.domain] for key in keys]),
            "start": (np.int64, [key.start for key in keys]),
            "episode": (np.int64, [key.episode for key in keys]),
            "return": (np.float64, [o.episode_return for o in outcomes]),
            "length": (np.int64, [o.length for o in outcomes]),
            "terminated": (np.bool_, [o.terminated for o in outcomes]),
            "unstable": (np.bool_, [o.unstable for o in outcomes]),
        }
        for name, (dtype, column) in columns.items():
            file[f"episodes/{name}"] = np.array(column, dtype)
        file["episodes/length"].attrs["units"] = "steps"


class _Index(dict[str, int]):
    """Index of each text, in the order of their first appearance."""

    def __init__(self, texts: Any) -> None:
        super().__init__((text, n) for n, text in enumerate(dict.fromkeys(texts)))


def _read_sets(file: h5py.File) -> Iterator[tuple[str, KeptSet]]:
    domains = list(file["domains"].asstr()[:])
    for name, dataset in file.get("sets", {}).items():
        yield name, KeptSet(tuple(domains[n] for n in dataset[:]), dict(dataset.attrs))


def _read_rows(file: h5py.File) -> Iterator[tuple[Key, Outcome]]:
    texts = [list(file[name].asstr()[:]) for name in ("policies", "conditions", "domains")]
    group = file["episodes"]
    pointers = [read_column(group, name, "iu") for name in ("policy", "condition", "domain")]
    named = [[text[n] for n in column] for text, column in zip(texts, pointers, strict=True)]
    counted = [read_column(group, name, "iu") for name in ("start", "episode")]
    kinds = {"return": "f", "length": "iu", "terminated": "b", "unstable": "b"}
    found = [read_column(group, name, kind) for name, kind in kinds.items()]
    for key, outcome in zip(
        zip(*named, *counted, strict=True), zip(*found, strict=True), strict=True
    ):
        yield Key(*key), Outcome(*outcome)
