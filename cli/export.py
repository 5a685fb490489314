"""`p2p export`: take a policy out as ONNX and plain C, checked against the policy."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p.core import registry

from .analysis import how_far, output_options, progress, show, work_options
from .options import FOLDER, WholeRange, flags_in_messages, source_options
from .tables import as_text, assembled, table
from .text.formats import NOTHING, compact, count, counted

if TYPE_CHECKING:
    from rich.text import Text

    from p2p.export.bundle import Bundle, Export

EXAMPLES = """\b
Examples:
  p2p export runs/a                         the best peer, to runs/a/bundle
  p2p export runs/a --peer mean --out deploy
  p2p eval deploy                           runs the ONNX in test domains
  python deploy/run_policy.py               runs it without p2p
"""
LISTED = 3  # names of constant observations


@click.command(epilog=EXAMPLES)
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--peer", default="best", show_default=True, metavar="best|K|all|mean",
    help="The best in held-out domains, a rank, all (a folder each), or their mean action.",
)  # fmt: skip
@click.option(
    "--format", "formats", default="onnx,c", show_default=True, metavar="FORMAT,...",
    help="onnx, c, or both.",
)  # fmt: skip
@click.option(
    "--out", type=FOLDER, metavar="DIR", help="Folder to make [default: bundle in the run folder]."
)
@click.option(
    "--eps-te", type=float, default=0.5, show_default=True,
    help="Strength of the held-out test domains.",
)  # fmt: skip
@click.option(
    "--domains", type=WholeRange(1), default=24, show_default=True,
    help="How many held-out test domains.",
)  # fmt: skip
@click.option(
    "--domain-seed", type=WholeRange(0), default=1, show_default=True,
    help="Their seed; that of `p2p eval` is 0.",
)  # fmt: skip
@work_options
@output_options
@source_options
def export(
    run: Path,
    peer: str,
    formats: str,
    out: Path | None,
    as_json: bool,
    plain: bool,
    no_save: bool,
    workers: int | None,
    **settings: Any,
) -> None:
    """Export a policy of RUN, a run folder or a policy file, as a bundle.

    A bundle has policy.onnx, p2p_policy.h (plain C), policy.json (what the numbers mean) and
    run_policy.py. Each file is compared with the policy on 1,000 observations of real episodes;
    if one acts otherwise, nothing is written. A bundle that is there is replaced.
    """
    from p2p.export.request import check_request

    wanted = [part.strip() for part in formats.split(",")]
    check_request(peer, wanted)
    from p2p.export.bundle import export_policy

    with flags_in_messages(), progress("testing", how_far, plain=plain) as report:
        found = export_policy(
            run, out, peer=peer, formats=wanted,
            save=not no_save, workers=workers, report=report, **settings,
        )  # fmt: skip
    show(found, lambda: render(found), {}, as_json=as_json, plain=plain)


def render(found: Export) -> list[Text]:
    """Return everything that is shown of an export."""
    from p2p.runs.bundle import GRAPH

    held, first = found.held, found.bundles[0]
    subject, told = held.subject, first.told["scores"]
    parts = [subject.task, subject.method, counted(len(held.policies), "peer")]
    lines = [
        assembled((parts[0], "bold"), ", ", ", ".join([*parts[1:], f"seed {subject.seed}"])),
        as_text(subject.path, "dim"),
        as_text(
            f"held out: {counted(told['domains'], 'test domain')}, seed {told['domain_seed']}, "
            f"hash {told['hash']}; mean action"
        ),
        as_text(),
        *_scores(found),
        as_text(),
    ]
    if held.alike:
        lines += [as_text("all peers have one policy: the method's central one", "dim"), as_text()]
    for bundle in found.bundles:
        lines += _bundle(bundle)
    if GRAPH in first.sizes:  # what evaluation runs
        command = f"p2p eval {shlex.quote(str(first.path))}{registry.loading_options()}"
        lines.append(as_text(f"next: {command}", "dim"))
    return lines


def _scores(found: Export) -> list[Text]:
    """Return a row a peer, and one of their averaged action; what is exported is marked."""
    rows = []
    exported = [bundle.told["peer"] for bundle in found.bundles]
    told = found.bundles[0].told["scores"]
    for score in told["peers"]:
        name = "mean action" if score["peer"] == "mean" else f"peer {score['peer']}"
        rows.append([
            name, compact(score["mean"]), compact(score["spread"]), compact(score["worst"]),
            count(score["length"]), f"{score['falls']:.0%}",
            "exported" if score["peer"] in exported else "",
        ])  # fmt: skip
    head = [f"eps_te {told['eps_te']:g}", "return", "spread", "worst 10%", "length", "falls", ""]
    return table(head, rows)


def _bundle(bundle: Bundle) -> list[Text]:
    told = bundle.told
    check, worst = told["check"], told["check"]["worst"]
    rows = []
    for name, size in bundle.sizes.items():
        differs = f"{worst[name]:.1e}" if worst.get(name) is not None else NOTHING
        rows.append([name, f"{size / 1000:,.1f} kB", differs if name in worst else ""])
    lines = [as_text(str(bundle.path), "bold"), *table(["file", "size", "differs by"], rows)]
    seen = f"{check['observations']:,} observations of real episodes"
    lines.append(as_text(f"differs by: at worst, of an action's range; {seen}", "dim"))
    if None in worst.values():
        lines.append(as_text("p2p_policy.h was not checked: no C compiler (cc, gcc, clang, CC)"))
    if constant := [one["name"] for one in told["constant_observations"]]:
        some = ", ".join(constant[:LISTED]) + (", ..." if len(constant) > LISTED else "")
        lines.append(as_text(f"{counted(len(constant), 'input')} never varied in training: {some}"))
        lines.append(as_text("the policy ignores these (policy.json has all)", "dim"))
    return [*lines, as_text()]
