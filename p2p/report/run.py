"""The page of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from p2p.analysis.evaluation.kept import Kept, kept_evaluations
from p2p.analysis.learning import LearningGroup, LearningRun, choose_measures, read_learning
from p2p.core.errors import P2PError
from p2p.core.version import p2p_version
from p2p.plots.curves import looks_of
from p2p.plots.method_styles import METHODS, TASKS
from p2p.report.formats import counted, duration, number
from p2p.report.learning import learning_caption, learning_charts
from p2p.report.measured import evaluation_section
from p2p.report.page import Block, Charts, Fact, Page, Section, Strip, Table, Text
from p2p.report.settings import domains_section, settings_section, versions_section
from p2p.report.strip import FRAMES, film_strip
from p2p.runs import RunFolder
from p2p.runs.measures import final_scores

Scores = Sequence[Mapping[str, Any]]  # final ones, one a peer; empty where there are none


def run_page(path: Path, *, frames: int = FRAMES, date: str | None = None) -> Page:
    """Return the page of a run, also of one that is not finished.

    Nothing is trained or tested for it; the film strip runs one episode.

    Args:
        frames: of the film strip; 0: none.
        date: to state; None: when the run last wrote to its journal.

    Raises:
        BadArtefact: there is no run, it is damaged, or has no iteration yet.
    """
    run = RunFolder.open(path)
    curves = read_learning(path)
    config, scores = run.config, final_scores(run) if curves.finished else []
    groups = [LearningGroup(curves.task, curves.method, [curves])]
    looks = looks_of(groups)
    charts = learning_charts(groups, choose_measures([curves]), looks)
    sections = [
        _summary(run, scores, curves),
        *([_film(run, frames)] if frames else []),
        Section("curves", "Learning curves", [Charts(charts, learning_caption(groups))]),
        _evaluation(run),
        domains_section(config),
        settings_section([config]),
        versions_section(run.versions()),
    ]
    method = METHODS[config.method].label if config.method in METHODS else config.method
    return Page(
        f"{TASKS[config.task]}, {method}",
        "training run",
        [str(run.path), _when(run, date)],
        _facts(run, scores, curves),
        sections,
        list(looks.values()),
        [f"Written by p2p {p2p_version()}."],
    )


def _when(run: RunFolder, date: str | None) -> str:
    return f"Last trained on {date or last_written(run)}."


def last_written(run: RunFolder) -> str:
    """Return the day on which a run last wrote to its journal, UTC."""
    seconds = run.journal.path.stat().st_mtime
    return f"{datetime.fromtimestamp(seconds, UTC):%-d %B %Y}"


def _facts(run: RunFolder, scores: Scores, curves: LearningRun) -> list[Fact]:
    config, last = run.config, curves.points[-1]
    steps, goal = int(last["steps"]), config.whole_steps
    facts = [_score(scores, curves)]
    of = "" if steps >= goal else f"{steps / goal:.0%} of {number(goal)}"
    speeds = [point["speed"] for point in curves.points if "speed" in point]
    facts += [
        Fact("steps over all peers", number(steps), of or "finished" * curves.finished),
        Fact("training time", duration(3600 * last["hours"]), _speed(speeds)),
        Fact("peers", number(config.num_peers), f"{counted(config.envs_per_peer, 'env')} each"),
        Fact("training strength", f"{config.eps_tr:g}", "of 0 to 1"),
        Fact("seed", str(config.seed)),
    ]
    return facts


def _speed(speeds: Sequence[float]) -> str:
    middle = sorted(speeds)[len(speeds) // 2] if speeds else math.nan
    return f"{number(middle)} steps/s (median)"


def _score(scores: Scores, curves: LearningRun) -> Fact:
    if scores:
        mean = fmean(float(peer["mean"]) for peer in scores)
        over = f"mean of {len(scores)} peers" if len(scores) > 1 else "nominal domain"
        return Fact("final score", number(mean), over)
    return Fact("training return", number(curves.last.get("return")), "last tenth")


def _summary(run: RunFolder, scores: Scores, curves: LearningRun) -> Section:
    config = run.config
    steps = int(curves.points[-1]["steps"])
    told = (
        f"{counted(config.num_peers, 'peer')} of {TASKS[config.task]} trained by "
        f"{METHODS[config.method].label if config.method in METHODS else config.method} for "
        f"{number(steps)} steps, {counted(int(curves.points[-1]['iterations']), 'iteration')} of "
        f"{number(config.steps_per_iteration)} steps each, in domains of strength "
        f"{config.eps_tr:g}."
    )
    blocks: list[Block] = [Text(told)]
    if not curves.finished:
        share = steps / config.whole_steps
        blocks.append(Text(f"The run is not finished: {share:.0%} of its steps are done."))
    if scores:
        blocks.append(_scores(scores))
    else:
        blocks.append(Text("It has no final score yet."))
    return Section("summary", "Summary", blocks)


def _scores(scores: Scores) -> Table:
    rows = [
        [f"peer {one['peer']}", *(number(one.get(name)) for name in ("mean", "std", "length"))]
        for one in scores
    ]
    if len(rows) > 1:
        means = [fmean(float(one.get(name, math.nan)) for one in scores)
                 for name in ("mean", "length")]  # fmt: skip
        rows.append(["mean", number(means[0]), "", number(means[1])])
    episodes = counted(int(scores[0].get("episodes", 0)), "episode")
    caption = f"Final scores: undiscounted return, mean action, nominal domain, {episodes} each. "
    caption += "Spread: standard deviation over episodes."
    strong = len(rows) - 1 if len(rows) > 1 else None
    return Table(["", "return", "spread", "length"], rows, caption, strong=strong)


def _film(run: RunFolder, frames: int) -> Section:
    try:
        pictures, caption = film_strip(run, frames)
        block: Block = Strip(pictures, caption)
    except P2PError as error:
        block = Text(f"No pictures: {error}.")
    return Section("film", "The trained policy", [block])


def _evaluation(run: RunFolder) -> Section:
    try:
        kept = kept_evaluations(run)
    except P2PError as error:
        section = evaluation_section(Kept(None, None, False), str(run.path))
        blocks = [Text(f"What eval.h5 holds cannot be shown: {error}."), *section.blocks]
        return Section(section.name, section.title, blocks)
    return evaluation_section(kept, str(run.path))
