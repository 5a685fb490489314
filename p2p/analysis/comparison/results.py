"""The result of a comparison: groups, tables, and a sentence for each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from p2p.analysis.comparison.runs import ScoredRun
from p2p.analysis.statistics import Interval, Profile


class Summary(NamedTuple):
    """A group on a task, or on all of them (task None, scores normalised).

    Attributes:
        seeds: number of runs.
        std: the sample's, over seeds; None for one seed, and over several tasks.
        mean_ci: Student's t; over several tasks, of the sum of the tasks' variances.
        iqm_ci: stratified bootstrap. Intervals are None where a task has one seed.
    """

    task: str | None
    group: str
    seeds: int
    mean: float
    std: float | None
    mean_ci: Interval | None
    iqm: float
    iqm_ci: Interval | None


class PairTest(NamedTuple):
    """A two-sided Welch test between two groups, on a task or on all (task None, normalised).

    Attributes:
        higher, lower: the groups, by their means.
        difference: of the means.
        level: of `interval`, the one that agrees with Holm's procedure.
        p_value, p_holm: as it is, and adjusted; None where no test is possible.
        shown: whether the interval excludes 0.
    """

    task: str | None
    higher: str
    lower: str
    difference: float
    level: float | None = None
    interval: Interval | None = None
    p_value: float | None = None
    p_holm: float | None = None
    shown: bool = False


class Improvement(NamedTuple):
    """How likely a run of group x scores above one of y; mean over the tasks that both have.

    Attributes:
        probability, interval: None where a group has one seed, which says nothing.
    """

    x: str
    y: str
    tasks: int
    probability: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Group:
    """Runs of one method and setting.

    Attributes:
        scores: of each task's seeds, by task.
        seeds: the same way.
    """

    label: str
    scores: Mapping[str, tuple[float, ...]]
    seeds: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        measure: what the scores are.
        scale: what a task's scores are divided by where tasks are put together; None if they
            cannot be.
        whole: labels of the groups that have all tasks, and so stand in `overall`, `profiles`.
        summaries: by task and group. overall: the same over all tasks, if there are several.
        tests: by task, Holm's correction over all of them. overall_tests: over all tasks,
            corrected among themselves.
        profiles: by group, of normalised scores.
        warnings, notes: a line each.
    """

    measure: str
    runs: tuple[ScoredRun, ...]
    labels: tuple[str, ...]
    tasks: tuple[str, ...]
    groups: tuple[Group, ...]
    scale: Mapping[str, float] | None
    whole: tuple[str, ...]
    summaries: tuple[Summary, ...]
    overall: tuple[Summary, ...]
    tests: tuple[PairTest, ...]
    overall_tests: tuple[PairTest, ...]
    improvements: tuple[Improvement, ...]
    profiles: Mapping[str, Profile]
    resamples: int
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def normalisation(self) -> str:
        """Say what scores are divided by where tasks are put together."""
        if self.scale is None:
            return "none: on some task the best group's mean is not above 0"
        return "score / mean of the task's best group, which is taken as known"

    @property
    def verdicts(self) -> list[str]:
        """Return a sentence a task, and one over all tasks if there are several."""
        said = [_verdict(task, self.summaries, self.tests) for task in self.tasks]
        if self.overall:
            said.append(_verdict(None, self.overall, self.overall_tests))
        return [sentence for sentence in said if sentence]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it; an interval is a pair."""
        pairs = zip(self.runs, self.labels, strict=True)
        tables = ("summaries", "overall", "tests", "overall_tests", "improvements")
        return {
            "measure": self.measure,
            "normalisation": self.normalisation,
            "scale": self.scale,
            "tasks": self.tasks,
            "groups": [group.label for group in self.groups],
            "runs": [
                {"path": r.path, "task": r.task, "group": g, "seed": r.seed, "score": r.score}
                for r, g in pairs
            ],
            **{name: [row._asdict() for row in getattr(self, name)] for name in tables},
            "profiles": [
                {"group": g, **{k: v.tolist() for k, v in p._asdict().items()}}
                for g, p in self.profiles.items()
            ],
            "resamples": self.resamples,
            "verdicts": self.verdicts,
            "warnings": self.warnings,
            "notes": self.notes,
        }


def _verdict(
    task: str | None, summaries: Sequence[Summary], tests: Sequence[PairTest]
) -> str | None:
    """Say in a sentence what is shown of the group with the highest mean, and of no other."""
    where = task or "all tasks"
    here = [test for test in tests if test.task == task]
    if not here:
        return None
    if all(test.p_value is None for test in here):
        return f"{where}: no test is possible; more seeds are needed"
    shown = [test for test in here if test.shown]
    if not shown:
        return f"{where}: no difference shown"
    best = max((s for s in summaries if s.task == task), key=lambda s: s.mean).group
    above = [test.lower for test in shown if test.higher == best]
    level = [t for t in here if best in (t.higher, t.lower) and not t.shown]
    if above and not level:
        return f"{where}: {best} is above {_listed(above)}"
    if above:
        rest = [t.lower if t.higher == best else t.higher for t in level]
        return f"{where}: {best} is above {_listed(above)}; no difference to {_listed(rest)} shown"
    pairs = "; ".join(f"{test.higher} is above {test.lower}" for test in shown)
    return f"{where}: no winner; {pairs}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
