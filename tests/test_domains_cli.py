"""`p2p domains` and `p2p env`: what they say of robots and of files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from p2p.cli.main import p2p
from p2p.envs.domain_file import from_tables
from p2p.envs.terms import TERMS
from p2p.envs.trial import try_factors


def run(*words: str, code: int = 0) -> str:
    """Return what a command printed, stderr behind stdout."""
    found = CliRunner().invoke(p2p, words)
    assert found.exit_code == code, found.output
    return found.output


GENERIC = {
    "mass": {"scale": 0.2}, "friction": {"scale": 0.5}, "damping": {"scale": 0.3},
    "armature": {"add": 0.01}, "force_limit": {"scale": 0.3}, "strength": {"scale": 0.2},
    "kp": {"scale": 0.2}, "stiffness": {"scale": 0.5},
}  # fmt: skip


def test_a_factor_that_changes_no_motion_is_named_with_its_reason():
    """HalfCheetah has springs but no force limit; its motors have no gain; Hopper has no spring."""
    found = {f.factor.name: f for f in try_factors("halfcheetah", from_tables(GENERIC, "generic"))}
    assert "no actuator has a force limit" in found["force_limit"].inert
    assert "torque motors" in found["kp"].problem
    assert [n for n, f in found.items() if f.inert or f.problem] == ["force_limit", "kp"]
    (springs,) = try_factors("hopper", from_tables({"stiffness": {"scale": 0.5}}, "springs"))
    assert springs.inert == "what it scales is 0 on this robot: use add"


def test_friction_that_another_geom_outranks_is_inert():
    """A contact takes the larger coefficient of its two geoms."""
    tables = {"floor": {"vary": "friction", "of": "floor", "scale": 0.1}}
    (found,) = try_factors("hopper", from_tables(tables, "floor"))
    assert "the larger friction of a contact's two geoms counts" in found.inert


def test_the_command_shows_factors_samples_and_verdicts(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text("[payload]\nvary = 'mass'\nof = 'torso'\nadd = [-1, 3]\n")
    said = run("domains", str(file), "--env", "hopper", "--eps", "0.5", "--sample", "3")
    assert "payload  mass  -0.500 to 1.50 kg" in said
    assert said.count("payload=") == 3
    assert "all change the motion" in said
    data = json.loads(run("domains", str(file), "--env", "hopper", "--sample", "2", "--json"))
    assert data["factors"][0]["range"] == [-1.0, 3.0]
    assert data["factors"][0]["nominal"][0] == pytest.approx(3.53, rel=0.2)
    assert len(data["samples"]) == 2


def test_what_a_robot_cannot_have_is_shown_beside_the_rest_and_is_an_error(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text("[mass]\nscale = 0.2\n[kp]\nscale = 0.2\n")
    said = run("domains", str(file), "--env", "hopper", code=2)
    assert "mass " in said
    assert "kp is refused: the actuators have no position gain" in said
    assert said.splitlines()[-1].startswith(f"error: {file}: [kp]: the actuators have no")


def test_the_catalogue_has_a_line_a_term_within_a_terminals_width():
    said = run("domains", "--terms")
    assert all(name in said for name in TERMS)
    names = [
        entry["name"]
        for line in [run("domains", "--terms", "--json")]
        for entry in json.loads(line)
    ]
    assert names == list(TERMS)


def test_env_describes_a_task():
    data = json.loads(run("env", "hopper", "--steps", "200", "--json"))
    assert data["observations"] == {"qpos": 5, "qvel": 6}
    assert data["obs_dim"] == 11
    assert data["reproducible"]
    assert data["share"] > 0
    assert "equal bits" in run("env", "hopper", "--steps", "200")
    assert "did you mean 'hopper'" in run("env", "hoper", code=2)
