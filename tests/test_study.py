"""Studies: which runs a file makes, how they are trained, and what is made of their scores."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from made import forbid_writing

from p2p.analysis.evaluation.file import EvalFile
from p2p.analysis.evaluation.session import evaluate
from p2p.cli import main
from p2p.cli.study_tables import progress_table, short_names
from p2p.cohort import api
from p2p.core.config import TrainConfig
from p2p.core.errors import BadArtefact, Interrupted, NoRoom, UsageError
from p2p.envs.randomisation import table_1
from p2p.plots.data import Data, Row
from p2p.plots.selection import task_groups
from p2p.runs import RunFolder, write_atomically
from p2p.study import (
    Plan,
    State,
    collect_results,
    find_study,
    plan_study,
    processes,
    read_study,
    run_study,
    schedule,
    seconds_left,
    shipped_studies,
)
from p2p.study.curves import curves_csv, training_curves
from p2p.study.plan import measured_hash
from p2p.study.results import measures, shown_settings
from p2p.study.run_process import wait_until_free
from p2p.study.testing import read_tests

PLAYED = [sys.executable, str(Path(__file__).with_name("played_run.py"))]
P2P = [sys.executable, "-P", "-c", "from p2p.cli.main import main; main()"]
TINY = """
name = "tiny"
[settings]
total_steps = 1024
steps_per_iteration = 512
num_minibatches = 4
num_epochs = 1
final_episodes = 1
"""


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    """Play every run."""
    monkeypatch.setattr(processes, "COMMAND", PLAYED)


def study_file(folder: Path, *grids: str, head: str = TINY) -> Path:
    file = folder / "tiny.toml"
    file.write_text(head + "".join(f"[[grid]]\n{grid}\n" for grid in grids))
    return file


def plan(folder: Path, *grids: str, head: str = TINY) -> Plan:
    return plan_study(read_study(study_file(folder, *grids, head=head)), folder / "out")


def p2p(*args: str | Path) -> Result:
    return CliRunner().invoke(main.p2p, [str(arg) for arg in args])


# Grids


def test_lists_are_axes_and_scalars_are_settings(tmp_path: Path) -> None:
    """Every combination of the lists is a run, with the study's and the grid's settings."""
    grid = 'task = ["hopper", "ant"]\nmethod = "ppo"\nseed = [0, 1]\neps_tr = 0.5'
    configs = read_study(study_file(tmp_path, grid)).configs
    assert [(c.task, c.seed) for c in configs] == [
        ("hopper", 0), ("hopper", 1), ("ant", 0), ("ant", 1),
    ]  # fmt: skip
    assert {(c.method, c.eps_tr, c.total_steps) for c in configs} == {("ppo", 0.5, 1024)}


def test_equal_points_of_two_grids_are_one_run(tmp_path: Path) -> None:
    """Also when one spells out what is the default of the other."""
    grids = ('method = "ppo"\nseed = [0, 1]', 'method = "ppo"\nlearning_rate = 3e-4\nseed = [1, 2]')
    assert [c.seed for c in read_study(study_file(tmp_path, *grids)).configs] == [0, 1, 2]


def test_a_study_may_count_steps_for_each_peer(tmp_path: Path) -> None:
    """Fig. 9: then more peers make more steps, and names and tables say how many in all."""
    head = "[settings]\nsteps_per_iteration = 512\n"
    grid = 'method = "p2pdrl"\nnum_peers = [2, 4]\nsteps_per_peer = 256\ntotal_steps_per_peer = 512'
    runs = plan(tmp_path, grid, head=head).runs
    assert [(r.config.steps_per_iteration, r.total_steps) for r in runs] == [
        (512, 1024), (1024, 2048),
    ]  # fmt: skip
    assert runs[1].name == ("hopper-p2pdrl-K=4-total_steps=2048-steps_per_iteration=1024-seed=0")


def test_a_name_counts_steps_over_all_peers_only(tmp_path: Path) -> None:
    """With the total kept, each peer's share follows from K: it is not named as well."""
    runs = plan(tmp_path, 'method = "p2pdrl"\nnum_peers = [2, 4]').runs
    assert [run.name for run in runs] == ["hopper-p2pdrl-K=2-seed=0", "hopper-p2pdrl-K=4-seed=0"]


def test_a_run_is_found_whichever_way_its_steps_are_counted(tmp_path: Path) -> None:
    config = TrainConfig(steps_per_iteration=1024, total_steps=2048)
    RunFolder.create(config, tmp_path / "out" / "there").unlock()
    counted = "steps_per_peer = 512\ntotal_steps_per_peer = 1024"
    (run,) = plan(tmp_path, counted, head="").runs
    assert run.name == "there"


@pytest.mark.parametrize(
    ("value", "sizes"),
    [("[32, 16]", [(32, 16)]), ("[[32, 16], [8, 8]]", [(32, 16), (8, 8)])],
)
def test_a_pair_of_sizes_is_a_value_and_a_list_of_pairs_an_axis(
    tmp_path: Path, value: str, sizes: list[tuple[int, int]]
) -> None:
    study = read_study(study_file(tmp_path, f"hidden_sizes = {value}"))
    assert [c.hidden_sizes for c in study.configs] == sizes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = ", "not TOML: Invalid value"),
        ("", "has no [[grid]]; a study needs at least one"),
        ("grid = 1", "has no [[grid]]; a study needs at least one"),
        ("gird = 1", "unknown key 'gird'; did you mean 'grid'?"),
        ("name = 'a/b'\n[[grid]]", "name='a/b' must be the name of a folder"),
        ("settings = 1\n[[grid]]", "settings must be a table"),
        (
            "[settings]\nsed = 1\n[[grid]]",
            "[settings]: unknown setting 'sed'; did you mean 'seed'?",
        ),
        ("[[grid]]\nlerning_rate = 1", "grid: unknown setting 'lerning_rate'; did you mean"),
        ("[[grid]]\nseed = []", "grid: seed is an empty list"),
        ("[[grid]]\nseed = 1\n[[grid]]\neps_tr = [0.2, 2]", "grid 2: eps_tr=2: input should be"),
        ("[[grid]]\ntask = ['hopper', 'hoper']", "grid: unknown task 'hoper'; did you mean"),
    ],
)
def test_a_fault_in_the_file_is_one_line_and_exit_2_before_any_run(
    tmp_path: Path, played: None, text: str, message: str
) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    result = p2p("study", file, "--out", tmp_path / "out")
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 2
    assert line.startswith(f"error: {file}: {message}")
    assert not (tmp_path / "out").exists()


BUDGETS = """
[budget.small]
seed = [0, 1]
[budget.paper]
seed = [0, 1, 2]
total_steps = 4096
"""


def test_a_budget_takes_the_place_of_the_grids_own_values(tmp_path: Path) -> None:
    """And a grid's own budget, of the common one's, in either way of counting steps."""
    grids = (
        'method = "ppo"\nseed = 7',
        "num_peers = [2, 4]\n[grid.budget.paper]\ntotal_steps_per_peer = 1024",
    )
    file = study_file(tmp_path, *grids, head=TINY + BUDGETS)
    small, paper = read_study(file), read_study(file, "paper")
    assert [(c.method, c.seed, c.total_steps) for c in small.configs[:2]] == [
        ("ppo", 0, 1024), ("ppo", 1, 1024),
    ]  # fmt: skip
    assert [(c.num_peers, c.seed, c.total_steps) for c in paper.configs[3:]] == [
        (2, 0, 2048), (2, 1, 2048), (2, 2, 2048), (4, 0, 4096), (4, 1, 4096), (4, 2, 4096),
    ]  # fmt: skip
    assert {c.total_steps for c in paper.configs[:3]} == {4096}


def test_studies_that_share_runs_have_a_table_each(tmp_path: Path) -> None:
    """Else the last one's would stand for all."""
    alone = plan(tmp_path, "seed = 1")
    sharing = plan(tmp_path, "seed = 1", head="folder = 'shared'\n" + TINY)
    assert alone.table == tmp_path / "out" / "results.csv"
    assert sharing.table == tmp_path / "out" / "results-tiny.csv"


def test_studies_that_an_option_puts_into_one_folder_have_a_table_each(
    tmp_path: Path, played: None
) -> None:
    """The first one keeps the plain name, however often either is run again."""
    out, seeds = tmp_path / "out", {"tiny": 1, "other": 2}
    for name in ("tiny", "other", "tiny", "other"):
        file = study_file(tmp_path, f"seed = {seeds[name]}", head=TINY.replace("tiny", name))
        assert p2p("study", file, "--out", out).exit_code == 0
    tables = {path.name: path.read_text() for path in out.glob("results*.csv")}
    assert tables.keys() == {"results.csv", "results-other.csv"}
    assert "hopper-p2pdrl-seed=1" in tables["results.csv"]
    assert "hopper-p2pdrl-seed=2" in tables["results-other.csv"]
    assert json.loads((out / "results-other.json").read_text())["study"] == "other"


def test_runs_of_another_budget_lie_apart(tmp_path: Path) -> None:
    """Else those of the small one would be trained on, and its results be gone."""
    file = study_file(tmp_path, "", head="folder = 'shared'\n" + TINY + BUDGETS)
    small, paper = read_study(file), read_study(file, "paper")
    assert (small.name, small.folder, small.budget) == ("tiny", "shared", "small")
    assert (paper.name, paper.folder, paper.budget) == ("tiny-paper", "shared-paper", "paper")


@pytest.mark.parametrize(
    ("head", "budget", "message"),
    [
        (BUDGETS, "papper", "no budget 'papper'; did you mean 'paper'?; known: small, paper"),
        ("", "small", "has no budgets, so --budget small cannot be chosen"),
        ("[budget.small]\nsed = 1\n", None, "[budget.small]: unknown setting 'sed'"),
        (
            "[evaluate]\ndomain = 'wind=1'\n",
            None,
            "[evaluate]: unknown setting 'domain'; did you mean",
        ),
        ("[evaluate]\neps_te = '0:2:1'\n", None, "[evaluate]: eps_te=2 is outside [0, 1]"),
        ("[evaluate.calm]\ndomain = 'wind=1'\n", None, "[evaluate.calm]: unknown setting 'domain'"),
        ("[evaluate.'a=b']\neps_te = 1\n", None, "[evaluate]: test 'a=b': use letters, digits"),
        ("[evaluate.calm]\nrandomise = 'calm.toml'\n", None, "[evaluate.calm]: "),
    ],
)
def test_a_fault_in_budgets_or_tests_is_one_line(
    tmp_path: Path, head: str, budget: str | None, message: str
) -> None:
    file = study_file(tmp_path, "", head=TINY + head)
    with pytest.raises(UsageError) as raised:
        read_study(file, budget)
    assert str(raised.value).startswith(f"{file}: {message}")


SHIPPED = ("a2", "fig2", "fig3", "fig4", "fig5", "fig6", "fig7", "fig8a", "fig8bc", "fig9")


@pytest.mark.parametrize("name", SHIPPED)
def test_each_figures_study_is_planned_at_both_budgets(tmp_path: Path, name: str) -> None:
    """Four and eight seeds of every setting; the small one has 4M steps, and no more runs.

    Figs. 3 and 4 have eight seeds at either budget (docs/protocol.md).
    """
    small, paper = (read_study(find_study(name), budget) for budget in ("small", "paper"))
    for study, seeds in ((small, 8 if name in ("fig3", "fig4") else 4), (paper, 8)):
        assert len(plan_study(study, tmp_path).runs) == len(study.configs)
        assert {c.seed for c in study.configs} == set(range(seeds))
        assert len(study.configs) % seeds == 0
    assert max(c.total_steps for c in small.configs if c.num_peers < 4) == 4_000_000
    assert len(small.configs) <= len(paper.configs)


def test_studies_of_the_same_runs_share_them() -> None:
    """Figs. 3 and 5 need no run that Fig. 4 has not, and Fig. 2 none that Fig. 6 has not."""
    for part, whole in (("fig3", "fig4"), ("fig5", "fig4"), ("fig2", "fig6")):
        for budget in ("small", "paper"):
            one, other = (read_study(find_study(name), budget) for name in (part, whole))
            assert one.folder == other.folder
            assert set(one.configs) <= set(other.configs)


@pytest.mark.parametrize(
    ("name", "known", "new"),
    [
        ("learning-rate", "fig4", 60),
        ("rollout", "fig4", 24),
        ("brakes", "fig4", 80),
        ("fig7", "fig4", 4),
        ("fig8a", "fig4", 44),
        ("fig6", "fig4", 32),
        ("variance-rate", "fig8bc", 16),
    ],
)
def test_of_runs_that_another_has_a_study_trains_only_the_others(
    name: str, known: str, new: int
) -> None:
    one, other = read_study(find_study(name)), read_study(find_study(known))
    assert one.folder == other.folder
    assert len(set(one.configs) - set(other.configs)) == new


def test_the_small_fig4_is_the_study_of_the_protocol() -> None:
    """Five methods with their own settings, five tasks, eight seeds, a task after the other."""
    study = read_study(find_study("fig4"))
    names = {run.name for run in plan_study(study, Path("nowhere")).runs}
    assert len(names) == 200
    assert {"halfcheetah-ppo-seed=0", "walker2d-dnc-seed=7"} <= names
    tasks = [config.task for config in study.configs[::40]]
    assert tasks == ["hopper", "halfcheetah", "walker2d", "ant", "humanoid"]
    assert study.configs[0] == TrainConfig(
        task="hopper", method="p2pdrl", total_steps=4_000_000, eps_tr=0.2, seed=0
    )
    start = study.tests["dynamics"].randomise
    assert start is not None
    assert set(start) == set(table_1().names) - {"initial_position"}


def test_a_study_without_a_path_is_one_of_those_shipped() -> None:
    """And each of them is valid."""
    assert find_study("learning") == shipped_studies()["learning"]
    with pytest.raises(UsageError, match="no study 'lerning'; did you mean 'learning'"):
        find_study("lerning")
    for name, file in shipped_studies().items():
        assert read_study(file).name == name


def test_what_one_method_alone_is_given_has_a_column_and_a_look_of_its_own(tmp_path: Path) -> None:
    """PPO with `target_kl` is not plain PPO; in K the methods differ by themselves."""
    grids = 'method = "ppo"\ntarget_kl = 0.02', 'method = "p2pdrl"'
    study = plan(tmp_path, *grids).study
    assert study.shown == ("target_kl",)
    shown = [shown_settings(config, study)["target_kl"] for config in study.configs]
    assert shown == [0.02, None]
    assert plan(tmp_path, grids[1], 'method = "ppo"').study.shown == ()
    rows = [
        Row(method, "hopper", method, 0, {} if kl is None else {"target_kl": kl})
        for method, kl in (("ppo", 0.02), ("p2pdrl", None))
    ]
    looks = [look.label for look, _ in task_groups(Data(study, "there", rows, {}), "hopper")]
    assert looks == ["PPO, target_kl=0.02", "P2PDRL"]


# Plans


def test_a_folder_is_named_after_what_tells_its_run_from_the_others(tmp_path: Path) -> None:
    """K differs between the methods here, but only because the methods do."""
    runs = plan(tmp_path, 'method = ["ppo", "p2pdrl"]\nlearning_rate = [1e-4, 3e-4]').runs
    assert [run.name for run in runs] == [
        "hopper-ppo-lr=0.0001-seed=0", "hopper-ppo-lr=0.0003-seed=0",
        "hopper-p2pdrl-lr=0.0001-seed=0", "hopper-p2pdrl-lr=0.0003-seed=0",
    ]  # fmt: skip


def test_a_study_that_grows_by_an_axis_keeps_what_it_has(tmp_path: Path, played: None) -> None:
    """The new axis adds to every name, and a run is known by its settings."""
    for _ in run_study(plan(tmp_path, "seed = 1"), 1):
        pass
    grown = plan(tmp_path, "seed = 1\neps_tr = [0.1, 0.2]")
    assert [(run.name, run.state) for run in grown.runs] == [
        ("hopper-p2pdrl-eps_tr=0.1-seed=1", State.WAITING),
        ("hopper-p2pdrl-seed=1", State.COMPLETE),
    ]


def test_a_study_that_varies_a_methods_own_setting_keeps_the_runs_of_others(
    tmp_path: Path, played: None
) -> None:
    """A run of P2PDRL has no entropy coefficient, before and after."""
    for _ in run_study(plan(tmp_path, "seed = 1"), 1):
        pass
    own = 'method = "entropy"\nentropy_coef = [0.1, 1]'
    states = [run.state for run in plan(tmp_path, "seed = 1", own).runs]
    assert states == [State.COMPLETE, State.WAITING, State.WAITING]


def test_runs_of_another_engine_are_other_runs(tmp_path: Path, played: None) -> None:
    """Engines round differently, so that a run of one is no run of the other."""
    for _ in run_study(plan(tmp_path, 'engine = "autograd"'), 1):
        pass
    states = [run.state for run in plan(tmp_path, 'engine = ["fused", "autograd"]').runs]
    assert states == [State.WAITING, State.COMPLETE]


def test_more_steps_continue_a_run_and_fewer_are_refused(tmp_path: Path, played: None) -> None:
    """The score of a longer run is no answer to a question about a shorter one."""
    for _ in run_study(plan(tmp_path, ""), 1):
        pass
    (longer,) = plan(tmp_path, "", head=TINY.replace("1024", "2048")).runs
    assert (longer.state, longer.steps) == (State.WAITING, 1024)
    with pytest.raises(UsageError, match="was trained for 1024 steps, the study asks for 512"):
        plan(tmp_path, "", head=TINY.replace("1024", "512"))


def test_a_run_that_was_trained_on_is_refused_whatever_its_result_says(
    tmp_path: Path, played: None
) -> None:
    """Its result is that of the goal it had reached; policies and journal are of later."""
    (run,) = plan(tmp_path, "").runs
    for _ in run_study(plan(tmp_path, ""), 1):
        pass
    with RunFolder.open(run.path) as folder:
        folder.append({"iteration": len(folder.records())})
    with pytest.raises(UsageError, match="trained for 1536 steps, the study asks for 1024"):
        plan(tmp_path, "")


@pytest.mark.parametrize("setting", ["final_episodes = 3", "grad_variance_every = 1"])
def test_a_run_that_lacks_what_the_study_measures_is_refused(
    tmp_path: Path, setting: str, played: None
) -> None:
    """It would leave gaps in the tables that nobody fills."""
    for _ in run_study(plan(tmp_path, ""), 1):
        pass
    name, _, value = setting.split()
    with pytest.raises(UsageError, match=rf"with {name}=\d+, the study asks for {value}; choose"):
        plan(tmp_path, setting)


def test_a_run_that_also_measured_its_gradient_serves_a_study_that_does_not(
    tmp_path: Path,
) -> None:
    """Measuring changes no bit, so that its rows and curves are those of a run that did not."""
    measured, plain = tmp_path / "measured", tmp_path / "plain"
    for folder, setting in ((measured, "grad_variance_every = 1"), (plain, "")):
        folder.mkdir()
        for _ in run_study(plan(folder, setting), 1):
            pass
    there = plan(measured, "")
    assert [run.state for run in there.runs] == [State.COMPLETE]
    assert curves_csv(there) == curves_csv(plan(plain, ""))
    assert "log_grad_variance" in curves_csv(plan(measured, "grad_variance_every = 1"))
    (row,), (alone,) = collect_results(there).runs, collect_results(plan(plain, "")).runs
    assert replace(row, seconds=0.0) == replace(alone, seconds=0.0)


def test_tests_of_other_versions_are_shown_and_done_again(tmp_path: Path, played: None) -> None:
    """Else seeds tested before and after an upgrade would share a mean."""
    head = TINY + "[evaluate]\neps_te = 0.5\n"
    for _ in run_study(plan(tmp_path, "", head=head), 1):
        pass
    (run,) = plan(tmp_path, "", head=head).runs
    assert run.state is State.COMPLETE
    file = run.path / "evaluation.json"
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({**kept, "versions": {**kept["versions"], "mujoco": "2.0"}}))
    again = plan(tmp_path, "", head=head)
    assert again.runs[0].state is State.WAITING
    (row,) = collect_results(again).runs
    assert "eps_te=0.5" in row.measures


DYNAMICS = """[evaluate]
eps_te = 1
domains = 2
[evaluate.calm]
eps_te = 1
domains = 2
[evaluate.calm.randomise]
wind = {add = 5.0}
gravity = {scale = 0.25}
friction = {scale = 0.30}
mass = {scale = 0.50}
"""


def test_a_named_test_is_one_more_measure_of_the_same_run(tmp_path: Path) -> None:
    """Each is what `evaluate` finds in its domains; the domains differ in the start pose alone."""
    head = TINY + DYNAMICS
    settings = 'method = "ppo"\nhidden_sizes = [8, 8]'
    for _ in run_study(plan(tmp_path, settings, head=head), 1):
        pass
    again = plan(tmp_path, settings, head=head)
    (run,), (row,) = again.runs, collect_results(again).runs
    assert run.state is State.COMPLETE
    calm = again.study.tests["calm"]
    alone = evaluate(run.path, 1.0, save=False, domains=2, randomise=calm.randomise).runs[0]
    full = evaluate(run.path, 1.0, save=False, domains=2).runs[0]
    assert row.measures["calm:eps_te=1"] == [alone.measured[0].score.mean]
    assert row.measures["eps_te=1"] == [full.measured[0].score.mean]
    assert row.measures["eps_te=1"] != row.measures["calm:eps_te=1"]
    for here, there in zip(
        alone.measured[0].set.domains, full.measured[0].set.domains, strict=True
    ):
        assert dict(here) == {k: v for k, v in there.items() if k != "initial_position"}


def test_a_run_that_lacks_a_named_test_is_tested_not_trained(tmp_path: Path) -> None:
    """A test that is added to a study later costs no training, and alters no saved row before."""
    settings = 'method = "ppo"\nhidden_sizes = [8, 8]'
    before = TINY + DYNAMICS.partition("[evaluate.calm]")[0]
    for _ in run_study(plan(tmp_path, settings, head=before), 1):
        pass
    (run,) = plan(tmp_path, settings, head=before).runs
    (more,) = plan(tmp_path, settings, head=TINY + DYNAMICS).runs
    assert (run.state, more.state, more.trained) == (State.COMPLETE, State.WAITING, True)
    assert measured_hash(run) != measured_hash(more)


@pytest.mark.parametrize("setting", ["anneal_learning_rate = true", 'method = "dnc"'])
def test_a_run_whose_end_counts_is_found_by_its_goal_too(
    tmp_path: Path, setting: str, played: None
) -> None:
    """Continued, it would not be the run that had the later end from the start."""
    for _ in run_study(plan(tmp_path, setting), 1):
        pass
    (longer,) = plan(tmp_path, setting, head=TINY.replace("1024", "2048")).runs
    assert (longer.state, longer.steps, longer.name[-3:]) == (State.WAITING, 0, "-v2")


# Training


def order(folder: Path) -> list[str]:
    return (folder / "out" / "order.txt").read_text().split("\n")[:-1]


def test_the_longest_run_starts_first_and_no_more_than_jobs_at_once(
    tmp_path: Path, played: None
) -> None:
    """Humanoid is the slowest task, HalfCheetah the fastest."""
    grid = 'task = ["halfcheetah", "humanoid", "hopper", "ant"]'
    for _ in run_study(plan(tmp_path, grid), 1):
        pass
    tasks = ["humanoid", "ant", "hopper", "halfcheetah"]
    assert order(tmp_path) == [
        f"{word} {task}-p2pdrl-seed=0" for task in tasks for word in ("start", "end")
    ]


def test_with_two_jobs_two_runs_overlap(tmp_path: Path, played: None) -> None:
    running = [0]
    made = plan(tmp_path, "seed = [1, 2, 3, 4]")
    for _ in run_study(made, 2):
        running.append(made.count(State.RUNNING))
    assert max(running) == 2
    assert made.count(State.COMPLETE) == 4


@pytest.mark.parametrize(
    ("seed", "error", "code"),
    [
        (66, "no room on the disk", 6),
        (67, "its process was killed by SIGKILL", 4),
        (68, "RuntimeError: the last line (see ", 1),
    ],
)
def test_a_run_that_fails_is_named_and_does_not_stop_the_others(
    tmp_path: Path, played: None, seed: int, error: str, code: int
) -> None:
    """The study ends with the exit code of the first failure, after the results of the others."""
    file = study_file(tmp_path, f"seed = [1, {seed}, 2]")
    result = p2p("study", file, "--out", tmp_path / "out", "--jobs", "1")
    name = f"hopper-p2pdrl-seed={seed}"
    assert result.exit_code == code
    assert f"\nfailed   {name}: {error}" in result.stdout
    assert result.stderr.startswith(f"error: 1 of 3 runs failed, first {name}: {error}")
    assert (tmp_path / "out" / "results.csv").read_text().count("\n") == 3


def test_a_failed_run_is_tried_again_by_the_next_session(tmp_path: Path, played: None) -> None:
    file = study_file(tmp_path, "seed = [1, 66]")
    for _ in range(2):
        p2p("study", file, "--out", tmp_path / "out")
    starts = [line for line in order(tmp_path) if line.startswith("start")]
    assert sorted(starts) == ["start hopper-p2pdrl-seed=1"] + 2 * ["start hopper-p2pdrl-seed=66"]


def test_ctrl_c_stops_what_runs_and_starts_nothing_more(tmp_path: Path, played: None) -> None:
    """The message says how many runs are complete; none of the stopped ones counts as failed."""
    made = plan(tmp_path, "seed = [99, 1]")

    def train() -> None:
        for run in run_study(made, 1):
            if run.steps and run.state is State.RUNNING:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="0 of 2 runs are complete") as stopped:
        train()
    assert stopped.value.exit_code == 130
    assert {run.config.seed: run.state for run in made.runs} == {
        99: State.STOPPED, 1: State.WAITING,
    }  # fmt: skip


def test_two_schedulers_of_one_folder_are_refused(tmp_path: Path, played: None) -> None:
    """They would train the same runs."""
    first = run_study(plan(tmp_path, "seed = [1, 2]"), 1)
    next(first)
    with pytest.raises(UsageError, match="is being written by process"):
        next(run_study(plan(tmp_path, "seed = [1, 2]"), 1))
    first.close()


def test_time_left_is_that_of_the_schedule(tmp_path: Path) -> None:
    """Worked by hand: 2 jobs, all runs of 1024 steps.

    One hopper runs at 10 steps/s with 512 to go: 51.2 s. Ant, whose speed is not known
    yet, is taken to be 3/7 as fast, as bare physics is: 238.9 s. Of the two hoppers that
    wait, the first starts at 51.2 and takes 102.4 s, so the second ends at 256 s.
    """
    runs = plan(tmp_path, 'task = "hopper"\nseed = [0, 1, 2]', 'task = "ant"').runs
    assert seconds_left(runs, 2) is None
    runs[0].state, runs[0].steps, runs[0].recent = State.RUNNING, 512, deque([51.2])
    runs[3].state = State.RUNNING
    assert seconds_left(runs, 2) == pytest.approx(256.0)
    assert seconds_left(runs[:3], 2) == pytest.approx(51.2 + 102.4)  # one job is free at once
    assert seconds_left([runs[0], runs[3]], 2) == pytest.approx(1024 / (10 * 3 / 7))


def test_time_left_by_cores_is_that_of_the_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worked by hand: 2 cores. A cohort of two fills both, single runs go side by side.

    The cohort has 1024 steps to go at 20 steps/s: 51.2 s. A single run has one core, so it is
    taken to be half as fast: 102.4 s. Two go side by side, then the third.
    """
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    runs = plan(tmp_path, 'method = "p2pdrl"', 'method = "ppo"\nseed = [0, 1, 2]').runs
    runs[0].state, runs[0].recent = State.RUNNING, deque([25.6])
    assert seconds_left(runs) == pytest.approx(51.2 + 2 * 102.4)
    assert seconds_left(runs[:3]) == pytest.approx(51.2 + 102.4)


def test_tests_count_in_the_time_left(tmp_path: Path) -> None:
    """2 strengths, 3 domains, 1 peer, 1000 steps: 6000 steps at 10 steps/s; then, half of them."""
    head = TINY + "[evaluate]\neps_te = [0, 1]\ndomains = 3\n"
    (run,) = plan(tmp_path, 'method = "ppo"', head=head).runs
    run.state, run.recent = State.RUNNING, deque([51.2])
    assert seconds_left([run], 1) == pytest.approx((1024 + 6000) / 10)
    run.state, run.steps, run.tested, run.test_rate = State.TESTING, 1024, 0.5, 100.0
    assert seconds_left([run], 1) == pytest.approx(30.0)


def test_a_run_has_a_core_for_each_peer_and_the_cores_are_filled(
    tmp_path: Path, played: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two cores: cohorts of two run alone, single runs in twos."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    grids = ('method = "p2pdrl"\nseed = [1, 2]', 'method = "ppo"\nseed = [3, 4, 5]')
    made = plan(tmp_path, *grids)
    seen = set()
    for _ in run_study(made):
        seen.add(tuple(run.config.num_peers for run in made.runs if run.state is State.RUNNING))
    assert made.count(State.COMPLETE) == 5
    assert max(map(sum, seen)) == 2
    assert {(2,), (1, 1)} <= seen


def test_a_run_too_large_for_what_is_free_is_overtaken(tmp_path: Path) -> None:
    """The longest run waits for both cores; a shorter one takes the one that is free."""
    large, small = plan(tmp_path, 'method = "p2pdrl"\ntotal_steps = 9999', 'method = "ppo"').runs
    waiting, capacity = [large, small], schedule.Capacity(2, packed=False)
    assert schedule.next_run(waiting, capacity, 1) is small
    assert schedule.next_run(waiting, capacity, 1) is None
    assert schedule.next_run(waiting, capacity, 2) is large
    assert waiting == []


# Results


@pytest.fixture
def trained(tmp_path: Path, played: None) -> Plan:
    """Three seeds of a cohort of two whose peers score 100 seed and 100 seed + 10."""
    made = plan(tmp_path, 'seed = [1, 2, 4]\nmethod = "p2pdrl"', 'method = "ppo"\nseed = 7')
    for _ in run_study(made, 4):
        pass
    return made


def test_seeds_are_the_unit_of_every_statistic(trained: Plan) -> None:
    """A run counts as the mean over its peers: 105, 205, 405, of which std is the sample's."""
    cohort, single = collect_results(trained).summary
    assert cohort.settings["method"] == "p2pdrl"
    assert (cohort.measure, cohort.n, cohort.min, cohort.max) == ("score", 3, 105, 405)
    assert cohort.mean == pytest.approx(715 / 3)
    assert cohort.std == pytest.approx((70000 / 3) ** 0.5)
    assert (single.n, single.mean, single.std) == (1, 700, None)


def test_a_row_a_run_with_the_score_of_each_peer(trained: Plan) -> None:
    rows = list(csv.DictReader(collect_results(trained).csv().splitlines()))
    keys = ("task", "method", "num_peers", "learning_rate", "seed", "score", "score_peer0",
            "score_peer1", "steps", "seconds")  # fmt: skip
    assert [rows[1][key] for key in keys] == [
        "hopper", "p2pdrl", "2", "0.0001", "2", "205.0", "200.0", "210.0", "1024", "1.0",
    ]  # fmt: skip
    assert [rows[3][key] for key in ("method", "score", "score_peer1")] == ["ppo", "700.0", ""]
    assert len({row["config"] for row in rows}) == 4


def test_what_training_came_to_is_of_its_last_tenth_or_its_last_iteration(tmp_path):
    """Three iterations have no tenth; of twenty it is the last two."""
    with RunFolder.create(TrainConfig(), tmp_path / "run") as run:
        for n in range(20):
            peer = {"entropy": float(n), "episodes": [[10.0 * n, 5]]}
            run.append({"iteration": n, "peers": [peer]})
            if n == 2:
                assert measures(run) == {"train": [20.0], "entropy": [2.0]}
        assert measures(run) == {"train": [185.0], "entropy": [18.5]}


@pytest.mark.parametrize("peer", [{"episodes": []}, {"entropy": "x", "episodes": []}, {}])
def test_a_record_without_what_a_study_measures_is_damage(tmp_path, peer):
    with RunFolder.create(TrainConfig(), tmp_path / "run") as run:
        run.append({"iteration": 0, "peers": [peer]})
        with pytest.raises(BadArtefact, match=r"run is damaged: .*; restore it from a copy"):
            measures(run)


def test_results_only_tabulates_what_is_complete_and_names_what_is_not(trained: Plan) -> None:
    folder = trained.out.parent
    file = study_file(folder, "seed = [1, 2, 3]")
    result = p2p("study", file, "--out", trained.out, "--results-only", "--save", folder / "saved")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "",
        "task    method  peers  learning rate  seeds  score +- std  min  max",
        "hopper  p2pdrl      2         0.0001      2     155 +- 71  105  205",
        "",
        f"results  {trained.out / 'results.csv'}",
        f"         {folder / 'saved' / 'tiny.csv'}",
        f"         {folder / 'saved' / 'tiny-curves.csv'}",
        "missing  1 run: hopper-p2pdrl-seed=3",
        f"next     p2p figures {file} --like fig3 --runs {trained.out}",
    ]
    saved = (folder / "saved" / "tiny.csv").read_bytes()
    assert saved == (trained.out / "results.csv").read_bytes()
    assert len(order(folder)) == 8


def test_results_of_a_study_that_may_only_be_read_are_shown(
    trained: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And saved where it was asked for; if that fails, they are shown first."""
    folder = trained.out.parent
    args = ("study", study_file(folder, "seed = [1, 2]"), "--out", trained.out, "--results-only")
    *before, where, following = p2p(*args).stdout.splitlines()
    forbid_writing(monkeypatch, trained.out)
    result = p2p(*args, "--save", folder / "saved")
    saved = [folder / "saved" / name for name in ("tiny.csv", "tiny-curves.csv")]
    files = [f"results  {saved[0]}", f"         {saved[1]}"]
    assert (result.exit_code, result.stdout.splitlines()) == (0, [*before, *files, following])
    path = where.split()[1]
    assert result.stderr == (
        f"note: cannot write results {path}: permission denied; it is shown, not kept\n"
    )
    assert (folder / "saved" / "tiny.csv").read_bytes() == Path(path).read_bytes()
    result = p2p(*args, "--save", trained.out)
    assert (result.exit_code, result.stdout.splitlines()) == (6, [*before, following])
    assert result.stderr.endswith("/tiny.csv: permission denied; name another with --save\n")


@pytest.mark.parametrize(("failures", "code"), [(1, 0), (99, 6)])
def test_a_table_that_cannot_be_written_stops_no_run(
    tmp_path: Path, played: None, monkeypatch: pytest.MonkeyPatch, failures: int, code: int
) -> None:
    """It is tried again at each run's end; what counts is the last time, after the results."""
    fails = iter(range(failures))

    def full(path: Path, data: bytes, what: str) -> None:
        if next(fails, None) is not None:
            raise NoRoom(f"cannot write {what} {path}: no space left on device; make room there")
        write_atomically(path, data, what)

    monkeypatch.setattr("p2p.study.results.write_atomically", full)
    file = study_file(tmp_path, "seed = [1, 2, 3]")
    result = p2p("study", file, "--out", tmp_path / "out", "--jobs", "1")
    assert result.exit_code == code
    assert sum(line.startswith("end") for line in order(tmp_path)) == 3
    assert "hopper  p2pdrl      2         0.0001      3" in result.stdout
    note, *error = result.stderr.splitlines()
    assert note.startswith("note: cannot write results ")
    assert note.endswith("no space left on device; the next run that ends writes it again")
    assert [line.split("; ")[1] for line in error] == (
        ["fix that, then use --results-only"] if code else []
    )
    assert (tmp_path / "out" / "results.csv").exists() is (code == 0)


TESTED = TINY + '[evaluate]\neps_te = "0:1:0.25"\n'


def test_what_a_run_does_in_test_domains_stands_in_its_row(tmp_path: Path, played: None) -> None:
    """A column a strength; the summary shows the first, the middle and the last."""
    file = study_file(tmp_path, "seed = [1, 2]", head=TESTED)
    result = p2p("study", file, "--out", tmp_path / "out", "--save", tmp_path)
    assert result.exit_code == 0
    rows = list(csv.DictReader((tmp_path / "tiny.csv").read_text().splitlines()))
    keys = ("eps_te=0", "eps_te=0.25", "eps_te=1", "eps_te=0_peer1", "worst=0")
    assert [rows[0][key] for key in keys] == ["50.5", "38.0", "0.5", "51.0", "-0.5"]
    assert "seeds  eps_te 0 +- std  eps_te 0.5 +- std  eps_te 1 +- std" in result.stdout


def test_a_trained_run_is_tested_without_being_trained_again(tmp_path: Path, played: None) -> None:
    """As is one whose tests were others; until then it is named as untested."""
    grid = "seed = [1, 2]"
    for _ in run_study(plan(tmp_path, grid), 1):
        pass
    tested = plan(tmp_path, grid, head=TESTED)
    assert [(run.state, run.trained) for run in tested.runs] == [(State.WAITING, True)] * 2
    results = collect_results(tested)
    assert (results.missing, results.untested) == ([], [run.name for run in tested.runs])
    states = {run.state for _ in run_study(tested, 1) for run in tested.runs}
    assert State.TESTING in states
    assert State.RUNNING not in states
    assert collect_results(plan(tmp_path, grid, head=TESTED)).untested == []
    others = plan(tmp_path, grid, head=TINY + "[evaluate]\ndomains = 2\n")
    assert [run.state for run in others.runs] == [State.WAITING] * 2


def test_a_curve_has_at_most_so_many_points_and_averages_what_lies_between() -> None:
    """7 iterations in stretches of 3; peers weigh alike, whatever the number of their episodes."""
    records = [
        {
            "steps": 10 * (n + 1),
            "peers": [
                {"episodes": [[n, 5]]},
                {"episodes": [[100, 5], [100, 5]] if n < 3 else []},
            ],
        }
        for n in range(7)
    ]
    measured = [{"log_variance": v, "snr": 2 * v, "ppo_log_variance": 3 * v, "ppo_snr": None}
                for v in (1, 2)]  # fmt: skip
    records[4]["peers"] = [{"episodes": [], "grad_variance": peer} for peer in measured]
    assert training_curves(records, points=3) == [
        {"steps": 30, "return": (1 + 100) / 2},
        {"steps": 60, "log_grad_variance": 1.5, "grad_snr": 3.0, "ppo_log_grad_variance": 4.5},
    ]


def test_markdown_has_stdout_to_itself(trained: Plan) -> None:
    file = study_file(trained.out.parent, "seed = [1, 2]")
    result = p2p("study", file, "--out", trained.out, "--markdown")
    assert result.stdout == (
        "| task | method | peers | learning rate | seeds | score ± std | min | max |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| hopper | p2pdrl | 2 | 0.0001 | 2 | 155 ± 71 | 105 | 205 |\n"
    )


def test_json_tells_each_change_and_ends_with_the_results(tmp_path: Path, played: None) -> None:
    file = study_file(tmp_path, "seed = [1, 66]")
    result = p2p("study", file, "--out", tmp_path / "out", "--jobs", "1", "--json")
    *changes, last = map(json.loads, result.stdout.splitlines())
    states = [c["state"] for c in changes if c["run"] == "hopper-p2pdrl-seed=1"]
    assert sorted(set(states), key=states.index) == ["running", "complete"]
    failed = [c for c in changes if c["state"] == "failed"]
    assert [(c["run"], c["error"]) for c in failed] == [
        ("hopper-p2pdrl-seed=66", "no room on the disk")
    ]
    assert last["event"] == "results"
    assert [(run["run"], run["measures"]) for run in last["runs"]] == [
        ("hopper-p2pdrl-seed=1", {"score": [100.0, 110.0]})
    ]


def test_a_low_terminal_shows_what_runs_before_what_is_over(trained: Plan) -> None:
    """And counts the rest."""
    trained.runs[2].state = State.RUNNING
    trained.runs[3].state = State.FAILED
    lines = [line for line, _ in progress_table(trained.runs, 4)]
    assert [line.split()[0] for line in lines[1:]] == [r.name for r in trained.runs[2:]] + ["..."]
    assert lines[-1] == "... and 2 complete"


def test_plain_lines_tell_of_each_start_and_what_to_type_next(tmp_path: Path, played: None) -> None:
    """Where the results lie, a comparison of the groups, and a figure that can be drawn."""
    file = study_file(tmp_path, 'method = ["ppo", "p2pdrl"]\nseed = [1, 2]')
    out = tmp_path / "out"
    lines = p2p("study", file, "--out", out, "--jobs", "1").stdout.splitlines()
    for run in ("hopper-ppo-seed=1", "hopper-p2pdrl-seed=2"):
        begun = lines.index(f"running   {run}")
        assert lines[begun + 1].startswith(f"complete  {run}  score ")
    assert lines[-3:] == [
        f"results  {out / 'results.csv'}",
        f"next     p2p compare {out}/*/",
        f"         p2p figures {file} --like fig3 --runs {out}",
    ]


def test_names_in_a_narrow_table_keep_what_tells_runs_apart() -> None:
    names = [f"gymnasium_robotics-AdroitHandDoor-v1-p2pdrl-K=16-seed={n}" for n in (8, 9, 10)]
    assert short_names(names, 80) == names
    assert short_names(names, 20) == ["seed=8", "seed=9", "seed=10"]
    (alone,) = short_names(names[:1], 20)
    assert alone.startswith("gymnasium")
    assert alone.endswith("16-seed=8")


# The real thing


def start_study(file: Path, out: Path) -> subprocess.Popen[bytes]:
    args = [*P2P, "study", str(file), "--out", str(out)]
    return subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_study_killed_midway_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """SIGKILL of the scheduler: its run leaves a checkpoint, and the same command goes on.

    Neither a step nor a bit is lost: score and journal equal those of a run left alone.
    """
    head = TINY.replace("total_steps = 1024", "total_steps = 30720\ncheckpoint_every = 1000")
    file = study_file(tmp_path, 'method = "ppo"', head=head)
    run = tmp_path / "out" / "hopper-ppo-seed=0"
    journal = run / "journal.jsonl"
    killed = start_study(file, tmp_path / "out")
    wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 2)
    killed.kill()
    killed.wait()
    wait_for(lambda: any((run / "checkpoints").glob("*.safetensors")))
    checkpoint = RunFolder.open(run).load_checkpoint()
    assert checkpoint is not None
    assert checkpoint.iteration < 60
    assert start_study(file, tmp_path / "out").wait(120) == 0
    alone = api.train(read_study(file).configs[0], tmp_path / "alone")
    assert outcome(RunFolder.open(run)) == outcome(alone)


def outcome(run: RunFolder) -> list[object]:
    peers = [record["peers"][0] for record in run.records()]
    result = run.result()
    assert result is not None
    return [result["scores"], [(peer["domain"], peer["approx_kl"]) for peer in peers]]


def test_a_study_stopped_in_its_tests_goes_on_with_them(tmp_path: Path) -> None:
    """Ctrl-C: no episode is lost, and the scores are those of an evaluation left alone."""
    tests: dict[str, Any] = {"eps_te": [0.0, 1.0], "domains": 40, "episodes": 5}
    head = TINY + "[evaluate]\n" + "".join(f"{key} = {value}\n" for key, value in tests.items())
    file = study_file(tmp_path, 'method = "ppo"\nhidden_sizes = [8, 8]', head=head)
    path = tmp_path / "out" / "hopper-ppo-seed=0"
    stopped = start_study(file, tmp_path / "out")
    wait_for(lambda: (path / "eval.h5").exists())  # written before the first episode
    stopped.send_signal(signal.SIGINT)
    assert stopped.wait(120) == 130
    assert not (path / "evaluation.json").exists()
    kept = EvalFile(path)
    kept.load()
    assert start_study(file, tmp_path / "out").wait(120) == 0
    study = read_study(file)
    assert study.evaluate is not None
    found = read_tests(path, "", study.evaluate, 1024)
    assert found is not None
    after = EvalFile(path)
    after.load()
    assert kept.rows.items() <= after.rows.items()
    alone = evaluate(path, save=False, **tests)
    assert [test["score"]["mean"] for test in found] == [
        measured.score.mean for measured in alone.runs[0].measured
    ]


def test_a_run_whose_last_process_is_still_on_its_way_out_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill of the scheduler, its runs still finish an iteration; but not for ever."""
    with RunFolder.create(TrainConfig(), tmp_path / "run") as run:
        start = time.monotonic()  # before the timer's, whatever else the machine does
        threading.Timer(0.7, run.unlock).start()
        wait_until_free(run.path)
        assert time.monotonic() - start >= 0.7
        run.lock()
        monkeypatch.setattr("p2p.study.run_process.PATIENCE", 0.0)
        with pytest.raises(UsageError, match="is being written by process"):
            wait_until_free(run.path)


def test_a_folder_of_a_studys_name_hides_no_study(tmp_path, monkeypatch):
    """Such as what `--out learning` made."""
    (tmp_path / "learning").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_study("learning") == shipped_studies()["learning"]


@pytest.mark.parametrize("name", ["loop", "x" * 300])
@pytest.mark.parametrize(
    "args",
    ["study", "study sync --results-only --out", "figures fig4 --runs", "figures fig4 --tables"],
)
def test_a_path_out_of_reach_is_one_line(tmp_path, args, name):
    (tmp_path / "loop").symlink_to("loop")
    result = p2p(*args.split(), tmp_path / name)
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 2
    assert line.startswith(f"error: cannot reach {tmp_path / name}")
