"""Tests a study's trained runs in test domains, and keeps the scores in the run folder.

`eval.h5` holds the episodes, as `p2p eval` saves them. `evaluation.json` holds the scores under the
study's own settings, `evaluation-NAME.json` those of its test NAME; where they exist, the tests are
complete. Studies that share a run keep theirs side by side (`p2p.study.measured`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from p2p.analysis.evaluation.config import EvalConfig
from p2p.runs.measures import Tests
from p2p.study.measured import find, keep
from p2p.study.surfaces import read_surface, run_surface

if TYPE_CHECKING:
    from p2p.analysis.session import Progress
    from p2p.analysis.surface.config import SurfaceConfig
    from p2p.core.config import TrainConfig


def run_tests(
    path: Path,
    tests: Mapping[str, EvalConfig],
    run: TrainConfig,
    workers: int,
    on_progress: Callable[[float, float], None],
    surface: SurfaceConfig | None = None,
) -> None:
    """Test the policies of a trained run; episodes that were saved earlier are not run again.

    Args:
        tests: by name, as in `Study.tests`.
        run: the run's settings.
        workers: number of processes.
        on_progress: called now and then with the share that is done, 0..1, and steps/s.
        surface: the return surface that is measured last.

    Raises:
        Interrupted: a signal; the episodes so far are saved.
        P2PError: see `p2p.evaluate`.
    """
    from p2p.analysis.evaluation.session import evaluate

    sizes = {
        name: len(t.eps_te) * t.domains * t.episodes * run.num_peers for name, t in tests.items()
    }
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
        (tested,) = found.runs
        sets = tested.to_dict()["sets"]
        scores = [{key: one[key] for key in ("eps_te", "hash", "score", "peers")} for one in sets]
        keep(file_of_tests(path, name), "tests", scores, config, run.whole_steps)
        before += sizes[name]
    if surface and read_surface(path, surface, run.whole_steps) is None:
        run_surface(path, surface, run.whole_steps, workers, reporting(surface.episodes))


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
    file = file_of_tests(path, name)
    tests: Tests | None = find(file, "tests", config, steps, any_version=any_version)
    return tests


def file_of_tests(path: Path, name: str = "") -> Path:
    """Return the file in a run folder with the scores of a study's test of that name."""
    return path / (f"evaluation-{name}.json" if name else "evaluation.json")
