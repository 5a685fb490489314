"""A disk that fails at any one call of a command: one line, old files whole, and again it works."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from faulty_disk import NOTHING, FaultyDisk
from made import make_finished
from made_curves import make_trained
from test_figures import write_tables
from test_full_disk import CODES, WHAT_TO_DO, no_power_cut  # noqa: F401
from test_study import PLAYED, study_file

from p2p import plots
from p2p.cli import main
from p2p.core.errors import NoRoom
from p2p.plots import curves
from p2p.report import run as report_run
from p2p.study import find_study, processes, read_study

OTHER = "name another with -o"
DONE: dict[tuple[str, str], Any] = {}
HARMLESS = ("mkdir", "ftruncate", "unlink")  # what is there, is given back, or is removed later


def p2p(*args: object) -> Result:
    return CliRunner().invoke(main.p2p, [str(arg) for arg in args])


def files(folder: Path, *suffixes: str) -> dict[str, bytes]:
    """Return what a command has written below a folder, hidden files too."""
    found = (f for f in folder.rglob("*") if f.is_file() and f.name != ".lock")
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in found
        if not suffixes or file.name.endswith((*suffixes, ".tmp"))
    }


class Attacked:
    """A command, and the files that it writes.

    Args:
        disk: the folder that fails.
        suffixes: of the files that count; none: all.
        advice: what it says then; empty: what fits the error.
        shows: it shows what it cannot keep, and that is no error.
    """

    def __init__(
        self, disk: Path, *args: object, suffixes: tuple[str, ...] = (), advice: str = "",
        shows: bool = False,
    ) -> None:  # fmt: skip
        self.disk, self.args, self.suffixes = disk, args, suffixes
        self.advice, self.shows = advice, shows
        done = p2p(*args)
        assert done.exit_code == 0, done.output
        self.whole = files(disk, *suffixes)
        assert self.whole

    def attack(self, code: int | None, numbers: Iterable[int], reset: Callable[[], object]) -> int:
        """Let each of its calls fail once; return how many there are."""
        for at in numbers:
            reset()
            before = files(self.disk, *self.suffixes)
            with pytest.MonkeyPatch.context() as patch:
                disk = FaultyDisk(patch, self.disk, at, code)
                done = p2p(*self.args)
            self.check(disk, done, before)
            again = p2p(*self.args)
            assert again.exit_code == 0, again.output
            assert files(self.disk, *self.suffixes) == self.whole, disk.calls[at:][:1]
            if not disk.reached:
                return len(disk.calls)
        raise AssertionError("no end")

    def check(self, disk: FaultyDisk, done: Result, before: dict[str, bytes]) -> None:
        """Check what it says, and that each of its files is the old one or the new one."""
        said = done.stderr.splitlines()
        if not disk.reached or disk.code is None:
            assert (done.exit_code, said) == (0, [])
        elif said == [] and done.exit_code == 0:
            assert disk.calls[disk.at] in HARMLESS
        else:
            assert len(said) == 1, done.stderr
            shown = self.shows and said[0].startswith("note: ")
            assert done.exit_code == (0 if shown else NoRoom.exit_code)
            assert shown or said[0].startswith("error: ")
            assert "cannot write " in said[0]
            assert str(self.disk) in said[0]
            assert f": {os.strerror(disk.code).lower()}; " in said[0]
            assert (self.advice or WHAT_TO_DO[disk.code]) in said[0]
        for name, data in files(self.disk, *self.suffixes).items():
            assert data in (before.get(name), self.whole.get(name)), name


def once(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Let a function do its work once: it takes seconds, and it is not what the disk meets."""
    real = getattr(module, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        key = name, args[-1] if isinstance(args[-1], str) else ""  # of the pictures: what kind
        if key not in DONE:
            DONE[key] = real(*args, **kwargs)
        return DONE[key]

    monkeypatch.setattr(module, name, call)


def nothing() -> None:
    pass


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_finished(tmp_path_factory.mktemp("made") / "run", num_peers=1)


def figures(tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Attacked, Any]:
    once(monkeypatch, plots, "draw")
    tables = write_tables(read_study(find_study("fig4")), tmp_path / "tables")
    out = tmp_path / "out"
    command = Attacked(out, "figures", "fig4", "--tables", tables, "--out", out)
    older = dict.fromkeys(command.whole, b"an older picture")

    def reset() -> None:
        for name, data in older.items():
            (out / name).write_bytes(data)

    return command, reset


def new_figures(tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Attacked, Any]:
    command, _ = figures(tmp_path, run, monkeypatch)
    return command, lambda: shutil.rmtree(command.disk)


def report(tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Attacked, Any]:
    once(monkeypatch, report_run, "run_page")
    made = make_trained(tmp_path / "trained")
    return Attacked(made, "report", made, "--frames", 0, suffixes=(".html",), advice=OTHER), nothing


def surface(tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Attacked, Any]:
    from p2p.analysis.surface import measure
    from p2p.plots import surface as pictures

    once(monkeypatch, measure, "find_surface")
    once(monkeypatch, pictures, "surface_figure")
    args = ("surface", run, "--grid", 3, "--domains", 1, "--workers", 1)
    suffixes, advice = (".h5", ".png", ".svg"), "it is shown, not kept"
    return Attacked(run, *args, suffixes=suffixes, advice=advice, shows=True), nothing


def plot(tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Attacked, Any]:
    once(monkeypatch, curves, "draw_curves")
    made, out = make_trained(tmp_path / "trained"), tmp_path / "out"
    out.mkdir()
    return Attacked(out, "plot", made, "-o", out / "curves", advice=OTHER), nothing


COMMANDS = {
    "figures": figures, "figures in a new folder": new_figures, "plot": plot,
    "report": report, "surface": surface,
}  # fmt: skip


@pytest.mark.parametrize("name", ["figures", "plot", "report", "surface"])
def test_a_command_that_writes_a_file_survives_a_full_disk(tmp_path, run, monkeypatch, name):
    command, reset = COMMANDS[name](tmp_path, run, monkeypatch)
    command.attack(errno.ENOSPC, range(NOTHING), reset)


@pytest.mark.chaos
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_writes_a_file_survives_a_failed_write(tmp_path, run, monkeypatch, name):
    command, reset = COMMANDS[name](tmp_path, run, monkeypatch)
    for code in CODES:
        calls = command.attack(code, range(NOTHING), reset)
        print(f"{name}: {calls} calls, each failed once")


class AttackedStudy(Attacked):
    """A study, whose runs are played, in other processes; it also saves its tables elsewhere."""

    def __init__(self, tmp_path: Path) -> None:
        file = study_file(tmp_path, 'task = "hopper"\nmethod = "ppo"\nseed = [0, 1]')
        here = tmp_path / "here"
        args = ("study", file, "--out", here / "out", "--save", here / "saved", "--plain")
        super().__init__(here, *args, suffixes=(".csv", "results.json"))

    def check(self, disk: FaultyDisk, done: Result, before: dict[str, bytes]) -> None:
        """A table that is written again later is a note; what ends the study is one line."""
        *notes, last = ["", *done.stderr.splitlines()]
        assert "Traceback" not in done.output
        if not disk.reached or disk.code is None:
            assert (done.exit_code, last) == (0, "")
        elif done.exit_code == 0:
            harmless = (*HARMLESS, "file")  # the log of a run, which nobody may need
            assert last.startswith("note: cannot write ") or disk.calls[disk.at] in harmless
        else:
            assert done.exit_code == NoRoom.exit_code, done.output
            assert last.startswith("error: ")
            assert f"{os.strerror(disk.code).lower()}; " in last
            assert str(self.disk) in last
            assert all(line.startswith("note: ") for line in notes[1:])
        assert not list(self.disk.rglob(".*.tmp"))


def attack_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None, numbers: Iterable[int]
) -> int:
    monkeypatch.setattr(processes, "COMMAND", PLAYED)
    command = AttackedStudy(tmp_path)
    return command.attack(code, numbers, lambda: shutil.rmtree(command.disk))


def test_a_study_goes_on_after_a_failed_write(tmp_path, monkeypatch):
    """At every fourteenth call; `tox -e chaos` takes every call."""
    attack_study(tmp_path, monkeypatch, errno.ENOSPC, range(2, NOTHING, 14))


@pytest.mark.chaos
@pytest.mark.timeout(0)
@pytest.mark.parametrize("code", CODES)
def test_a_study_goes_on_after_any_failed_write(tmp_path, monkeypatch, code):
    calls = attack_study(tmp_path, monkeypatch, code, range(NOTHING))
    print(f"{calls} calls, each failed once")
