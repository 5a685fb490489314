"""`p2p export`: what is in a bundle, that it acts as the policy does, and when there is none."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from made import make_policy, make_run
from onnx import numpy_helper

import p2p
from p2p.analysis.evaluation.kept import Kept
from p2p.cli import main
from p2p.core import registry
from p2p.core.errors import BadArtefact, UsageError
from p2p.envs.vector import RandomisedEnvs
from p2p.export import bundle as bundles
from p2p.export import check
from p2p.export.check import FLAGS, LIMIT, PROGRAM, Sample, check_graph, check_header
from p2p.export.graph import onnx_bytes
from p2p.export.header import c_header
from p2p.policy.acting import MeanPolicy
from p2p.policy.exported import ExportedPolicy
from p2p.policy.normaliser import Normaliser
from p2p.policy.parameters import actor_layout
from p2p.policy.policy import Policy
from p2p.report.measured import evaluation_section
from p2p.runs.files import write_atomically
from p2p.runs.initial import policy_sha256

FEW = {"domains": 2, "workers": 1}
FILES = ["p2p_policy.h", "policy.json", "policy.onnx", "run_policy.py"]
needs_compiler = pytest.mark.skipif(check.find_compiler() is None, reason="no C compiler")


def cli(*args: str | Path, **extra: Any) -> Result:
    return CliRunner().invoke(main.p2p, [str(arg) for arg in args], **extra)


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    """What a test has registered is gone after it."""
    monkeypatch.setattr(registry, "_added", {})


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A run of two peers, exported to `bundle` in its folder."""
    run = make_run(tmp_path_factory.mktemp("export") / "run", num_peers=2)
    p2p.export_policy(run, **FEW)
    return run


@pytest.fixture
def run(made, tmp_path) -> Path:
    """A copy of it without the bundle; its episodes in held-out domains are known."""
    copy = shutil.copytree(made, tmp_path / "run")
    shutil.rmtree(copy / "bundle")
    return copy


def wild(key: int = 0, **change: Any) -> Policy:
    """Return a policy whose actions often reach their bounds, which differ in each direction."""
    rng = np.random.default_rng(key)
    layout = actor_layout(5, (8, 6), 3)
    normaliser = Normaliser(rng.normal(0, 2, 5), np.array([0.5, 3.0, 0.0, 10.0, 1.0]), 2.0)
    bounds = np.array([-0.4, -1.0, 0.0], np.float32), np.array([0.4, 2.0, 0.5], np.float32)
    actor = rng.standard_normal(layout.size).astype(np.float32)
    return Policy("hopper", actor, (8, 6), change.get("normaliser", normaliser), *bounds)


def far(key: int = 1) -> np.ndarray:
    """Return observations of which many are clipped, on both sides."""
    return np.random.default_rng(key).normal(0, 3, (400, 5))


def sample(policy: Any) -> Sample:
    return Sample(far(), policy.act(far()), policy.low, policy.high)


# The graph and the header


@pytest.mark.parametrize("count", [1, 3])
def test_the_graph_acts_as_the_policy_does(count, tmp_path):
    """Normaliser, clip, network and bounds are inside; one row, or a batch of any size."""
    policies = [wild(k) for k in range(count)]
    acts = policies[0] if count == 1 else MeanPolicy(policies)
    (tmp_path / "policy.onnx").write_bytes(onnx_bytes(policies, {}))
    given = sample(acts)
    at_bounds = (given.action == given.low) | (given.action == given.high)
    assert 0.02 < at_bounds.mean() < 0.98
    assert check_graph(tmp_path / "policy.onnx", given) < LIMIT / 2
    exported = ExportedPolicy("hopper", onnx_bytes(policies, {}), given.low, given.high)
    assert exported.obs_dim == 5
    batch = exported.act(far())
    assert (exported.act(far()[7]) == batch[7]).all()
    assert batch.dtype == np.float32


def test_a_graph_whose_products_do_not_fit_is_refused_as_it_is_loaded():
    """A session sees it only when it runs, and raises an error of its own."""
    graph = onnx.load_from_string(onnx_bytes([wild()], {}))
    bias = next(one for one in graph.graph.initializer if len(one.dims) == 1 and one.dims[0] > 5)
    bias.CopyFrom(numpy_helper.from_array(np.zeros(5, np.float32), bias.name))
    with pytest.raises(ValueError, match="shape"):
        ExportedPolicy("hopper", graph.SerializeToString(), wild().low, wild().high)


def test_a_graph_that_names_observations_of_any_size_takes_no_memory_for_them():
    """Its one node is happy with a terabyte of zeros, which a bundle of 200 bytes asks for."""

    def summed(width: int) -> bytes:
        obs, actions = (
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", size])
            for name, size in (("obs", width), ("actions", 1))
        )
        node = onnx.helper.make_node("ReduceL1", ["obs"], ["actions"], axes=[1])
        graph = onnx.helper.make_graph([node], "sum", [obs], [actions])
        opset = [onnx.helper.make_opsetid("", 17)]
        return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()

    bounds = np.zeros(1, np.float32)
    assert ExportedPolicy("hopper", summed(3), bounds, bounds).act([1, 2, 3]) == 6
    with pytest.raises(ValueError, match="observations of 274877906944 numbers"):
        ExportedPolicy("hopper", summed(1 << 38), bounds, bounds)


@needs_compiler
@pytest.mark.parametrize("count", [1, 3])
def test_the_header_acts_as_the_policy_does(count, tmp_path):
    policies = [wild(k) for k in range(count)]
    acts = policies[0] if count == 1 else MeanPolicy(policies)
    file = tmp_path / "p2p_policy.h"
    file.write_text(c_header(policies, "hopper */ /* \\ \n?", 0.008))
    compiler = check.find_compiler()
    assert check_header(file, sample(acts), compiler) < LIMIT / 2
    (tmp_path / "main.c").write_text(PROGRAM.format(header=file.name))
    strict = [compiler, *FLAGS, "-pedantic", "-Wconversion", "-Wshadow", "main.c", "-lm"]
    subprocess.run(strict, cwd=tmp_path, check=True)
    text = file.read_text()
    assert [line for line in text.splitlines() if line.startswith("#include")] == [
        "#include <math.h>"
    ]
    assert "alloc(" not in text


def test_a_constant_input_is_ignored_by_the_graph():
    """Its inv_std is 0, in the graph too."""
    exported = ExportedPolicy("hopper", onnx_bytes([wild()], {}), wild().low, wild().high)
    moved = far()
    moved[:, 2] += 1e6
    assert (exported.act(moved) == exported.act(far())).all()


def test_the_mean_is_of_clipped_actions():
    """Peers ask for +9, -1 and -1 of [-1, 1]: each is clipped first, so the mean is -1/3."""
    peers = []
    for bias in (9.0, -1.0, -1.0):
        one = make_policy(scale=0.0)
        one.weights["b3"][:] = bias
        peers.append(one)
    obs = np.zeros(11)
    assert MeanPolicy(peers).act(obs) == pytest.approx(-1 / 3)
    found = ExportedPolicy("hopper", onnx_bytes(peers, {}), peers[0].low, peers[0].high).act(obs)
    assert found == pytest.approx(-1 / 3)


def test_an_exported_policy_does_not_sample():
    exported = ExportedPolicy("hopper", onnx_bytes([wild()], {}), wild().low, wild().high)
    for policy in (exported, MeanPolicy([wild()])):
        with pytest.raises(UsageError, match="no standard deviation"):
            policy.act(far(), deterministic=False)


# A bundle


def test_a_bundle_is_a_valid_onnx_model_with_a_free_batch(made):
    assert sorted(path.name for path in (made / "bundle").iterdir()) == FILES
    model = onnx.load(made / "bundle" / "policy.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    (taken,), (given,) = model.graph.input, model.graph.output
    assert (taken.name, given.name) == ("obs", "actions")
    for value, size in ((taken, 11), (given, 3)):
        batch, width = value.type.tensor_type.shape.dim
        assert (batch.dim_param, width.dim_value) == ("batch", size)
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["joint_names"] == "thigh_joint,leg_joint,foot_joint"
    assert told["observation_names"] == "qpos,qvel"
    assert told["step_dt"] == "0.008"


def test_the_description_says_what_a_deployer_needs(made):
    told = json.loads((made / "bundle" / "policy.json").read_text())
    assert told["env"] == {"gymnasium_id": "Hopper-v5", "kwargs": {}, "max_episode_steps": 1000}
    assert (told["step_dt"], told["physics_dt"], told["decimation"]) == (0.008, 0.002, 4)
    assert (told["joint_ids_map"], told["action_kind"]) == ([3, 4, 5], "actuator control")
    assert (told["action_low"], told["action_high"]) == ([-1.0] * 3, [1.0] * 3)
    assert (told["observation_names"], told["observation_sizes"]) == (["qpos", "qvel"], [5, 6])
    assert told["training"]["eps_tr"] == 0.2
    assert told["training"]["domains"]["wind"]["add"] == {"low": -5.0, "high": 5.0}
    scores = told["scores"]
    assert [row["peer"] for row in scores["peers"]] == [0, 1]
    assert scores["exported"]["mean"] == max(row["mean"] for row in scores["peers"])
    assert scores["domain_seed"] == 1
    assert told["check"]["observations"] == 1000
    assert all(worst <= 1e-5 for worst in told["check"]["worst"].values() if worst is not None)
    assert len(told["model_sha256"]) == 1
    assert {"p2p", "mujoco", "onnx"} <= told["versions"].keys()


def test_eval_of_the_bundle_agrees_with_eval_of_the_run(made):
    """In the same domains, episode by episode.

    These episodes are short. In long ones float32 rounding grows as any disturbance does, so that
    single returns may differ while their mean does not (docs/deploy.md).
    """
    peer = json.loads((made / "bundle" / "policy.json").read_text())["peer"]
    found = p2p.evaluate([made, made / "bundle"], 0.5, domains=6, workers=1)
    ours, exported = (run.measured[0] for run in found.runs)
    assert ours.set.hash == exported.set.hash
    assert exported.length[0].mean() < 200
    np.testing.assert_allclose(
        exported.episode_return[0], ours.episode_return[peer], rtol=1e-3, atol=1e-2
    )
    assert (exported.length[0] == ours.length[peer]).all()
    assert len(found.methods) == 2  # a bundle is not averaged with its run


def test_a_bundle_is_loaded_like_a_policy(made):
    policy = p2p.load_policy(made / "bundle")
    told = json.loads((made / "bundle" / "policy.json").read_text())
    peer = p2p.load_policy(made, told["peer"])
    obs = np.random.default_rng(0).normal(size=(4, 11))
    assert (p2p.load_policy(made / "bundle" / "policy.onnx").act(obs) == policy.act(obs)).all()
    with pytest.raises(BadArtefact, match="is a bundle, of which no training can start"):
        policy_sha256(made / "bundle")
    np.testing.assert_allclose(policy.act(obs), peer.act(obs), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--domains", "2"], "eps_te 0.5"),
        (["--domains", "2", "--eps-te", "0:0.4:0.2"], "eps_te  return"),
        (["--by-factor", "--points", "2", "--no-save"], "wind N"),
        (["--domain", "wind=3"], "in domain wind=3"),
    ],
)
def test_what_eval_offers_works_with_a_bundle(made, options, shown):
    result = cli("eval", made / "bundle", "--workers", 1, *options)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("hopper, p2pdrl, bundle of peer ")
    assert shown in result.stdout


def test_sampled_actions_of_a_bundle_are_refused(made):
    result = cli("eval", made / "bundle", "--sampled", "--domains", 1, "--workers", 1)
    assert result.exit_code == 2
    assert "leave --sampled out" in result.stderr


def test_the_script_runs_without_p2p(made):
    """Its mean return is that of the policy in Gymnasium's own env, reset with the same seeds."""
    import gymnasium

    done = subprocess.run(
        [sys.executable, "-P", made / "bundle" / "run_policy.py", "--episodes", "3"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads((made / "bundle" / "policy.json").read_text())
    policy, returns = p2p.load_policy(made, told["peer"]), []
    env = gymnasium.make("Hopper-v5")
    for seed in range(3):
        obs, _ = env.reset(seed=seed)
        total, ended = 0.0, False
        while not ended:
            obs, reward, terminated, truncated, _ = env.step(policy.act(obs))
            total, ended = total + float(reward), terminated or truncated
        returns.append(total)
    mean = float(done.stdout.split("mean return ")[1].split()[0])
    assert mean == pytest.approx(np.mean(returns), abs=0.1)
    source = (made / "bundle" / "run_policy.py").read_text()
    assert "import p2p" not in source
    assert "from p2p" not in source


# What is refused leaves nothing


def corrupted(content: bytes) -> bytes:
    """Change one weight of the second layer by 1 % of the layer's largest."""
    model = onnx.load_from_string(content)
    (tensor,) = (t for t in model.graph.initializer if t.name == "w2")
    weights = numpy_helper.to_array(tensor).copy()
    weights[3, 4] += 0.01 * np.abs(weights).max()
    tensor.CopyFrom(numpy_helper.from_array(weights, "w2"))
    return model.SerializeToString()


def test_one_corrupted_weight_of_the_graph_is_found(run, monkeypatch):
    before = sorted(run.rglob("*"))
    real = bundles.onnx_bytes
    monkeypatch.setattr(bundles, "onnx_bytes", lambda *args: corrupted(real(*args)))
    result = cli("export", run, "--domains", 2, "--workers", 1, "--out", run / "new" / "bundle")
    assert result.exit_code == 5
    assert result.stderr.startswith("error: policy.onnx acts otherwise than the policy: by ")
    assert len(result.stderr.splitlines()) == 1
    assert sorted(run.rglob("*")) == before


@needs_compiler
@pytest.mark.parametrize("change", ["weight", "syntax"])
def test_a_corrupted_header_is_found_and_the_bundle_before_stays(run, monkeypatch, change):
    p2p.export_policy(run, **FEW)
    before = {file.name: file.read_bytes() for file in (run / "bundle").iterdir()}
    real = bundles.c_header

    def altered(policies: Any, *rest: Any) -> str:
        if change == "syntax":
            return real(policies, *rest).replace("int i, k;", "int i, k, unused;")
        other = policies[0].with_actor(policies[0].actor.copy(), policies[0].normaliser)
        other.weights["w2"][3, 4] += 0.01 * np.abs(other.weights["w2"]).max()
        return real([other], *rest)

    monkeypatch.setattr(bundles, "c_header", altered)
    with pytest.raises(BadArtefact, match=r"p2p_policy.h (acts otherwise|does not compile)"):
        p2p.export_policy(run, **FEW)
    assert {file.name: file.read_bytes() for file in (run / "bundle").iterdir()} == before
    assert not list(run.glob(".bundle*"))


def test_parameters_that_are_not_finite_are_not_exported(run):
    for rank in range(2):
        policy = p2p.load_policy(run, rank)
        policy.weights["w1"][0, 0] = np.nan
        write_atomically(run / "policies" / f"peer-{rank}.safetensors", policy.to_bytes())
    with pytest.raises(BadArtefact, match="not finite"):
        p2p.export_policy(run, **FEW)
    assert not (run / "bundle").exists()


def test_a_folder_of_other_files_is_not_replaced(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"holds notes\.txt, which is no part of a bundle"):
        p2p.export_policy(run, tmp_path / "mine", **FEW)
    with pytest.raises(UsageError, match=r"config\.json is a file"):
        p2p.export_policy(run, run / "config.json" / "x", **FEW)
    p2p.export_policy(run, tmp_path / "new", **FEW)
    (tmp_path / "new" / "eval-by-factor.png").touch()
    p2p.export_policy(run, tmp_path / "new", formats=["c"], **FEW)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == FILES[:2]
    with pytest.raises(BadArtefact, match=r"has no policy\.onnx"):
        p2p.load_policy(tmp_path / "new")


def test_a_bundle_that_was_changed_is_not_run(made, tmp_path):
    copy = shutil.copytree(made / "bundle", tmp_path / "copy")
    (copy / "policy.onnx").write_bytes(corrupted((copy / "policy.onnx").read_bytes()))
    result = cli("eval", copy)
    assert result.exit_code == 5
    assert "policy.onnx is not the one that was exported" in result.stderr


@pytest.mark.parametrize("left", ["new", "old"])
def test_what_a_killed_export_left_is_cleared(run, left):
    """Also where it was killed between its two renames; a running one's folder stays."""
    for pid in (2**22 + 1, os.getppid()):
        (run / f".bundle.{pid}.{left}").mkdir()
    p2p.export_policy(run, **FEW)
    assert [path.name for path in run.glob(".bundle*")] == [f".bundle.{os.getppid()}.{left}"]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": "x"}, {"seed": None}, {"iterations": [1]}, {"method": {}}, {"task": ["hopper"]},
        {"action_low": None}, {"action_high": [1.0]}, {"training": {"settings": {"eps_tr": "x"}}},
        {"training": {"settings": {"eps_tr": None}}}, {"training": 3},
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_one_line(made, tmp_path, change):
    copy = shutil.copytree(made / "bundle", tmp_path / "bundle")
    told = json.loads((copy / "policy.json").read_text())
    inner = change.get("training", 0)
    if isinstance(inner, dict):
        change = {"training": {"settings": {**told["training"]["settings"], **inner["settings"]}}}
    (copy / "policy.json").write_text(json.dumps({**told, **change}))
    result = cli("eval", copy, "--domains", 1, "--workers", 1)
    assert result.exit_code == 5
    assert f"{copy} is damaged: " in result.stderr


def test_a_rename_that_fails_leaves_the_bundle_before(run, monkeypatch):
    p2p.export_policy(run, **FEW)
    before = (run / "bundle" / "policy.json").read_bytes()
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.suffix == ".new":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    result = cli("export", run, "--domains", 2, "--workers", 1, "--format", "c")
    assert result.exit_code == 6
    assert (run / "bundle" / "policy.json").read_bytes() == before
    assert not list(run.glob(".bundle*"))


# Which peer


def test_best_is_the_best_in_held_out_domains(run):
    """Not in those of `p2p eval`, and not by the final score."""
    export = p2p.export_policy(run, **FEW)
    scores = p2p.evaluate(run, 0.5, domains=2, domain_seed=1).runs[0].measured[0].peers
    best = int(np.argmax([score.mean for score in scores]))
    assert export.bundles[0].told["peer"] == best
    other = p2p.export_policy(run, peer=1 - best, **FEW)
    assert other.bundles[0].told["peer"] == 1 - best
    means = [row["mean"] for row in other.bundles[0].told["scores"]["peers"]]
    assert means == [score.mean for score in scores]


def test_all_peers_and_their_mean_are_exported(run, tmp_path):
    result = cli("export", run, "--peer", "all", "--domains", 2, "--out", tmp_path / "all")
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["peer-0", "peer-1"]
    result = cli("export", run, "--peer", "mean", "--domains", 2, "--out", tmp_path / "mean")
    rows = [line for line in result.stdout.splitlines() if "falls" in line or "%" in line]
    assert [row[:11].strip() for row in rows[1:]] == ["peer 0", "peer 1", "mean action"]
    assert [row.endswith("exported") for row in rows[1:]] == [False, False, True]
    lines = [line for line in result.stdout.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= 80
    obs = np.random.default_rng(0).normal(size=11)
    peers = np.mean([p2p.load_policy(tmp_path / "all" / f"peer-{k}").act(obs) for k in (0, 1)], 0)
    np.testing.assert_allclose(p2p.load_policy(tmp_path / "mean").act(obs), peers, atol=1e-6)
    shown = cli("eval", tmp_path / "mean", "--domains", 2).stdout
    assert shown.startswith("hopper, p2pdrl, bundle of the averaged action, ")
    assert "mean action  " in shown


def test_a_central_policy_is_said_to_be_one(tmp_path):
    run = make_run(tmp_path / "run", num_peers=2, method="distral")
    shutil.copy(run / "policies" / "peer-0.safetensors", run / "policies" / "peer-1.safetensors")
    result = cli("export", run, "--domains", 1)
    assert "all peers have one policy: the method's central one" in result.stdout
    assert json.loads((run / "bundle" / "policy.json").read_text())["peer"] == 0
    cli("export", run, "--domains", 1, "--peer", "mean", "--format", "c")
    assert "#define P2P_NUM_POLICIES 1\n" in (run / "bundle" / "p2p_policy.h").read_text()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--peer", "worst"], "--peer worst: give best, all, mean or a rank"),
        (["--peer", "2"], "has peers 0, 1"),
        (["--format", "torch"], "give one or several of onnx, c"),
        (["--out", "."], "name a folder to make"),
        (["--eps-te", "2"], "--eps-te=2 is outside [0, 1]"),
    ],
)
def test_a_wrong_argument_is_one_line(made, args, said):
    result = cli("export", made, *args)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert said in result.stderr
    assert "is a bundle already" in cli("export", made / "bundle").stderr


# What may be missing


def test_without_onnx_it_says_what_to_install(run, monkeypatch):
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    result = cli("export", run)
    assert result.exit_code == 2
    assert "pip install 'p2pdrl[export]'" in result.stderr
    p2p.export_policy(run, formats=["c"], **FEW)
    assert sorted(path.name for path in (run / "bundle").iterdir()) == FILES[:2]


def test_without_a_compiler_the_header_is_said_to_be_unchecked(run, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    result = cli("export", run, "--domains", 2, "--workers", 1)
    assert result.exit_code == 0, result.stderr
    assert "p2p_policy.h was not checked: no C compiler" in result.stdout
    assert json.loads((run / "bundle" / "policy.json").read_text())["check"]["compiler"] is None


@needs_compiler
def test_the_page_is_followed(run, tmp_path, monkeypatch):
    """docs/deploy.md: the commands, the C program and the Python lines, as they stand there."""
    from test_own_code import blocks, commands

    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "runs" / "hopper")
    export, evaluate, script = (shlex.split(c, comments=True) for c in commands("deploy.md"))
    for words in (export, evaluate):
        result = cli(*words[1:], "--domains", 2, "--workers", 1)
        assert result.exit_code == 0, result.stderr
    assert script == ["python", "deploy/run_policy.py"]
    told = json.loads((tmp_path / "deploy" / "policy.json").read_text())
    expected = p2p.load_policy(run, told["peer"]).act(np.zeros(11))
    (tmp_path / "main.c").write_text(blocks("deploy.md", "c")[0])
    command = [check.find_compiler(), *FLAGS, "-I", "deploy", "main.c", "-lm"]
    subprocess.run(command, check=True)
    said = subprocess.run(["./a.out"], capture_output=True, text=True, check=True).stdout
    assert [float(line) for line in said.split()] == pytest.approx(expected, rel=1e-4)
    found: dict[str, Any] = {}
    exec(blocks("deploy.md", "python")[0], found)
    assert found["actions"][0] == pytest.approx(expected, rel=1e-4)
    page = (Path(__file__).parents[1] / "docs" / "deploy.md").read_text()
    assert [name for name in told if f"`{name}`" not in page and name != "format"] == []


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from p2p.cli.main import p2p; "
        "import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    p2p(['export', '--help'])\n"
        "print(*{'torch', 'numpy', 'mujoco', 'onnx', 'onnxruntime', 'rich'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


# Other robots


def test_gymnasiums_envs_are_exported(tmp_path):
    """Pusher never moves its goal: four inputs are constant, and are named."""
    envs = p2p.build_envs("Pusher-v5", 1)
    layout = actor_layout(23, (8, 8), 7)
    actor = (0.3 * np.random.default_rng(0).standard_normal(layout.size)).astype(np.float32)
    inv_std = np.ones(23)
    inv_std[19:] = 0
    bounds = envs.action_low, envs.action_high
    policy = Policy("Pusher-v5", actor, (8, 8), Normaliser(np.zeros(23), inv_std, 10.0), *bounds)
    (tmp_path / "p.safetensors").write_bytes(policy.to_bytes())
    result = cli("export", tmp_path / "p.safetensors", "--domains", 1, "--workers", 1)
    assert result.exit_code == 0, result.stderr
    assert "4 inputs never varied in training: 19, 20, 21, ..." in result.stdout
    told = json.loads((tmp_path / "p-bundle" / "policy.json").read_text())
    assert told["env"]["gymnasium_id"] == "Pusher-v5"
    assert [one["index"] for one in told["constant_observations"]] == [19, 20, 21, 22]
    assert cli("eval", tmp_path / "p-bundle", "--domains", 1).exit_code == 0


TASK = """
import numpy as np
import p2p

class Balance(p2p.Task):
    model, frame_skip, start = "robot.xml", 4, "home"
    servo = p2p.Servo(kp=20.0, kd=1.0, scale=0.5)
    reads = ("qpos", "qvel", "sensordata")
    memory = {"last_action": 1}
    max_episode_steps = 50

    def observe(self, s):
        return {"gyro": s.sensor["gyro"], "hip": s.qpos[:, 7], "last": s.last_action}

    def reward(self, s, action):
        return {"height": s.qpos[:, 2], "effort": -np.square(action).sum(axis=1)}

    def remember(self, s, action):
        s.last_action[:] = action
"""
DOMAINS = """
[late]
vary = "delay"
add = 0.02
[feel]
vary = "obs_noise"
of = "gyro"
add = 0.1
[shaky]
vary = "action_noise"
add = 0.1
"""


@pytest.fixture
def own(tmp_path) -> tuple[Path, str]:
    """A run of a robot of a user's with a servo, delays and noise; and its task's reference."""
    from test_own_tasks import MJCF

    (tmp_path / "robot.xml").write_text(MJCF)
    (tmp_path / "balance.py").write_text(f"{TASK}# {tmp_path}")  # a file of its own
    (tmp_path / "d.toml").write_text(DOMAINS)
    reference = f"{tmp_path / 'balance.py'}:Balance"
    task = p2p.register("task", reference)
    run = make_run(tmp_path / "run", task=task, num_peers=1, method="ppo",
                   randomise=str(tmp_path / "d.toml"))  # fmt: skip
    return run, reference


def test_a_robot_of_ones_own_is_exported(own, monkeypatch):
    """With its servo's gains; the bundle names no code, and none is imported for it."""
    run, reference = own
    result = cli("export", run, "--task", reference, "--domains", 2, "--workers", 1)
    assert result.exit_code == 0, result.stderr
    bundle = run / "bundle"
    assert f"next: p2p eval {bundle} --task {reference}" in result.stdout
    section = evaluation_section(Kept(None, None, False), str(run))  # of a report
    told_how = [block.command for block in section.blocks]
    assert f"p2p eval {run} --task {reference} --eps-te 0:1:0.1" in told_how
    told = json.loads((bundle / "policy.json").read_text())
    assert (told["joint_names"], told["default_joint_pos"]) == (["hip"], [0.2])
    assert (told["joint_stiffness"], told["joint_damping"]) == ([20.0], [1.0])
    assert (told["action_scale"], told["action_offset"]) == ([0.5], [0.2])
    assert (told["action_kind"], told["joint_effort_limit"]) == ("joint position", [[-10, 10]])
    assert (told["observation_names"], told["observation_sizes"]) == (
        ["gyro", "hip", "last"], [3, 1, 1],
    )  # fmt: skip
    monkeypatch.setattr(registry, "_added", {})
    result = cli("eval", run / "bundle", "--domains", 2, "--workers", 1)
    assert result.exit_code == 5
    assert "name the same file: --task PATH/balance.py:Balance" in result.stderr
    result = cli("eval", run / "bundle", "--domains", 2, "--workers", 1, "--task", reference)
    assert result.exit_code == 0, result.stderr
    file = run.parent / "robot.xml"
    file.write_text(file.read_text().replace('mass="3"', 'mass="4"'))
    result = cli("eval", run / "bundle", "--domains", 2, "--workers", 1, "--task", reference)
    assert "the model of task balance.py:Balance has changed" in result.stderr


ARM = """
<mujoco>
  <worldbody>
    <body>
      <joint name="waist" range="-90 90" axis="0 0 1"/><geom size=".1" mass="1"/>
      <body pos=".3 0 0">
        <joint name="elbow" range="-90 90" axis="0 0 1"/><geom size=".1" mass="1"/>
        <body pos=".3 0 0">
          <joint name="wrist" range="-90 90" axis="0 0 1"/><geom size=".1" mass="1"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <velocity joint="wrist" kv="3" ctrlrange="-1 1"/>
    <position joint="elbow" kp="7" kv=".5" gear="-2" ctrlrange="-1 1" forcerange="-4 1"/>
    <motor joint="waist" gear="5" ctrlrange="-1 1" forcerange="-2 2"/>
  </actuator>
</mujoco>
"""
REACH = """
import p2p


class Reach(p2p.Task):
    model, frame_skip, max_episode_steps = "arm.xml", 2, 20

    def observe(self, s):
        return {"angles": s.qpos}

    def reward(self, s, action):
        return {"angle": s.qpos[:, 0]}
"""


def test_gains_are_those_that_the_joints_feel(tmp_path):
    """Velocity servos have no stiffness; a gear acts twice on a gain, once on a torque."""
    (tmp_path / "arm.xml").write_text(ARM)
    (tmp_path / "reach.py").write_text(REACH)
    task = p2p.register("task", f"{tmp_path / 'reach.py'}:Reach")
    run = make_run(tmp_path / "run", task=task, num_peers=1, method="ppo")
    (made,) = p2p.export_policy(run, formats=["c"], **FEW).bundles
    told = made.told
    model = mujoco.MjModel.from_xml_string(ARM)
    data = mujoco.MjData(model)

    def torque(**state: list[float]) -> np.ndarray:
        for name in ("qpos", "qvel", "ctrl"):
            getattr(data, name)[:] = state.get(name, 0.0)
        mujoco.mj_forward(model, data)
        return data.qfrc_actuator.copy()

    step, joints = 1e-3, [model.joint(name).id for name in told["joint_names"]]
    felt = [-torque(**{name: [step] * 3})[joints] / step for name in ("qpos", "qvel")]
    assert told["joint_names"] == ["wrist", "elbow", "waist"]
    assert told["joint_ids_map"] == joints
    assert told["joint_stiffness"] == pytest.approx(felt[0]) == [0, 28, 0]
    assert told["joint_damping"] == pytest.approx(felt[1]) == [3, 2, 0]
    most = [torque(ctrl=[sign * 100] * 3)[joints] for sign in (-1, 1)]
    assert told["joint_effort_limit"] == [None, [-2, 8], [-10, 10]]
    assert sorted([most[0][1], most[1][1]]) == [-2, 8]


def test_the_script_simulates_ones_own_robot(own):
    """From the MJCF and a function for the observation: the motion is that of p2p's own envs."""
    run, _ = own
    script = run / "bundle" / "run_policy.py"
    p2p.export_policy(run, **FEW)
    refused = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "returns gyro [3], hip [1], last [1]" in refused.stderr
    (run / "obs.py").write_text(
        "def observe(model, data, last_action, time):\n"
        "    return [*data.sensor('gyro').data, data.qpos[7], *last_action]\n"
    )
    done = subprocess.run(
        [sys.executable, script, "--mjcf", run.parent / "robot.xml", "--observe", run / "obs.py",
         "--episodes", "1"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "50 of 50 steps finite" in done.stdout
    envs = RandomisedEnvs(registry.find("task", "balance.py:Balance"), 1)
    policy = p2p.load_policy(run)
    for _ in range(50):
        envs.advance(policy.act(envs.obs))
    qpos = envs.simulation(0)[1].qpos
    place = [float(x) for x in done.stdout.split("at its end: ")[1].split(",")]
    assert place == pytest.approx(qpos[:3], abs=0.006)
