"""Saves a study's tables into a folder, from which its rows count as done (`p2p.study.saved`)."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from p2p.core.reading import read_bytes
from p2p.runs.files import disk_errors, write_atomically
from p2p.study.curves import curves_csv
from p2p.study.diverged import diverged_table
from p2p.study.plan import Plan
from p2p.study.results import Results
from p2p.study.saved import Saved, tables_of
from p2p.study.surfaces import surfaces_csv


def save_tables(plan: Plan, results: Results, folder: Path) -> tuple[list[Path], list[Path]]:
    """Write the tables of results and curves into `folder`; rows of untested runs are left out.

    A table of the points of return surfaces stands beside them, if the study has any; one of the
    runs that diverged, too, if any did; alone, if no run is complete.

    Rows that are there and whose runs the study has no more, or has still to make anew, would be
    gone. So the files are kept as they were, under other names.

    Returns:
        The files, and those that were kept.

    Raises:
        BadArtefact: a run folder or an earlier table is damaged.
        NoRoom: the disk is full, or cannot be written.
    """
    with disk_errors("results", folder):
        folder.mkdir(parents=True, exist_ok=True)
    saved = Saved(folder, results.study)
    written: list[Path] = []
    kept: list[Path] = []
    if results.runs:
        tested = results.tested()
        lost = {config for config, _ in saved.rows}
        kept += _keep(folder, results.study) if lost - {run.config for run in tested.runs} else []
        texts = tested.csv(), curves_csv(plan), surfaces_csv(plan)
        kinds = "results", "curves", "surfaces"
        for file, text, kind in zip(tables_of(folder, results.study), texts, kinds, strict=True):
            if text is not None:
                write_atomically(file, text.encode(), kind)
                written.append(file)
    if (diverged := diverged_table(plan, saved)) is not None:
        written.append(saved.diverged_file)
        write_atomically(saved.diverged_file, diverged.encode(), "results")
    return written, kept


def _keep(folder: Path, study: str) -> list[Path]:
    """Copy the study's tables, to the first name that is free."""
    names = (f"{study}-earlier{number if number > 1 else ''}" for number in count(1))
    free = next(name for name in names if not any(f.exists() for f in tables_of(folder, name)))
    kept = []
    for old, new in zip(tables_of(folder, study), tables_of(folder, free), strict=True):
        if old.exists():
            write_atomically(new, read_bytes(old), "results")
            kept.append(new)
    return kept
