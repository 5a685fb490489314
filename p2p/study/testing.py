"""Tests a study's trained runs in test domains, and keeps the scores in the run folder.

`eval.h5` holds the episodes, as `p2p eval` saves them. `evaluation.json` holds the scores under the
study's own settings; if it exists, the tests are complete.
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
    path: Path,
    config: EvalConfig,
    steps: int,
    workers: int,
    on_progress: Callable[[Progress], None],
) -> None:
    """Test the policies of a trained run; episodes that were saved earlier are not run again.

    Args:
        steps: of the run's training.
        workers: number of processes.
        on_progress: called now and then.

    Raises:
        Interrupted: SIGINT, SIGTERM or SIGHUP; the episodes so far are saved.
        P2PError: see `p2p.evaluate`.
    """
    from p2p.analysis.evaluation.session import evaluate

    settings = config.model_dump()
    found = evaluate(path, settings.pop("eps_te"), workers=workers, report=on_progress, **settings)
    (run,) = found.runs
    sets = run.to_dict()["sets"]
    tests = [{key: one[key] for key in ("eps_te", "hash", "score", "peers")} for one in sets]
    asked = {"steps": steps, "config": config.model_dump(mode="json")}
    write_json(path / NAME, {**asked, "versions": simulated_by(), "tests": tests})


def read_tests(
    path: Path, config: EvalConfig, steps: int, *, any_version: bool = False
) -> Tests | None:
    """Return the scores at each strength; None unless the last tests had these settings.

    Args:
        any_version: return the scores of other versions of p2p or MuJoCo, too.

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
