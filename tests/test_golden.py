"""Files of every version, as users have them, open with this one (tests/golden/make.py)."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "golden"))
from make import digest, observations

import p2p
from p2p.analysis import hdf5
from p2p.analysis.evaluation.kept import kept_evaluations
from p2p.analysis.gradient_variance.file import GradientFile
from p2p.core.version import p2p_version
from p2p.peer.reports import split_by_peer
from p2p.report.source import of_folder
from p2p.runs import RunFolder
from p2p.runs.bundle import load_policy_or_bundle
from p2p.runs.policies import load_milestone_policy
from p2p.runs.versions import collect_versions
from p2p.study.grid import read_study
from p2p.study.saved import Saved, measures_of

HERE = Path(__file__).parent / "golden"
VERSIONS = sorted(path for path in HERE.iterdir() if (path / "expected.json").is_file())
SAME_BITS = ("p2p", "torch", "mujoco", "numpy", "numba", "python", "cpu")


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a copy of a version's files, which commands may write beside."""
    return Path(shutil.copytree(request.param, tmp_path / "golden"))


def told(golden: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((golden / "expected.json").read_text())
    return found


def test_this_version_has_golden_files():
    """Made by `python tests/golden/make.py` when its number was raised; small."""
    assert p2p_version() in {path.name for path in VERSIONS}
    sizes = [file.stat().st_size for file in HERE.rglob("*") if file.is_file()]
    assert sum(sizes) < 200_000 * len(VERSIONS)


def test_a_run_folder_is_read(golden):
    run, expected = RunFolder.open(golden / "run"), told(golden)
    assert run.config.method == "p2pdrl"
    assert run.versions() == expected["versions"]
    assert len(run.records()) == expected["records"]
    assert run.result()["steps"] == run.config.whole_steps
    checkpoint = run.load_checkpoint()
    assert checkpoint.skipped == []
    assert digest(golden / "run") == expected["digest"]
    assert len(split_by_peer(checkpoint.tensors, run.config.num_peers)) == 2
    for path in run.milestones():
        assert load_milestone_policy(run, path)
    with hdf5.reading(golden / "run/run.h5", 1, "rebuild") as file:
        assert len(file["iteration"][:]) == expected["records"]
    assert of_folder(golden)


def test_its_policies_act_as_they_did(golden):
    policy = p2p.load_policy(golden / "run", 0)
    np.testing.assert_allclose(
        policy.act(observations(policy)), told(golden)["actions"], rtol=1e-4, atol=1e-6
    )
    assert p2p.load_policy(golden / "run/policies/best-1.safetensors").obs_dim == policy.obs_dim


def test_it_is_resumed_from_the_checkpoint_before_the_last(golden):
    """To the same bits, where all that they depend on is the same; else near them."""
    run, expected = golden / "run", told(golden)
    newest = max((run / "checkpoints").iterdir())
    whole = RunFolder.open(run).load_checkpoint().tensors
    newest.unlink()
    (run / "result.json").unlink()
    p2p.resume(run)
    again = RunFolder.open(run).load_checkpoint()
    assert again.iteration == 4
    assert again.tensors.keys() == whole.keys()
    here = collect_versions()
    if all(here[name] == expected["versions"].get(name) for name in SAME_BITS):
        assert digest(run) == expected["digest"]
    for name, value in again.tensors.items():
        if name.endswith(("actor", "critic")):
            np.testing.assert_allclose(value, whole[name], atol=0.05, err_msg=name)


def test_its_evaluations_are_kept_and_made_again(golden):
    run = golden / "run"
    assert kept_evaluations(RunFolder.open(run))
    before = (run / "eval.h5").read_bytes()
    found = p2p.evaluate(run, 0.5, domains=2, workers=1)
    if told(golden)["versions"] == collect_versions():
        assert (found.reused, (run / "eval.h5").read_bytes()) == (4, before)
    (run / "eval.h5").unlink()
    anew = p2p.evaluate(run, 0.5, domains=2, workers=1)
    assert anew.reused == 0
    for one in (found, anew):
        np.testing.assert_allclose(one.score.mean, told(golden)["score"], rtol=0.2)


def test_its_gradient_variances_are_read(golden):
    policy = p2p.load_policy(golden / "run", 0)
    file = GradientFile(golden / "run", len(policy.actor))
    file.load()
    assert len(file.rows) == 4  # two peers at two milestones
    assert all(np.isfinite(row.log_variance) for row in file.rows.values())


def test_its_bundle_acts_as_the_policy(golden):
    pytest.importorskip("onnxruntime")
    bundle = load_policy_or_bundle(golden / "bundle")
    policy = p2p.load_policy(golden / "run", 0)
    obs = observations(policy)
    np.testing.assert_allclose(bundle.act(obs), policy.act(obs), atol=1e-4)


def test_its_study_and_tables_are_read(golden):
    assert len(read_study(golden / "study.toml").configs) == 1
    saved = Saved(golden / "tables", "golden")
    (row,) = saved.rows.values()
    assert measures_of(row)["score"]
    assert all(point["steps"] for points in saved.curves.values() for point in points)
