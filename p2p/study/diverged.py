"""The table of a study's runs that diverged, which have no result: `<study>-diverged.csv`."""

from __future__ import annotations

import csv
from io import StringIO
from typing import Any

from p2p.cohort.dump import DUMPS
from p2p.core.version import p2p_version
from p2p.runs import RunFolder
from p2p.study.names import config_hash
from p2p.study.plan import Plan, PlannedRun
from p2p.study.results import shown_settings
from p2p.study.saved import Cells, Saved

LAST = ("steps", "config", "version")


def diverged_table(plan: Plan, saved: Saved) -> str | None:
    """Return as CSV the runs that diverged, a line each; None if none did, nor is there a table.

    A run did if what diverged lies in its folder, and its training is not complete; or if its row
    is saved, of this version, and its folder is gone or has no step yet.

    Raises:
        BadArtefact: a run folder is damaged.
    """
    rows = [
        row for run in plan.runs
        if not (run.trained or run.saved) and (row := _row(run, plan, saved))
    ]  # fmt: skip
    if not rows and not saved.diverged:
        return None
    text = StringIO()
    names = dict.fromkeys(name for row in rows for name in row if name not in LAST)
    writer = csv.DictWriter(text, [*names, *LAST], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(run: PlannedRun, plan: Plan, saved: Saved) -> Cells | dict[str, Any] | None:
    config = config_hash(run.config)
    if not any(run.path.glob(DUMPS)):
        return None if run.steps else saved.diverged.get((config, p2p_version()))
    return {
        "run": run.name, **shown_settings(run.config, plan.study), "seed": run.config.seed,
        "steps": run.steps, "config": config,
        "version": RunFolder.open(run.path).versions().get("p2p", ""),
    }  # fmt: skip
