"""Every screen of every command fits the terminal: 80 columns, and 60 and 120.

The hardest content: long names of tasks and runs, 16 peers, numbers of six digits and below 0. A
path or a word that is longer than a line may pass its edge; nothing else may, and no word breaks.
"""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from click.testing import CliRunner
from made import make_run
from played import PlayedRun, play, record

from p2p.analysis.comparison.compare import compare_scores
from p2p.analysis.comparison.runs import ScoredRun
from p2p.analysis.evaluation.config import EvalConfig
from p2p.analysis.evaluation.domain_sets import Axis, DomainSet
from p2p.analysis.evaluation.results import EvaluatedRun, Evaluation, Measured
from p2p.analysis.gradient_variance.config import GradVarianceConfig
from p2p.analysis.gradient_variance.results import QUANTITIES, GradVariance, MeasuredRun
from p2p.analysis.surface.config import SurfaceConfig
from p2p.analysis.surface.results import Landscape, Mark, Surface
from p2p.cli import compare, eval_tables, grad_variance, main, study_views, surface
from p2p.cli.analysis import how_far, progress
from p2p.cli.live.console import LiveView
from p2p.cli.live.frame import render as render_frame
from p2p.cli.live.history import History
from p2p.cli.live.plain import PlainLines, _cells, _line
from p2p.cli.main import COMMANDS, _fail, _import
from p2p.cli.tables import print_lines
from p2p.cli.text.layout import command_lines, message_lines
from p2p.cli.text.terminal import UNLIMITED
from p2p.cli.train import _dispatch
from p2p.cohort.events import Started
from p2p.core.config import TrainConfig, stored_config
from p2p.envs.domain import Domain
from p2p.study import Group, LocalEngine, Plan, PlannedRun, Results, State
from p2p.study.grid import Study
from p2p.study.results import RunResult
from p2p.study.submissions import Submission

ROOT = Path(__file__).parents[1]
TASKS = ("gymnasium_robotics:AdroitHandDoor-v1", "path/to/go2_walk.py:Go2Walk", "halfcheetah")
FACTORS = ("payload_of_the_front_left_leg", "mass", "wind", "friction", "gravity", "kp", "delay")
WIDTHS = (60, 80, 120)
LONG_RUN = "runs/gymnasium_robotics-AdroitHandDoor-v1-p2pdrl-260101-120000"


class Terminal(StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


def on_terminal(width: int, action: Callable[[], object], monkeypatch: Any) -> str:
    """Return what an action leaves on stdout and stderr of a terminal, without escape codes."""
    for name, value in {"TERM": "xterm", "COLUMNS": str(width), "LINES": "40"}.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    with redirect_stdout(stream), redirect_stderr(stream):
        action()
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())


def check(text: str, width: int) -> None:
    """Fail if a line is wider than the terminal, unless it is one long word, or its label's."""
    assert text.strip()
    for line in text.replace("\r", "\n").splitlines():
        words = re.split(r"\s+", line.strip())
        longest = max(map(len, words))
        alone = len(words) <= 2 and longest > width - 20
        assert len(line) <= width or alone, f"{len(line)} > {width}: {line!r}"


def pieces() -> list[str]:
    return [*COMMANDS, "runs list", "runs rm"]


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("name", pieces())
def test_each_help_fits(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    result = CliRunner().invoke(main.p2p, [*name.split(), "--help"], terminal_width=width)
    assert result.exit_code == 0
    check(result.stdout, width)
    assert _import(name.split()[0]).get_short_help_str()


# Commands as they run


def made_runs(folder: Path) -> None:
    for n, task in enumerate(TASKS):
        name = f"{task.rpartition('/')[2]}-p2pdrl-K=16-learning_rate=0.0003-seed={n}"
        run = make_run(folder / "runs" / name, seed=n, task="hopper")
        text = (run / "config.json").read_text().replace('"hopper"', f'"{task}"')
        (run / "config.json").write_text(text)
    make_run(folder / "runs" / "studies" / "a-study-with-a-long-name" / "hopper-ppo-seed=0")


COMMAND_LINES = (
    "methods",
    "domains --terms",
    "domains table1 --sample 2",
    "env hopper --steps 20",
    "train --explain",
    "runs",
    "bench --from {root}/data/results/bench.json",
    "bench --from {root}/data/results/bench-methods.json",
    "bench --from {root}/data/results/bench-against.json",
    "train --env nonesuch",
    "train --batch-size 64",
    "train --peers 3",
    "train --resume runs/none --eps-tr 0.1 --out o",
    "study nonesuch",
    "trian",
    "eval nowhere",
    "compare nowhere",
    "figures learning --like fig4 --tables {root}/data/results",
    "figures fig9 --tables {root}/nowhere",
)


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_each_command_fits(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if line == "runs":
        made_runs(tmp_path)
    args = line.format(root=ROOT).split()
    for width in WIDTHS:
        text = on_terminal(width, lambda: main._run(cast(Any, main.p2p), args), monkeypatch)
        check(text, width)
        assert not re.search(r"^error: .*Traceback", text)


# Results, with numbers and names that are hard


def measured(one: DomainSet, peers: int, scale: float, key: int) -> Measured:
    shape = peers, len(one.domains), 1
    rng = np.random.default_rng(key)
    falls = rng.random(shape) < 0.5
    return Measured(one, scale * rng.standard_normal(shape), np.full(shape, 1000), falls, falls)


def drawn(eps: float) -> DomainSet:
    domains = tuple(Domain(mass=1.0 + eps * n / 20) for n in range(12))
    return DomainSet(f"eps_te {eps:g}", eps, domains, tuple(range(12)))


def swept(*factors: str) -> DomainSet:
    axes = tuple(Axis(f, tuple(float(n) for n in range(-4, 5)), 0.0, "N m/rad", f) for f in factors)
    domains = tuple(Domain(mass=1.0 + n / 1000) for n in range(9 ** len(factors)))
    return DomainSet(" x ".join(factors), 1.0, domains, (0,) * len(domains), axes)


def evaluation(sets: Sequence[DomainSet], runs: int = 1, **config: Any) -> Evaluation:
    found = tuple(
        EvaluatedRun(
            f"{LONG_RUN}-{n}", TASKS[n % len(TASKS)], "p2pdrl", n // 3, tuple(range(16)),
            {"eps_tr": 0.2, "learning_rate": 3e-4},
            tuple(measured(one, 16, -345678.0, n + k) for k, one in enumerate(sets)),
        )
        for n in range(runs)
    )  # fmt: skip
    return Evaluation(EvalConfig(**config), found, 123456, 123456000, 1234.5, 123456)


def a_comparison(tasks: Sequence[str], seeds: int, label: str) -> Any:
    runs = [
        ScoredRun(f"{LONG_RUN}-{n}-{m}", task, method, n, {label: rate}, -345678.0 - 1000 * n * m)
        for task in tasks
        for m, (method, rate) in enumerate([("p2pdrl", 3e-4), ("p2pdrl", 1e-4), ("ppo", 1e-4)])
        for n in range(seeds)
    ]
    return compare_scores(runs, "a score", [f"{LONG_RUN} is not finished"], [f"left: {LONG_RUN}"])


def a_variance(runs: int) -> GradVariance:
    values = np.full((11, 16, len(QUANTITIES)), -123456.789)
    steps = tuple(range(0, 11_000_000, 1_000_000))
    found = tuple(
        MeasuredRun(f"{LONG_RUN}-{n}", TASKS[n % 2], "p2pdrl", n, {"eps_tr": 0.2}, 5702,
                    tuple(range(0, 11)), steps, values + n)
        for n in range(runs)
    )  # fmt: skip
    return GradVariance(GradVarianceConfig(), found, 11, 123456, 12.3, 11)


def a_surface() -> Surface:
    axis = np.linspace(-123.4, 678.9, 15)
    lands = [
        Landscape(name, drawn(eps), np.random.default_rng(1).normal(-2e5, 1e5, (15, 15, 12)))
        for name, eps in (("train", 0.2), ("test", 0.5))
    ]
    marks = tuple(
        Mark(name, 123_456_789, 678.9, -123.4, -345678.0, -345678.0, -345678.0, -345678.0)
        for name in ("initial", "middle", "final")
    )
    cost = evaluation([drawn(0.2)])
    return Surface(SurfaceConfig(), Path(LONG_RUN), TASKS[0], "p2pdrl", 0, 0.2, axis, axis,
                   (lands[0], lands[1]), marks, np.array([]), cost)  # fmt: skip


RESULTS: dict[str, Callable[[int], list[Any]]] = {
    "eval": lambda w: eval_tables.render(evaluation([drawn(0.5)]), w),
    "eval-strengths": lambda w: eval_tables.render(evaluation([drawn(0.0), drawn(0.5)]), w),
    "eval-by-factor": lambda w: eval_tables.render(
        evaluation([swept(f) for f in FACTORS], by_factor=True), w
    ),
    "eval-grid": lambda w: eval_tables.render(
        evaluation([swept("wind", FACTORS[0])], grid=("wind", "mass")), w
    ),
    "eval-domain": lambda w: eval_tables.render(
        evaluation(
            [DomainSet("domain", None, (Domain(mass=1.0),), (0,))],
            domain=",".join(f"{name}=0.123456" for name in FACTORS),
        ), w,
    ),
    "eval-runs": lambda w: eval_tables.render(evaluation([drawn(0.0), drawn(1.0)], 9), w),
    "compare": lambda w: compare.render(a_comparison(TASKS[:1], 5, "learning_rate"), w),
    "compare-tasks": lambda w: compare.render(a_comparison(TASKS, 5, "learning_rate"), w),
    "compare-one-seed": lambda w: compare.render(a_comparison(TASKS[:2], 1, "distill_coef"), w),
    "grad-variance": lambda w: grad_variance.render(a_variance(1), w, braille=True),
    "grad-variance-runs": lambda w: grad_variance.render(a_variance(4), w, braille=True),
    "surface": lambda w: surface.render(a_surface(), w),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_each_result_fits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for width in WIDTHS[1:]:
        text = on_terminal(width, lambda: print_lines(RESULTS[name](width)), monkeypatch)  # noqa: B023
        check(text, width)


def test_what_is_piped_is_cut_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    """A row stays a row, however wide; so does a sentence."""
    for name, lines in RESULTS.items():
        print_lines(lines(UNLIMITED))
        text = capsys.readouterr().out
        assert "…" not in text, name
        if name == "eval-by-factor":
            assert all(factor in text.splitlines()[4] for factor in FACTORS)
        if name == "compare-tasks":
            assert f"note: left: {LONG_RUN}\n" in text


# Live views


def hard_config(peers: int = 16) -> TrainConfig:
    tables = {name: {"vary": "mass", "scale": 0.2} for name in FACTORS}
    return stored_config({
        "task": TASKS[0], "num_peers": peers, "total_steps": 123_456_789, "randomise": tables,
        "steps_per_iteration": 8192, "num_minibatches": 32, "seed": 123456,
    })  # fmt: skip


def hard_record(config: TrainConfig, iteration: int, seconds: float = 12.3) -> dict[str, Any]:
    """Return a record whose numbers are long and below 0."""
    one = record(config, iteration, seconds)
    for peer in one["peers"]:
        peer["factors"] = dict.fromkeys(FACTORS, -123.456)
        peer["episodes"] = [[-345678.9, 1000]]
        peer |= {"reward_per_step": -345.6, "penalty_kl": 123456.7, "entropy": -12.34}
        peer |= {"value_loss": 123456.7, "unstable": 12345, "clip_fraction": 1.0}
        peer["reward_terms"] = dict.fromkeys(("tracking_linear_velocity", "smooth", "alive"), -9.9)
    return one


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("height", [18, 40])
def test_each_frame_of_the_live_view_fits(width: int, height: int) -> None:
    config = hard_config()
    history = History(config)
    for n in range(3):
        history.add(hard_record(config, n))
    status = "saved up to iteration 123,456; Ctrl-C saves and stops; 123,456 unstable"
    lines = [line.plain for line in render_frame(history, LONG_RUN, status, width, height)]
    assert len(lines) <= height
    for line in lines[:-1]:
        assert len(line) <= width, line
    assert "seed 123456" in lines[0]
    assert lines[0].startswith(TASKS[0][:4])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("make", [PlainLines, lambda s: LiveView(s, "starting 16 peers")])
def test_what_a_run_leaves_on_the_screen_fits(
    make: Callable[[Any], Any], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(num_peers=16, total_steps=40 * 8192, steps_per_iteration=8192)

    def run() -> None:
        view = make(sys.stdout)
        with view:
            for event in play(config):
                if isinstance(event, Started):
                    event.notes.append("envs are reset " * 20)
                    event.run.path = Path(LONG_RUN)
                _dispatch(event, view)

    check(on_terminal(width, run, monkeypatch), width)


def test_plain_lines_with_long_numbers_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that is wider than its column takes from the gaps."""
    config = hard_config()

    def run() -> None:
        view = PlainLines(sys.stdout)
        played: Any = PlayedRun(config)
        view.started(Started(played, config, 0, []))
        for n in range(3):
            view._history.add(hard_record(config, n, seconds=1234.5))
        view._history.iterations = 12345
        view._print(_line(_cells(view._history), 80))

    check(on_terminal(80, run, monkeypatch), 80)


def a_plan(state: State) -> Plan:
    configs = tuple(hard_config().model_copy(update={"seed": n}) for n in range(9))
    runs = [
        PlannedRun(
            f"{LONG_RUN.removeprefix('runs/')}-K=16-lr=0.0003-seed={n}", config,
            Path(f"{LONG_RUN}-{n}"), state=state, steps=61_728_394, score=-345678.9,
            error="cannot write journal: no space left on device; make room there" * 2,
        )
        for n, config in enumerate(configs)
    ]  # fmt: skip
    for run in runs:
        run.recent.extend([12.3] * 5)
    file = Path("path/to/a/study/file/that/has/a/long/name.toml")
    return Plan(Study("a-study-with-a-long-name", configs, file), Path("runs/studies/long"), runs)


def study_results(plan: Plan) -> Results:
    settings = [
        {"task": task, "method": m, "num_peers": 16, "learning_rate": 3e-4, "distill_coef": 0.123}
        for task in TASKS
        for m in ("p2pdrl", "ppo")
    ]
    groups = [
        Group(one, name, 4, -345678.9, 12345.6, -456789.0, -234567.0)
        for one in settings
        for name in ("eps_te=0", "eps_te=0.5", "eps_te=1")
    ]
    rows = [RunResult("r", one, 0, {}, 1, 1.0, "", "", "") for one in settings]
    missing = [run.name for run in plan.runs]
    return Results("a-study", rows, groups, missing, missing)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("state", [State.RUNNING, State.FAILED, State.COMPLETE])
@pytest.mark.parametrize("kind", ["StudyLines", "StudyTable"])
def test_each_view_of_a_study_fits(
    kind: str, state: State, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalEngine, "seconds_left", lambda *_: 123456.0)

    def run() -> None:
        plan = a_plan(state)
        with getattr(study_views, kind)(sys.stdout, plan, LocalEngine()) as view:
            for one in plan.runs:
                one.state = State.WAITING
                view.changed(one)
                one.state = state
                view.changed(one)
        view.finished(study_results(plan), [plan.table, Path("data/results/tiny.csv")])

    check(on_terminal(width, run, monkeypatch), width)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ["StudyLines", "StudyTable"])
def test_each_view_of_a_study_on_a_cluster_fits(
    kind: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cluster(LocalEngine):
        stays, where = False, "each a job of Slurm's"

    def run() -> None:
        plan = a_plan(State.WAITING)
        for one, state in zip(plan.runs, itertools.cycle(State), strict=False):
            one.state, one.note = state, "job 12345678_123 on compute-node-with-a-long-name"
        with getattr(study_views, kind)(sys.stdout, plan, Cluster()) as view:
            for one in plan.runs:
                view.changed(one)
            runs = [one.name for one in plan.runs]
            view.submitted(Submission("p2p-tiny-12-abcdef", 12, 0.0, runs, "12345678"))

    check(on_terminal(width, run, monkeypatch), width)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_progress_bar_fits(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Now:
        done, total, steps, seconds, share = 123_456, 234_567, 123_456_789, 1234.5, 0.5

    def run() -> None:
        with progress("evaluating", how_far, plain=False) as report:
            report(cast(Any, Now()))

    check(on_terminal(width, run, monkeypatch), width)


# Messages, and commands to copy


def test_a_command_that_does_not_fit_is_copied_as_one() -> None:
    """A shell reads the lines as the command that it was, also with quoted words."""
    command = f"p2p train --resume '{LONG_RUN} (copy)' --total-steps 123456789"
    lines = command_lines(command, 80, "next   ")
    assert len(lines) == 3
    assert lines[0] == "next   p2p train --resume \\"
    typed = "\n".join(line[7:] for line in lines)
    shell = subprocess.run(
        ["bash", "-c", f"p2p() {{ printf '%s\\n' p2p \"$@\"; }}\n{typed}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shell.stdout.splitlines() == shlex.split(command)
    assert command_lines("p2p eval runs/a/*/", 12)[-1].strip() == "runs/a/*/"  # no quotes added


def test_a_message_has_its_command_on_a_line_of_its_own() -> None:
    said = "interrupted: stopped after iteration 12 of 245; continue with"
    command = "p2p train --resume runs/hopper-p2pdrl-260101-120000"
    assert message_lines(f"{said}: {command}", 80) == [f"{said}:", f"  {command}"]
    for name in set(COMMANDS) - {"completion"}:
        assert message_lines(f"{'x' * 50}: p2p {name} {'y' * 30}", 60)[1].startswith(
            f"  p2p {name}"
        )
    sentence = "no option --lr: p2p has another one"
    assert message_lines(sentence, 30) == ["no option --lr: p2p has", "another one"]
    assert message_lines(f"{said}: {command}", UNLIMITED) == [f"{said}: {command}"]


@pytest.mark.parametrize("width", WIDTHS)
def test_an_error_is_wrapped_on_a_terminal_and_a_line_in_a_pipe(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = f"{LONG_RUN} is not finished and has no final score; give --eps-te, or leave it out"
    check(on_terminal(width, lambda: _fail(message, 2), monkeypatch), width)
    _fail(message, 2)
    assert capsys.readouterr().err == f"error: {message}\n"


def test_scaling_keeps_the_numbers() -> None:
    """The hard numbers above are really shown: six digits, below 0."""
    text = "\n".join(line.plain for line in RESULTS["compare"](80))
    assert "-345678" in text
