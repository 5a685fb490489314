"""docs/add-a-method.md does what it says: its code is run as it stands there."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from p2p import methods
from p2p.algorithm import run_peer
from p2p.core import looks
from p2p.core.config import TrainConfig
from p2p.core.method_facts import METHODS, MethodFacts
from p2p.exchange.shared_memory import Arena, Exchange
from p2p.peer.peer import slot_bytes
from p2p.peer.reports import Checkpoint

PAGE = Path(__file__).parents[1] / "docs" / "add-a-method.md"
SMALL = {
    "task": "hopper", "total_steps": 1536, "steps_per_iteration": 768, "num_epochs": 2,
    "num_minibatches": 4, "final_episodes": 0, "learning_rate": 1e-3,
}  # fmt: skip


@pytest.fixture
def mean_peer(monkeypatch):
    """The page's method, each piece of code run in the module it is for, until the test ends."""
    monkeypatch.setattr(methods, "METHOD_CLASSES", dict(methods.METHOD_CLASSES))
    monkeypatch.setattr("p2p.peer.peer.METHOD_CLASSES", methods.METHOD_CLASSES)
    for table in (METHODS, looks.METHODS):
        monkeypatch.setitem(table, "mean-peer", None)  # is taken out again in the end
    made = {}
    piece = r"`p2p/([\w/]+)\.py`(?:(?!```).)*```python\n(.*?)```"
    for file, code in re.findall(piece, PAGE.read_text(), re.DOTALL):
        module = sys.modules.get(f"p2p.{file.replace('/', '.')}".removesuffix(".__init__"))
        exec(code, vars(module) | made if module else made)


def train_in_threads(config: TrainConfig) -> list[np.ndarray]:
    """Run the peers in threads, which know what this test registered; return their actors."""
    arena = Arena(config.num_peers, slot_bytes(config))
    actors: dict[int, np.ndarray] = {}

    def run(rank: int) -> None:
        def report(message: object) -> None:
            if isinstance(message, Checkpoint):
                actors[rank] = message.state["engine.actor"]

        run_peer(rank, config, Exchange(arena, rank), report)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(config.num_peers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [actors[k] for k in range(config.num_peers)]


@pytest.mark.usefixtures("mean_peer")
def test_the_page_leaves_out_no_table():
    """Whatever has a row for each method has one for the page's, unlike any other."""
    assert METHODS.keys() == methods.METHOD_CLASSES.keys() == looks.METHODS.keys()
    assert isinstance(METHODS["mean-peer"], MethodFacts)
    for part in zip(*looks.METHODS.values(), strict=True):
        assert len(set(part)) == len(METHODS)


@pytest.mark.usefixtures("mean_peer")
def test_the_pages_method_is_p2pdrl_where_there_is_one_other():
    """The mean of one peer is that peer: at K = 2 both methods are the same, bit for bit."""
    ours = train_in_threads(TrainConfig(method="mean-peer", num_peers=2, **SMALL))
    theirs = train_in_threads(TrainConfig(method="p2pdrl", num_peers=2, **SMALL))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("mean_peer")
def test_and_is_another_method_where_there_are_two():
    ours = train_in_threads(TrainConfig(method="mean-peer", num_peers=3, **SMALL))
    theirs = train_in_threads(TrainConfig(method="p2pdrl", num_peers=3, **SMALL))
    assert (ours[0] != theirs[0]).any()
