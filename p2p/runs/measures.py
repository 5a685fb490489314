"""The measures of a trained run: numbers that each of its peers has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from p2p.core.errors import BadArtefact
from p2p.core.returns import training_return
from p2p.runs.folder import RunFolder

Tests = Sequence[Mapping[str, Any]]  # one per strength, as in `EvaluatedRun.to_dict`


def measures(run: RunFolder, tests: Mapping[str, Tests] | None = None) -> dict[str, list[float]]:
    """Return the measures of a trained run: by name, one number per peer.

    score       final score: nominal domain, mean action; none once the run was trained on
    train       return in the last tenth of training, estimated from all steps
                (`p2p.core.returns`): training domains, sampled actions
    entropy     of the policy, mean over the last tenth of training, nats
    eps_te=0.5  return in the test domains at that strength
    worst=0.5   the same in the worst decile of them
    NAME:eps_te=0.5, NAME:worst=0.5   the same of a study's test of that name

    Raises:
        BadArtefact: the journal or the tests are damaged.
    """
    try:
        return _measures(run, tests)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise BadArtefact(
            f"{run.path} is damaged: its journal or tests are not as p2p writes them ({error}); "
            "restore it from a copy"
        ) from None


def final_scores(run: RunFolder) -> Sequence[Mapping[str, Any]]:
    """Return the final scores of a run's policies, one a peer; none of a goal that it has passed.

    `result.json` stays when a run goes on to a higher goal, and is then of earlier policies.

    Raises:
        BadArtefact: the result is damaged, or the journal cannot be read.
    """
    result = run.result()
    if result is None or result["steps"] < run.journal.count() * run.config.steps_per_iteration:
        return []
    scores: Sequence[Mapping[str, Any]] = result["scores"]
    return scores


def _measures(run: RunFolder, tests: Mapping[str, Tests] | None) -> dict[str, list[float]]:
    scores = final_scores(run)
    found = {"score": [peer["mean"] for peer in scores]} if scores else {}
    tenth = run.journal.last(max(1, run.journal.count() // 10))
    last = [record["peers"] for record in tenth if "peers" in record]
    by_peer = list(zip(*last, strict=True))
    limit = run.config.max_episode_steps
    each = [training_return(peer, limit) for peer in by_peer]
    returns = [value for value in each if value is not None]
    if by_peer and len(returns) == len(by_peer):
        found["train"] = returns
    if by_peer:
        found["entropy"] = [fmean(record["entropy"] for record in peer) for peer in by_peer]
    for name, sets in (tests or {}).items():
        prefix = f"{name}:" if name else ""
        for test in sets:
            for measure, field in (("eps_te", "mean"), ("worst", "worst")):
                values = [peer[field] for peer in test["peers"]]
                found[f"{prefix}{measure}={test['eps_te']:g}"] = values
    return found
