"""A run's evaluation as charts: over the strength of the test domains, and by factor."""

from __future__ import annotations

import shlex

from p2p.analysis.evaluation.kept import Kept
from p2p.analysis.evaluation.results import WORST, EvaluatedRun, Measured
from p2p.analysis.statistics import mean_interval
from p2p.core import registry
from p2p.plots.style import RETURN
from p2p.report.charts import Curve, line_chart, y_span
from p2p.report.formats import NOTHING, counted, number, share
from p2p.report.page import Block, Charts, Section, Table, Text

ENOUGH = 5  # episodes a point, from which an interval over them is drawn


def evaluation_section(kept: Kept, run: str) -> Section:
    """Return what is known of a run in test domains, and how to learn the rest.

    Args:
        run: its path, for commands.
    """
    blocks: list[Block] = []
    path = f"{shlex.quote(run)}{registry.loading_options()}"
    if kept.others:
        blocks.append(Text(
            "eval.h5 holds episodes of other policies, settings or versions of p2p and MuJoCo "
            "than these; none of them is shown."
        ))  # fmt: skip
    if kept.strengths is not None:
        blocks += _over_strength(kept.strengths)
    else:
        blocks.append(Text(
            "Not tested over the strength of the domains. To add it:",
            f"p2p eval {path} --eps-te 0:1:0.1",
        ))  # fmt: skip
    if kept.factors is not None:
        blocks.append(_by_factor(kept.factors))
    else:
        blocks.append(Text(
            "Not tested by factor. To add it:", f"p2p eval {path} --by-factor --episodes 8"
        ))  # fmt: skip
    return Section("evaluation", "Evaluation in test domains", blocks)


def _over_strength(run: EvaluatedRun) -> list[Block]:
    blocks: list[Block] = []
    sets = sorted(run.measured, key=lambda one: one.set.eps or 0.0)
    domains, episodes = len(sets[0].set.domains), sets[0].episode_return.shape[2]
    what = (
        f"Mean action; {counted(domains, 'domain')} a strength, {counted(episodes, 'episode')} "
        f"each, {counted(len(run.peers), 'peer')}, one seed, so no interval over seeds."
    )
    if len(sets) > 1:
        blocks.append(_strength_charts(run, sets, what))
    rows = [
        [
            f"{one.set.eps:g}", number(score.mean), number(score.spread), number(score.worst),
            number(score.length), share(score.falls), *_own(one), one.set.hash,
        ]
        for one in sets
        for score in [one.score]
    ]  # fmt: skip
    head = ["strength", "return", "spread", f"worst {WORST:.0%}", "length", "falls"]
    peers = [f"peer {rank}" for rank in run.peers] if len(run.peers) > 1 else []
    caption = (
        f"{what if len(sets) == 1 else ''} Return: mean over peers and domains. Spread: standard "
        f"deviation over domains, no confidence interval. Worst {WORST:.0%}: mean over the worst "
        f"tenth of the domains. Falls: share of episodes that terminated. Hash: of the domains."
    ).strip()
    blocks.append(Table([*head, *peers, "hash"], rows, caption, left=0))
    return blocks


def _own(one: Measured) -> list[str]:
    """Return each peer's return, if there are several."""
    peers = one.peers
    return [number(peer.mean) for peer in peers] if len(peers) > 1 else []


def _strength_charts(run: EvaluatedRun, sets: list[Measured], what: str) -> Charts:
    xs = [one.set.eps or 0.0 for one in sets]
    scores = [one.score for one in sets]
    peers = [
        Curve(f"peer {rank}", [(x, one.peers[n].mean) for x, one in zip(xs, sets, strict=True)],
              faint=True)
        for n, rank in enumerate(run.peers)
    ]  # fmt: skip
    mean = Curve("mean", [(x, s.mean) for x, s in zip(xs, scores, strict=True)])
    worst = Curve(
        f"worst {WORST:.0%}", [(x, s.worst) for x, s in zip(xs, scores, strict=True)], dash="2 3"
    )
    label = "strength of the test domains"
    curves = [*(peers if len(peers) > 1 else []), worst, mean]
    lengths = Curve("length", [(x, s.length) for x, s in zip(xs, scores, strict=True)])
    falls = Curve("falls", [(x, s.falls) for x, s in zip(xs, scores, strict=True)])
    charts = [
        line_chart(curves, title=RETURN, x_label=label, zero=True),
        line_chart([lengths], title="episode length (steps)", x_label=label, zero=True),
        line_chart([falls], title="share of episodes that fall", x_label=label, span=(0.0, 1.0)),
    ]
    trained = run.settings.get("eps_tr")
    at = f" Trained at strength {trained:g}." if isinstance(trained, float) else ""
    thin = " thin: each peer;" if len(peers) > 1 else ""
    caption = f"Thick: mean;{thin} dotted: mean over the worst tenth of the domains. {what}{at}"
    return Charts(charts, caption)


def _by_factor(run: EvaluatedRun) -> Charts:
    per_factor = [_factor_curves(run, one) for one in run.measured]
    low, high = y_span([curve for curves in per_factor for curve in curves], zero=True)
    charts = []
    for one, curves in zip(run.measured, per_factor, strict=True):
        (axis,) = one.set.axes
        charts.append(line_chart(
            curves, title=axis.factor.replace("_", " "), x_label=axis.label,
            nominal=axis.nominal, span=(low, high),
        ))  # fmt: skip
    first = run.measured[0]
    peers, points, episodes = first.episode_return.shape
    n = peers * episodes
    band = (
        f" Band: Student's t 95% interval over the {n} episodes of a point, cut at the ends of "
        "the axis."
    ) * (n >= ENOUGH)
    thin = " Thin: each peer." if peers > 1 else ""
    caption = (
        f"Return over one factor at a time, the others nominal, over its range at strength "
        f"{first.set.eps or NOTHING:g}; one scale for all. Dotted: the nominal value. Mean action; "
        f"{points} values a factor, {counted(episodes, 'episode')} each for "
        f"{counted(peers, 'peer')}, the same start noise at each value.{thin}{band}"
    )
    return Charts(charts, caption)


def _factor_curves(run: EvaluatedRun, one: Measured) -> list[Curve]:
    (axis,) = one.set.axes
    peers = [
        Curve(f"peer {rank}", list(zip(axis.values, returns.tolist(), strict=True)), faint=True)
        for rank, returns in zip(run.peers, one.episode_return.mean(axis=2), strict=True)
    ]
    band = []
    for n, x in enumerate(axis.values):
        values = one.episode_return[:, n].ravel()
        interval = mean_interval(values) if values.size >= ENOUGH else None
        if interval is not None:
            band.append((x, *interval))
    mean = Curve("mean", list(zip(axis.values, one.by_domain.tolist(), strict=True)), band)
    return [*(peers if len(peers) > 1 else []), mean]
