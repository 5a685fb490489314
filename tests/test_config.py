"""Settings: what is derived, and what is refused with which words."""

from __future__ import annotations

import pytest

from p2p.core.config import TrainConfig, build_config
from p2p.core.consistency import override
from p2p.core.errors import UsageError


def test_the_defaults_are_the_papers():
    """Table 2 and appendix A.2, at K = 2: 64 samples a minibatch."""
    config = TrainConfig()
    assert (config.num_epochs, config.num_minibatches, config.clip) == (10, 32, 0.2)
    assert (config.discount, config.gae_lambda, config.hidden_sizes) == (0.99, 0.95, (64, 64))
    assert (config.steps_per_iteration, config.num_peers, config.minibatch_size) == (4096, 2, 64)


def test_defaults_follow_the_method():
    """Appendix A.2: PPO learns at 3e-4, P2PDRL at 1e-4."""
    ppo, p2pdrl = TrainConfig(method="ppo"), TrainConfig(method="p2pdrl")
    assert (ppo.num_peers, ppo.learning_rate) == (1, 3e-4)
    assert (p2pdrl.num_peers, p2pdrl.learning_rate) == (2, 1e-4)


@pytest.mark.parametrize("name", ["HalfCheetah-v5", "half_cheetah", "p2p/HalfCheetah-v5"])
def test_tasks_go_by_gymnasiums_names_too(name):
    assert TrainConfig(task=name).task == "halfcheetah"


def test_steps_round_up_to_whole_iterations():
    assert TrainConfig(total_steps=40_960).num_iterations == 10
    assert TrainConfig(total_steps=40_961).num_iterations == 11


def test_either_way_of_counting_makes_the_same_config():
    """Fig. 9: over all peers or for each; what is compared and stored knows one way only."""
    over_all = TrainConfig(num_peers=4, steps_per_iteration=8192, total_steps=400_000)
    each = TrainConfig(num_peers=4, steps_per_peer=2048, total_steps_per_peer=100_000)
    assert (each.steps_per_iteration, each.total_steps) == (8192, 400_000)
    assert (over_all.steps_per_peer, over_all.total_steps_per_peer) == (2048, 100_000)
    assert each == over_all
    assert each.model_dump_json() == over_all.model_dump_json()
    assert not {"steps_per_peer", "total_steps_per_peer"} & each.model_dump().keys()


@pytest.mark.parametrize("peers", [1, 2, 4])
def test_steps_per_peer_leave_the_minibatch_alone(peers):
    """Per-peer control: more peers, more samples, the same minibatch for each."""
    config = TrainConfig(num_peers=peers, steps_per_peer=2048)
    assert (config.minibatch_size, config.horizon) == (64, 1024)
    assert config.steps_per_iteration == peers * 2048


def test_both_ways_may_be_given_if_they_agree():
    config = TrainConfig(steps_per_iteration=4096, steps_per_peer=2048, num_peers=2)
    assert config == TrainConfig()


def test_a_config_is_read_back_as_it_was():
    config = TrainConfig(num_peers=3, steps_per_peer=960, total_steps_per_peer=333)
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config
    assert config.total_steps == 999


def test_a_later_setting_replaces_its_twin():
    """A typed --steps-per-peer wins over steps_per_iteration in a file, and the reverse."""
    assert override({"steps_per_iteration": 4096}, {"steps_per_peer": 960}) == {
        "steps_per_peer": 960
    }
    assert override({"total_steps_per_peer": 5, "seed": 1}, {"total_steps": 7}) == {
        "seed": 1,
        "total_steps": 7,
    }


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task": "hoper"}, "unknown task 'hoper'; did you mean 'hopper'?"),
        ({"method": "p2p"}, "unknown method 'p2p'; did you mean 'p2pdrl'?"),
        ({"lr": 1e-3}, "unknown setting 'lr'; it is called 'learning_rate' here"),
        ({"num_peer": 2}, "unknown setting 'num_peer'; did you mean 'num_peers'?"),
        ({"num_peers": 3}, "the nearest that does is 4128"),
        ({"eps_tr": 1.5}, "eps_tr=1.5"),
        ({"eps_tr": float("nan")}, "eps_tr=nan"),
        ({"init_log_std": float("nan")}, "init_log_std=nan"),
        ({"init_log_std": float("-inf")}, "init_log_std=-inf"),
        (
            {"method": "ppo", "num_peers": 2},
            "does not suit method 'ppo', which takes 1; choose num_peers=1, or one of p2pdrl, dppo",
        ),
        ({"method": "dnc", "num_peers": 1}, "which takes 2 or more; choose num_peers=2, or"),
        (
            {"steps_per_iteration": 4096, "steps_per_peer": 4096},
            "steps_per_peer=4096 of num_peers=2 makes 8192; give one of the two",
        ),
        (
            {"total_steps": 100, "total_steps_per_peer": 51},
            "total_steps=100 counts over all peers, and total_steps_per_peer=51",
        ),
        ({"steps_per_peer": 1000}, "steps_per_peer=1000 does not split over envs_per_peer=2"),
        ({"num_peers": 0, "steps_per_peer": 64}, "num_peers=0: "),
        ({"learning_rate": 0}, "learning_rate=0"),
        ({"steps_per_iteration": 64}, "minibatches of 1 sample leave no advantage"),
    ],
)
@pytest.mark.parametrize("make", [TrainConfig, build_config])
def test_wrong_settings_are_refused_in_one_line(make, settings, words):
    with pytest.raises(UsageError) as caught:
        make(**settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"anneal_learning_rate": True}, {"method": "dnc"}])
def test_a_goal_is_part_of_what_a_run_is_while_its_end_counts(settings):
    """Of a run that was stopped before: one that has reached its goal is told by its steps."""
    longer = TrainConfig(total_steps=8_192_000, **settings)
    shorter = TrainConfig(total_steps=4_096_000, **settings)
    assert longer.identity(4_096_000) != shorter.identity(4_096_000)
    assert longer.identity() != shorter.identity()
    assert "goal" not in shorter.identity(4_096_000)
    plain = (TrainConfig(total_steps=steps) for steps in (4_096_000, 8_192_000))
    assert len({str(config.identity(4_096_000)) for config in plain}) == 1
