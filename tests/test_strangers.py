"""Files of strangers: whatever is in them is read, or refused in one line."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import mutations
import numpy as np
import pytest
import strangers
from made import make_run

import p2p
from p2p.analysis import hdf5
from p2p.analysis.evaluation.file import EvalFile
from p2p.cli.options import read_settings
from p2p.cohort.recorder import Recorder
from p2p.core import jit, reading
from p2p.core.config import TrainConfig
from p2p.core.errors import BadArtefact, P2PError, UsageError
from p2p.core.version import installed_version, p2p_version
from p2p.peer.peer import Peer
from p2p.policy.policy import Policy
from p2p.runs import RunFolder
from p2p.runs.journal import Journal

CASES = 400  # 5 s; `tox -e chaos` runs 100,000


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("strangers").resolve()
    strangers.make_base(here)
    return here


def _fuzz(base: Path, cases: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.chdir(base)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return dict(strangers.fuzz(base, cases, seed))


def test_no_mutation_of_a_file_ends_in_a_traceback_or_runs_code(base, monkeypatch):
    """Nor in a wait, in memory of its choice, or in files elsewhere."""
    assert list(_fuzz(base, CASES, 0, monkeypatch)) == []


@pytest.mark.chaos
@pytest.mark.timeout(0)
def test_none_of_many_mutations_does(base, monkeypatch):
    cases = int(os.environ.get("P2P_CASES", "100000"))
    found = _fuzz(base, cases, int(os.environ.get("P2P_SEED", "1")), monkeypatch)
    assert [fault for fault in found if not strangers.is_of_library(fault)] == []


def test_the_fuzzer_sees_faults(base, monkeypatch):
    """A reader that raises, waits, starts a program or writes elsewhere does not pass."""
    watch = strangers.Watch()
    monkeypatch.setattr(strangers, "PATIENCE", 0.2)
    target = strangers.TARGETS["config"]
    bad = {
        "KeyError": lambda here: {}["x"],
        "hang": lambda here: signal.pause(),
        "did os.system": lambda here: os.system("true"),
        "did open": lambda here: (here.parent / "outside").touch(),
        "loaded code": lambda here: (here / "LOADED").touch(),
    }
    for words, call in bad.items():
        assert words in strangers.fault_of(target, call, base, watch)
    assert strangers.fault_of(target, lambda here: None, base, watch) == ""


def test_a_pipe_or_a_device_is_no_file(tmp_path):
    """Reading them would wait, or never end."""
    run = make_run(tmp_path / "run", method="ppo")
    for name in ("config.json", "policies/peer-0.safetensors", "journal.jsonl"):
        path = run / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        with pytest.raises(BadArtefact, match="not a regular file"):
            read_json_of_run(run) if name == "config.json" else read(run, name)
        path.unlink()
        path.symlink_to("/dev/zero")
        with pytest.raises(BadArtefact, match="not a regular file"):
            read_json_of_run(run) if name == "config.json" else read(run, name)
        path.unlink()
        (run / "config.json").write_text(TrainConfig(method="ppo").model_dump_json())


def test_a_number_in_place_of_a_table_is_no_record(tmp_path):
    """A `test` of -0.7 ended a resumed run with an AttributeError."""
    path = tmp_path / "journal.jsonl"
    for name in ("test", "factors", "time", "grad_variance", "reward_terms"):
        for value in ("-0.7", "null", '"x"'):
            path.write_text(f'{{"iteration": 0, "peers": [{{"{name}": {value}}}]}}\n')
            with pytest.raises(BadArtefact, match="line 1 is not a record"):
                Journal(path).records()


def test_records_without_seconds_or_peers_are_recorded_on(tmp_path):
    """They ended a resumed run with a KeyError."""
    path = make_run(tmp_path / "run", method="ppo")
    lines = ['{"iteration": 0, "peers": []}', '{"iteration": 1, "seconds": null}']
    (path / "journal.jsonl").write_text("".join(f"{line}\n" for line in lines))
    run = RunFolder.open(path)
    recorder = Recorder(run, run.config, 2)
    assert (recorder.earlier_seconds, recorder.best.returns) == (0.0, {})


def test_a_study_reads_each_version_once(monkeypatch):
    """Metadata of a package takes milliseconds to parse: seconds, for hundreds of runs."""
    seen = []
    installed_version.cache_clear()
    monkeypatch.setattr("p2p.core.version.version", lambda name: seen.append(name) or "1")
    assert [installed_version("mujoco"), p2p_version(), p2p_version()] == ["1", "1", "1"]
    assert seen == ["mujoco", "p2pdrl"]
    installed_version.cache_clear()


def read_json_of_run(run: Path) -> None:
    RunFolder.open(run)


def read(run: Path, name: str) -> None:
    list(Journal(run / name).stream()) if "journal" in name else Policy.load(run / name)


def test_settings_come_through_a_pipe(tmp_path):
    """`--config <(...)` works; a pipe that nobody writes to is said so."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with subprocess.Popen(["sh", "-c", f"echo 'seed = 3' > {path}"]):
        assert reading.read_toml(path) == {"seed": 3}
    reading.PATIENCE, before = 0.1, reading.PATIENCE
    try:
        with pytest.raises(UsageError, match="a pipe that nobody writes to"):
            read_settings(path)
    finally:
        reading.PATIENCE = before


def test_hdf5_that_reaches_out_of_its_file_is_refused(tmp_path):
    """A link shows another file's data, a dataset claims terabytes without a byte of them."""
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = [1.0]
    raw = tmp_path / "raw"
    raw.write_bytes(b"\1" * 8)
    bad = {
        "link": lambda file: file.update(x=h5py.ExternalLink(str(secret), "/x")),
        "external": lambda file: file.create_dataset("x", (8,), "u1", external=[(str(raw), 0, 8)]),
        "huge": lambda file: file.create_dataset("x", (2**40,), "f8", chunks=(1024,)),
        "itself": lambda file: file.__setitem__("x", file["/"]),
    }
    for name, make in bad.items():
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            file.attrs["format"] = 1
            make(file)
        with pytest.raises(BadArtefact), hdf5.reading(path, 1, "read") as file:
            file["x"][:]


@pytest.mark.parametrize("damage", ["free", "dataset", "attribute"])
def test_strings_that_libhdf5_would_loop_at_or_take_gigabytes_for_are_refused(base, damage):
    """A free object of no size in their heap; a length of 2 GB, of one in a table or of a note."""
    data = bytearray((base / "run/eval.h5").read_bytes())
    heap = data.find(b"GCOL")
    with h5py.File(base / "run/eval.h5") as file:
        table = file["policies"].id.get_offset()
    if damage == "free":
        free = _free_object(data, heap)
        data[free + 8 : free + 16] = bytes(8)
    else:
        whose = [at for at in _holders(data, heap) if (at == table) == (damage == "dataset")]
        data[whose[0] + 3] = 0x7F
    here = base.parent / damage
    (here / "run").mkdir(parents=True)
    (here / "run/eval.h5").write_bytes(data)
    target, watch = strangers.TARGETS["eval"], strangers.Watch()
    fault = strangers.fault_apart(target, lambda here: EvalFile(here / "run").load(), here, watch)
    assert fault == ""
    with pytest.raises(BadArtefact, match="strings"):
        EvalFile(here / "run").load()


def _free_object(data: bytes, heap: int) -> int:
    at = heap + 16
    while index := int.from_bytes(data[at : at + 2], "little"):
        assert index < 1000
        size = int.from_bytes(data[at + 8 : at + 16], "little")
        at += 16 + (size + 7) // 8 * 8
    return at


def _holders(data: bytes, heap: int) -> list[int]:
    """Return where a string is held: its length, the heap, its number in it."""
    address = heap.to_bytes(8, "little")
    found = [at for at in range(4, len(data) - 8) if data[at : at + 8] == address]
    return [at - 4 for at in found if 0 < int.from_bytes(data[at - 4 : at], "little") < 1000]


def test_a_checkpoint_that_does_not_fit_is_one_line():
    """Its checksum may be right all the same."""
    peer = Peer.__new__(Peer)
    with pytest.raises(BadArtefact, match="does not fit this run"):
        peer.begin({"peer.iteration": np.zeros(2)})


def test_kernels_that_a_power_cut_has_damaged_are_compiled_anew(tmp_path):
    """Numba ends in a traceback at such a file, at every start."""
    kernel = "from p2p.core import jit\n@jit.kernel\ndef f(x): return x + 1\nprint(f(1))"
    script = tmp_path / "script.py"
    script.write_text(kernel)
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(script)], env=env, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
        (file,) = (tmp_path / "cache").rglob("*.nbi")
        sound = file.read_bytes()
        file.write_bytes(sound[:40])
    for damage in (b"", b"\0" * 300, sound[:-1]):
        file.write_bytes(damage)
        jit.drop_damaged(tmp_path)
        assert not file.exists()
    file.write_bytes(sound)
    jit.drop_damaged(tmp_path)
    assert file.exists()


def test_that_no_folder_keeps_the_kernels_is_said(monkeypatch, capsys):
    """'Once for this machine' was said at every start."""
    from p2p.cli import notices

    monkeypatch.setattr(jit, "_FOLDER", None)
    notices.say_if_compiling("fused")
    said = " ".join(capsys.readouterr().err.split())
    assert "at each start" in said
    assert "NUMBA_CACHE_DIR" in said


def test_a_runs_config_can_be_given_as_settings(tmp_path):
    """`--config RUN/config.json` was 'not TOML'."""
    config = TrainConfig(task="ant", method="dnc", seed=4, distill_every=7, hidden_sizes=(8, 8))
    with RunFolder.create(config, tmp_path / "run"):
        pass
    given = read_settings(tmp_path / "run" / "config.json")
    assert p2p.TrainConfig(**given) == config
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(UsageError, match="not JSON: not an object"):
        read_settings(tmp_path / "other.json")


def test_mutations_are_drawn_from_their_seed():
    tree = {"a": [1, {"b": None}], "c": "x"}
    one, other = (
        [mutations.mutated_json(random.Random(n), json.dumps(tree).encode()) for n in range(20)]
        for _ in range(2)
    )
    assert one == other
    assert len({*one}) > 10
    assert issubclass(BadArtefact, P2PError)
