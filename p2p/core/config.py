"""TrainConfig: the settings of a run, validated, and what follows from them.

The fields are in `p2p.core.settings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import (
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from p2p.core import consistency, env_names, registry
from p2p.core.consistency import settings_of
from p2p.core.errors import BadArtefact, UsageError
from p2p.core.names import called
from p2p.core.returns import MAX_EPISODE_STEPS
from p2p.core.settings import GOAL, RECORD, Settings
from p2p.core.validation import is_stored, one_line, validated

if TYPE_CHECKING:
    from p2p.envs.randomisation import Randomisation


class TrainConfig(Settings):
    """The settings of one training run; equal configs give equal bits.

    Raises:
        UsageError: in one line, what is wrong with the settings.
    """

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any, info: ValidationInfo) -> Any:
        """Take the method's own settings as they stand among the others."""
        if not isinstance(data, dict):
            return data
        return consistency.gather(data, cls.model_fields.keys(), stored=is_stored(info))

    @field_validator("task", "method", mode="before")
    @classmethod
    def _known(cls, value: Any, info: ValidationInfo) -> str:
        kind: registry.Kind = "task" if info.field_name == "task" else "method"
        if isinstance(value, type):
            return registry.add(kind, value)
        if is_stored(info) and not registry.is_known(kind, str(value)):
            sources = (info.context or {}).get("sources")
            own = ":" in str(value) or (isinstance(sources, dict) and str(value) in sources)
            if own or env_names.is_id(str(value)):
                return registry.note_stored(kind, str(value))
        return registry.choose(kind, str(value))

    @field_validator("init_from")
    @classmethod
    def _from_anywhere(cls, value: str | None) -> str | None:
        """Return the path absolute: a run may go on in another working directory."""
        return None if value is None else str(Path(value).absolute())

    @field_validator("randomise", mode="before")
    @classmethod
    def _read_randomise(cls, value: Any, info: ValidationInfo) -> Any:
        """Read a domains file; what a run folder has is read when it is needed."""
        return value if value is None or is_stored(info) else consistency.domain_tables(value)

    @field_validator("track", mode="before")
    @classmethod
    def _each_once(cls, value: Any) -> Any:
        """Take one name for a tuple of one, each name once, and "none" for no name."""
        names = (value,) if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
            return value
        if "none" in names and len(names) > 1:
            raise ValueError(f"{called('track')}=none stands alone")
        return tuple(dict.fromkeys(name for name in names if name != "none"))

    @field_validator("method_settings", mode="after")
    @classmethod
    def _complete(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Fill in the defaults of the method's own settings, and validate them."""
        method = info.data.get("method")
        if method is None or not registry.is_known("method", method):
            return value
        try:
            complete: dict[str, Any] = (
                registry.find("method", method).Settings(**value).model_dump()
            )
        except ValidationError as error:
            raise ValueError(one_line(error, settings_of(method))) from None
        return complete

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        consistency.check_sources(self)
        consistency.check_domains(self)
        consistency.check_schedule(self)
        consistency.count_alike(self)
        consistency.check_peers(self)
        consistency.check_divides(self)
        consistency.check_tests(self)
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_line(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Raise UsageError for whatever the validators above complain of."""
        try:
            return handler(data)
        except ValidationError as error:
            raise UsageError(one_line(error, {*cls.model_fields, *setting_names()})) from None

    @property
    def randomisation(self) -> Randomisation:
        """The domain distribution Xi.

        Raises:
            BadArtefact: it has terms of the user's that are not loaded, or is damaged.
        """
        if self.randomise is not None:
            read = registry.resolve("p2p.envs.domain_file:from_tables")
            try:
                made: Randomisation = read(self.randomise, "randomise")
                return made
            except UsageError as error:  # it was checked when it was made
                raise BadArtefact(f"the run's settings are damaged: {error}") from None
        found: Randomisation = registry.find("task", self.task).default_randomisation(
            self.initial_position, self.mass_randomisation
        )
        return found

    @property
    def why_its_end_counts(self) -> str:
        """Say why the run's numbers depend on where it is to end; empty if they do not."""
        if self.anneal_learning_rate:
            return "its learning rate is annealed to its end"
        if not registry.is_known("method", self.method):
            return ""
        why: str = registry.find("method", self.method).end_counts
        return why

    def get(self, name: str) -> Any:
        """Return a setting by its name, also one of the method's own; None if it has none such.

        Of what varies, a label that tells it from others in names and tables.
        """
        if name == "randomise" and self.randomise is not None:
            return consistency.label_of(self.randomise)
        own = name in type(self).model_fields
        return getattr(self, name) if own else self.method_settings.get(name)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name, with the method's own among them, as JSON has them."""
        found: dict[str, Any] = self.model_dump(mode="json")
        found.update(found.pop("method_settings"))
        for name in ("randomise", "init_from"):  # which earlier versions did not have
            if found[name] is None:
                del found[name]
        return found

    @property
    def changes_no_number(self) -> frozenset[str]:
        """Return the settings of which the run may be continued with other values."""
        return RECORDS | (frozenset() if self.why_its_end_counts else GOALS)

    def identity(self, steps: int | None = None) -> dict[str, Any]:
        """Return all that tells a run from others of its task and method, but the seed.

        Args:
            steps: that were trained, not those aimed at; None if all of the run is meant.
        """
        left_out = RECORDS | GOALS | {"seed", "task", "method"}
        found = {k: v for k, v in self.settings.items() if k not in left_out}
        if steps is not None:
            found["steps"] = steps
        if self.why_its_end_counts and (steps is None or steps < self.whole_steps):
            found["goal"] = self.total_steps
        return found

    @property
    def num_iterations(self) -> int:
        """Iterations until `total_steps` are reached."""
        return -(-self.total_steps // self.steps_per_iteration)

    @property
    def whole_steps(self) -> int:
        """Steps that the run will have made over all peers: whole iterations."""
        return self.num_iterations * self.steps_per_iteration

    def is_test(self, iteration: int) -> bool:
        """Say whether the policies after `iteration` iterations are tested in held-out domains."""
        size, every = self.steps_per_iteration, self.test_every
        return every > 0 and iteration * size // every > (iteration - 1) * size // every

    def is_milestone(self, iteration: int) -> bool:
        """Say whether the state after `iteration` iterations is kept for good."""
        passed = iteration * self.milestones // self.num_iterations
        before = (iteration - 1) * self.milestones // self.num_iterations
        return self.milestones > 0 and passed > before

    @property
    def horizon(self) -> int:
        """T, the steps of each env an iteration."""
        return self.steps_per_peer // self.envs_per_peer

    @property
    def cuts_episodes(self) -> bool:
        """Whether envs are reset before an episode can reach its time limit."""
        resets = self.domain_schedule in ("iteration", "env")
        return resets and self.horizon < self.max_episode_steps

    @property
    def max_episode_steps(self) -> int:
        """The task's time limit, steps."""
        if not registry.is_known("task", self.task):
            return MAX_EPISODE_STEPS
        limit: int = registry.find("task", self.task).max_episode_steps
        return limit

    @property
    def minibatch_size(self) -> int:
        """B, the samples of one peer's minibatch."""
        return self.steps_per_peer // self.num_minibatches


def _with_role(role: Mapping[str, str]) -> frozenset[str]:
    fields = TrainConfig.model_fields.items()
    return frozenset(name for name, field in fields if field.json_schema_extra == role)


GOALS, RECORDS = _with_role(GOAL), _with_role(RECORD)


def build_config(**settings: Any) -> TrainConfig:
    """Return a validated TrainConfig.

    Args:
        settings: its fields, and the method's own settings by their names.

    Raises:
        UsageError: in one line, what is wrong with the settings.
    """
    return validated(TrainConfig, settings)


def stored_config(settings: Mapping[str, Any]) -> TrainConfig:
    """Return the config that a run folder or checkpoint holds, also one of an earlier version.

    Its task or method may be code of a user's that is not loaded: nothing is imported for it.

    Raises:
        UsageError: in one line, what is wrong with the settings.
    """
    return validated(TrainConfig, settings, stored=True)


def setting_names() -> dict[str, None]:
    """Return the names of all settings: TrainConfig's fields, then those that methods have."""
    internal = {"method_settings", "source_sha256"}
    own = {n: None for m in registry.names("method") for n in settings_of(m)}
    fields = {n: None for n in TrainConfig.model_fields if n not in internal}
    return fields | dict.fromkeys(consistency.FOLDED) | own
