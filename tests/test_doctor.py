"""`p2p doctor`: what it says of a machine, and what is wrong enough for exit code 1."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from p2p.cli import doctor_checks as checks
from p2p.cli.doctor import doctor
from p2p.core import machine
from p2p.core import platform as system


class Tried:
    """An attempt that is over; `result` is what it found."""

    found: tuple[bool | None, str] = (True, "")

    def __init__(self, code: str, **env: str) -> None:
        self.begun = 0.0

    def result(self) -> tuple[bool | None, str]:
        return self.found


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    """Start no processes, on a machine that nothing else uses."""
    monkeypatch.setattr(checks, "Attempt", Tried)
    monkeypatch.setattr(system, "load_average", lambda: 0.0)


def found(*args: str) -> tuple[int, dict[str, checks.Check]]:
    result = CliRunner().invoke(doctor, ["--json", *args])
    rows = [checks.Check(**row) for row in json.loads(result.stdout)["checks"]]
    assert json.loads(result.stdout)["ok"] == (result.exit_code == 0)
    return result.exit_code, {row.name: row for row in rows}


def test_this_machine_is_well():
    code, rows = found()
    assert code == 0
    assert "torch" in rows["versions"].found
    assert [row.name for row in rows.values() if row.state == "wrong"] == []


@pytest.mark.parametrize("columns", ["80", "200"])
def test_its_screen_fits_80_columns(monkeypatch, columns):
    """People paste it into issues; also with long advice."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(Tried, "found", (False, "ImportError: " + "a rather long complaint " * 9))
    monkeypatch.setattr(machine, "cpu_quota", lambda: 0.5)
    result = CliRunner().invoke(doctor, [])
    assert result.exit_code == 1
    assert max(map(len, result.stdout.splitlines())) <= 80
    names = [line[6:16].strip() for line in result.stdout.splitlines() if line[0] != " "]
    assert names[:3] == ["p2p", "versions", "cores"]


def test_a_package_that_is_missing_or_too_new_is_wrong(monkeypatch):
    versions = {"mujoco": "4.0.0", "torch": None}
    real = checks._version
    monkeypatch.setattr(checks, "_version", lambda name: versions.get(name, real(name)))
    code, rows = found()
    assert (code, rows["versions"].state) == (1, "wrong")
    assert "torch MISSING" in rows["versions"].found
    assert "'mujoco<4,>=3.8'" in rows["versions"].advice
    assert "'torch>=2.6'" in rows["versions"].advice


@pytest.mark.parametrize(
    ("requirement", "version", "met"),
    [
        ("x>=2.0", "2.0", True), ("x>=2.0", "1.26.4", False), ("x<4,>=3.8", "3.17.0", True),
        ("x<4,>=3.8", "4.0", False), ("x==1.2.3", "1.2.3+cpu", True), ("x", "0.1", True),
    ],
)  # fmt: skip
def test_requirements(monkeypatch, requirement, version, met):
    monkeypatch.setattr(checks, "_version", lambda name: version)
    assert checks._is_met(requirement) is met


def test_a_quota_below_the_cores_is_a_note_with_what_to_do(monkeypatch):
    monkeypatch.setattr(system, "usable_cores", lambda: set(range(8)))
    monkeypatch.setattr(machine, "cpu_quota", lambda: 2.5)
    code, rows = found()
    assert (code, rows["cores"].state) == (0, "note")
    assert "a quota of 2.5 cores" in rows["cores"].found
    assert "--peers 2" in rows["cores"].advice


@pytest.mark.parametrize(("free", "state"), [(None, "note"), (1000, "wrong"), (2**26, "ok")])
def test_shared_memory(monkeypatch, free, state):
    monkeypatch.setattr(system, "free_shared_memory", lambda: free)
    code, rows = found()
    assert rows["/dev/shm"].state == state
    assert code == (state == "wrong")


def test_rendering_is_not_needed_and_imports_are(monkeypatch):
    monkeypatch.setattr(Tried, "found", (False, "no EGL"))
    code, rows = found()
    assert (code, rows["rendering"].state, rows["imports"].state) == (1, "note", "wrong")
    assert "apt install" in rows["rendering"].advice


def test_no_folder_for_temporary_files_is_a_note(monkeypatch):
    def none_is_writable():
        raise FileNotFoundError

    monkeypatch.setattr(checks.tempfile, "gettempdir", none_is_writable)
    code, rows = found()
    assert (code, rows["temporary"].state) == (0, "note")


def test_extras_that_are_missing_are_named_with_their_purpose(monkeypatch):
    real = checks._is_met
    monkeypatch.setattr(checks, "_is_met", lambda text: "matplotlib" not in text and real(text))
    rows = found()[1]
    assert "figures (pictures" in rows["extras"].found
    assert "pip install 'p2pdrl[figures" in rows["extras"].advice
