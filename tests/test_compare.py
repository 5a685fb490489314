"""Comparing groups of runs: what is grouped, what is shown, what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result
from made import forbid_writing, make_run

from p2p.analysis import statistics as stats
from p2p.analysis.comparison.compare import compare, compare_scores
from p2p.analysis.comparison.file import encode
from p2p.analysis.comparison.results import Comparison
from p2p.analysis.comparison.runs import ScoredRun
from p2p.analysis.evaluation.session import evaluate
from p2p.cli import main
from p2p.cli.compare import render
from p2p.cli.text.terminal import UNLIMITED
from p2p.core.errors import UsageError
from p2p.runs import RunFolder

SETTINGS = {"eps_tr": 0.2, "learning_rate": 3e-4, "steps": 4096}


def scored(
    scores: Sequence[float], method: str = "ppo", task: str = "hopper", **settings: Any
) -> list[ScoredRun]:
    """Return a run a score, with seeds 0, 1, ..."""
    known = {**SETTINGS, **settings}
    return [
        ScoredRun(f"{task}-{method}-{settings}-{seed}", task, method, seed, known, score)
        for seed, score in enumerate(scores)
    ]


def made(path: Path, scores: Sequence[float] = (100.0,), **settings: Any) -> Path:
    """Make a finished run that ended with `scores`, one a peer."""
    run = make_run(path, total_steps=4096, num_peers=len(scores), **settings)
    peers = [{"peer": k, "mean": score, "std": 0.0} for k, score in enumerate(scores)]
    RunFolder.open(run).save_result({"steps": 4096, "seconds": 1.0, "scores": peers})
    return run


def p2p(*args: str | Path) -> Result:
    return CliRunner().invoke(main.p2p, [str(arg) for arg in args])


def compared(*groups: list[ScoredRun], **extra: Any) -> Comparison:
    return compare_scores([run for group in groups for run in group], "a score", **extra)


APART = scored([10.0, 11.0, 12.0, 13.0, 14.0]), scored([20.0, 21.0, 22.0, 23.0, 24.0], "dnc")
ALIKE = scored([10.0, 11.0, 12.0, 13.0, 14.0]), scored([10.0, 14.0, 12.0, 16.0, 11.0], "dnc")


def test_a_groups_row_has_its_statistics() -> None:
    x = [1.0, 2.0, 3.0, 4.0, 15.0]
    (row,) = compared(scored(x)).summaries
    assert (row.task, row.group, row.seeds, row.mean) == ("hopper", "ppo", 5, 5.0)
    assert row.std == pytest.approx(np.std(x, ddof=1))
    assert row.mean_ci == pytest.approx(stats.mean_interval(x))
    assert row.iqm == 3.0
    assert row.iqm_ci == stats.bootstrap_interval(x, stats.iqm)


def test_groups_differ_in_method_and_in_settings_that_differ_within_it() -> None:
    """A learning rate that goes with the method is no setting to name; it is a note."""
    found = compared(
        scored([1.0, 2.0]),
        scored([1.0, 2.0], "dnc", eps_tr=0.2, learning_rate=1e-4),
        scored([1.0, 2.0], "dnc", eps_tr=0.5, learning_rate=1e-4),
    )
    assert [group.label for group in found.groups] == ["ppo", "dnc eps_tr 0.2", "dnc eps_tr 0.5"]
    (note,) = found.notes
    assert (
        note
        == "hopper: runs differ in eps_tr 0.2 (4), 0.5 (2); learning_rate 0.0003 (2), 0.0001 (4)"
    )


def test_a_group_has_one_name_on_all_tasks() -> None:
    """Only on one task are there two strengths; the setting is named on the other one too."""
    found = compared(
        scored([1.0, 2.0], eps_tr=0.2), scored([1.0, 2.0], eps_tr=0.5),
        scored([1.0, 2.0], task="ant", eps_tr=0.2),
    )  # fmt: skip
    assert [list(group.scores) for group in found.groups] == [["hopper", "ant"], ["hopper"]]


def test_other_steps_are_other_groups_and_said() -> None:
    found = compared(scored([1.0, 2.0], steps=4096), scored([1.0, 2.0], steps=8192))
    assert [group.label for group in found.groups] == ["ppo steps 4096", "ppo steps 8192"]
    assert found.notes == ("hopper: runs differ in steps 4096 (2), 8192 (2)",)


def test_settings_that_agree_to_six_digits_are_two_groups_with_a_name_each() -> None:
    """Pooled they would be four seeds of one; a rate that is like no other stays short."""
    rates = (0.31622776, 0.316228, 1e-5)
    found = compared(*(scored([1.0, 2.0], learning_rate=rate) for rate in rates))
    assert [(group.label, group.seeds) for group in found.groups] == [
        (f"ppo learning_rate {rate}", {"hopper": (0, 1)})
        for rate in ("0.31622776", "0.316228", "1e-05")
    ]


def test_a_clear_difference_is_shown() -> None:
    found = compared(*APART)
    (test,) = found.tests
    assert (test.higher, test.lower, test.difference, test.shown) == ("dnc", "ppo", 10.0, True)
    assert test.interval is not None
    assert test.interval.low > 0
    assert test.p_value == test.p_holm  # a single test needs no correction
    assert found.verdicts == ["hopper: dnc is above ppo"]


def test_what_may_be_chance_is_no_winner() -> None:
    """The means differ, and that is all."""
    found = compared(*ALIKE)
    (test,) = found.tests
    assert test.difference > 0
    assert not test.shown
    assert found.verdicts == ["hopper: no difference shown"]


def test_the_correction_counts_every_test_that_is_made() -> None:
    """Alone dnc's lead, t(7.3) = 2.4 / sqrt(0.76), has p = 0.027; a third group makes 3 tests."""
    pair = scored([10.0, 11.0, 12.0, 13.0, 14.0]), scored([13.0, 14.0, 15.0, 16.0, 14.0], "dnc")
    alone = compared(*pair)
    (p_value,) = (test.p_value for test in alone.tests)
    assert p_value == pytest.approx(0.0273, abs=1e-4)
    assert alone.tests[0].shown
    third = scored([12.0, 12.5, 13.0, 13.5, 14.0], "dppo")
    among = compared(*pair, third)
    assert [
        test.p_value for test in among.tests if {test.higher, test.lower} == {"dnc", "ppo"}
    ] == [p_value]
    assert not any(test.shown for test in among.tests)
    assert compared(*pair, third, against="ppo").tests[0].p_holm == pytest.approx(2 * p_value)


def test_the_correction_runs_over_tasks_too() -> None:
    x, y = APART
    ant = scored([5.0, 6.0, 7.0]), scored([5.0, 6.5, 7.0], method="dnc")
    ant = tuple([run.__class__(**{**vars(run), "task": "ant"}) for run in g] for g in ant)
    hopper, other = compared(x, y, *ant).tests
    assert hopper.p_holm == pytest.approx(2 * (hopper.p_value or 0))
    assert (hopper.shown, other.shown) == (True, False)


def test_shown_agrees_with_the_interval_and_with_holm() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(40):
        groups = [
            scored(list(rng.normal(10 + rng.uniform(0, 3), 1, 4)), method)
            for method in ("ppo", "dnc", "dppo")
        ]
        for test in compared(*groups, resamples=100).tests:
            assert test.interval is not None
            assert test.p_holm is not None
            assert test.shown == (test.interval.low > 0) == (test.p_holm < 0.05)
            seen.add(test.shown)
    assert seen == {True, False}


def test_over_tasks_scores_are_divided_by_the_best_groups_mean() -> None:
    found = compared(
        scored([50.0, 50.0]), scored([100.0, 100.0], "dnc"),
        scored([3.0, 3.0], task="ant"), scored([1.5, 1.5], "dnc", task="ant"),
    )  # fmt: skip
    assert found.scale == {"hopper": 100.0, "ant": 3.0}
    assert {row.group: row.mean for row in found.overall} == {"ppo": 0.75, "dnc": 0.75}
    assert "best group" in found.normalisation


def test_without_a_positive_best_nothing_is_put_together() -> None:
    found = compared(scored([-5.0, -4.0]), scored([1.0, 2.0], task="ant"))
    assert (found.scale, found.overall, found.profiles) == (None, (), {})


def test_a_group_that_lacks_a_task_is_left_out_over_all_tasks_and_named() -> None:
    found = compared(
        scored([5.0, 6.0]), scored([5.0, 6.0], task="ant"), scored([5.0, 6.0], "dnc")
    )  # fmt: skip
    assert [row.group for row in found.overall] == ["ppo"]
    assert list(found.profiles) == ["ppo"]
    assert "dnc has no run on ant: not in what is over all tasks" in found.warnings


def test_improvement_is_of_the_likelier_group() -> None:
    (one,) = compared(*APART).improvements
    assert (one.x, one.y, one.probability) == ("dnc", "ppo", 1.0)


def test_profiles_begin_with_all_runs_and_end_with_none() -> None:
    for profile in compared(*ALIKE).profiles.values():
        assert (profile.share[0], profile.share[-1]) == (1.0, 0.0)


def test_few_seeds_and_unequal_ones_are_warned_of() -> None:
    warnings = compared(scored([1.0, 2.0]), scored([1.0, 2.0, 3.0], "dnc")).warnings
    assert warnings == (
        "hopper: unequal numbers of seeds: ppo 2, dnc 3",
        "hopper: 2 seeds, fewer than 5; only large differences can be shown",
    )
    assert compared(*APART).warnings == ()


def test_a_single_seed_is_never_tested() -> None:
    found = compared(scored([1.0]), scored([100.0], "dnc"))
    (test,) = found.tests
    assert (test.p_value, test.interval, test.shown) == (None, None, False)
    assert found.verdicts == ["hopper: no test is possible; more seeds are needed"]
    assert all(row.std is row.mean_ci is row.iqm_ci is None for row in found.summaries)


def test_seeds_without_spread_decide_nothing() -> None:
    (test,) = compared(scored([1.0, 1.0]), scored([2.0, 2.0], "dnc")).tests
    assert (test.p_value, test.shown) == (None, False)


def test_a_single_group_is_described_and_that_is_all() -> None:
    found = compared(APART[0])
    assert (found.tests, found.verdicts) == ((), [])
    assert found.warnings == (
        "all runs are of one group, ppo: there is nothing to compare it with",
    )


def test_against_a_group_leaves_the_other_pairs_out() -> None:
    third = scored([1.0, 2.0], "dppo")
    found = compared(*APART, third, against="ppo")
    assert [{test.higher, test.lower} for test in found.tests] == [{"ppo", "dnc"}, {"ppo", "dppo"}]
    with pytest.raises(UsageError, match="is no group of these: ppo; dnc; dppo"):
        compared(*APART, third, against="distral")


def test_a_seed_twice_is_an_error_that_names_both(tmp_path: Path) -> None:
    runs = [made(tmp_path / name, seed=3) for name in ("a", "b")]
    result = p2p("compare", *runs)
    assert result.exit_code == 2
    assert f"{runs[0]} and {runs[1]} are both seed 3 of p2pdrl on hopper" in result.stderr


def test_a_run_named_twice_counts_once(tmp_path: Path) -> None:
    run = made(tmp_path / "a")
    assert len(compare([run, tmp_path / "." / "a"]).runs) == 1


def test_a_runs_final_score_is_the_mean_over_its_peers(tmp_path: Path) -> None:
    (run,) = compare([RunFolder.open(made(tmp_path / "a", (10.0, 30.0)))]).runs
    assert run.score == 20.0


@pytest.mark.parametrize("steps", [None, 2048])
def test_a_run_that_is_not_finished_is_an_error(tmp_path: Path, steps: int | None) -> None:
    """Neither is one that was finished, and then continued and stopped."""
    run = make_run(tmp_path / "a", total_steps=4096)
    if steps is not None:
        RunFolder.open(run).save_result({"steps": steps, "scores": [{"mean": 1.0}]})
    result = p2p("compare", run)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {run} is not finished")
    assert "--resume" in result.stderr


def test_a_run_without_final_episodes_needs_an_evaluation(tmp_path: Path) -> None:
    run = made(tmp_path / "a", final_episodes=0)
    RunFolder.open(run).save_result({"steps": 4096, "scores": []})
    result = p2p("compare", run)
    assert result.exit_code == 2
    assert "give --eps-te" in result.stderr


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    result = p2p("compare", tmp_path)
    assert result.exit_code == 5
    assert str(tmp_path) in result.stderr


def test_the_helps_own_example_has_no_note(runs: list[Path], tmp_path: Path) -> None:
    """`runs/studies/fig4/*` meets the study's logs and tables, which are none of the user's."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "results.csv").write_text("run\n")
    result = p2p("compare", *runs, tmp_path / "logs", tmp_path / "results.csv", "--json")
    assert len(json.loads(result.stdout)["runs"]) == len(runs)
    assert result.stderr == ""


def test_what_is_left_of_a_run_is_noted(runs: list[Path], tmp_path: Path) -> None:
    """Its config.json is gone: that is not a folder of something else."""
    (tmp_path / "hurt").mkdir()
    (tmp_path / "hurt" / "journal.jsonl").write_text("")
    note = f"note: left out, no complete run folder (no config.json): {tmp_path / 'hurt'}\n"
    assert p2p("compare", *runs, tmp_path / "hurt").stderr == note


@pytest.mark.parametrize("steps", [None, 2048])
def test_beside_finished_runs_an_unfinished_one_is_left_out_with_a_note(
    runs: list[Path], tmp_path: Path, steps: int | None
) -> None:
    """A study that still runs can be compared so far."""
    half = make_run(tmp_path / "half", total_steps=4096, method="ppo", seed=9)
    if steps is not None:
        RunFolder.open(half).save_result({"steps": steps, "scores": [{"mean": 1.0}]})
    found = compare([*runs, half])
    assert [run.path for run in found.runs] == [str(run) for run in runs]
    assert f"left out, not finished: {half}" in found.notes
    assert f"note: left out, not finished: {half}" in p2p("compare", *runs, half).stdout


def test_in_test_domains_too_an_unfinished_run_is_left_out(tmp_path: Path) -> None:
    done, half = made(tmp_path / "a"), make_run(tmp_path / "b", seed=1)
    found = compare([done, half], 0.4, domains=2)
    assert [run.path for run in found.runs] == [str(done)]
    assert found.notes == (f"left out, not finished: {half}",)


def test_a_run_that_ended_without_a_score_is_left_out_with_what_to_do(runs: list[Path]) -> None:
    scoreless = make_run(runs[0].parent / "z", total_steps=4096, final_episodes=0)
    RunFolder.open(scoreless).save_result({"steps": 4096, "scores": []})
    (note,) = (note for note in compare([*runs, scoreless]).notes if str(scoreless) in note)
    assert note.startswith("left out, ended without a score; --eps-te evaluates them: ")


def test_nothing_is_said_from_one_seed() -> None:
    """P was 1.00, and the share of runs above a threshold 100 %."""
    found = compared(scored([5.0]), scored([100.0], "dnc"))
    (one,) = found.improvements
    assert (one.probability, one.interval, found.profiles) == (None, None, {})
    assert "hopper: nothing can be said from one seed, as of ppo, dnc" in found.warnings
    text = "\n".join(line.plain for line in render(found, 80))
    assert "probability of improvement: nothing can be said from one seed" in text
    assert "1.00" not in text
    found = compared(scored([1.0], "dppo"), *APART)
    assert [one.probability for one in found.improvements] == [None, None, 1.0]
    assert list(found.profiles) == ["ppo", "dnc"]


def test_test_domains_are_evals_own_and_run_once(tmp_path: Path) -> None:
    """The scores are those of `evaluate`; what it has kept is not run again."""
    runs = [make_run(tmp_path / str(s), seed=s, method="ppo") for s in range(2)]
    evaluated = evaluate(runs, 0.4, domains=3)
    reports: list[Any] = []
    found = compare(runs, 0.4, domains=3, report=reports.append)
    assert [run.score for run in found.runs] == [r.measured[0].score.mean for r in evaluated.runs]
    assert evaluated.runs[0].measured[0].set.hash in found.measure
    assert reports == []
    assert sum("is not finished" in warning for warning in found.warnings) == 2


def test_runs_that_may_only_be_read_are_compared_without_keeping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the option that does it."""
    run = make_run(tmp_path / "run")
    forbid_writing(monkeypatch, run)
    args = ("compare", run, "--eps-te", "0.5", "--domains", 2)
    refused = p2p(*args)
    assert (refused.exit_code, refused.stdout) == (6, "")
    assert "; --no-save (save=False) evaluates without keeping" in refused.stderr
    assert p2p(*args, "--no-save").exit_code == 0
    assert not (run / "eval.h5").exists()


def test_settings_of_test_domains_need_test_domains(tmp_path: Path) -> None:
    assert (
        "--no-save has no effect without test domains"
        in p2p("compare", made(tmp_path / "b"), "--no-save").stderr
    )
    result = p2p("compare", made(tmp_path / "a"), "--domains", 3)
    assert result.exit_code == 2
    assert "give --eps-te too" in result.stderr
    assert "one strength at a time" in p2p("compare", tmp_path / "a", "--eps-te", "0:1:0.5").stderr


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    levels = {"ppo": 100.0, "self-kl": 200.0}
    return [
        made(tmp_path / f"{method}-{seed}", (level + seed,), method=method, seed=seed)
        for method, level in levels.items()
        for seed in range(5)
    ]


def test_the_output_says_how_many_seeds_and_what_is_shown(runs: list[Path]) -> None:
    lines = p2p("compare", *runs).stdout.splitlines()
    assert lines[0].startswith("final score: mean action, nominal domain")
    (row,) = (line for line in lines if line.startswith("self-kl     "))
    assert row.split()[:4] == ["self-kl", "5", "202", "1.58"]
    (test,) = (line for line in lines if line.startswith("self-kl - ppo"))
    assert test.split()[3] == "100"
    assert test.endswith("yes")
    assert "hopper: self-kl is above ppo" in lines
    assert "Holm's correction for 1 test" in "\n".join(lines)
    assert "\n".join(lines).isascii()


def test_long_names_are_numbers_where_they_would_not_fit() -> None:
    """Every table fits 80 cells, and the numbers are explained."""
    x = list(np.arange(1000.0, 1005.0))
    pair = scored(x, learning_rate=1e-4), scored(x, learning_rate=3e-4)
    found = compared(*pair)
    wide, narrow = ([line.plain for line in render(found, width)] for width in (UNLIMITED, 80))
    assert max(map(len, narrow)) <= 80
    assert "#1: ppo learning_rate 0.0001" in narrow
    assert any(line.startswith("#1 - #2") for line in narrow)
    assert any(line.startswith("ppo learning_rate 0.0001 - ppo") for line in wide)


def test_json_and_h5_hold_the_same(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "all.h5"
    result = p2p("compare", *runs, "--json", "--out", out)
    found = json.loads(result.stdout)
    assert found["out"] == str(out)
    assert found["verdicts"] == ["hopper: self-kl is above ppo"]
    with h5py.File(out) as file:
        (test,) = found["tests"]
        assert file["tests/p_value"][0] == test["p_value"]
        assert [file[f"tests/interval_{end}"][0] for end in ("low", "high")] == test["interval"]
        assert list(file["runs/score"][:]) == [run["score"] for run in found["runs"]]
        assert list(file["summaries/group"].asstr()[:]) == ["ppo", "self-kl"]
        assert file["profiles/share"][1].tolist() == found["profiles"][1]["share"]
        assert json.loads(file.attrs["verdicts"]) == found["verdicts"]


def test_a_path_that_is_no_text_is_written_with_its_bytes_escaped(tmp_path: Path) -> None:
    run = scored([1.0])[0]
    found = compare_scores([replace(run, path=os.fsdecode(b"run-\xff"))], "a score")
    (tmp_path / "a.h5").write_bytes(encode(found))
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file["runs/path"].asstr()[:]) == ["run-\\udcff"]


def test_equal_runs_give_equal_bytes(runs: list[Path]) -> None:
    assert p2p("compare", *runs, "--json").stdout == p2p("compare", *runs, "--json").stdout


def test_the_figure_is_a_png(runs: list[Path], tmp_path: Path) -> None:
    result = p2p("compare", *runs, "--figure", tmp_path / "a.png")
    assert result.stdout.endswith(f"figure: {tmp_path / 'a.png'}\n")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_file_that_cannot_be_written_is_no_room(runs: list[Path], tmp_path: Path) -> None:
    result = p2p("compare", *runs, "--out", tmp_path / "nowhere" / "a.h5")
    assert result.exit_code == 6
    assert "name another with --out" in result.stderr
    assert result.stdout == p2p("compare", *runs).stdout  # what was found is shown first
