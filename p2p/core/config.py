"""TrainConfig: every setting once, typed and validated, with its unit and its source.

The command line's options and their help come from these fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from p2p.core import consistency, registry
from p2p.core.consistency import settings_of
from p2p.core.returns import MAX_EPISODE_STEPS
from p2p.core.validation import (
    Count,
    Finite,
    Positive,
    Unit,
    is_stored,
    one_line,
    validated,
)

GRADIENT_STEPS = 4096  # fresh steps a peer to measure its gradient's variance on (section 4.4)
GRADIENT_MINIBATCHES = 64

# A field's role, where it is no part of what tells runs apart. Of the others, and of those that
# a later version adds, each is: another value is another run.
GOAL: dict[str, Any] = {
    "role": "goal"
}  # a run may be continued to another one, unless its end counts
RECORD: dict[str, Any] = {
    "role": "record"
}  # what is kept and measured beside training, which it leaves alone


def _method_default(name: str) -> Any:
    """Return a default that depends on the method chosen."""
    return lambda data: getattr(registry.find("method", data.get("method", "p2pdrl")), name)


def _of_each(total: str) -> Any:
    """Return the share of each peer in what is counted over all, rounded up."""
    return lambda data: -(-data[total] // data["num_peers"])


class TrainConfig(BaseModel):
    """The settings of one training run; equal configs give equal bits."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    # What is trained
    task: str = Field(
        "hopper",
        description="Task: " + ", ".join(registry.BUILT_IN["task"]) + "; or one of your own, as "
        "path.py:Class or package.module:Class.",
    )
    method: str = Field(
        "p2pdrl",
        description="Method: " + ", ".join(registry.BUILT_IN["method"]) + "; or one of your own, "
        "as path.py:Class or package.module:Class.",
    )
    num_peers: Count = Field(
        default_factory=_method_default("num_peers"),
        description="K, the number of peers, one process each [2, or 1 for methods of one].",
    )
    total_steps: Count = Field(
        1_000_000,
        json_schema_extra=GOAL,
        description="Environment steps over all peers; rounded up to whole iterations.",
    )
    total_steps_per_peer: Count = Field(
        default_factory=_of_each("total_steps"),
        json_schema_extra=GOAL,
        exclude=True,
        description="The same counted for each peer: gives total_steps = K times this.",
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="Seed of every stream.")

    # The domain distribution (Table 1)
    eps_tr: Unit = Field(0.2, description="Randomisation strength in training, 0..1 (Table 1).")
    domain_schedule: Literal["iteration", "episode", "env", "carry"] = Field(
        "iteration",
        description="When a domain is drawn: one a peer and iteration, with envs reset "
        "(iteration) or carried over (carry); one an env and iteration (env); one an episode.",
    )
    initial_position: Literal["joints", "root_x"] = Field(
        "joints", description="What the initial position shifts: actuated joints, or root x."
    )
    mass_randomisation: Literal["global", "per_link"] = Field(
        "global", description="One mass factor for the robot, or one a link."
    )

    # The rollout (line 7; batch size of appendix A.2)
    steps_per_iteration: Count = Field(
        4096, description="Steps an iteration over all peers (appendix A.2)."
    )
    steps_per_peer: Count = Field(
        default_factory=_of_each("steps_per_iteration"),
        exclude=True,
        description="The same counted for each peer: gives steps_per_iteration = K times this.",
    )
    envs_per_peer: Count = Field(2, description="Environments that each peer steps.")

    # The update (lines 9-15; Table 2)
    num_epochs: Count = Field(10, description="Epochs an iteration (Table 2).")
    num_minibatches: Count = Field(32, description="Minibatches an epoch (Table 2).")
    learning_rate: Positive = Field(
        default_factory=_method_default("learning_rate"),
        description="beta, Adam's step size [the method's: see p2p methods].",
    )
    clip: Positive = Field(0.2, description="epsilon of eq. 2 (Table 2).")
    discount: Unit = Field(0.99, description="gamma (Table 2).")
    gae_lambda: Unit = Field(0.95, description="lambda of GAE (Table 2).")
    hidden_sizes: tuple[Count, Count] = Field(
        (64, 64), description="Units in the hidden layers of actor and critic (Table 2)."
    )
    init_log_std: Finite = Field(-0.75, description="Initial log standard deviation of actions.")
    adam_eps: Positive = Field(1e-5, description="Adam's epsilon.")
    max_grad_norm: Positive = Field(0.5, description="Gradient-norm clip, actor and critic apart.")
    normalise_advantage: bool = Field(True, description="Normalise advantages per minibatch.")
    value_clip: bool = Field(False, description="Clip the value loss as the policy's is.")
    anneal_learning_rate: bool = Field(
        False, description="Anneal the learning rate to 0 at the goal, which then is for good."
    )
    target_kl: Positive | None = Field(
        None, description="Stop a peer's epochs when KL(pi_old || pi) passes 1.5 times this."
    )

    # Normalisation (shared by the peers, frozen within an iteration)
    normalise_obs: bool = Field(True, description="Normalise observations by running moments.")
    obs_clip: Positive = Field(10.0, description="Clip of the normalised observation.")
    scale_reward: bool = Field(
        True, description="Divide rewards by the running std of the discounted return."
    )

    # How it is computed: engines round differently
    engine: Literal["fused", "autograd"] = Field(
        "fused", description="How a minibatch step is computed: compiled, or torch's autograd."
    )

    # What is kept and measured beside training
    checkpoint_every: Count = Field(
        25, json_schema_extra=RECORD, description="Iterations between checkpoints."
    )
    milestones: Annotated[int, Field(ge=0)] = Field(
        10,
        json_schema_extra=RECORD,
        description="Checkpoints kept for good, evenly spaced, and the start; 0 keeps none.",
    )
    grad_variance_every: Annotated[int, Field(ge=0)] = Field(
        0,
        json_schema_extra=RECORD,
        description="Iterations between measurements of the gradient's variance (section 4.4), "
        f"each on {GRADIENT_STEPS} fresh steps a peer, which takes "
        "about two iterations' time; 0 measures none.",
    )
    final_episodes: Annotated[int, Field(ge=0)] = Field(
        20,
        json_schema_extra=RECORD,
        description="Episodes of the final score: mean action, nominal domain.",
    )
    peer_timeout: Positive = Field(
        300.0,
        json_schema_extra=RECORD,
        description="Seconds without a sign of life before a peer counts as hung.",
    )

    # What belongs to the method or task chosen
    method_settings: dict[str, Any] = Field(
        default_factory=dict,
        validate_default=True,
        description="The method's own settings, by name.",
    )
    source_sha256: dict[str, str] = Field(
        default_factory=dict,
        description="SHA-256 of the source of a task or method of the user's, by its name.",
    )

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
            if ":" in str(value) or (isinstance(sources, dict) and str(value) in sources):
                return registry.note_stored(kind, str(value))
        return registry.choose(kind, str(value))

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
        consistency.count_alike(self)
        consistency.check_peers(self)
        consistency.check_divides(self)
        return self

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
        """Return a setting by its name, also one of the method's own; None if it has none such."""
        own = name in type(self).model_fields
        return getattr(self, name) if own else self.method_settings.get(name)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name, with the method's own among them, as JSON has them."""
        found: dict[str, Any] = self.model_dump(mode="json")
        found.update(found.pop("method_settings"))
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
        return resets and self.horizon < MAX_EPISODE_STEPS

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
    return validated(TrainConfig, settings, known=setting_names())


def stored_config(settings: Mapping[str, Any]) -> TrainConfig:
    """Return the config that a run folder or checkpoint holds, also one of an earlier version.

    Its task or method may be code of a user's that is not loaded: nothing is imported for it.

    Raises:
        UsageError: in one line, what is wrong with the settings.
    """
    return validated(TrainConfig, settings, known=setting_names(), stored=True)


def setting_names() -> dict[str, None]:
    """Return the names of all settings: TrainConfig's fields, then those that methods have."""
    internal = {"method_settings", "source_sha256"}
    own = {n: None for m in registry.names("method") for n in settings_of(m)}
    return {n: None for n in TrainConfig.model_fields if n not in internal} | own
