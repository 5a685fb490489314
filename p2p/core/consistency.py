"""What must hold between the settings of a run; each check raises ValueError in one line."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.core import env_names, registry
from p2p.core.names import called

if TYPE_CHECKING:
    from p2p.core.config import TrainConfig

# What can be counted over all peers or for each (Fig. 9). The first is what is stored and
# compared; the second is another way of giving it, and always there to be read.
PER_PEER = {"total_steps": "total_steps_per_peer", "steps_per_iteration": "steps_per_peer"}


# Settings as versions before 0.2 called them, in their run folders and studies
RENAMED = {
    "distil_every": "distill_every",
    "distil_epochs": "distill_epochs",
    "distil_loss": "distill_loss",
    "distil_learning_rate": "distill_learning_rate",
}


# Settings that become part of another one, and are none of a run's own
FOLDED = ("env_kwargs",)


def settings_of(method: str) -> Mapping[str, Any]:
    """Return the fields of a method's own settings, by name."""
    fields: Mapping[str, Any] = registry.find("method", method).Settings.model_fields
    return fields


def gather(data: Mapping[str, Any], fields: Collection[str], *, stored: bool) -> dict[str, Any]:
    """Return `data` with the settings that are the method's own in `method_settings`.

    Args:
        fields: names of the settings that all runs have.
        stored: `data` is of a file that p2p wrote; versions before 0.2 stored the settings of
            all methods.
    """
    given = {RENAMED.get(str(name), str(name)): value for name, value in data.items()}
    if (kwargs := given.pop("env_kwargs", None)) is not None:
        given["task"] = _with_kwargs(given.get("task", "hopper"), kwargs)
    chosen = given.get("method", "p2pdrl")
    try:
        if isinstance(chosen, type):
            chosen = given["method"] = registry.add("method", chosen)
        method = registry.choose("method", str(chosen))
    except ValueError:
        return given  # the field's own validator says so
    own = settings_of(method)
    rest = {name: value for name, value in given.items() if name in fields}
    gathered = rest.get("method_settings") or {}
    if not isinstance(gathered, dict):
        raise ValueError(f"method_settings={gathered!r} is no table of settings")
    gathered = dict(gathered)
    for name, value in given.items():
        if name in own:
            gathered[name] = value
        elif name not in rest:
            owners = [m for m in registry.BUILT_IN["method"] if name in settings_of(m)]
            if not owners:
                rest[name] = value  # refused as unknown
            elif not stored:
                whose = " and ".join(owners)
                raise ValueError(
                    f"{called(name)}={value!r} is a setting of {whose}, not of {method}"
                )
    return {**rest, "method_settings": gathered}


def _with_kwargs(task: Any, kwargs: Any) -> str:
    """Return the name of an env with these arguments."""
    if not isinstance(kwargs, Mapping):
        raise ValueError(f"{called('env_kwargs')}={kwargs!r} is no table of arguments")
    if not isinstance(task, str):
        raise ValueError(f"{called('env_kwargs')} are for Gymnasium's envs, not for {task!r}")
    return env_names.with_kwargs(task, kwargs)


def override(settings: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings` with those of `later` in their place, in whichever way they count."""
    twin = {**PER_PEER, **{each: total for total, each in PER_PEER.items()}}
    replaced = {twin[name] for name in later if name in twin}
    kept = {name: value for name, value in settings.items() if name not in replaced}
    return {**kept, **later}


def domain_tables(value: Any) -> dict[str, Any]:
    """Return the tables of a domains file, of what a file would hold, or of a randomisation.

    Raises:
        ValueError: in one line, what is wrong with it.
    """
    files = "p2p.envs.domain_file"
    if isinstance(value, dict):
        value = registry.resolve(f"{files}:from_tables")(value, called("randomise"))
    elif isinstance(value, str | Path):
        value = registry.resolve(f"{files}:read_domains")(Path(value))
    elif not isinstance(value, registry.resolve("p2p.envs.randomisation:Randomisation")):
        raise ValueError(f"{called('randomise')}={value!r} is no domains file")
    tables: dict[str, Any] = registry.resolve(f"{files}:to_tables")(value)
    return tables


def label_of(tables: Mapping[str, Any]) -> str:
    """Return a short name of a domains file's contents: its first factors, and a hash."""
    names = [name for name in tables if name.isidentifier()]
    digest = hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()
    return "+".join([*names[:2], *(["..."] if len(tables) > 2 else []), digest[:6]])


def check_domains(config: TrainConfig) -> None:
    """Check that what only says how Table 1 is meant is not given beside other domains."""
    if config.randomise is None:
        return
    for name, default in (("initial_position", "joints"), ("mass_randomisation", "global")):
        if getattr(config, name) != default:
            raise ValueError(
                f"{called(name)}={getattr(config, name)} is about Table 1: give it without "
                f"{called('randomise')}, whose file says so itself"
            )


def check_schedule(config: TrainConfig) -> None:
    """Check that a checkpoint can hold the episodes that the next iteration goes on with."""
    if config.domain_schedule in ("iteration", "env") or not registry.is_known("task", config.task):
        return
    if not getattr(registry.find("task", config.task), "saves_state", True):
        raise ValueError(
            f"{called('domain_schedule')}={config.domain_schedule} goes on with running episodes, "
            f"which no checkpoint of task {config.task!r} can hold: Gymnasium's envs save no "
            "state; choose iteration or env"
        )


def check_sources(config: TrainConfig) -> None:
    """Record the source of the user's own classes; refuse another than was recorded."""
    varied = (config.randomise or {}).values()
    terms = [table.get("vary") for table in varied if isinstance(table, dict)]
    own: list[tuple[registry.Kind, str]] = [("task", config.task), ("method", config.method)]
    for kind, name in [*own, *(("term", str(name)) for name in terms)]:
        found = registry.sha256(kind, name)
        had = config.source_sha256.get(name)
        if found and had and found != had:
            raise ValueError(
                f"{kind} {name} has changed: its source has SHA-256 {found[:12]}, that of the "
                f"run {had[:12]}; restore it, or start a new run"
            )
        if found and not had:
            config.__dict__["source_sha256"] = {**config.source_sha256, name: found}


def count_alike(config: TrainConfig) -> None:
    """Count over all peers what was counted for each; both may be given if they agree."""
    given = config.model_fields_set
    for total, each in PER_PEER.items():
        if each not in given:
            continue
        over_all = getattr(config, each) * config.num_peers
        if total not in given:
            config.__dict__[total] = over_all
        elif over_all != getattr(config, total):
            raise ValueError(
                f"{called(total)}={getattr(config, total)} counts over all peers, and "
                f"{called(each)}={getattr(config, each)} of {called('num_peers')}="
                f"{config.num_peers} makes {over_all}; give one of the two"
            )


def check_peers(config: TrainConfig) -> None:
    """Check that the method takes that many peers."""
    if not registry.is_known("method", config.method):
        return
    least, most = registry.find("method", config.method).peers
    if not least <= config.num_peers <= most:
        peers = called("num_peers")
        allowed = f"{least}" if least == most else f"{least} or more"
        limits = {n: registry.find("method", n).peers for n in registry.names("method")}
        suited = [n for n, (low, high) in limits.items() if low <= config.num_peers <= high]
        other = f", or one of {', '.join(suited)}" if suited else ""
        raise ValueError(
            f"{peers}={config.num_peers} does not suit method {config.method!r}, "
            f"which takes {allowed}; choose {peers}={least}{other}"
        )


def check_divides(config: TrainConfig) -> None:
    """Check that batch sizes split evenly, and leave an advantage to normalise."""
    part = math.lcm(config.envs_per_peer, config.num_minibatches)
    name, over = "steps_per_peer", ""
    if "steps_per_peer" not in config.model_fields_set:
        name, over = "steps_per_iteration", f"{called('num_peers')}={config.num_peers} x "
        part *= config.num_peers
    if getattr(config, name) % part:
        nearest = max(1, round(getattr(config, name) / part)) * part
        raise ValueError(
            f"{called(name)}={getattr(config, name)} does not split over {over}"
            f"{called('envs_per_peer')}={config.envs_per_peer} and {called('num_minibatches')}="
            f"{config.num_minibatches}; the nearest that does is {nearest}"
        )
    if config.minibatch_size < 2:
        raise ValueError(
            f"minibatches of {config.minibatch_size} sample leave no advantage to normalise; "
            f"raise {called(name)} or lower {called('num_minibatches')}"
        )


def check_tests(config: TrainConfig) -> None:
    """Check that a test is due before the run ends."""
    if config.test_every > config.whole_steps:
        raise ValueError(
            f"{called('test_every')}={config.test_every} is beyond {called('total_steps')}="
            f"{config.total_steps}: no test would be run"
        )
