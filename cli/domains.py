"""`p2p domains`: what a domains file changes of a robot, and whether it changes its motion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p.core import registry
from p2p.core.errors import UsageError

from .options import WholeRange, term_option
from .tables import as_text, print_lines, prose_table, table
from .text.formats import compact, counted
from .text.layout import wrap
from .text.terminal import columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from p2p.envs.domain import Domain
    from p2p.envs.randomisation import Randomisation
    from p2p.envs.trial import Found

EXAMPLES = """\b
Examples:
  p2p domains table1 --env hopper
  p2p domains go2.toml --env ./go2_walk.py:Go2Walk --eps 0.2 --sample 5
  p2p domains --terms
"""


@click.command(epilog=EXAMPLES)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--env", "--task", "task", metavar="TASK", default="hopper", show_default=True,
              help="The task whose robot it is about.")  # fmt: skip
@click.option("--eps", type=float, default=1.0, show_default=True, help="Strength of the samples.")
@click.option("--sample", type=WholeRange(0, 1000), default=0, metavar="N",
              help="Draw N domains at that strength.")  # fmt: skip
@click.option("--seed", type=WholeRange(0), default=0, show_default=True,
              help="Seed of the samples.")  # fmt: skip
@click.option("--terms", is_flag=True, help="List the catalogue of terms.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@term_option
def domains(
    file: Path | None,
    task: str,
    eps: float,
    sample: int,
    seed: int,
    terms: bool,
    as_json: bool,
) -> None:
    """Show what a domains FILE changes of a robot, and try each factor in simulation.

    A factor that changes no motion is named, with the likely reason. FILE is TOML, or the name of
    one that comes with p2p: table1.
    """
    if terms:
        _show([*_catalogue()], [_described(term) for term in _terms()], as_json=as_json)
        return
    if file is None:
        raise UsageError("name a domains file, or table1; --terms lists what one can vary")
    from p2p.envs.domain import check_strength
    from p2p.envs.domain_file import read_domains
    from p2p.envs.trial import try_factors

    check_strength(eps, "--eps")
    try:
        name = registry.choose("task", registry.add("task", task))
    except ValueError as error:
        raise UsageError(str(error)) from None
    randomisation = read_domains(file)
    found = try_factors(name, randomisation)
    usable = not any(one.problem for one in found)
    drawn = _draw(name, randomisation, eps, sample, seed) if sample and usable else []
    lines = [*_factors(found, eps), as_text(), *_verdict(found), *_samples(drawn)]
    _show(lines, _as_json(found, drawn), as_json=as_json)
    if problems := [one for one in found if one.problem]:
        raise UsageError(
            f"{file}: [{problems[0].factor.name}]: {problems[0].problem}"
            + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
        )


def _draw(task: str, randomisation: Randomisation, eps: float, n: int, seed: int) -> list[Domain]:
    import numpy as np

    from p2p.envs.build import build_envs

    binding = build_envs(task, 1, randomisation).binding
    rng = np.random.default_rng(seed)
    return [binding.sample(rng, eps) for _ in range(n)]


def _show(lines: Sequence[Text], data: Any, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(data))
        return
    print_lines(lines)


def _factors(found: Sequence[Found], eps: float) -> list[Text]:
    rows = []
    for one in found:
        factor = one.factor
        low, high = factor.span(eps)
        how = f"x {compact(low)} to {compact(high)}" if factor.scales else (
            f"{compact(low)} to {compact(high)}" + ("" if one.unit == "1" else f" {one.unit}")
        )  # fmt: skip
        nominal = ""
        if one.nominal is not None:
            ends = [compact(v) for v in one.nominal]
            nominal = ends[0] if ends[0] == ends[1] else " to ".join(ends)
        state = "refused" if one.problem else "inert" if one.inert else "acts"
        each = "each" if factor.each else ""
        rows.append([factor.name, factor.vary, how, each, nominal, _names(one.touches), state])
    if not rows:
        return [as_text("nothing varies")]
    head = ["factor", "term", f"at strength {eps:g}", "", "nominal", "of", ""]
    return table(head, rows, left=7, width=columns(), keep=1)


def _names(touches: Sequence[str]) -> str:
    unique = list(dict.fromkeys(touches))
    if len(unique) <= 2:
        return ", ".join(unique)
    return f"{unique[0]}, ... ({len(unique)})"


def _verdict(found: Sequence[Found]) -> list[Text]:
    """Return a line for each factor that does nothing, or cannot."""
    lines = []
    for one in found:
        if one.problem:
            lines.append(as_text(f"{one.factor.name} is refused: {one.problem}", "bold"))
        elif one.inert:
            lines.append(as_text(f"{one.factor.name} changes no motion: {one.inert}", "bold"))
    if not lines and found:
        said = f"{counted(len(found), 'factor')} tried in simulation: all change the motion"
        lines = [as_text(said)]
    return lines


def _samples(drawn: Sequence[Domain]) -> list[Text]:
    if not drawn:
        return []
    lines = [as_text(), as_text("samples", "bold")]
    for domain in drawn:
        cells = [
            f"{name}={'/'.join(compact(v) for v in values)}" for name, values in domain.items()
        ]
        lines += [as_text(part) for part in wrap("  " + ", ".join(cells), columns(), "    ")]
    return lines


def _as_json(found: Sequence[Found], drawn: Sequence[Domain]) -> dict[str, Any]:
    factors = [
        {
            "factor": one.factor.name, "term": one.factor.vary, "scales": one.factor.scales,
            "unit": one.unit, "range": list(one.factor.span(1.0)), "of": list(one.touches),
            "nominal": None if one.nominal is None else list(one.nominal),
            "problem": one.problem, "inert": one.inert,
        }
        for one in found
    ]  # fmt: skip
    return {"factors": factors, "samples": [str(domain) for domain in drawn]}


def _terms() -> list[Any]:
    from p2p.envs.terms import TERMS

    return list(TERMS.values())


def _catalogue() -> list[Text]:
    rows = []
    for term in _terms():
        gives = " or ".join(["scale"] * term.scales + ["add"] * term.adds)
        rows.append([term.name, gives, "" if term.unit == "1" else term.unit, term.of, term.about])
    return [
        *prose_table(["term", "give", "unit of add", "of", "what it changes"], rows, columns()),
        as_text(),
        as_text('or any field of MuJoCo\'s model: vary = "geom_solref[0]"'),
    ]


def _described(term: Any) -> dict[str, Any]:
    facts = ("name", "about", "of", "unit", "scales", "adds", "one_sided")
    return {**{fact: getattr(term, fact) for fact in facts}, "options": dict(term.options)}
