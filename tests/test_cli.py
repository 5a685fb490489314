"""The command line: options, bad input, and how it ends."""

from __future__ import annotations

import errno
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from made import METHODS
from played import play

from p2p.cli import main
from p2p.cli.interrupt import interrupts
from p2p.cli.live.plain import PlainLines
from p2p.cli.options import fields
from p2p.cli.train import _show, train
from p2p.cohort import checks, cohort, launch
from p2p.cohort.events import Event, Iterated
from p2p.core import errors
from p2p.core.config import TrainConfig, build_config
from p2p.core.signals import StopSignals

P2P = [sys.executable, "-P", "-c", "from p2p.cli.main import main; main()"]
HEAVY = ("torch", "numpy", "mujoco", "numba", "gymnasium", "rich", "h5py", "multiprocessing")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Play every run; return what `cohort` was called with."""
    seen: list[dict[str, Any]] = []

    def train(config: TrainConfig, *, out: Path | None = None) -> Iterator[Event]:
        seen.append({"config": config, "out": out})
        return play(config)

    def resume(path: Path, **goal: int) -> Iterator[Event]:
        seen.append({"path": path, **goal})
        return play(TrainConfig(total_steps=3 * 4096), past=1)

    monkeypatch.setattr(cohort, "train", train)
    monkeypatch.setattr(cohort, "resume", resume)
    monkeypatch.setattr(checks, "check_resumable", lambda path, **goal: (None, TrainConfig()))
    monkeypatch.setattr(launch, "prepare", lambda engine: None)
    return seen


def p2p(*args: str | Path, **extra: Any) -> Result:
    return CliRunner().invoke(main.p2p, [str(arg) for arg in args], **extra)


def error_of(result: Result) -> str:
    """Return the one line on stderr that such a failure may print."""
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


# Options come from TrainConfig


@pytest.mark.parametrize("name", fields())
def test_every_setting_is_an_option_with_the_fields_own_words(name: str) -> None:
    """Each setting is written once: name, help and default are the field's."""
    (option,) = (o for o in train.params if o.name == name)
    field = fields()[name]
    assert isinstance(option, click.Option)
    assert option.help == field.description
    assert "--" + name.replace("_", "-") in option.opts
    if field.default_factory is None:
        assert option.default == field.default


@pytest.mark.parametrize(
    ("args", "name", "value"),
    [
        ("--env Humanoid-v5", "task", "humanoid"),
        ("--task ant", "task", "ant"),
        ("--peers 4", "num_peers", 4),
        ("--eps-tr 0.5", "eps_tr", 0.5),
        ("--total-steps 2_000_000", "total_steps", 2_000_000),
        ("--domain-schedule episode", "domain_schedule", "episode"),
        ("--no-scale-reward", "scale_reward", False),
        ("--value-clip", "value_clip", True),
        ("--hidden-sizes 32 16", "hidden_sizes", (32, 16)),
        ("--target-kl 0.02", "target_kl", 0.02),
        ("--steps-per-peer 960", "steps_per_peer", 960),
        ("--total-steps-per-peer 999", "total_steps_per_peer", 999),
    ],
)
def test_a_flag_sets_its_setting_and_no_other(
    calls: list[dict[str, Any]], args: str, name: str, value: Any
) -> None:
    assert p2p("train", *args.split()).exit_code == 0
    assert calls[0]["config"] == build_config(**{name: value})
    assert getattr(calls[0]["config"], name) == value


def test_defaults_that_depend_on_the_method_are_not_overridden_by_the_options(
    calls: list[dict[str, Any]],
) -> None:
    """`--method ppo` alone must mean one peer and PPO's learning rate."""
    p2p("train", "--method", "ppo")
    assert calls[0]["config"] == TrainConfig(method="ppo")


def test_flags_win_over_the_file_and_the_file_over_defaults(
    calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    file = tmp_path / "ant.toml"
    file.write_text('task = "ant"\nnum_peers = 4\nhidden_sizes = [32, 32]\nscale_reward = false\n')
    assert p2p("train", "--config", file, "--peers", "1", "--out", tmp_path / "r").exit_code == 0
    expected = TrainConfig(task="ant", num_peers=1, hidden_sizes=(32, 32), scale_reward=False)
    assert calls == [{"config": expected, "out": tmp_path / "r"}]


def test_a_flag_wins_over_the_file_that_counts_the_other_way(
    calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    file = tmp_path / "batch.toml"
    file.write_text("steps_per_iteration = 4096\n")
    assert p2p("train", "--config", file, "--steps-per-peer", "960").exit_code == 0
    assert calls[0]["config"] == TrainConfig(steps_per_peer=960)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("eps_tra = 0.3", "unknown setting 'eps_tra'; did you mean 'eps_tr'?"),
        ("env = 'ant'\ntask = 'ant'", "env and task are the same setting; give one of them"),
        ("gamma = 0.9", "unknown setting 'gamma'; it is called 'discount' here"),
        ("eps-tr = 0.3", "unknown setting 'eps-tr'; did you mean 'eps_tr'?"),
        ("clip = 'wide'", "clip='wide': input should be a valid number"),
        ("num_peers = 3", "num_peers=3 does not suit method 'ppo', which takes 1"),
        ("task = ", "not TOML: Invalid value (at end of document)"),
    ],
)
def test_a_fault_in_the_file_names_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    result = p2p("train", "--config", file, "--method", "ppo")
    assert result.exit_code == 2
    assert error_of(result).startswith(f"{file}: {message}")


def test_a_fault_in_a_flag_beside_a_sound_file_does_not_blame_the_file(tmp_path: Path) -> None:
    file = tmp_path / "good.toml"
    file.write_text("seed = 1\neps_tr = 0.3")
    result = p2p("train", "--config", file, "--eps-tr", "1.5")
    assert error_of(result) == "--eps-tr=1.5: input should be less than or equal to 1"


def test_methods_lists_the_defaults_that_a_run_has() -> None:
    """Each has one, with its source; what is printed is what TrainConfig gives."""
    listed = [json.loads(line) for line in p2p("methods", "--json").stdout.splitlines()]
    assert [row["method"] for row in listed] == list(METHODS)
    for row in listed:
        config = build_config(method=row["method"])
        for own in row["settings"]:
            assert own["default"] == config.get(own["setting"])
            assert own["source"]
        table = p2p("methods").stdout
        assert row["objective"] in table
        assert row["settings"][-1]["source"] in table


# Bad input: one line, exit 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("trian", "no command 'trian'; did you mean 'train'? known: train, "),
        ("resume runs/a", "no command 'resume'; did you mean 'train --resume RUN'? known: train, "),
        ("evaluate runs/a", "no command 'evaluate'; did you mean 'eval'? known: train, "),
        ("train hopper", "Got unexpected extra argument (hopper); a setting needs its name, as in"),
        ("train --env hoper", "unknown task 'hoper'; did you mean 'hopper'?"),
        ("train --method p2pdlr", "unknown method 'p2pdlr'; did you mean 'p2pdrl'?"),
        ("train --num-epoch 3", "No such option '--num-epoch'"),
        ("train --peers two", "Invalid value for '--peers' / '--num-peers': 'two' is not"),
        ("train --engine x", "Invalid value for '--engine': 'x' is not"),
        ("completion", "Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish (see"),
        ("train --peers 3", "--steps-per-iteration=4096 does not split over --peers=3"),
        ("train --total-steps 0", "--total-steps=0: input should be greater"),
        ("train --config nonesuch.toml", "cannot read --config nonesuch.toml: No such file"),
        ("train --resume r --total-steps 0", "--total-steps=0: input should be greater"),
        (
            "train --resume r --eps-tr 0.1 --out o",
            "--resume continues a run with its own settings and folder; it takes "
            "--total-steps (or --total-steps-per-peer), --track, --threads-per-peer, "
            "--max-restarts, --max-time, --json and --plain (and --task or --method, to name code "
            "of yours), not --eps-tr, --out",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    calls: list[dict[str, Any]], args: str, message: str
) -> None:
    result = p2p(*args.split())
    assert (result.exit_code, error_of(result)[: len(message)]) == (2, message)
    assert calls == []


@pytest.mark.parametrize("goal", ["total_steps", "total_steps_per_peer"])
def test_resume_passes_the_folder_and_the_new_goal_on(
    calls: list[dict[str, Any]], goal: str
) -> None:
    flag = "--" + goal.replace("_", "-")
    assert p2p("train", "--resume", "runs/a", flag, "99", "--json").exit_code == 0
    assert calls == [{"path": Path("runs/a"), goal: 99}]


def test_on_resume_only_the_run_can_tell_whether_two_goals_agree(
    calls: list[dict[str, Any]],
) -> None:
    """4 peers of 4096 steps make 16384; the default would be 2."""
    goals = {"total_steps": 16384, "total_steps_per_peer": 4096}
    args = [f"--{name.replace('_', '-')}={steps}" for name, steps in goals.items()]
    assert p2p("train", "--resume", "runs/a", *args).exit_code == 0
    assert calls == [{"path": Path("runs/a"), **goals}]


def test_json_has_stdout_to_itself_and_words_go_to_stderr(calls: list[dict[str, Any]]) -> None:
    result = p2p("train", "--total-steps", "4096", "--json")
    names = [json.loads(line)["event"] for line in result.stdout.splitlines()]
    assert names == ["started", "iteration", "checkpoint", "finished"]
    assert result.stderr == p2p("train", "--total-steps", "4096").stdout


# How it ends


@pytest.mark.parametrize(
    ("error", "code", "label"),
    [
        (errors.UsageError("why"), 2, "error"),
        (errors.Diverged("why"), 3, "error"),
        (errors.PeerLost("why"), 4, "error"),
        (errors.BadArtefact("why"), 5, "error"),
        (errors.NoRoom("why"), 6, "error"),
        (errors.Interrupted("why", 2), 130, "interrupted"),
        (errors.Interrupted("why", 15), 143, "interrupted"),
    ],
)
def test_an_error_ends_with_its_exit_code_and_one_line(
    calls: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    error: errors.P2PError,
    code: int,
    label: str,
) -> None:
    def fails(config: TrainConfig, *, out: Path | None = None) -> Iterator[Event]:
        yield from list(play(config))[:2]
        raise error

    monkeypatch.setattr(cohort, "train", fails)
    result = p2p("train", "--total-steps", "9000")
    assert (result.exit_code, result.stderr) == (code, f"{label}: why\n")


def test_the_error_line_is_red_on_a_terminal_only(calls: list[dict[str, Any]]) -> None:
    assert p2p("train", "--env", "x", color=True).stderr.startswith("\x1b[31merror: unknown task")
    assert p2p("train", "--env", "x", color=False).stderr.startswith("error: unknown task")


def test_an_unforeseen_exception_is_not_dressed_up(
    calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves as itself, so that Python prints a traceback and ends with 1."""

    def broken(config: TrainConfig, *, out: Path | None = None) -> Iterator[Event]:
        yield next(play(config))
        raise ZeroDivisionError

    monkeypatch.setattr(cohort, "train", broken)
    assert isinstance(p2p("train").exception, ZeroDivisionError)


def test_the_run_is_closed_even_if_a_view_fails(
    calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The traceback would keep the generator, and with it the peers, alive."""
    closed = []

    def watched(config: TrainConfig, *, out: Path | None = None) -> Iterator[Event]:
        try:
            yield Iterated({})  # before Started: no view can take this
        finally:
            closed.append(True)

    monkeypatch.setattr(cohort, "train", watched)
    result = p2p("train")
    assert (isinstance(result.exception, AttributeError), closed) == (True, [True])


def test_ctrl_c_before_the_run_takes_over_ends_with_130(
    calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(engine: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "prepare", interrupted)
    result = p2p("train")
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_ctrl_c_that_an_import_swallows_starts_no_run(
    calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupts, "received", True)
    result = p2p("train")
    assert (result.exit_code, result.stderr, calls) == (130, "interrupted\n", [])


class Unwritable(PlainLines):
    """A view whose output fails from the second event on."""

    def __init__(self, error: OSError) -> None:
        super().__init__(StringIO())
        self.error = error

    def iterated(self, event: Iterated) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), errors.Interrupted, "stopped after 1"),
        (
            OSError(errno.ENOSPC, "No space left"),
            errors.NoRoom,
            "cannot write the output: No space left; stopped after 1",
        ),
    ],
)
def test_a_run_whose_output_fails_is_asked_to_stop_and_not_killed(
    error: OSError, raised: type[errors.P2PError], message: str
) -> None:
    """It has the chance to write a checkpoint: it goes on until it says that it stopped."""

    def stoppable() -> Iterator[Event]:
        with StopSignals() as signals:
            for iteration, event in enumerate(play(TrainConfig())):
                yield event
                if signals.received == signal.SIGTERM:
                    raise errors.Interrupted(f"stopped after {iteration}", signals.received)

    with pytest.raises(raised) as stopped:
        _show(stoppable, [Unwritable(error)])
    assert str(stopped.value) == message


def test_an_output_that_fails_after_ctrl_c_is_no_second_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in `p2p train | tee log`, where Ctrl-C ends `tee` too: the checkpoint is still written."""
    monkeypatch.setattr("p2p.core.signals.ECHO", 0.0)
    monkeypatch.setattr("os._exit", lambda code: pytest.fail(f"left at once, with {code}"))

    def stoppable() -> Iterator[Event]:
        with StopSignals() as signals:
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.01)
            yield from play(TrainConfig())
            raise errors.Interrupted("a checkpoint was written", signals.received or 0)

    with pytest.raises(errors.Interrupted, match="a checkpoint was written"):
        _show(stoppable, [Unwritable(BrokenPipeError(errno.EPIPE, "Broken pipe"))])


# What needs a process of its own


def test_a_run_whose_reader_leaves_ends_resumable(tmp_path: Path) -> None:
    """`p2p train | head -1` must neither hang, nor print a traceback, nor lose the work."""
    quick = ["--engine", "autograd", "--num-epochs", "1"]  # nothing to compile first
    command = [*P2P, "train", "--out", str(tmp_path / "run"), *quick]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        words = process.stderr.read()
    assert first == "hopper, p2pdrl, 2 peers, eps_tr 0.2, seed 0\n", words
    assert process.returncode == 141, words  # 128 + SIGPIPE
    assert words.startswith("interrupted: stopped after iteration ")
    assert words.count("\n") == 1, words
    assert list((tmp_path / "run" / "checkpoints").glob("*.safetensors"))


def test_a_run_whose_terminal_hangs_up_ends_resumable(tmp_path: Path) -> None:
    """The live view cannot draw its last frame; that is not why the run ends."""
    master, slave = pty.openpty()
    quick = ["--engine", "autograd", "--num-epochs", "1"]  # nothing to compile first
    hears = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)"  # whoever started us
    code = [*P2P[:-1], f"{hears}; {P2P[-1]}", "train", "--out", str(tmp_path / "run"), *quick]
    env = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    words = tmp_path / "stderr"
    with (
        words.open("w") as stderr,
        subprocess.Popen(code, stdin=slave, stdout=slave, stderr=stderr, env=env) as process,
    ):
        os.close(slave)
        journal = tmp_path / "run" / "journal.jsonl"
        while not (journal.exists() and journal.stat().st_size):
            os.read(master, 65536)  # raises if the program ends before
        os.close(master)
        process.send_signal(signal.SIGHUP)
    (line,) = words.read_text().splitlines()
    assert line.startswith("interrupted: stopped after iteration ")
    assert process.returncode == 129
    assert list((tmp_path / "run" / "checkpoints").glob("*.safetensors"))


def test_a_terminal_that_is_gone_leaves_the_exit_code() -> None:
    """Nobody can be told what was wrong."""
    master, slave = pty.openpty()
    os.close(master)
    done = subprocess.run([*P2P, "trian"], stdout=slave, stderr=slave, check=False)
    os.close(slave)
    assert done.returncode == 2


@pytest.mark.parametrize("args", [[], ["--help"], ["train", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(args: list[str]) -> None:
    """`--help` takes 0.15-0.25 s, and torch alone would take a second more.

    The settings of each method are in its class, which imports numpy: `p2p train` needs it at once.
    """
    heavy = [name for name in HEAVY if args[:1] != ["train"] or name != "numpy"]
    code = (
        "import sys; from p2p.cli.main import p2p\n"
        f"try: p2p.main({args})\n"
        "except SystemExit as end: assert not end.code\n"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(("Usage: p2p", "p2p 0."))
    assert done.stderr == "[]\n"


def test_a_closed_stdout_is_no_error() -> None:
    """`p2p --help >&-` leaves Python without sys.stdout."""
    done = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *P2P, "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_that_an_import_turns_into_another_error_is_still_one_line() -> None:
    """Interrupted in the midst of its import, numpy ends with an AttributeError."""
    code = (
        "import signal; from p2p.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # may be ignored around us
        "def load(name):\n"
        "    try: signal.raise_signal(signal.SIGINT)\n"
        "    except KeyboardInterrupt: raise AttributeError('logical_or') from None\n"
        "main._import = load; main.main()"
    )
    command = [sys.executable, "-P", "-c", code, "methods"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_a_temporary_folder_may_be_too_deep_for_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    code = (
        "from p2p.cohort import launch; context = launch.start_server()\n"
        "started = context.Process(target=print, args=[1])"
        "; started.start(); started.join(); assert started.exitcode == 0"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env={**os.environ, "TMPDIR": str(deep)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
    assert list(deep.iterdir()) == []


def test_a_working_directory_that_is_gone_is_one_line_and_exit_2(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    leave = ["sh", "-c", 'rmdir "$0" && exec "$@"', str(here)]
    done = subprocess.run(
        [*leave, *P2P, "train", "--engine", "autograd"],
        cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == "error: the working directory is gone; change to one that exists\n"
    assert done.returncode == 2


@pytest.mark.parametrize(
    "args", [["methods"], ["--help"], ["train", "--help"], ["completion", "bash"]]
)
def test_a_full_disk_behind_stdout_is_one_line_and_exit_6(args: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*P2P, *args], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.stderr == b"error: cannot write the output: No space left on device\n"
    assert done.returncode == 6


# Completion and help


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(shell: str) -> None:
    result = p2p("completion", shell)
    assert result.exit_code == 0
    assert f"_P2P_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("p2p tr", ["train"]),
        ("p2p train --env h", ["halfcheetah", "hopper", "humanoid"]),
        ("p2p train --method p", ["p2pdrl", "ppo"]),
        ("p2p train --domain-schedule e", ["env", "episode"]),
        ("p2p train --normalise-o", ["--normalise-obs"]),
    ],
)
def test_values_are_completed(words: str, expected: list[str]) -> None:
    position = str(len(words.split()) - 1)
    env = {"_P2P_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": position}
    items = [line.split(",")[1] for line in p2p(env=env).stdout.splitlines()]
    assert sorted(items) == expected


def test_every_command_of_the_list_exists_and_has_help() -> None:
    """Commands are found by name when they are called; the list is all that `--help` loads."""
    for name in main.COMMANDS:
        assert p2p(name, "--help").stdout.startswith(f"Usage: p2p {name} ")
        assert name in p2p("--help").stdout


def test_name_names_the_folder_below_runs(calls: list[dict[str, Any]]) -> None:
    assert p2p("train", "--name", "first-try").exit_code == 0
    assert calls[0]["out"] == Path("runs/first-try")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--name a/b", "--name a/b must be the name of a folder: use letters"),
        ("--name .. ", "--name .. must be the name of a folder: use letters"),
        ("--name a --out b", "--name and --out both name the run's folder; give one of them"),
        ("--resume r --name a", "--resume continues a run with its own settings and folder"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(
    calls: list[dict[str, Any]], args: str, message: str
) -> None:
    result = p2p("train", *args.split())
    assert (result.exit_code, error_of(result)[: len(message)], calls) == (2, message, [])
