"""Tasks and methods of a user's own: the pages in docs/ are followed as they stand there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import p2p
from p2p.core import registry
from p2p.core.config import TrainConfig, build_config
from p2p.core.errors import BadArtefact, UsageError
from p2p.envs.vector import RandomisedEnvs
from p2p.methods import find_method
from p2p.peer.collector import CompiledCollector, PlainCollector, build_collector
from p2p.runs import RunFolder
from p2p.study import plan_study, read_study

DOCS = Path(__file__).parents[1] / "docs"
PROGRAM = [sys.executable, "-P", "-c", "from p2p.cli.main import main; main()"]


def run(command: str | list[str], folder: Path, code: int = 0) -> str:
    """Run a `p2p` command in `folder` and return what it printed, stderr behind stdout."""
    words = shlex.split(command) if isinstance(command, str) else command
    done = subprocess.run(
        [*PROGRAM, *words[1:]], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def blocks(page: str, kind: str) -> list[str]:
    """Return the code blocks of a page."""
    return re.findall(rf"```{kind}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def commands(page: str) -> list[str]:
    return [line for block in blocks(page, "sh") for line in block.splitlines() if line]


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    """What a test has registered is gone after it."""
    monkeypatch.setattr(registry, "_added", {})


@pytest.fixture
def method_file(tmp_path) -> Path:
    file = tmp_path / "mean_peer.py"
    file.write_text(blocks("add-a-method.md", "python")[0])
    return file


@pytest.fixture
def task_file(tmp_path) -> Path:
    file = tmp_path / "tall_hopper.py"
    file.write_text(blocks("add-a-task.md", "python")[0])
    return file


# The pages


def test_the_page_on_methods_is_followed(tmp_path, method_file):
    """Two processes a run; trained, resumed, evaluated, in a study and in its figure."""
    (tmp_path / "mean-peer.toml").write_text(blocks("add-a-method.md", "toml")[0])
    train, resume, evaluate, study, figures = commands("add-a-method.md")
    assert "16,384 steps" in run(train, tmp_path)
    assert "20,480 steps" in run(resume, tmp_path)
    assert "peer 1" in run(evaluate, tmp_path)
    table = run(study, tmp_path)
    assert "mean_peer.py:MeanPeer" in table
    run(figures, tmp_path)
    assert len(list((tmp_path / "figures").iterdir())) == 2  # PNG and SVG
    record = json.loads((tmp_path / "runs/mean-peer/journal.jsonl").read_text().splitlines()[-1])
    assert record["peers"][0]["penalty_kl"] > 0


def test_the_page_on_tasks_is_followed(tmp_path, task_file):
    (tmp_path / "tall.toml").write_text(blocks("add-a-task.md", "toml")[0])
    train, *others = commands("add-a-task.md")
    said = run(train, tmp_path)
    assert "overrides reward: its steps run in numpy" in said
    assert "next   p2p eval runs/tall --eps-te 0.5 --task tall_hopper.py:TallHopper\n" in said
    for command in others:
        run(command, tmp_path)
    assert len(list((tmp_path / "figures").iterdir())) == 2  # PNG and SVG
    run_folder = tmp_path / "runs/tall"
    stored = json.loads((run_folder / "config.json").read_text())
    assert stored["task"] == "tall_hopper.py:TallHopper"
    digest = stored["source_sha256"]["tall_hopper.py:TallHopper"]
    assert len(digest) == 64


def test_the_page_on_terms_is_followed(tmp_path):
    """The term acts, is recorded with its hash, and is not loaded because a run names it."""
    (tmp_path / "soles.py").write_text(blocks("add-a-term.md", "python")[0])
    (tmp_path / "soles.toml").write_text(blocks("add-a-term.md", "toml")[0])
    domains, train, resume, evaluate = commands("add-a-term.md")
    shown = run(domains, tmp_path)
    assert "all change the motion" in shown
    assert "sole=" in shown
    for command in (train, resume):
        run(command, tmp_path)
    assert "sole x" in run(evaluate, tmp_path)
    stored = json.loads((tmp_path / "runs/soles/config.json").read_text())
    assert len(stored["source_sha256"]["soles.py:radius"]) == 64
    assert "--term PATH/soles.py:radius" in run(
        ["p2p", "eval", "runs/soles", "--eps-te", "0.25"], tmp_path, code=5
    )
    (tmp_path / "soles.py").write_text((tmp_path / "soles.py").read_text() + "\n# changed\n")
    said = run(
        ["p2p", "train", "--resume", "runs/soles", "--term", "./soles.py:radius",
         "--total-steps", "16384"], tmp_path, code=5,
    )  # fmt: skip
    assert "has changed" in said


def test_the_method_of_the_page_is_p2pdrl_where_there_is_one_other(tmp_path, method_file):
    """The mean of one peer is that peer: both methods are the same, bit for bit."""
    small = {
        "task": "hopper", "total_steps": 1536, "steps_per_iteration": 768, "num_epochs": 2,
        "num_minibatches": 4, "final_episodes": 0, "num_peers": 2,
    }  # fmt: skip
    key = p2p.register("method", f"{method_file}:MeanPeer")
    ends = []
    for method in (key, "p2pdrl"):
        found = p2p.train(TrainConfig(method=method, **small), tmp_path / method.partition(".")[0])
        ends.append(p2p.load_policy(found.path).actor)
    np.testing.assert_array_equal(*ends)


# Which code a class of the user's is run by


def test_a_subclass_that_overrides_is_not_run_by_compiled_code(task_file):
    """Hopper with another reward would train on Hopper's, without a word."""
    registry.add("task", f"{task_file}:TallHopper")
    config = build_config(task="tall_hopper.py:TallHopper")
    envs = RandomisedEnvs(config.task, 2)
    from p2p.engine import build_engine
    from p2p.peer.rollout import Clock, Rollout

    engine = build_engine(config, envs.obs_dim, envs.action_dim)
    rollout = Rollout(4, envs)
    collector = build_collector(engine, envs, rollout)
    assert isinstance(collector, PlainCollector)
    collector.collect(np.zeros((4, 2, envs.action_dim), np.float32), Clock())
    assert rollout.reward.min() > 10.0  # Hopper's own is about 1 a step


def test_a_subclass_of_other_constants_stays_compiled(tmp_path):
    file = tmp_path / "fast.py"
    file.write_text("import p2p\n\n\nclass Fast(p2p.task('hopper')):\n    forward_weight = 3.0\n")
    registry.add("task", f"{file}:Fast")
    config = build_config(task="fast.py:Fast")
    envs = RandomisedEnvs(config.task, 2)
    from p2p.engine import build_engine
    from p2p.peer.rollout import Rollout

    engine = build_engine(config, envs.obs_dim, envs.action_dim)
    assert isinstance(build_collector(engine, envs, Rollout(4, envs)), CompiledCollector)


# What is trusted


def test_a_run_folder_imports_nothing(tmp_path):
    """A stranger's run names evil.py:Env: the file lies there, and is not read."""
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    folder = tmp_path / "run"
    folder.mkdir()
    config = TrainConfig().model_dump(mode="json") | {"task": "evil.py:Env"}
    (folder / "config.json").write_text(json.dumps(config))
    for command in (
        ["p2p", "eval", "run"],
        ["p2p", "train", "--resume", "run"],
    ):
        said = run(command, tmp_path, code=5)
        assert "imported" not in said
    assert RunFolder.open(folder).config.task == "evil.py:Env"
    with pytest.raises(BadArtefact, match=r"--task PATH/evil\.py:Env"):
        registry.find("task", "evil.py:Env")


@pytest.mark.parametrize(
    "damage",
    [
        {"source_sha256": 3},
        {"source_sha256": {"x": 3}},
        {"task": {}, "source_sha256": {}},
        {"task": "nosuch", "source_sha256": 3},
        {"method": ["a"], "source_sha256": ["a"]},
        {"method_settings": 3},
    ],
    ids=str,
)
def test_a_strangers_settings_are_one_line_and_exit_5(tmp_path, damage):
    config = TrainConfig().model_dump(mode="json") | damage
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadArtefact) as caught:
        RunFolder.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_changed_file_is_refused(tmp_path, method_file):
    command = (
        "p2p train --method ./mean_peer.py:MeanPeer --steps-per-iteration 768 --num-epochs 1 "
        "--total-steps 768 --final-episodes 0 --out run"
    )
    run(command, tmp_path)
    resume = ["p2p", "train", "--resume", "run", "--total-steps", "1536"]
    assert "--method PATH/mean_peer.py:MeanPeer" in run(resume, tmp_path, code=5)
    method_file.write_text(method_file.read_text() + "\n# changed\n")
    said = run([*resume, "--method", "./mean_peer.py:MeanPeer"], tmp_path, code=5)
    assert "has changed: its source has SHA-256" in said


@pytest.mark.parametrize(
    ("content", "reference", "words"),
    [
        (None, "gone.py:A", "cannot read method gone.py:A: No such file"),
        ("x = 1\n", "m.py:A", "m.py has no class 'A'"),
        ("class Abc: pass\n", "m.py:Abd", "did you mean 'Abc'?"),
        ("class A: pass\n", "m.py:A", "is no method: let the class inherit from p2p.Method"),
        ("import nowhere_at_all\n", "m.py:A", "line 1: ModuleNotFoundError"),
        ("def f(:\n", "m.py:A", "line 1: SyntaxError"),
        ("x = 1\nraise SystemExit(3)\n", "m.py:A", "line 2: SystemExit"),
        (None, "no_such_package.methods:A", "ModuleNotFoundError"),
        (None, "m.py:", "write path.py:Class"),
        ("import p2p\n\nclass A(p2p.Method): pass\n", "m.py:A", "m.py:A lacks penalty"),
        (
            "import p2p\n\nclass A(p2p.Method):\n    def penalty(self, m): ...\n"
            "    class Settings(p2p.MethodSettings):\n        clip: float = 5.0\n",
            "m.py:A",
            "has a setting 'clip', which all runs have",
        ),
    ],
)
def test_what_is_no_method_is_refused_in_one_line(tmp_path, monkeypatch, content, reference, words):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "m.py").write_text(content)
    with pytest.raises(UsageError) as caught:
        registry.add("method", reference)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("class T(p2p.Task): pass", "has no method observe"),
        ("class T(p2p.task('hopper')):\n    contact_weight = 1e-3", "add 'cfrc_ext' to its reads"),
    ],
)
def test_a_task_that_cannot_be_simulated_is_refused_before_a_folder_is_made(
    tmp_path, content, words
):
    (tmp_path / "t.py").write_text(f"import p2p\n\n\n{content}\n")
    with pytest.raises(UsageError, match=words):
        registry.add("task", f"{tmp_path}/t.py:T")


def test_what_is_run_is_what_was_hashed(tmp_path):
    """Python's own loader would take the .pyc of a file that was edited within a second."""
    file = tmp_path / "t.py"
    code = "import sys\nfrom p2p.core import registry\n" + (
        "registry.add('task', sys.argv[1] + ':T')\n"
        "print(registry.find('task', 't.py:T').healthy_reward)"
    )
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for value in ("1.0", "2.0", "3.0"):
        text = f"import p2p\n\n\nclass T(p2p.task('hopper')):\n    healthy_reward = {value}\n"
        file.write_text(text)
        os.utime(file, (1e9, 1e9))
        command = [sys.executable, "-P", "-c", code, str(file)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == value


@pytest.mark.parametrize(
    "body",
    ["    def _x(self, s):\n        return 100.0", "    terminated = p2p.Task.terminated"],
)
def test_no_override_is_run_by_compiled_code(tmp_path, body):
    """Also of a private method, or by that of another class of p2p's."""
    file = tmp_path / "t.py"
    file.write_text(f"import p2p\n\n\nclass T(p2p.task('humanoid')):\n{body}\n")
    registry.add("task", f"{file}:T")
    assert registry.find("task", "t.py:T").computed_anew()


def test_a_run_is_continued_with_its_own_method_only(tmp_path):
    folder = tmp_path / "run"
    RunFolder.create(TrainConfig(), folder).unlock()
    said = run(["p2p", "train", "--resume", "run", "--method", "ppo"], tmp_path, code=2)
    assert "is a run of method 'p2pdrl', not 'ppo'" in said
    said = run(["p2p", "eval", "run", "--task", "nosuch"], tmp_path, code=2)
    assert "unknown task 'nosuch'" in said


def test_own_settings_may_stand_in_files(tmp_path, method_file):
    """Of a run and of a study, wherever settings may."""
    (tmp_path / "run.toml").write_text("pull = -1.0\n")
    train = ["p2p", "train", "--method", "./mean_peer.py:MeanPeer", "--out", "x"]
    assert "run.toml: pull=-1" in run([*train, "--config", "run.toml"], tmp_path, code=2)
    assert "--set pull=-1" in run([*train, "--set", "pull=-1"], tmp_path, code=2)
    said = run([*train, "--set", "pul=1"], tmp_path, code=2)
    assert "unknown setting 'pul'; did you mean 'pull'?" in said
    registry.add("method", f"{method_file}:MeanPeer")
    study = tmp_path / "s.toml"
    study.write_text(
        "[settings]\npull = 0.3\n[[grid]]\nmethod = 'mean_peer.py:MeanPeer'\n"
        "[budget.small]\npull = 0.2\n"
    )
    (config,) = read_study(study).configs
    assert config.get("pull") == 0.2


def test_another_methods_setting_is_no_part_of_a_run(method_file):
    """A new method's settings must not change what tells other runs apart."""
    before = build_config(method="ppo").identity()
    registry.add("method", f"{method_file}:MeanPeer")
    assert build_config(method="ppo").identity() == before
    assert "sync" not in before
    ours = build_config(method="mean_peer.py:MeanPeer", pull=0.3)
    assert ours.get("pull") == 0.3
    with pytest.raises(UsageError, match="pull=-1"):
        build_config(method="mean_peer.py:MeanPeer", pull=-1)


def test_an_installed_package_may_register_a_name(tmp_path, monkeypatch):
    """By an entry point, which costs nothing while nobody uses the name."""
    package = tmp_path / "their_methods"
    package.mkdir()
    source = blocks("add-a-method.md", "python")[0]
    (package / "__init__.py").write_text(source)
    info = tmp_path / "their_methods-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-methods\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[p2p.methods]\nmean-peer = their_methods:MeanPeer\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.add("method", "mean-peer") == "mean-peer"
    assert find_method(build_config(method="mean-peer").method).label == "Mean peer"


def test_commands_to_copy_load_what_this_process_has_loaded(tmp_path, monkeypatch, task_file):
    """Each option, split as a shell does, loads the same class again; nothing for p2p's own."""
    monkeypatch.chdir(tmp_path)
    assert registry.loading_options() == ""
    folder = tmp_path / "my robots"
    folder.mkdir()
    inside = task_file.rename(folder / "tall_hopper.py")
    outside = tmp_path.parent / f"{tmp_path.name}-mean_peer.py"
    outside.write_text(blocks("add-a-method.md", "python")[0])
    package = tmp_path / "two_envs"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('Mine-v0', 'gymnasium.envs.mujoco.reacher_v5:ReacherEnv')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for reference in (f"{inside}:TallHopper", "two_envs:Mine-v0", "Pusher-v5", "hopper"):
        registry.add("task", reference)
    method = registry.add("method", f"{outside}:MeanPeer")
    words = shlex.split(registry.loading_options())
    pairs = list(zip(words[::2], words[1::2], strict=True))
    assert pairs == [
        ("--task", "my robots/tall_hopper.py:TallHopper"),
        ("--task", "two_envs:Mine-v0"),
        ("--method", f"{outside}:MeanPeer"),
    ]
    had, _ = registry.sources(), registry._added.clear()
    for option, reference in pairs:
        registry.add(option.removeprefix("--"), reference)
    assert registry.sources() == had
    one = registry.loading_options(task="two_envs:Mine-v0?frame_skip=3", method=method)
    assert shlex.split(one)[:2] == ["--task", "two_envs:Mine-v0"]
    assert len(shlex.split(one)) == 4


def test_a_class_may_be_passed_where_a_name_is(task_file):
    """As a library's user does; other processes find it by its file."""
    name = registry.add("task", f"{task_file}:TallHopper")
    assert TrainConfig(task=registry.find("task", name)).task == name
    dnc = find_method("dnc")
    assert build_config(method=dnc, distill_every=3).method == "dnc"
    with pytest.raises(UsageError, match="define it at the top of a file"):
        registry.add("task", type("Local", (p2p.task("hopper"),), {"__qualname__": "f.Local"}))


def test_a_study_finds_its_runs_by_a_methods_own_setting_too(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text("[[grid]]\nmethod = 'p2pdrl'\ndistill_coef = [0.5, 1.0]\n")
    first = plan_study(read_study(file), tmp_path / "out")
    for planned in first.runs:
        RunFolder.create(planned.config, planned.path).unlock()
    again = plan_study(read_study(file), tmp_path / "out")
    assert [r.path for r in again.runs] == [r.path for r in first.runs]


def test_a_script_may_pass_a_class_of_its_own(tmp_path):
    script = tmp_path / "script.py"
    source = blocks("add-a-method.md", "python")[0]
    script.write_text(
        f"{source}\n\nif __name__ == '__main__':\n    import p2p\n"
        "    print(p2p.TrainConfig(method=MeanPeer, pull=0.3).method)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "script.py:MeanPeer\n"
