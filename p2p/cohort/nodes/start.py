"""What a launched p2p is to do, found before torch is imported.

A launcher repeats its command when it starts a job again. So `--out` with a folder that holds this
same run means: continue it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from p2p.cohort import launch
from p2p.cohort.checks import check_new, check_peers, check_resumable
from p2p.core.config import RECORDS, TrainConfig
from p2p.core.errors import UsageError
from p2p.exchange.place import Place
from p2p.runs import RunFolder
from p2p.runs.checkpoint import settings_that_differ


class Start(NamedTuple):
    """How this node begins.

    Attributes:
        place: of this node.
        config: its settings; None: node 0's are taken over.
        engine: that its peers compute with, as far as it is known.
        out: the folder of a new run.
        resume: the run to continue, on node 0.
        later: settings to continue it with.
        complete: why there is nothing to do; empty if there is.
    """

    place: Place
    config: TrainConfig | None
    engine: str = "fused"
    out: Path | None = None
    resume: Path | None = None
    later: dict[str, Any] = {}  # noqa: RUF012
    complete: str = ""


def plan_start(
    place: Place,
    config: TrainConfig,
    *,
    out: Path | None = None,
    resume: Path | None = None,
    later: dict[str, Any] | None = None,
) -> Start:
    """Return what this node is to do.

    Args:
        config: as the command line has it; of no meaning with `resume`.
        out, resume, later: as given on the command line.

    Raises:
        UsageError, BadArtefact, NoRoom: the run cannot start here.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # its store logs each unknown host name
    if place.node > 0:
        return _plan_follower(place, None if resume else config)
    if resume is None:
        found = _holds_same_run(config, out)
        if found is None:
            check_new(config, out, len(place.spans(config.num_peers)[0]))
            return Start(place, config, config.engine, out)
        resume, later = out, found
    assert resume is not None
    later = later or {}
    had = RunFolder.open(resume).config
    spans = place.spans(had.num_peers)
    complete = _complete(resume, later)
    if complete:
        return Start(place, had, had.engine, resume=resume, complete=complete)
    _, config = check_resumable(resume, num_here=len(spans[0]), **later)
    return Start(place, config, config.engine, resume=resume, later=later)


def _plan_follower(place: Place, config: TrainConfig | None) -> Start:
    """Return the plan of a node that has no folder to look at."""
    launch.check_working_directory()
    if config is None:
        return Start(place, None)
    check_peers(len(place.spans(config.num_peers)[place.node]))
    return Start(place, config, config.engine)


def _holds_same_run(config: TrainConfig, out: Path | None) -> dict[str, Any] | None:
    """Return the settings to continue the run in `out` with; None if there is none.

    Raises:
        UsageError: it is another run.
    """
    if out is None or not (out / "config.json").exists():
        return None
    had = RunFolder.open(out).config
    differing = [name for name in settings_that_differ(config, had) if name != "source_sha256"]
    if differing:
        found = ", ".join(f"{name}={had.get(name)!r}" for name in differing)
        asked = ", ".join(repr(config.get(name)) for name in differing)
        raise UsageError(
            f"{out} holds another run: {found}, here {asked}; choose another folder with --out"
        )
    return {name: getattr(config, name) for name in (*RECORDS, "total_steps")}


def _complete(path: Path, later: dict[str, Any]) -> str:
    """Return a sentence if the run at `path` has reached the goal; empty if it has not."""
    run = RunFolder.open(path)
    goal = later.get("total_steps", run.config.total_steps)
    if "total_steps_per_peer" in later:
        goal = later["total_steps_per_peer"] * run.config.num_peers
    result = run.result()
    if result is None or result["steps"] < goal:
        return ""
    return f"{path} is complete: {result['steps']:,} steps"
