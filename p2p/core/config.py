"""TrainConfig: every setting once, typed and validated, with its unit and its source.

The command line's options and their help come from these fields.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from p2p.core.errors import UsageError
from p2p.core.method_facts import METHODS
from p2p.core.returns import MAX_EPISODE_STEPS

TASKS = ("walker2d", "ant", "humanoid", "hopper", "halfcheetah")

# A run may be continued with other values of these (of its goal, unless its end counts: see
# `TrainConfig.why_its_end_counts`); all others, also those that a later version adds, are part
# of a run's identity.
CHANGES_NO_NUMBER = frozenset({
    "total_steps", "total_steps_per_peer",
    "engine", "checkpoint_every", "milestones", "peer_timeout", "final_episodes",
    "grad_variance_every",
})  # fmt: skip

# What can be counted over all peers or for each (Fig. 9). The first is what is stored and
# compared; the second is another way of giving it, and always there to be read.
PER_PEER = {"total_steps": "total_steps_per_peer", "steps_per_iteration": "steps_per_peer"}

GRADIENT_STEPS = 4096  # fresh steps a peer to measure its gradient's variance on (section 4.4)
GRADIENT_MINIBATCHES = 64


def _method_default(name: str) -> Any:
    """Return a default that depends on the method chosen."""
    return lambda data: getattr(METHODS.get(data.get("method", ""), METHODS["p2pdrl"]), name)


def _of_each(total: str) -> Any:
    """Return the share of each peer in what is counted over all, rounded up."""
    return lambda data: -(-data[total] // data["num_peers"])


def _canonical(name: str) -> str:
    """Fold `HalfCheetah-v5`, `half_cheetah` and `halfcheetah` into one spelling."""
    return re.sub(r"(-v\d+)$|^p2p/|[\s_-]", "", re.sub(r"-v\d+$", "", name)).lower()


def _choose(name: str, known: tuple[str, ...], what: str) -> str:
    """Return `name` if known, else raise with the nearest ones."""
    if name in known:
        return name
    near = [k for k in known if k.startswith(name)]
    near = near or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"unknown {what} {name!r}; {hint}known: {', '.join(sorted(known))}")


Count = Annotated[int, Field(ge=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Unit = Annotated[float, Field(ge=0, le=1)]
Settings = TypeVar("Settings", bound=BaseModel)


class TrainConfig(BaseModel):
    """The settings of one training run; equal configs give equal bits."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    # What is trained
    task: str = Field("hopper", description="Task: " + ", ".join(TASKS) + ".")
    method: str = Field("p2pdrl", description="Method: " + ", ".join(METHODS) + ".")
    num_peers: Count = Field(
        default_factory=_method_default("num_peers"),
        description="K, the number of peers, one process each [2, or 1 for methods of one].",
    )
    total_steps: Count = Field(
        1_000_000, description="Environment steps over all peers; rounded up to whole iterations."
    )
    total_steps_per_peer: Count = Field(
        default_factory=_of_each("total_steps"),
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
    distill_coef: NonNegative = Field(1.0, description="alpha, weight of eq. 3 (appendix A.2).")
    sync: Literal["minibatch", "epoch", "iteration"] = Field(
        "minibatch", description="How often P2PDRL's peers look at one another."
    )
    entropy_coef: NonNegative = Field(0.01, description="c of method entropy (section 4.4).")
    distral_form: Literal["penalty", "reward"] = Field(
        "penalty",
        description="Distral: hold the locals to the centre by alpha KL in the loss, or by "
        "shaping their rewards (Teh et al. 2017, eq. 1).",
    )
    distral_kl_coef: NonNegative = Field(
        0.1, description="c_KL of Distral's shaped reward, nats to scaled reward."
    )
    distral_entropy_coef: NonNegative = Field(
        0.001, description="c_Ent of Distral's shaped reward, nats to scaled reward."
    )
    distil_every: Count = Field(
        50, description="R of DnC: iterations between distilling the centre and resetting to it."
    )
    distil_epochs: Count = Field(30, description="DnC: epochs of a distillation.")
    distil_learning_rate: Positive = Field(1e-3, description="DnC: Adam's step in distillation.")
    distil_loss: Literal["mse", "kl"] = Field(
        "mse", description="DnC: squared error of the means, or KL(local || centre)."
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

    # How it runs (changes no number)
    engine: Literal["fused", "autograd"] = Field(
        "fused", description="How a minibatch step is computed: compiled, or torch's autograd."
    )
    checkpoint_every: Count = Field(25, description="Iterations between checkpoints.")
    milestones: Annotated[int, Field(ge=0)] = Field(
        10, description="Checkpoints kept for good, evenly spaced, and the start; 0 keeps none."
    )
    grad_variance_every: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Iterations between measurements of the gradient's variance (section 4.4), "
        f"each on {GRADIENT_STEPS} fresh steps a peer, which takes "
        "about two iterations' time; 0 measures none.",
    )
    final_episodes: Annotated[int, Field(ge=0)] = Field(
        20, description="Episodes of the final score: mean action, nominal domain."
    )
    peer_timeout: Positive = Field(
        300.0, description="Seconds without a sign of life before a peer counts as hung."
    )

    @field_validator("task", mode="before")
    @classmethod
    def _known_task(cls, value: str) -> str:
        return _choose(_canonical(str(value)), TASKS, "task")

    @field_validator("method", mode="before")
    @classmethod
    def _known_method(cls, value: str) -> str:
        return _choose(str(value).lower().replace("_", "-"), tuple(METHODS), "method")

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        """Count over all peers what was counted for each; both may be given if they agree."""
        given = self.model_fields_set
        for total, each in PER_PEER.items():
            if each not in given:
                continue
            over_all = getattr(self, each) * self.num_peers
            if total not in given:
                self.__dict__[total] = over_all
            elif over_all != getattr(self, total):
                raise ValueError(
                    f"{total}={getattr(self, total)} counts over all peers, and {each}="
                    f"{getattr(self, each)} of num_peers={self.num_peers} makes {over_all}; "
                    "give one of the two"
                )
        return self

    @model_validator(mode="after")
    def _takes_that_many_peers(self) -> Self:
        least, most = METHODS[self.method].peers
        if not least <= self.num_peers <= most:
            allowed = f"{least}" if least == most else f"{least} or more"
            suited = [n for n, m in METHODS.items() if m.peers[0] <= self.num_peers <= m.peers[1]]
            other = f", or one of {', '.join(suited)}" if suited else ""
            raise ValueError(
                f"num_peers={self.num_peers} does not suit method {self.method!r}, "
                f"which takes {allowed}; choose num_peers={least}{other}"
            )
        return self

    @model_validator(mode="after")
    def _divides(self) -> Self:
        """Check that batch sizes split evenly, and leave an advantage to normalise."""
        part = math.lcm(self.envs_per_peer, self.num_minibatches)
        name, over = "steps_per_peer", ""
        if "steps_per_peer" not in self.model_fields_set:
            name, over = "steps_per_iteration", f"num_peers={self.num_peers} x "
            part *= self.num_peers
        if getattr(self, name) % part:
            nearest = max(1, round(getattr(self, name) / part)) * part
            raise ValueError(
                f"{name}={getattr(self, name)} does not split over {over}"
                f"envs_per_peer={self.envs_per_peer} and num_minibatches="
                f"{self.num_minibatches}; the nearest that does is {nearest}"
            )
        if self.minibatch_size < 2:
            raise ValueError(
                f"minibatches of {self.minibatch_size} sample leave no "
                f"advantage to normalise; raise {name} or lower num_minibatches"
            )
        return self

    @property
    def why_its_end_counts(self) -> str:
        """Say why the run's numbers depend on where it is to end; empty if they do not."""
        if self.anneal_learning_rate:
            return "its learning rate is annealed to its end"
        return METHODS[self.method].end_counts

    @property
    def changes_no_number(self) -> frozenset[str]:
        """Return the settings of which the run may be continued with other values."""
        goal = {"total_steps"} if self.why_its_end_counts else set()
        return CHANGES_NO_NUMBER - goal

    def identity(self, steps: int | None = None) -> dict[str, Any]:
        """Return all that tells a run from others of its task and method, but the seed.

        Args:
            steps: that were trained, not those aimed at; None if all of the run is meant.
        """
        left_out = CHANGES_NO_NUMBER | {"seed", "task", "method"}
        found = {k: v for k, v in self.model_dump(mode="json").items() if k not in left_out}
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


def override(settings: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings` with those of `later` in their place, in whichever way they count."""
    twin = {**PER_PEER, **{each: total for total, each in PER_PEER.items()}}
    replaced = {twin[name] for name in later if name in twin}
    kept = {name: value for name, value in settings.items() if name not in replaced}
    return {**kept, **later}


def build_config(**settings: Any) -> TrainConfig:
    """Return a validated TrainConfig.

    Raises:
        UsageError: in one line, what is wrong with the settings.
    """
    return validated(TrainConfig, settings)


def validated(model: type[Settings], settings: Mapping[str, Any]) -> Settings:
    """Return a `model` of these settings.

    Raises:
        UsageError: in one line, what is wrong with them.
    """
    try:
        return model(**settings)
    except ValidationError as error:
        raise UsageError(one_line(error)) from None


def one_line(error: ValidationError) -> str:
    """Turn pydantic's report into one line: setting, value, complaint."""
    parts = []
    for item in error.errors():
        if item["type"] == "default_factory_not_called":  # follows from another error
            continue
        message = item["msg"].removeprefix("Value error, ")
        name = ".".join(str(p) for p in item["loc"])
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, TrainConfig.model_fields, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            parts.append(f"unknown setting {name!r}{hint}")
        elif item["type"] == "value_error":
            parts.append(message)
        else:
            parts.append(f"{name}={item['input']!r}: {message[0].lower()}{message[1:]}")
    return "; ".join(parts)
