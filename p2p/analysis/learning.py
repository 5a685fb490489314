"""Learning curves of runs: their journals, averaged over stretches of iterations.

A run is divided into at most `POINTS` stretches of equally many iterations. A quantity's value in
a stretch is its mean there, over iterations and then over peers; nothing else is smoothed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from p2p.analysis.groups import group_runs
from p2p.core.errors import BadArtefact, UsageError
from p2p.core.names import did_you_mean
from p2p.core.returns import training_length, training_return
from p2p.runs import RunFolder
from p2p.runs.files import reachable

POINTS = 100
TERM = "reward/"  # before the name of a reward term
Peer = Mapping[str, Any]  # one peer's part of a journal's record
Record = Mapping[str, Any]
Read = Callable[[Sequence[Peer], int], float | None]
Point = dict[str, float]
AXES = {
    "steps": "environment steps",
    "hours": "hours of training",
    "iterations": "iterations",
}


class Measure(NamedTuple):
    """A quantity of training.

    Attributes:
        label: with its unit, for an axis.
        read: its value in a stretch from one peer's records and the task's time limit; None if it
            is of the whole run, or has no value.
    """

    label: str
    read: Read | None = None


def _mean_of(field: str) -> Read:
    def read(peer: Sequence[Peer], limit: int) -> float | None:
        values = [record[field] for record in peer if record.get(field) is not None]
        return fmean(values) if values else None

    return read


MEASURES: Mapping[str, Measure] = {
    "return": Measure("training return (undiscounted)", training_return),
    "length": Measure("episode length (steps)", training_length),
    "entropy": Measure("policy entropy (nats)", _mean_of("entropy")),
    "kl": Measure("penalty KL (nats)", _mean_of("penalty_kl")),
    "speed": Measure("steps/s"),
    "approx_kl": Measure("KL of old to new policy (nats)", _mean_of("approx_kl")),
    "clip_fraction": Measure("share of clipped samples", _mean_of("clip_fraction")),
    "value_loss": Measure("value loss", _mean_of("value_loss")),
    "explained_variance": Measure("explained variance", _mean_of("explained_variance")),
    "log_std": Measure("log-std of actions", _mean_of("log_std")),
    "learning_rate": Measure("learning rate", _mean_of("learning_rate")),
    "grad_norm_actor": Measure("gradient norm, actor", _mean_of("grad_norm_actor")),
    "grad_norm_critic": Measure("gradient norm, critic", _mean_of("grad_norm_critic")),
}
USUAL = ("return", "length", "entropy", "kl", "speed")
ALIASES = {
    "penalty_kl": "kl",
    "steps/s": "speed",
    "steps_per_second": "speed",
    "episode_length": "length",
}


@dataclass(frozen=True)
class LearningRun:
    """A run and its curves.

    Attributes:
        settings: all that tells it from other runs of its task and method, except the seed.
        points: by stretch: `steps` (over all peers), `hours`, `iterations` at its end, and each
            measure that has a value there.
        last: the same of the last tenth of the run, as one stretch.
        size: iterations of a stretch.
        finished: whether training has reached its end.
    """

    path: str
    task: str
    method: str
    seed: int
    settings: Mapping[str, Any]
    points: tuple[Point, ...]
    last: Point
    size: int
    finished: bool

    def curve(self, measure: str, x: str = "steps") -> list[tuple[float, float]]:
        """Return a measure over `x`, of the stretches that have it."""
        return [(point[x], point[measure]) for point in self.points if measure in point]


class LearningGroup(NamedTuple):
    """Runs of a task that differ in their seed alone."""

    task: str
    label: str
    runs: list[LearningRun]


def read_learning(path: str | Path) -> LearningRun:
    """Read the curves of a run: one that is finished, trains, or crashed.

    Raises:
        BadArtefact: there is no run, it is damaged, or has no iteration yet.
    """
    run = RunFolder.open(reachable(Path(path)))
    config, journal = run.config, run.journal
    count = journal.count()
    size = max(1, -(-count // POINTS))
    result, limit, reads = run.result(), config.max_episode_steps, _reads()
    tail = _Tail(count - max(1, count // 10))
    try:
        points = tuple(stretches(tail.noting(journal.stream()), size, reads, limit))
        last = next(stretches(tail.records, max(1, count), reads, limit, tail.before), Point())
        if not all(math.isfinite(value) for point in (*points, last) for value in point.values()):
            raise ValueError("a number is not finite")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadArtefact(
            f"{journal.path} is damaged: a record is not as p2p writes it ({error}); restore it "
            "from a copy"
        ) from None
    if not points:
        raise BadArtefact(f"{path} has no iteration yet; its first one makes a curve")
    return LearningRun(
        str(path), config.task, config.method, config.seed, config.identity(), points, last, size,
        result is not None and result["steps"] >= config.whole_steps,
    )  # fmt: skip


class _Tail:
    """The records of a journal from number `first` on, without lists of episodes where it can.

    Attributes:
        before: steps of the run before them.
    """

    def __init__(self, first: int) -> None:
        self.first, self.before = first, 0.0
        self.records: list[Record] = []

    def noting(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the records, and keep the last ones."""
        for number, record in enumerate(records):
            if number >= self.first:
                self.records.append(
                    {**record, "peers": [_slim(p) for p in record.get("peers", ())]}
                )
            else:
                self.before = record.get("steps", 0.0)
            yield record


def _slim(peer: Peer) -> Peer:
    counted = peer.get("reward_per_step") is not None
    return {k: v for k, v in peer.items() if k != "episodes"} if counted else peer


def stretches(
    records: Iterable[Record],
    size: int,
    reads: Mapping[str, Read],
    limit: int,
    before: float = 0.0,
) -> Iterator[Point]:
    """Yield the end, the speed and the quantities of each `size` records.

    A quantity is the mean over peers; a stretch lacks it if a peer has no value of it.

    Args:
        limit: the task's time limit, steps.
        before: steps of the run before the first record.
    """
    rest, hours, done = iter(records), 0.0, 0
    while stretch := list(islice(rest, size)):
        steps, seconds = stretch[-1].get("steps", 0), sum(r.get("seconds", 0.0) for r in stretch)
        hours += seconds / 3600.0
        done += len(stretch)
        point: Point = {"steps": steps, "hours": hours, "iterations": done}
        if seconds > 0 and steps > before:
            point["speed"] = (steps - before) / seconds
        before = steps
        by_peer = list(zip(*(record.get("peers", ()) for record in stretch), strict=True))
        for name, read in {**reads, **_terms(by_peer)}.items():
            values = [value for peer in by_peer if (value := read(peer, limit)) is not None]
            if values and len(values) == len(by_peer):
                point[name] = fmean(values)
        yield point


def _reads() -> dict[str, Read]:
    return {name: measure.read for name, measure in MEASURES.items() if measure.read is not None}


def _terms(by_peer: Sequence[Sequence[Peer]]) -> dict[str, Read]:
    """Return how to read the reward terms that a task names."""
    names = {name for peer in by_peer[:1] for name in peer[-1].get("reward_terms") or ()}
    return {TERM + name: _term(name) for name in names}


def _term(name: str) -> Read:
    def read(peer: Sequence[Peer], limit: int) -> float | None:
        terms = [record.get("reward_terms") or {} for record in peer]
        values = [term[name] for term in terms if term.get(name) is not None]
        return fmean(values) if values else None

    return read


def group_learning(runs: Iterable[LearningRun]) -> tuple[list[LearningGroup], list[str]]:
    """Return groups of runs that differ in their seed alone, and notes on what is left out.

    A seed counts once: of runs that are equal in all but their folder, the longest is kept; of
    equally long ones, one that is finished.
    """
    notes, groups = [], []
    for label, found in group_runs(runs):
        seeds: dict[int, LearningRun] = {}
        for run in sorted(found, key=lambda run: (-run.points[-1]["steps"], not run.finished)):
            kept = seeds.setdefault(run.seed, run)
            if kept is not run:
                notes.append(
                    f"{run.path} is left out: {kept.path} is seed {run.seed} of {label} too"
                )
        kept_runs = [run for run in found if seeds[run.seed] is run]
        groups.append(LearningGroup(found[0].task, label, kept_runs))
    return groups, notes


def measures_of(runs: Sequence[LearningRun]) -> list[str]:
    """Return the measures that some run has: the usual ones, then reward terms, then the others."""
    there = {name for run in runs for point in run.points for name in point} - AXES.keys()
    terms = sorted(name for name in there if name.startswith(TERM))
    return [name for name in [*USUAL, *terms, *list(MEASURES)[len(USUAL) :]] if name in there]


def choose_measures(runs: Sequence[LearningRun], names: Sequence[str] = ()) -> list[str]:
    """Return what is drawn of these runs.

    Args:
        names: as a user calls them; none: the usual ones and reward terms. Without a penalty on a
            KL, the KL of the old to the new policy stands in for it.

    Raises:
        UsageError: no run has one that is named.
    """
    there = measures_of(runs)
    if not names:
        usual = ["approx_kl" if name == "kl" and name not in there else name for name in USUAL]
        terms = [name for name in there if name.startswith(TERM)]
        return [name for name in [*usual, *terms] if name in there]
    chosen = [ALIASES.get(name, name) for name in names]
    for name in chosen:
        if name not in there:
            known = name in MEASURES
            why = "no run has recorded it" if known else "unknown" + did_you_mean(name, there)
            raise UsageError(f"measure {name}: {why}; there are {', '.join(there)}")
    return list(dict.fromkeys(chosen))


def label_of(measure: str) -> str:
    """Return a measure with its unit, for an axis."""
    if measure.startswith(TERM):
        return f"reward term {measure.removeprefix(TERM)} (a step)"
    return MEASURES[measure].label
