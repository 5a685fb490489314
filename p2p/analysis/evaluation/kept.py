"""What is known of a run from its eval.h5, without an episode more."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from p2p.analysis.evaluation.config import build_eval_config
from p2p.analysis.evaluation.file import EvalFile
from p2p.analysis.evaluation.results import EvaluatedRun
from p2p.analysis.evaluation.session import EvaluationTarget
from p2p.analysis.evaluation.subjects import Subject, load_subjects
from p2p.core.errors import BadArtefact, UsageError
from p2p.core.reading import DAMAGE
from p2p.runs import RunFolder


class Kept(NamedTuple):
    """Evaluations of a run's policies by the versions installed that are kept beside it.

    Attributes:
        strengths: in domains drawn at strengths, in their order; None if there is none.
        factors: along one factor at a time; None if there is none.
        others: whether the file holds episodes, but of other policies, settings or versions.
        domain_seed: of `strengths`.
    """

    strengths: EvaluatedRun | None
    factors: EvaluatedRun | None
    others: bool
    domain_seed: int = 0


class _Drawn(NamedTuple):
    """How a set of domains in the file was made."""

    name: str
    eps: float
    seed: int
    size: int


def kept_evaluations(run: RunFolder) -> Kept:
    """Return what eval.h5 holds of a run: mean action, in the domains of its own training.

    Of several sets, those with the most strengths, then the most domains and episodes.

    Raises:
        BadArtefact: eval.h5 or a policy is damaged, or the task's code is not loaded.
    """
    file = EvalFile(run.path)
    file.load()
    if not file.rows:
        return Kept(None, None, False)
    (subject,) = load_subjects([run])
    try:
        drawn = [
            _Drawn(
                str(one.attributes.get("name", "")), float(one.attributes.get("eps_te", math.nan)),
                int(one.attributes.get("domain_seed", 0)), len(one.domains),
            )
            for one in file.sets.values()
        ]  # fmt: skip
    except DAMAGE as error:
        raise BadArtefact(
            f"{file.path} is damaged: {error}; move it out of the way to evaluate anew"
        ) from None
    most = 1 + max(key.episode for key in file.rows)
    strengths, seed = max(
        _by_strength(subject, drawn, most), key=lambda found: _extent(found[0]), default=(None, 0)
    )
    factors = max(_by_factor(subject, drawn, most), key=_extent, default=None)
    return Kept(strengths, factors, strengths is None and factors is None, seed)


def _extent(one: EvaluatedRun) -> tuple[int, int]:
    return len(one.measured), sum(m.episode_return.size for m in one.measured)


def _by_strength(
    subject: Subject, drawn: list[_Drawn], most: int
) -> Iterator[tuple[EvaluatedRun, int]]:
    """Yield what is complete, for each seed and number of test domains, with the seed.

    At strength 0 all seeds have the same domains, and one set stands for all in the file.
    """
    drawn = [one for one in drawn if one.name == f"eps_te {one.eps:g}"]
    for seed, size in sorted({(one.seed, one.size) for one in drawn}):
        strengths = sorted({
            one.eps for one in drawn if one.size == size and (one.seed == seed or one.eps == 0)
        })  # fmt: skip
        for episodes in range(most, 0, -1):
            how = {"domains": size, "domain_seed": seed, "episodes": episodes}
            if found := _known(subject, eps_te=strengths, **how):
                yield found, seed


def _by_factor(subject: Subject, drawn: list[_Drawn], most: int) -> Iterator[EvaluatedRun]:
    names = set(subject.randomisation.names)
    sweeps = {(one.eps, one.seed, one.size) for one in drawn if one.name in names and one.size > 1}
    for eps, seed, points in sorted(sweeps):
        for episodes in range(most, 0, -1):
            how: dict[str, Any] = {"by_factor": True, "points": points, "episodes": episodes}
            if found := _known(subject, eps_te=[eps], domain_seed=seed, **how):
                yield found
                break


def _known(subject: Subject, **settings: Any) -> EvaluatedRun | None:
    """Return the evaluation with these settings, in the sets of which all episodes are kept.

    Along factors, all sets must be.
    """
    with suppress(UsageError):  # a factor that is none any more
        target = EvaluationTarget(subject, build_eval_config(**settings), save=True)
        assert target.file is not None
        rows, asked, complete = target.file.rows, target.sets, []
        for one in asked:
            target.sets = [one]
            if set(target.keys()) <= rows.keys():
                complete.append(one)
        target.sets = complete
        if complete and (len(complete) == len(asked) or not target.config.by_factor):
            return target.result(rows)
    return None
