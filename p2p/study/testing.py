"""What the runs of a study do in test domains: evaluated once trained, and kept beside the run.

The episodes lie in eval.h5, as `p2p eval` keeps them. `evaluation.json` says what they come to
for the study's own question, and that they are all there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from p2p.analysis.conditions import simulated_by
from p2p.analysis.evaluation.config import EvalConfig
from p2p.runs.files import read_json, write_json
from p2p.runs.measures import Tests

if TYPE_CHECKING:
    from p2p.analysis.session import Progress

NAME = "evaluation.json"


def run_tests(
    path: Path, config: EvalConfig, steps: int, workers: int, report: Callable[[Progress], None]
) -> None:
    """Test the policies of a trained run; what was tested before is not tested again.

    Args:
        steps: that the run was trained for.
        workers: number of processes.
        report: told how far it is.

    Raises:
        Interrupted: SIGINT, SIGTERM or SIGHUP; the episodes so far are kept.
        P2PError: see `p2p.evaluate`.
    """
    from p2p.analysis.evaluation.session import evaluate

    settings = config.model_dump()
    found = evaluate(path, settings.pop("eps_te"), workers=workers, report=report, **settings)
    (run,) = found.runs
    sets = run.to_dict()["sets"]
    tests = [{key: one[key] for key in ("eps_te", "hash", "score", "peers")} for one in sets]
    asked = {"steps": steps, "config": config.model_dump(mode="json")}
    write_json(path / NAME, {**asked, "versions": simulated_by(), "tests": tests})


def read_tests(
    path: Path, config: EvalConfig, steps: int, *, any_version: bool = False
) -> Tests | None:
    """Return the scores at each strength; None unless this is what the run was last tested in.

    Args:
        any_version: take what other versions of p2p or MuJoCo have found as well.

    Raises:
        BadArtefact: the file is damaged.
    """
    file = path / NAME
    if not file.exists():
        return None
    kept = read_json(file)
    if (kept.get("steps"), kept.get("config")) != (steps, config.model_dump(mode="json")):
        return None
    if not any_version and kept.get("versions") != simulated_by():
        return None
    tests: Tests = kept["tests"]
    return tests
