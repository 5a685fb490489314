"""The settings of a run: every field once, typed, with its unit and its source.

`p2p.core.config.TrainConfig` validates them, and says what follows from them. The command line's
options and their help come from these fields.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from p2p.core import registry
from p2p.core.validation import Count, Finite, Positive, Rate, Size, Unit, Whole

GRADIENT_STEPS = 4096  # fresh steps a peer to measure its gradient's variance on (section 4.4)
GRADIENT_MINIBATCHES = 64
Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]

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


class Settings(BaseModel):
    """The fields of `TrainConfig`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    # What is trained
    task: str = Field(
        "hopper",
        description="Task: " + ", ".join(registry.BUILT_IN["task"]) + "; a MuJoCo env of "
        "Gymnasium's, as Pusher-v5 or module:Id-v0; or one of your own, as path.py:Class or "
        "package.module:Class.",
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
    seed: Annotated[Whole, Field(ge=0, lt=2**63)] = Field(0, description="Seed of every stream.")

    # The domain distribution (Table 1)
    eps_tr: Unit = Field(0.2, description="Randomisation strength in training, 0..1 (Table 1).")
    domain_schedule: Literal["iteration", "episode", "env", "carry"] = Field(
        "iteration",
        description="When a domain is drawn: one a peer and iteration, with envs reset "
        "(iteration) or carried over (carry); one an env and iteration (env); one an episode.",
    )
    randomise: dict[str, Any] | None = Field(
        None,
        description="What varies: a domains file (TOML), which is kept in the run's settings "
        "[Table 1 of the paper].",
    )
    initial_position: Literal["joints", "root_x"] = Field(
        "joints",
        description="What Table 1's initial position shifts: actuated joints, or root x.",
    )
    mass_randomisation: Literal["global", "per_link"] = Field(
        "global", description="In Table 1, one mass factor for the robot, or one a link."
    )

    # The rollout (line 7; batch size of appendix A.2)
    steps_per_iteration: Size = Field(
        4096, description="Steps an iteration over all peers (appendix A.2)."
    )
    steps_per_peer: Count = Field(
        default_factory=_of_each("steps_per_iteration"),
        exclude=True,
        description="The same counted for each peer: gives steps_per_iteration = K times this.",
    )
    envs_per_peer: Size = Field(2, description="Environments that each peer steps.")

    # The update (lines 9-15; Table 2)
    num_epochs: Count = Field(10, description="Epochs an iteration (Table 2).")
    num_minibatches: Size = Field(32, description="Minibatches an epoch (Table 2).")
    learning_rate: Rate = Field(
        default_factory=_method_default("learning_rate"),
        description="beta, Adam's step size [the method's: see p2p methods].",
    )
    clip: Positive = Field(0.2, description="epsilon of eq. 2 (Table 2).")
    discount: Unit = Field(0.99, description="gamma (Table 2).")
    gae_lambda: Unit = Field(0.95, description="lambda of GAE (Table 2).")
    init_from: str | None = Field(
        None,
        description="Start from the policy of a run (that of its best peer, with its critic) or of "
        "a policy file, of the same shapes.",
    )
    hidden_sizes: tuple[Size, Size] = Field(
        (64, 64), description="Units in the hidden layers of actor and critic (Table 2)."
    )
    init_log_std: Annotated[Finite, Field(ge=-80, le=80)] = Field(
        -0.75, description="Initial log standard deviation of actions."
    )
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

    threads_per_peer: Size | None = Field(
        None,
        json_schema_extra=RECORD,
        description="Threads that a peer steps its envs in, at most one an env [its share of the "
        "cores]; the numbers are the same for any.",
    )

    # What is kept and measured beside training
    checkpoint_every: Count = Field(
        25, json_schema_extra=RECORD, description="Iterations between checkpoints."
    )
    milestones: Annotated[Whole, Field(ge=0)] = Field(
        10,
        json_schema_extra=RECORD,
        description="Checkpoints kept for good, evenly spaced, and the start; 0 keeps none.",
    )
    grad_variance_every: Annotated[Whole, Field(ge=0)] = Field(
        0,
        json_schema_extra=RECORD,
        description="Iterations between measurements of the gradient's variance (section 4.4), "
        f"each on {GRADIENT_STEPS} fresh steps a peer, which takes "
        "about two iterations' time; 0 measures none.",
    )
    test_every: Annotated[Whole, Field(ge=0)] = Field(
        0,
        json_schema_extra=RECORD,
        description="Steps between tests in held-out domains, which train nothing; the best "
        "policies are kept as policies/best-*; 0 tests none.",
    )
    test_domains: Size = Field(
        8, json_schema_extra=RECORD, description="Held-out domains of a test, one episode in each."
    )
    test_eps: Unit = Field(
        0.5, json_schema_extra=RECORD, description="Randomisation strength of these, 0..1."
    )
    final_episodes: Annotated[Whole, Field(ge=0, lt=2**31)] = Field(
        20,
        json_schema_extra=RECORD,
        description="Episodes of the final score: mean action, nominal domain.",
    )
    peer_timeout: Positive = Field(
        300.0,
        json_schema_extra=RECORD,
        description="Seconds without a sign of life before a peer counts as hung.",
    )
    max_restarts: Annotated[Whole, Field(ge=0)] = Field(
        3,
        json_schema_extra=RECORD,
        description="Times in a session that the peers are started again, from the last "
        "checkpoint, after one has died or hangs; 0: never.",
    )

    track: tuple[Tracker, ...] = Field(
        (),
        json_schema_extra=RECORD,
        description="Log the run to tensorboard, wandb, mlflow or trackio, or to several. A "
        "resumed run remembers them, unless others or none are given.",
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
