"""Files of strangers: each kind that p2p reads, mutated, and read by all that reads it.

python tests/strangers.py --cases 100000 --seed 1 [--only journal,policy]

A case fails if what is raised is not one of p2p's own errors in one line, if it takes longer than
`PATIENCE` of the processor's time, grows the process by more than `ROOM`, loads code, or writes
outside the folder.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import hashlib
import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import mutations as m
import numpy as np
from made import make_finished

import p2p
from p2p.analysis.evaluation.file import EvalFile
from p2p.analysis.evaluation.kept import kept_evaluations
from p2p.analysis.gradient_variance.file import GradientFile, Key, Row
from p2p.analysis.learning import read_learning
from p2p.bench.measure import load_results
from p2p.cli.options import configure
from p2p.cohort.checks import check_resumable
from p2p.cohort.recorder import Recorder
from p2p.core.config import TrainConfig
from p2p.core.errors import P2PError
from p2p.core.reading import read_bytes
from p2p.envs.domain_file import read_domains
from p2p.peer.reports import split_by_peer
from p2p.plots.data import _curves, _read, _rows
from p2p.report.source import of_folder
from p2p.runs import RunFolder
from p2p.runs import checkpoint as ckpt
from p2p.runs.bundle import load_policy_or_bundle
from p2p.runs.initial import initial_state
from p2p.runs.listing import latest_run, list_runs
from p2p.runs.measures import measures
from p2p.runs.policies import load_milestone_policy
from p2p.study.grid import read_study
from p2p.study.plan import plan_study
from p2p.study.saved import Saved, measures_of
from p2p.study.testing import read_tests

PATIENCE = 5.0  # s of the processor
WAIT = 12.0  # times that on the clock: other work may have the processor
ROOM = 300 * 2**20  # bytes: of JSON a Python object takes up to thirty times the text
ROOT = Path(__file__).parents[1]


class Hang(BaseException):
    """A case takes longer than `PATIENCE`."""


class Target(NamedTuple):
    """A kind of file.

    Attributes:
        file: relative to the folder that holds all kinds.
        mutate: from a stream and the file's bytes.
        reads: what may be called, with the folder; a case is one of them.
        native: the library in C that reads it, which may hang or crash at bytes that p2p cannot
            check: each case is in a process of its own.
        trusted: the command line names it, and it may name code, as a program may.
    """

    file: str
    mutate: Callable[[random.Random, bytes], bytes]
    reads: tuple[Callable[[Path], object], ...]
    trusted: bool = False
    native: str = ""


def make_base(here: Path) -> None:
    """Make one file of each kind."""
    run = make_finished(here / "run", num_peers=2, test_every=4096)
    obs, actions = 11, 3
    with RunFolder.open(run) as folder:
        for n in range(10):
            folder.append(_record(n))
        tensors = {}
        for rank in range(2):
            policy = p2p.load_policy(run, rank)
            (run / f"policies/best-{rank}.safetensors").write_bytes(policy.to_bytes())
            tensors[f"peer{rank}.engine.actor"] = policy.actor
            tensors[f"peer{rank}.engine.critic"] = np.zeros(8 * (obs + 1) + 72 + 9, np.float32)
            tensors[f"peer{rank}.peer.return_moments"] = np.ones(3)
            tensors[f"peer{rank}.peer.obs_moments"] = np.ones(1 + 2 * obs)
        folder.save_checkpoint(10, tensors, {})
        scores = [
            {"peer": k, "mean": 1.5, "std": 0.5, "length": 3.0, "episodes": 2} for k in (0, 1)
        ]
        folder.save_result({"steps": folder.config.whole_steps, "seconds": 9.0, "scores": scores})
    p2p.evaluate(run, 0.5, domains=2, workers=1)
    GradientFile(run, 100).keep(
        {Key("sha", "{}", 0): Row(1, 2, *([0.5] * 6)), Key("b", "{}", 1): Row(2, 3, *([0.5] * 6))}
    )
    how = (
        p2p.EvalConfig(eps_te=(0.5,), domains=2).model_dump(mode="json")
        if hasattr(p2p, "EvalConfig")
        else {}
    )
    tests = [{"eps_te": 0.5, "hash": "x", "peers": [{"mean": 1.0, "worst": 0.5}] * 2}]
    (run / "evaluation.json").write_text(
        json.dumps(
            {"steps": folder.config.whole_steps, "config": how, "versions": {}, "tests": tests}
        )
    )
    (here / "domains.toml").write_text(m.toml_of(DOMAINS))
    (here / "study.toml").write_text(m.toml_of(STUDY))
    (here / "config.toml").write_text(m.toml_of(SETTINGS))
    (here / "tables").mkdir()
    for name in ("fig4", "fig4-curves"):
        lines = (ROOT / f"data/results/{name}.csv").read_text().splitlines()[:12]
        (here / f"tables/{name}.csv").write_text("\n".join(lines) + "\n")
    (here / "bench.json").write_bytes((ROOT / "data/results/bench.json").read_bytes())
    (here / "evil.py").write_text(f"import pathlib; pathlib.Path({str(here)!r}, 'LOADED').touch()")
    with suppress(ImportError, P2PError):
        p2p.export_policy(run, here / "bundle", peer="0", formats=["onnx"], domains=2, workers=1)
    assert actions == p2p.load_policy(run).action_dim


DOMAINS = {
    "mass": {"scale": 0.2},
    "payload": {"vary": "mass", "of": "torso", "add": [-1, 3]},
    "gains": {"vary": "strength", "scale": [0.8, 1.3], "each": True, "draw": "log-uniform"},
    "wind": {"add": {"low": -1.0, "high": 2.0}},
    "push": {"add": 5.0},
    "slope": {"add": 0.1, "axis": "x"},
}
STUDY = {
    "name": "s",
    "folder": "f",
    "settings": {"total_steps": 8192, "env": "hopper"},
    "grid": [
        {"method": ["dppo", "p2pdrl"], "seed": [0, 1], "budget": {"small": {"total_steps": 4096}}}
    ],
    "budget": {"small": {"num_peers": 2}, "large": {"num_peers": 4}},
    "evaluate": {
        "eps_te": "0:1:0.5",
        "domains": 3,
        "calm": {"eps_te": 1, "randomise": {"mass": {"scale": 0.1}}},
    },
}
SETTINGS = {
    "task": "hopper",
    "num_peers": 2,
    "hidden_sizes": [16, 16],
    "distill_coef": 0.5,
    "track": ["none"],
    "randomise": {"mass": {"scale": 0.1}},
    "learning_rate": 3e-4,
    "env_kwargs": {},
}


def _record(n: int) -> dict[str, Any]:
    peer = {
        "domain": "mass=1.1",
        "factors": {"mass": 1.1},
        "episodes": [[1.5, 7], [2.0, 9]],
        "unstable": 0,
        "reward_per_step": 0.5,
        "terminations_per_step": 0.01,
        "penalty_kl": None,
        "entropy": 1.5,
        "approx_kl": 0.01,
        "log_std": -0.7,
        "time": {"physics": 0.5, "waiting": 0.1},
        "rolled_back": False,
        "test": {"return": 5.0, "std": 1.0, "length": 3.0, "falls": 0.5, "seconds": 0.1},
        "grad_variance": {"log_variance": 1.0, "trace": 2.0, "snr": 3.0, "seconds": 0.1},
    }
    return {
        "iteration": n,
        "steps": 4096 * (n + 1),
        "seconds": 1.0,
        "elapsed": n + 1.0,
        "steps_per_second": 4096.0,
        "peers": [peer, peer],
    }


def _opened(here: Path) -> RunFolder:
    return RunFolder.open(here / "run")


def _load_and_act(here: Path) -> None:
    policy = p2p.load_policy(here / "run", 0)
    repr(policy)
    action = policy.act(np.zeros(policy.obs_dim))
    assert action.shape == (policy.action_dim,)
    policy.act(np.zeros((2, policy.obs_dim)), deterministic=False)
    policy.under(policy.normaliser)
    policy.to_bytes()


def _resume_state(here: Path) -> None:
    run = _opened(here)
    if found := run.load_checkpoint():
        split_by_peer(found.tensors, run.config.num_peers)


def _record_on(here: Path) -> None:
    run = _opened(here)
    Recorder(run, run.config, 10)


def _start_from(here: Path) -> None:
    config = TrainConfig(task="hopper", hidden_sizes=(8, 8), init_from=str(here / "run"))
    initial_state(config, 11, 3)


def _seal(inner: dict[str, Any], packed: bytes) -> None:
    """Put the checksum of a checkpoint's content into its head."""
    import safetensors.numpy

    inner.pop("sha256", None)
    inner["sha256"] = ckpt._digest(inner, safetensors.numpy.load(packed))


def _tables(here: Path) -> None:
    saved = Saved(here / "tables", "fig4")
    for row in saved.rows.values():
        measures_of(row)
    for name, read in (("fig4", _rows), ("fig4-curves", _curves)):
        path = here / f"tables/{name}.csv"
        read(_read(path), path)


def _toml(mutate: Callable[[], dict[str, Any]]) -> Callable[[random.Random, bytes], bytes]:
    def changed(rng: random.Random, data: bytes) -> bytes:
        if rng.random() < 0.25:
            return m.mutated_bytes(rng, data)
        tree = m.mutated_tree(rng, mutate())
        text = m.toml_of(tree if isinstance(tree, dict) else {"x": tree})
        return text.encode("utf-8", "surrogatepass")

    return changed


def _study(here: Path) -> None:
    study = read_study(here / "study.toml")
    plan_study(study, here / "runs-of-study", here / "tables")


def _run_reads() -> tuple[Callable[[Path], object], ...]:
    return (
        lambda here: repr(_opened(here)),
        lambda here: list_runs(here),
        lambda here: latest_run(here),
        lambda here: read_learning(here / "run"),
        lambda here: measures(_opened(here)),
        lambda here: check_resumable(here / "run", total_steps=10**6),
        lambda here: of_folder(here),
        lambda here: _opened(here).changed_versions(),
    )


def _bundle_reads(here: Path) -> None:
    policy = load_policy_or_bundle(here / "bundle")
    policy.act(np.zeros(policy.obs_dim))


def _resealed_bundle(here: Path) -> None:
    """Read a bundle whose graph was replaced by somebody who has put its hash beside it."""
    told = json.loads((here / "bundle/policy.json").read_bytes())
    with suppress(OSError):  # it is no file
        graph = read_bytes(here / "bundle/policy.onnx")
        told["files"]["policy.onnx"] = hashlib.sha256(graph).hexdigest()
        (here / "bundle/policy.json").write_text(json.dumps(told))
    _bundle_reads(here)


def _h5(here: Path) -> None:
    with _opened(here) as run:
        run.write_h5()


def _keep(here: Path) -> None:
    EvalFile(here / "run").keep({})


def _truncated(here: Path) -> None:
    with _opened(here) as run:
        run.truncate_journal(5)


def _milestone(here: Path) -> None:
    run = _opened(here)
    for path in run.milestones():
        load_milestone_policy(run, path)


def _tested(here: Path) -> None:
    from p2p.analysis.evaluation.config import EvalConfig

    run = _opened(here)
    found = read_tests(
        run.path, "", EvalConfig(eps_te=(0.5,), domains=2), run.config.whole_steps, any_version=True
    )
    measures(run, {"": found or []})


TARGETS = {
    "config": Target(
        "run/config.json", m.mutated_json, (*_run_reads(), _load_and_act, _start_from)
    ),
    "versions": Target("run/versions.json", m.mutated_json, _run_reads()),
    "result": Target("run/result.json", m.mutated_json, (*_run_reads(), _start_from)),
    "evaluation": Target("run/evaluation.json", m.mutated_json, (_tested, of_folder)),
    "journal": Target(
        "run/journal.jsonl",
        m.mutated_lines,
        (
            *_run_reads(),
            lambda here: _opened(here).records(),
            _h5,
            _record_on,
            _truncated,
            lambda here: _opened(here).journal.tail(0),
        ),
    ),
    "checkpoint": Target(
        "run/checkpoints/iteration-00000010.safetensors",
        lambda rng, data: m.mutated_tensors(rng, data, _seal),
        (_resume_state, _start_from),
    ),
    "milestone": Target(
        "run/milestones/iteration-00000005.safetensors",
        lambda rng, data: m.mutated_tensors(rng, data, _seal),
        (_milestone,),
    ),
    "policy": Target(
        "run/policies/peer-0.safetensors",
        m.mutated_tensors,
        (_load_and_act, _start_from, lambda here: kept_evaluations(_opened(here))),
    ),
    "eval": Target(
        "run/eval.h5",
        m.mutated_hdf5,
        (
            lambda here: EvalFile(here / "run").load(),
            lambda here: kept_evaluations(_opened(here)),
            _keep,
            of_folder,
        ),
        native="libhdf5",
    ),
    "grad-variance": Target(
        "run/grad-variance.h5",
        m.mutated_hdf5,
        (
            lambda here: GradientFile(here / "run", 100).load(),
            lambda here: GradientFile(here / "run", 100).keep({}),
        ),
        native="libhdf5",
    ),
    "domains": Target(
        "domains.toml", _toml(lambda: DOMAINS), (lambda here: read_domains(here / "domains.toml"),)
    ),
    "study": Target("study.toml", _toml(lambda: STUDY), (_study,), trusted=True),
    "settings": Target(
        "config.toml",
        _toml(lambda: SETTINGS),
        (lambda here: configure({}, here / "config.toml"),),
        trusted=True,
    ),
    "table": Target("tables/fig4.csv", m.mutated_table, (_tables,)),
    "curves": Target("tables/fig4-curves.csv", m.mutated_table, (_tables,)),
    "bench": Target(
        "bench.json", m.mutated_json, (lambda here: load_results(here / "bench.json"),)
    ),
    "bundle": Target("bundle/policy.json", m.mutated_json, (_bundle_reads,)),
    "onnx": Target("bundle/policy.onnx", m.mutated_bytes, (_resealed_bundle,)),
}


class Watch:
    """Notes, while it is on, what is written outside a folder, started or run."""

    STARTS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn")
    CHANGES = (
        "os.mkdir",
        "os.rename",
        "os.remove",
        "os.rmdir",
        "os.link",
        "os.symlink",
        "shutil.rmtree",
    )

    def __init__(self) -> None:
        self.inside: Path | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.inside is None:
            return
        if event in self.STARTS:
            self.seen.append(f"{event} {args!r:.100}")
        writes = (
            event == "open"
            and isinstance(args[2], int)
            and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        if (writes or event in self.CHANGES) and isinstance(args[0], str | bytes | os.PathLike):
            path = str(Path.cwd() / os.fsdecode(args[0]))
            if not path.startswith((str(self.inside), "/dev/null")):
                self.seen.append(f"{event} {path}")


@contextmanager
def alarm() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hang

    timers = (signal.SIGALRM, signal.ITIMER_REAL, WAIT), (signal.SIGPROF, signal.ITIMER_PROF, 1.0)
    before = [signal.signal(number, ring) for number, _, _ in timers]
    for _, timer, share in timers:
        signal.setitimer(timer, share * PATIENCE)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def fault_of(target: Target, call: Callable[[Path], object], here: Path, watch: Watch) -> str:
    """Return what is wrong with how a file is read; empty if nothing is."""
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watch.seen.clear()
    watch.inside = here
    try:
        with alarm():
            if not target.native:  # a hang that no signal ends
                faulthandler.dump_traceback_later(2 * WAIT * PATIENCE, exit=True)
            call(here)
    except P2PError:
        pass
    except Hang:
        watch.inside = None
        return "hang: " + "".join(traceback.format_exc().splitlines(keepends=True)[-7:-1])[-300:]
    except BaseException as error:
        last = [
            f
            for f in traceback.extract_tb(error.__traceback__)
            if "/p2p/" in f.filename or "/cli/" in f.filename
        ][-1:]
        where = f"{Path(last[0].filename).name}:{last[0].lineno}" if last else "?"
        return f"{type(error).__name__} at {where}: {str(error)!r:.120}"
    finally:
        watch.inside = None
        faulthandler.cancel_dump_traceback_later()
    if target.trusted:
        return ""
    if watch.seen:
        return f"did {watch.seen[0]}"
    if (here / "LOADED").exists():
        (here / "LOADED").unlink()
        return "loaded code"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown
    return f"grew by {grown >> 10} MiB" if grown * 1024 > ROOM else ""


def fault_apart(target: Target, call: Callable[[Path], object], here: Path, watch: Watch) -> str:
    """Return what `fault_of` does in a fork, or how that came to its end."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        os.write(write, fault_of(target, call, here, watch).encode(errors="replace"))
        os._exit(0)
    os.close(write)
    said = b""
    if select.select([read], [], [], 2 * WAIT * PATIENCE)[0]:
        said = os.read(read, 1 << 16)
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(read)
    _, status = os.waitpid(pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        return f"in {target.native}, {'hang' if code == -signal.SIGKILL else f'signal {-code}'}"
    return said.decode()


def fuzz(
    here: Path, cases: int, seed: int, only: tuple[str, ...] = ()
) -> dict[str, list[bytes | str]]:
    """Run `cases` cases on the files of `make_base`; return examples by fault."""
    watch = Watch()
    faults: dict[str, list[bytes | str]] = collections.defaultdict(list)
    rng = random.Random(seed)
    names = [name for name in only or TARGETS if (here / TARGETS[name].file).exists()]
    before = {
        name: (here / TARGETS[name].file).read_bytes()
        for name in TARGETS
        if (here / TARGETS[name].file).exists()
    }
    os.chdir(here)
    for name in names:
        for read in TARGETS[name].reads:
            read(here)  # nothing is wrong with the files as they are
            _restore(here, before, name)
    for number in range(cases):
        name = names[number % len(names)]
        target, path = TARGETS[name], here / TARGETS[name].file
        mutant: bytes | str
        if rng.random() < 0.03:
            path.unlink()
            m.misplaced(rng, path)
            mutant = "misplaced"
        else:
            mutant = target.mutate(rng, before[name])
            path.write_bytes(mutant)
        call = rng.choice(target.reads)
        look = fault_apart if target.native else fault_of
        if fault := look(target, call, here, watch):
            faults[f"{name}: {fault}"].append(mutant)
        _restore(here, before, name)
    return faults


def is_of_library(fault: str) -> bool:
    """Tell whether a library in C hangs or crashes; docs/reliability.md names what is known."""
    return ": in lib" in fault


def _restore(here: Path, before: dict[str, bytes], name: str) -> None:
    path = here / TARGETS[name].file
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    path.write_bytes(before[name])
    for stray in (here / "run").glob("*.rejected"):
        stray.unlink()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", type=Path, help="folder for an example of each fault")
    given = parser.parse_args()
    if given.keep:
        given.keep = given.keep.absolute()  # the working directory changes
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder).resolve()
        make_base(here)
        began = time.perf_counter()
        faults = fuzz(here, given.cases, given.seed, tuple(filter(None, given.only.split(","))))
        took = time.perf_counter() - began
        os.chdir("/")
    for fault, examples in sorted(faults.items(), key=lambda pair: -len(pair[1])):
        print(f"{len(examples):6}  {fault}")
    if given.keep:
        given.keep.mkdir(exist_ok=True)
        for n, (fault, examples) in enumerate(faults.items()):
            content = examples[0]
            (given.keep / f"{n}.txt").write_text(fault)
            (given.keep / f"{n}.bin").write_bytes(
                content if isinstance(content, bytes) else content.encode()
            )
    ours = {fault: found for fault, found in faults.items() if not is_of_library(fault)}
    failed = sum(map(len, ours.values()))
    print(
        f"{given.cases:,} cases in {took:.0f} s: {failed:,} failures of {len(ours)} kinds, "
        f"{sum(map(len, faults.values())) - failed:,} in libraries"
    )
    sys.exit(bool(ours))


if __name__ == "__main__":
    main()
