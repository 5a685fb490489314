"""run.h5: the journal as columns."""

from __future__ import annotations

import fcntl
import json
import math

import h5py
import numpy as np
import pytest

from p2p.analysis.hdf5 import reading
from p2p.core.config import TrainConfig
from p2p.core.errors import BadArtefact
from p2p.envs.domain import Domain
from p2p.envs.randomisation import table_1
from p2p.runs import RunFolder, hdf5
from p2p.runs.hdf5 import METRICS
from p2p.runs.journal import Journal

CONFIG = TrainConfig(task="hopper", method="p2pdrl", num_peers=2)
DOMAIN = table_1().complete(Domain(wind=1 / 3, mass=(0.8, 1.1)))


def peer_at(iteration, rank, episodes=()):
    return {
        "domain": str(DOMAIN),
        "factors": table_1().summary(DOMAIN),
        "episodes": list(episodes),
        "unstable": rank,
        "penalty_kl": 0.01 * iteration + rank,
        "entropy": float("nan") if iteration == 1 else 1.5,
        "time": {"physics": 0.5, "policy": 0.25, "update": 1.0, "waiting": 0.125},
    }


RECORDS = [
    {
        "iteration": n,
        "steps": 4096 * (n + 1),
        "seconds": 2.0,
        "elapsed": 2.0 * (n + 1),
        "steps_per_second": 2048.0,
        "peers": [peer_at(n, 0, [[10.5, 100], [n / 3, 7]]), peer_at(n, 1, [[-1.0, 3]] * n)],
    }
    for n in range(3)
]


@pytest.fixture
def run(tmp_path):
    with RunFolder.create(CONFIG, tmp_path / "run") as run:
        yield run


@pytest.fixture
def file(run):
    for record in RECORDS:
        run.append(record)
    run.write_h5()
    with h5py.File(run.path / "run.h5") as file:
        yield file


def test_a_metric_is_one_array_of_iterations_by_peers(file):
    """What a plot asks for is one slice away."""
    np.testing.assert_array_equal(
        file["peers/penalty_kl"], [[0.0, 1.0], [0.01, 1.01], [0.02, 1.02]]
    )
    np.testing.assert_array_equal(file["peers/time/waiting"], np.full((3, 2), 0.125))
    np.testing.assert_array_equal(file["peers/factors/wind"], np.full((3, 2), 1 / 3))
    assert file["iteration"][:].tolist() == [0, 1, 2]
    assert file["steps"].dtype == np.int64
    assert file["peers/penalty_kl"].attrs["axes"] == "iteration, peer"


def test_episodes_are_flat_columns_that_know_their_iteration_and_peer(file):
    """Their number varies by iteration and peer, so they have no grid to lie on."""
    columns = [file["episodes"][name][:] for name in ("iteration", "peer", "return", "length")]
    assert [tuple(row) for row in zip(*columns, strict=True)] == [
        (0, 0, 10.5, 100), (0, 0, 0.0, 7),
        (1, 0, 10.5, 100), (1, 0, 1 / 3, 7), (1, 1, -1.0, 3),
        (2, 0, 10.5, 100), (2, 0, 2 / 3, 7), (2, 1, -1.0, 3), (2, 1, -1.0, 3),
    ]  # fmt: skip


def test_a_number_that_was_none_is_nan(file):
    """The journal has null there; a zero would be taken for a measurement."""
    np.testing.assert_array_equal(file["peers/entropy"], [[1.5] * 2, [math.nan] * 2, [1.5] * 2])


def test_domains_can_be_rebuilt_exactly(file):
    """A surprising iteration can be replayed in the very domain it had."""
    assert Domain.parse(file["peers/domain"].asstr()[2, 1]) == DOMAIN


def test_the_file_explains_itself(file, run):
    """Settings, versions and units travel with the numbers."""
    assert TrainConfig(**json.loads(file.attrs["config"])) == CONFIG
    assert json.loads(file.attrs["versions"])["numpy"] == np.__version__
    assert file["peers/entropy"].attrs["units"] == "nat"
    assert file["peers/factors/wind"].attrs["units"] == "N"
    assert file["peers/factors/initial_position"].attrs["units"] == "rad"
    without = []
    file.visititems(
        lambda name, item: (
            without.append(name)
            if isinstance(item, h5py.Dataset) and "units" not in item.attrs
            else None
        )
    )
    assert without == ["peers/domain"]


def test_the_initial_position_has_the_unit_of_its_setting(tmp_path):
    """An offset of the root is a length; one of the joints is an angle."""
    config = TrainConfig(task="hopper", num_peers=2, initial_position="root_x")
    with RunFolder.create(config, tmp_path / "run") as run:
        run.write_h5()
    with h5py.File(tmp_path / "run" / "run.h5") as file:
        assert file["peers/factors/initial_position"].attrs["units"] == "m"


def test_tools_of_hdf5_1_10_can_open_it(run):
    """Superblock 0 is the oldest there is; later libraries would choose a later one."""
    run.write_h5()
    assert (run.path / "run.h5").read_bytes()[:9] == b"\x89HDF\r\n\x1a\n\x00"


def test_the_layout_does_not_depend_on_what_happened(run):
    """A run stopped before its first iteration has every declared column, of length 0."""
    run.write_h5()
    with h5py.File(run.path / "run.h5") as file:
        assert file["iteration"].shape == (0,)
        assert file["episodes/return"].shape == (0,)
        for name in METRICS:
            assert file["peers"][name].shape == (0, 2)


def test_a_metric_that_nobody_declared_is_written_all_the_same(run):
    """A researcher who adds a number to the record finds it in the file."""
    run.append({"iteration": 0, "temperature": 3.5, "peers": [{"mine": {"a": 1}}, {}]})
    run.write_h5()
    with h5py.File(run.path / "run.h5") as file:
        assert file["temperature"][0] == 3.5
        np.testing.assert_array_equal(file["peers/mine/a"], [[1.0, math.nan]])


def test_it_is_built_from_the_journal_alone(run):
    """So it can be deleted, or lost, and made again; equal journals give equal files."""
    for record in RECORDS:
        run.append(record)
    run.write_h5()
    first = (run.path / "run.h5").read_bytes()
    (run.path / "run.h5").unlink()
    run.unlock()
    RunFolder.open(run.path).write_h5()
    assert (run.path / "run.h5").read_bytes() == first


def test_a_damaged_journal_leaves_the_earlier_file(run):
    """A file that lacks iterations without a word would be worse than an old one."""
    run.append(RECORDS[0])
    run.write_h5()
    first = (run.path / "run.h5").read_bytes()
    with (run.path / "journal.jsonl").open("a") as journal:
        journal.write("#\n")
    with pytest.raises(BadArtefact, match="line 2"):
        run.write_h5()
    assert (run.path / "run.h5").read_bytes() == first


def test_a_file_is_read_where_locks_cannot_be_had(tmp_path):
    """HDF5 locks what it reads; on a cluster's disk that has no locks, it refused to open."""
    path = tmp_path / "file.h5"
    path.write_bytes(hdf5.build_in_memory(lambda file: file.attrs.update(format=1)))
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with reading(path, 1, "read") as file:
            assert file.attrs["format"] == 1


def test_run_h5_goes_on_where_locks_cannot_be_had(tmp_path, monkeypatch):
    """Else it would be built from the whole journal each time, and nobody would see why."""
    marks, stream = [], Journal.stream_from
    monkeypatch.setattr(
        Journal, "stream_from", lambda self, mark: marks.append(mark.lines) or stream(self, mark)
    )
    with RunFolder.create(CONFIG, tmp_path / "run") as run:
        run.append(RECORDS[0])
        run.write_h5()
        run.append(RECORDS[1])
        with (run.path / "run.h5").open("rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            run.write_h5()
    assert marks == [0, 1]
