"""Tests a study's trained runs in test domains, and keeps the scores in the run folder.

`eval.h5` holds the episodes, as `p2p eval` saves them. `evaluation.json` holds the scores under the
study's own settings, `evaluation-NAME.json` those of its test NAME; where they exist, the tests are
complete. Studies that share a run keep theirs side by side: the last one's, and `others`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.analysis.conditions import simulated_by
from p2p.analysis.evaluation.config import EvalConfig
from p2p.core.errors import BadArtefact
from p2p.runs.files import read_json, write_json
from p2p.runs.measures import Tests
from p2p.study.surfaces import run_surface

if TYPE_CHECKING:
    from p2p.analysis.session import Progress
    from p2p.analysis.surface.config import SurfaceConfig


def run_tests(
    path: Path,
    tests: Mapping[str, EvalConfig],
    steps: int,
    workers: int,
    on_progress: Callable[[float, float], None],
    surface: SurfaceConfig | None = None,
) -> None:
    """Test the policies of a trained run; episodes that were saved earlier are not run again.

    Args:
        tests: by name, as in `Study.tests`.
        steps: of the run's training.
        workers: number of processes.
        on_progress: called now and then with the share that is done, 0..1, and steps/s.
        surface: the return surface that is measured last.

    Raises:
        Interrupted: a signal; the episodes so far are saved.
        P2PError: see `p2p.evaluate`.
    """
    from p2p.analysis.evaluation.session import evaluate

    sizes = {name: len(t.eps_te) * t.domains * t.episodes for name, t in tests.items()}
    total, before = sum(sizes.values()) + (surface.episodes if surface else 0), 0

    def reporting(size: int) -> Callable[[Progress], None]:
        done = before

        def report(now: Progress) -> None:
            on_progress((done + now.share * size) / total, now.steps / now.seconds)

        return report

    for name, config in tests.items():
        settings = config.model_dump()
        report = reporting(sizes[name])
        found = evaluate(path, settings.pop("eps_te"), workers=workers, report=report, **settings)
        (run,) = found.runs
        sets = run.to_dict()["sets"]
        scores = [{key: one[key] for key in ("eps_te", "hash", "score", "peers")} for one in sets]
        asked = {"steps": steps, "config": config.model_dump(mode="json")}
        file = file_of_tests(path, name)
        others = [one for one in _kept(file) if one.get("steps") == steps]
        others = [one for one in others if one.get("config") != asked["config"]]
        made = {**asked, "versions": simulated_by(), "tests": scores}
        write_json(file, {**made, "others": others} if others else made)
        before += sizes[name]
    if surface:
        run_surface(path, surface, steps, workers, reporting(surface.episodes))


def read_tests(
    path: Path, name: str, config: EvalConfig, steps: int, *, any_version: bool = False
) -> Tests | None:
    """Return the scores at each strength; None unless the last tests had these settings.

    Args:
        name: of the test, as in `Study.tests`.
        any_version: return the scores of other versions of p2p or MuJoCo, too.

    Raises:
        BadArtefact: the file is damaged.
    """
    asked = (steps, config.model_dump(mode="json"))
    for kept in _kept(file_of_tests(path, name)):
        if (kept.get("steps"), kept.get("config")) == asked and (
            any_version or kept.get("versions") == simulated_by()
        ):
            tests: Tests = kept["tests"]
            return tests
    return None


def _kept(file: Path) -> list[dict[str, Any]]:
    """Return what a file holds of tests: the last ones, then those of studies before it.

    Raises:
        BadArtefact: the file is damaged.
    """
    if not file.exists():
        return []
    last = read_json(file)
    kept = last.pop("others", [])
    kept = [last, *kept] if isinstance(kept, list) else [None]
    if not all(isinstance(one, dict) and "tests" in one for one in kept):
        raise BadArtefact(f"{file} is damaged: it holds no tests; delete it to have them run again")
    return kept


def file_of_tests(path: Path, name: str = "") -> Path:
    """Return the file in a run folder with the scores of a study's test of that name."""
    return path / (f"evaluation-{name}.json" if name else "evaluation.json")
