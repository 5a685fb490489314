"""What a run was trained with, as tables: settings, domains, versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from p2p.core import registry
from p2p.core.config import TrainConfig, build_config
from p2p.core.consistency import label_of, settings_of
from p2p.core.errors import P2PError
from p2p.envs.randomisation import Factor
from p2p.envs.terms import find_term
from p2p.envs.units import unit
from p2p.report.formats import NOTHING, number
from p2p.report.page import Block, Section, Table, Text

SHOWN_ELSEWHERE = ("task", "method", "seed", "source_sha256")


def settings_section(configs: Sequence[TrainConfig]) -> Section:
    """Return the settings that all runs share: those that differ from their defaults first.

    Args:
        configs: of one run or of several of a study.
    """
    first = configs[0]
    own = {
        name: value
        for name, value in first.settings.items()
        if name not in SHOWN_ELSEWHERE and all(c.settings.get(name) == value for c in configs)
    }
    defaults = [_defaults(config) for config in configs]
    changed = [n for n, value in own.items() if any(d.get(n, value) != value for d in defaults)]
    rows = [[n, _text(own[n]), _text(defaults[0].get(n)), _about(first, n)] for n in changed]
    rest = [[n, _text(v), _about(first, n)] for n, v in own.items() if n not in changed]
    blocks: list[Block] = []
    if rows:
        blocks.append(Table(["setting", "value", "default", ""], rows, left=4))
    else:
        blocks.append(Text("All settings have their defaults."))
    which = "shared by all runs" if len(configs) > 1 else "that have their defaults"
    summary = f"{len(rest)} settings {which}"
    blocks.append(Table(["setting", "value", ""], rest, left=3, summary=summary))
    return Section("settings", "Settings", blocks)


def _defaults(config: TrainConfig) -> dict[str, Any]:
    """Return the settings of a run of this task and method of which nothing else is given."""
    known = {k: n for k, n in (("task", config.task), ("method", config.method))
             if registry.is_known(k, n)}  # type: ignore[arg-type]  # fmt: skip
    try:
        return build_config(**known).settings
    except P2PError:
        return {}


def _about(config: TrainConfig, name: str) -> str:
    field = type(config).model_fields.get(name)
    if field is None and registry.is_known("method", config.method):
        field = settings_of(config.method).get(name)
    return (field.description or "") if field is not None else ""


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return label_of(value)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return " ".join(_text(one) for one in value)
    return NOTHING if value is None else str(value)


def domains_section(config: TrainConfig) -> Section:
    """Return what is randomised in training, and how far."""
    try:
        factors = list(config.randomisation)
        rows = [_factor(factor, config.eps_tr) for factor in factors]
    except P2PError as error:
        return Section("domains", "Domains", [Text(f"Not shown: {error}.")])
    if not rows:
        return Section("domains", "Domains", [Text("Nothing is randomised.")])
    when = {
        "iteration": "Each peer draws one domain an iteration",
        "env": "Each env draws one domain an iteration",
        "episode": "Each episode draws a domain",
        "carry": "Each peer draws one domain an iteration, and episodes go on in it",
    }[config.domain_schedule]
    caption = (
        f"{when}, each factor independently, at strength {config.eps_tr:g} of 0 to 1; strength 0 "
        "is the nominal robot. Factors with the unit x multiply the nominal value, others are "
        "added to it."
    )
    head = ["factor", "what it changes", "of", "draw", f"at {config.eps_tr:g}", "at 1", "unit"]
    return Section("domains", "Domains", [Table(head, rows, caption, left=4)])


def _factor(factor: Factor, eps: float) -> list[str]:
    try:
        about = find_term(factor.vary).about
    except P2PError:
        about = factor.vary
    of = "all" if factor.of is None else factor.of if isinstance(factor.of, str) else (
        ", ".join(factor.of)
    )  # fmt: skip
    spans = [f"{number(low)} to {number(high)}" for low, high in map(factor.span, (eps, 1.0))]
    draw = f"{factor.draw}, one each" if factor.each else factor.draw
    return [factor.name, about, of, draw, *spans, "x" if factor.scales else _unit(factor)]


def _unit(factor: Factor) -> str:
    try:
        found = unit(factor)
    except P2PError:
        return ""
    return NOTHING if found == "1" else found


def versions_section(versions: Mapping[str, Any]) -> Section:
    """Return the versions and the machine that a run was started with."""
    rows = [[name, str(value)] for name, value in versions.items() if name != "format"]
    if not rows:
        return Section("versions", "Versions", [Text("Not known: versions.json is gone.")])
    return Section("versions", "Versions and machine", [Table(["", ""], rows, left=2)])
