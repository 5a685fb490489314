"""The runs that are compared, each with its score, and notes on them."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from p2p.analysis.evaluation.session import evaluate
from p2p.analysis.session import Progress
from p2p.core import registry
from p2p.core.errors import UsageError
from p2p.runs import RunFolder
from p2p.runs.files import reachable
from p2p.runs.measures import measures

NAMED = 3  # runs that a note names
FINAL = "final score: mean action, nominal domain, undiscounted return, mean over peers"


@dataclass(frozen=True)
class ScoredRun:
    """A run and its score, which is the mean over its peers.

    Attributes:
        settings: all that tells it from other runs of its task and method, except the seed.
    """

    path: str
    task: str
    method: str
    seed: int
    settings: Mapping[str, Any]
    score: float


def final_scores(paths: Iterable[Path]) -> tuple[list[ScoredRun], list[str]]:
    """Return the runs with the score that each had at its end, and notes on those left out.

    Raises:
        UsageError: no run has a score; it says why of the first.
        BadArtefact: there is no run there, or it is damaged.
    """
    runs = [RunFolder.open(path) for path in unique(paths)]
    without = {run: why for run in runs if (why := _no_score(run))}
    if len(without) == len(runs):
        raise UsageError(next(iter(without.values())))
    found = [_final(run) for run in runs if run not in without]
    unfinished = [run for run in without if not is_finished(run)]
    scoreless = [run for run in without if run not in unfinished]
    return found, [
        *_left_out("not finished", unfinished),
        *_left_out("ended without a score; --eps-te evaluates them", scoreless),
    ]


def evaluated_scores(
    paths: Iterable[Path],
    eps_te: float,
    report: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> tuple[list[ScoredRun], str, list[str], list[str]]:
    """Return the runs with their mean return in test domains; what is missing is evaluated.

    Beside finished runs, others are left out; if none is finished, their latest policies are
    compared.

    Args:
        eps_te: randomisation strength of the test domains.
        report: called with the evaluation's `Progress` now and then.
        settings: as of `evaluate`.

    Returns:
        The runs; what was measured; warnings; notes on runs that are left out.
    """
    given = list(unique(paths))
    unfinished = [
        run for path in given if path.is_dir() and not is_finished(run := RunFolder.open(path))
    ]
    left_out = unfinished if len(unfinished) < len(given) else []
    given = [path for path in given if path not in {run.path for run in left_out}]
    found = evaluate(given, eps_te, report=report, **settings)
    runs = [
        ScoredRun(r.path, r.task, r.method, r.seed, r.settings, r.measured[0].score.mean)
        for r in found.runs
    ]
    hashes = {run.task: run.measured[0].set.hash for run in found.runs}
    others = {run.task for run in found.runs if run.measured[0].set.hash != hashes[run.task]}
    warnings = [] if left_out else [
        f"{run.path} is not finished: its latest policies are compared" for run in unfinished
    ]  # fmt: skip
    warnings += [f"{task}: test domains differ between runs, as settings do" for task in others]
    config = found.config
    action = "sampled actions" if config.sampled else "mean action"
    measure = (
        f"return at eps_te {eps_te:g}: {config.domains} test domains, seed {config.domain_seed}, "
        f"hash {', '.join(dict.fromkeys(hashes.values()))}; {action}, mean over peers"
    )
    return runs, measure, warnings, list(_left_out("not finished", left_out))


def unique(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield each path once, however often and by whatever name it is given."""
    return iter({reachable(path).resolve(): path for path in paths}.values())


def check_seeds(runs: Sequence[ScoredRun], labels: Sequence[str]) -> None:
    """Raise UsageError if two runs are the same seed of a group, and so one observation."""
    met: dict[tuple[str, str, int], str] = {}
    for run, label in zip(runs, labels, strict=True):
        key = run.task, label, run.seed
        if key in met:
            raise UsageError(
                f"{met[key]} and {run.path} are both seed {run.seed} of {label} on {run.task}; "
                "name one of them"
            )
        met[key] = run.path


def differences(runs: Sequence[ScoredRun]) -> Iterator[str]:
    """Yield a line for each task whose runs differ in more than the method."""
    for task in dict.fromkeys(run.task for run in runs):
        rivals = [run.settings for run in runs if run.task == task]
        names = dict.fromkeys(name for settings in rivals for name in settings)
        differing = [n for n in names if any(s.get(n) != rivals[0].get(n) for s in rivals)]
        if differing:
            listed = "; ".join(f"{name} {_counted(name, rivals)}" for name in differing)
            yield f"{task}: runs differ in {listed}"


def _counted(name: str, rivals: Sequence[Mapping[str, Any]]) -> str:
    """Return the values of a setting, and how many runs have each."""
    values = Counter(str(settings.get(name)) for settings in rivals)
    return ", ".join(f"{value} ({n})" for value, n in values.items())


def is_finished(run: RunFolder) -> bool:
    """Tell whether training has reached its goal."""
    result = run.result()
    return result is not None and bool(result["steps"] >= run.config.whole_steps)


def _no_score(run: RunFolder) -> str:
    """Return why a run has no final score, and what to do; empty if it has one."""
    if not is_finished(run):
        code = registry.loading_options(run.config.task, run.config.method)
        return (
            f"{run.path} is not finished and has no final score; give --eps-te, leave it out, or "
            f"continue it with: p2p train --resume {shlex.quote(str(run.path))}{code}"
        )
    scores = measures(run).get("score", [])
    if not scores or not all(isinstance(s, float | int) and math.isfinite(s) for s in scores):
        return (
            f"{run.path} ended without a final score (final_episodes "
            f"{run.config.final_episodes}); give --eps-te to evaluate it"
        )
    return ""


def _final(run: RunFolder) -> ScoredRun:
    config, result = run.config, run.result() or {}
    settings = config.identity(result["steps"])
    score = fmean(measures(run)["score"])
    return ScoredRun(str(run.path), config.task, config.method, config.seed, settings, score)


def _left_out(why: str, runs: Sequence[RunFolder]) -> Iterator[str]:
    """Yield a note on runs that are left out, if there are any."""
    if runs:
        more = f" and {len(runs) - NAMED} more" if len(runs) > NAMED else ""
        yield f"left out, {why}: {', '.join(str(run.path) for run in runs[:NAMED])}{more}"
