"""What other trainers and the paper call the settings: each unknown name answers with ours.

The names of Stable-Baselines3 and its Zoo, CleanRL, rsl_rl, Spinning Up and RLlib are not accepted
as aliases. Many of them mean something else there (`batch_size`, `n_steps`), and a setting that has
one name can be searched for in files, tables and shell histories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from p2p.core.names import called, did_you_mean, plain

COMMAND_LINE = {"env": "task", "peers": "num_peers"}  # short names, also in files of settings


class Foreign(NamedTuple):
    """What is known of a name.

    Attributes:
        ours: names of ours; the first that is known where the name was given is meant.
        unlike: how ours differs, or if there is none, why; empty if it means the same.
    """

    ours: tuple[str, ...]
    unlike: str


_SAME = {  # of one meaning: ours, theirs
    "learning_rate": "lr step_size pi_lr beta lr_actor actor_lr",
    "discount": "gamma discount_factor",
    "gae_lambda": "lam lambda gae_lam lambda_",
    "clip": "clip_range clip_coef clip_param clip_ratio cliprange epsilon eps_clip",
    "num_epochs": "n_epochs update_epochs num_learning_epochs ppo_epoch num_sgd_iter noptepochs",
    "num_minibatches": "num_mini_batches num_mini_batch nminibatches n_minibatches",
    "normalise_advantage": "norm_adv normalize_advantage normalize_advantages",
    "normalise_obs": "normalize_obs norm_obs obs_norm empirical_normalization",
    "scale_reward": "normalize_reward norm_reward normalise_reward reward_scaling",
    "obs_clip": "clip_obs",
    "max_grad_norm": "grad_clip clip_grad_norm max_gradient_norm gradient_clip",
    "distill_coef": "alpha kl_coef distil_coef distillation_coef",
    "task": "env env_id gym_id env_name env_spec environment",
    "num_peers": "peers k n_peers num_agents n_agents",
    "method": "algo algorithm agent",
    "seed": "random_seed rng_seed",
    "randomise": "randomize domain_rand domain_randomization domain_randomisation",
    "eps_tr": "eps epsilon_tr eps_train",
    "env_kwargs": "env_args make_kwargs",
    "init_from": "trained_agent pretrained load_run load_from warm_start",
    "adam_eps": "optimizer_eps opt_eps",
    "final_episodes episodes": "n_eval_episodes num_eval_episodes eval_episodes n_episodes",
    "resume": "load checkpoint ckpt restore continue load_checkpoint",
    "file": "conf_file config_file hyperparams cfg",
}
_UNLIKE = (  # ours (none: ""), theirs, and how ours differs
    (
        "envs_per_peer",
        "n_envs num_envs nenvs num_envs_per_worker",
        "it counts the envs of each peer",
    ),
    (
        "total_steps",
        "total_timesteps n_timesteps timesteps num_timesteps steps num_env_steps max_steps",
        "it counts environment steps over all peers",
    ),
    (
        "total_steps",
        "max_iterations num_iterations num_updates num_learning_iterations iterations",
        "it counts environment steps, not iterations",
    ),
    (
        "steps_per_iteration",
        "n_steps num_steps num_steps_per_env nsteps horizon rollout_length unroll_length",
        "it counts over all envs and peers",
    ),
    (
        "num_minibatches",
        "batch_size minibatch_size mini_batch_size sgd_minibatch_size",
        "a peer's minibatch has steps_per_peer / num_minibatches samples",
    ),
    (
        "num_peers",
        "num_workers n_workers num_env_runners n_jobs num_processes",
        "it counts the processes that learn, each with envs of its own",
    ),
    (
        "target_kl",
        "desired_kl kl_target schedule",
        "it stops the epochs, and does not adapt the learning rate",
    ),
    (
        "init_log_std",
        "log_std_init init_noise_std init_std action_std_init",
        "it is the logarithm of the standard deviation",
    ),
    (
        "entropy_coef",
        "ent_coef entropy_coeff entropy_coefficient ent_weight",
        "it is a setting of method 'entropy' alone",
    ),
    (
        "value_clip",
        "clip_vloss use_clipped_value_loss clip_range_vf clip_value_loss",
        "it is on or off, and clips as the policy's ratio is clipped",
    ),
    (
        "hidden_sizes",
        "net_arch policy_kwargs actor_hidden_dims critic_hidden_dims hidden_dims hidden hid",
        "two sizes, of actor and critic alike",
    ),
    (
        "anneal_learning_rate",
        "anneal_lr lr_schedule learning_rate_schedule lr_decay",
        "on or off: linear, to 0 at the goal",
    ),
    (
        "checkpoint_every",
        "save_freq save_interval checkpoint_interval save_every checkpoint_freq",
        "it counts iterations",
    ),
    ("sampled", "deterministic stochastic", "actions are the mean ones unless this is given"),
    (
        "name",
        "run_name exp_name experiment_name experiment exp run_id",
        "it names the run's folder",
    ),
    ("out", "log_dir logdir save_dir output_dir out_dir save_path run_dir", "the run's folder"),
    (
        "",
        "device cuda gpu use_gpu num_gpus use_cuda sim_device rl_device",
        "p2p trains on CPUs, one core a peer: leave it out",
    ),
    (
        "",
        "vf_coef value_loss_coef vf_loss_coeff value_coef critic_coef",
        "actor and critic are apart, so no loss is weighed against another: leave it out",
    ),
    (
        "",
        "buffer_size learning_starts replay_size tau train_freq gradient_steps",
        "p2p is on-policy and keeps no old samples: leave it out",
    ),
    (
        "",
        "policy activation activation_fn policy_class",
        "a policy is an MLP of two hidden layers with tanh: leave it out",
    ),
    ("", "render render_mode headless", "training renders nothing: leave it out"),
)


def _table() -> Mapping[str, Foreign]:
    rows = (*((ours, theirs, "") for ours, theirs in _SAME.items()), *_UNLIKE)
    return {
        name: Foreign(tuple(ours.split()), unlike)
        for ours, theirs, unlike in rows
        for name in theirs.split()
    }


FOREIGN = _table()


def hint(name: str, known: Iterable[str]) -> str:
    """Return what to add to "unknown setting x": what it is called here, or the nearest name."""
    known = list(known)
    return translated(name, known, lambda ours: repr(called(ours))) or did_you_mean(
        plain(name), known
    )


def translated(name: str, known: Iterable[str], write: Callable[[str], str]) -> str:
    """Return "; it is called x here", or how ours differs; empty if the name is of nobody's.

    Args:
        known: names that are settings or options where it was given.
        write: returns how one of ours is written there.
    """
    known, word = set(known), plain(name)
    found = FOREIGN.get(word)
    if found is None or (word in known and word == name):
        return ""
    if not found.ours:
        return f"; {found.unlike}"
    ours = next((one for one in found.ours if one in known), None)
    if ours is None:
        return ""
    if found.unlike:
        return f"; p2p has {write(ours)} instead: {found.unlike}"
    return f"; it is called {write(ours)} here"


def with_long_names(settings: Mapping[str, object]) -> dict[str, object]:
    """Return settings of a file with `env` and `peers` as `task` and `num_peers`.

    Raises:
        ValueError: one is given by both names.
    """
    for short, name in COMMAND_LINE.items():
        if short in settings and name in settings:
            raise ValueError(f"{short} and {name} are the same setting; give one of them")
    return {COMMAND_LINE.get(name, name): value for name, value in settings.items()}
