"""Settings: what is derived, and what is refused with which words."""

from __future__ import annotations

import pytest

from p2p.config import TrainConfig, build_config
from p2p.errors import UsageError


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


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task": "hoper"}, "unknown task 'hoper'; did you mean 'hopper'?"),
        ({"method": "p2p"}, "unknown method 'p2p'; did you mean 'p2pdrl'?"),
        ({"num_peer": 2}, "unknown setting 'num_peer'; did you mean 'num_peers'?"),
        ({"num_peers": 3}, "the nearest that does is 4128"),
        ({"eps_tr": 1.5}, "eps_tr=1.5"),
        ({"eps_tr": float("nan")}, "eps_tr=nan"),
        ({"method": "ppo", "num_peers": 2}, "does not suit method 'ppo', which takes 1"),
        ({"learning_rate": 0}, "learning_rate=0"),
        ({"steps_per_iteration": 64}, "minibatches of 1 sample leave no advantage"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(settings, words):
    with pytest.raises(UsageError) as caught:
        build_config(**settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
