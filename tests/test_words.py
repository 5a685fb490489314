"""Numbers and names as people write them: on the command line, in files, in the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from p2p.analysis.evaluation.config import build_eval_config
from p2p.cli import main
from p2p.cli.main import COMMANDS, _import
from p2p.cli.options import WHOLE, WholeRange, configure
from p2p.core.config import TrainConfig, build_config, setting_names
from p2p.core.errors import UsageError
from p2p.core.foreign import COMMAND_LINE, FOREIGN
from p2p.core.numbers import duration_of, whole_number
from p2p.study import plan_study, read_study

MILLION = (
    "1e6",
    "1E6",
    "1M",
    "1m",
    "1_000_000",
    "1,000,000",
    "1000k",
    "0.001G",
    "1000000",
    "10.0e5",
)
NO_NUMBER = (
    "1.5",
    "0.0005k",
    "1e-1",
    "two",
    "",
    "1,00",
    "1__0",
    "0x10",
    "1e999",
    "inf",
    "nan",
    "1 M",
)


@pytest.mark.parametrize("text", MILLION)
def test_a_million_is_a_million_however_it_is_written(text: str) -> None:
    assert whole_number(text) == 1_000_000


@pytest.mark.parametrize("text", NO_NUMBER)
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a valid integer"):
        whole_number(text)


@given(st.integers(-(10**20), 10**20))
def test_no_digit_is_lost(number: int) -> None:
    """Through a float, 2**53 + 1 would be 2**53."""
    assert whole_number(str(number)) == whole_number(f"{number:,}") == number
    assert whole_number(f"{number:_}k") == 1000 * number


def integer_options() -> list[tuple[str, click.Option]]:
    commands = {name: _import(name) for name in COMMANDS}
    return [
        (name, param)
        for name, command in commands.items()
        for param in command.params
        if isinstance(param, click.Option) and param.type.name.startswith("integer")
    ]


def test_every_option_that_takes_a_whole_number_reads_it_alike() -> None:
    """Of all commands: `--workers 4` as well as `--total-steps 1e6`."""
    found = integer_options()
    assert len(found) > 30
    assert [
        f"{name} {option.opts}"
        for name, option in found
        if option.type is not WHOLE and not isinstance(option.type, WholeRange)
    ] == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400), ("90min", 5400), ("3h30m", 12600), ("1d12h", 129600), ("45s", 45),
        ("3:30:00", 12600), ("1-03:30:00", 99000),
    ],
)  # fmt: skip
def test_a_time_is_read_as_people_write_it(text: str, seconds: int) -> None:
    assert duration_of(text) == seconds


@pytest.mark.parametrize("text", ["", "120", "1:30", "0s", "3h 30m", "-5m", "1.5h", "3m2h"])
def test_what_could_be_another_time_is_refused(text: str) -> None:
    """Of 120, Slurm makes minutes and others seconds; its 1:30 is a minute and a half."""
    with pytest.raises(ValueError, match="is not a valid time; write 90m, 3h30m, 1d or 3:30:00"):
        duration_of(text)


@pytest.mark.parametrize("value", ["1e6", "1M", 1e6, 1_000_000])
def test_files_and_the_library_read_numbers_as_options_do(value: Any, tmp_path: Path) -> None:
    """1e6 in TOML is a float, and a text may have a unit; the config is the same."""
    expected = TrainConfig(total_steps=1_000_000)
    assert build_config(total_steps=value) == expected
    file = tmp_path / "run.toml"
    file.write_text(f"total_steps = {value!r}\n")
    assert configure({}, file) == expected
    study = tmp_path / "study.toml"
    study.write_text(f"[[grid]]\ntotal_steps = [{value!r}]\n")
    assert read_study(study).configs == (expected,)


@pytest.mark.parametrize("value", [1.5, "1.5"])
def test_a_fraction_is_refused_in_one_line(value: float | str) -> None:
    with pytest.raises(UsageError, match=r"total_steps='?1\.5'?: .*fractional part"):
        build_config(total_steps=value)
    with pytest.raises(UsageError, match=r"domains='?1\.5'?: .*fractional part"):
        build_eval_config(domains=value)


def error_of(*args: str) -> str:
    result = CliRunner().invoke(main.p2p, args)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("--lr 3e-4", "no option --lr: it is called --learning-rate here"),
        ("--gamma 0.9", "no option --gamma: it is called --discount here"),
        ("--n-epochs 4", "no option --n-epochs: it is called --num-epochs here"),
        ("--clip-range 0.1", "no option --clip-range: it is called --clip here"),
        ("--algo ppo", "no option --algo: it is called --method here"),
        ("--n-envs 8", "no option --n-envs: p2p has --envs-per-peer instead: "),
        ("--num_envs 8", "no option --num_envs: p2p has --envs-per-peer instead: "),
        ("--total-timesteps 9", "no option --total-timesteps: p2p has --total-steps instead: "),
        ("--batch-size 64", "no option --batch-size: p2p has --num-minibatches instead: "),
        ("--ent-coef 0", "no option --ent-coef: p2p has --entropy-coef instead: "),
        ("--device cuda", "no option --device: p2p trains on CPUs"),
        ("--total_steps 9", "no option --total_steps: write --total-steps"),
        ("--total-steps 1.5", "Invalid value for '--total-steps': '1.5' is not a valid integer: "),
    ],
)
def test_a_name_of_another_trainers_answers_with_ours(typed: str, answer: str) -> None:
    assert error_of("train", *typed.split()).startswith(f"error: {answer}")


def test_the_answer_is_one_of_that_command() -> None:
    """`--episodes` is eval's; what it has not is no answer."""
    assert "called --episodes here" in error_of("eval", "--n-eval-episodes", "5")
    assert "called --final-episodes here" in error_of("train", "--n-eval-episodes", "5")
    assert "p2p trains on CPUs" in error_of("eval", "--device", "cpu")
    assert "No such option '--lr'" in error_of("eval", "--lr", "1")
    assert "No such option '--env'" in error_of("eval", "--env", "ant")  # its --task loads code


def test_every_answer_exists() -> None:
    """Each of our names in the table is a setting or an option of train or eval."""
    options = {param.name for name in ("train", "eval") for param in _import(name).params}
    for foreign, found in FOREIGN.items():
        assert set(found.ours) <= options, foreign
        assert found.ours or found.unlike
        assert foreign in COMMAND_LINE or foreign not in setting_names()


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("gamma", "unknown setting 'gamma'; it is called 'discount' here"),
        ("peers", "unknown setting 'peers'; it is called 'num_peers' here"),
        ("batch_size", "unknown setting 'batch_size'; p2p has 'num_minibatches' instead: "),
        ("device", "unknown setting 'device'; p2p trains on CPUs"),
        ("eps_tra", "unknown setting 'eps_tra'; did you mean 'eps_tr'?"),
    ],
)
def test_library_and_files_answer_as_the_command_line_does(
    name: str, answer: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"^{answer}".replace("?", r"\?")):
        build_config(**{name: 1})
    if name in COMMAND_LINE:
        return
    file = tmp_path / "x.toml"
    file.write_text(f"{name} = 1\n")
    with pytest.raises(UsageError, match=f"x.toml: {answer}".replace("?", r"\?")):
        configure({}, file)
    file.write_text(f"[[grid]]\n{name} = 1\n")
    with pytest.raises(UsageError, match=f"x.toml: grid: {answer}".replace("?", r"\?")):
        read_study(file)


def test_a_study_takes_the_command_lines_short_names_and_means_the_same_runs(
    tmp_path: Path,
) -> None:
    """Names of runs and tables have the long ones: the same study written otherwise goes on."""
    texts = {
        "short": '[settings]\npeers = 4\n[[grid]]\nenv = ["ant", "hopper"]\n'
        "[grid.budget.small]\npeers = 2\n[budget.small]\nenv = 'ant'\n",
        "long": '[settings]\nnum_peers = 4\n[[grid]]\ntask = ["ant", "hopper"]\n'
        "[grid.budget.small]\nnum_peers = 2\n[budget.small]\ntask = 'ant'\n",
    }
    found = []
    for text in texts.values():
        file = tmp_path / "study.toml"
        file.write_text(text)
        study = read_study(file)
        found.append((study.configs, [run.name for run in plan_study(study, tmp_path).runs]))
    assert found[0] == found[1]
    assert found[0][0] == (TrainConfig(task="ant", num_peers=2),)


def test_a_file_of_settings_takes_the_short_names_too(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('env = "ant"\npeers = 4\n')
    assert configure({}, file) == TrainConfig(task="ant", num_peers=4)
    assert configure({"num_peers": 2}, file) == TrainConfig(task="ant", num_peers=2)


def test_one_setting_by_two_names_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text("[[grid]]\npeers = 2\nnum_peers = 4\n")
    with pytest.raises(UsageError, match="grid: peers and num_peers are the same setting"):
        read_study(file)
