"""The engine of Slurm clusters, through submitit: a job a run, one array a submission.

A call looks what has become of the runs and submits those that are neither complete, nor queued,
nor failed; then it returns. Nothing of it has to live on: a run's job knows what to do
(`p2p.study.slurm_job`), and what there is to know afterwards is in the run folders, in `slurm/`
beside them (`p2p.study.submissions`) and in Slurm's queue.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.core.errors import P2PError, UsageError
from p2p.core.names import did_you_mean
from p2p.runs import RunFolder
from p2p.runs.lock import FolderLock
from p2p.study.plan import RECENT, Plan, PlannedRun, State
from p2p.study.schedule import Capacity, typical_seconds
from p2p.study.slurm_queue import RUNNING, Job, ask_slurm
from p2p.study.submissions import Status, Submission, Submissions, stored_sources

if TYPE_CHECKING:
    from submitit import SlurmExecutor

LARGEST_ARRAY = 1000  # jobs; Slurm's own default of MaxArraySize is one more
NOTICE = 90  # s, before the end of a job's time: submitit's own
COMMAND = [sys.executable, "-P", "-m", "p2p.study.slurm_job"]
LISTS = ("setup", "teardown", "srun_args")  # parameters that are given once for each of their items
OURS = {  # parameters that are not --slurm's, with what is to be said of them
    "time": "give --time", "array_parallelism": "give --jobs", "job_name": "p2p names its jobs",
    "nodes": "a run's job has one node", "ntasks_per_node": "a run's job has one task",
    "use_srun": "without srun, notices of a time limit do not reach a run",
    "stderr_to_stdout": "a job has one log", "additional_parameters": "give each by its name",
    "num_gpus": "p2p uses no GPU",
}  # fmt: skip


class SlurmEngine:
    """A Slurm cluster, in whose queue each run is a job.

    Args:
        jobs: of each array at a time; None: as many as Slurm starts.
        time: limit of a job, s; None: the partition's.
        parameters: others, by submitit's names.
        retry: submit failed runs again, too.
        look_only: submit nothing.

    Raises:
        UsageError: submitit is not installed, or has no such parameter; this is no machine of a
            Slurm cluster.
    """

    stays = False
    where = "each a job of Slurm's"

    def __init__(
        self, jobs: int | None = None, time: int | None = None,
        parameters: Mapping[str, Any] | None = None, *, retry: bool = False,
        look_only: bool = False,
    ) -> None:  # fmt: skip
        self.jobs, self.time, self.retry, self.look_only = jobs, time, retry, look_only
        self.parameters = dict(parameters or {})
        self.submitted: list[Submission] = []
        check_parameters(self.parameters)
        notice = self.parameters.get("signal_delay_s", NOTICE)
        if time is not None and time <= notice:
            raise UsageError(
                f"--time {time}s is within the notice of its end, {notice} s; give a longer one, "
                "or a shorter notice: --slurm signal_delay_s=30"
            )
        if not look_only and _executor_class().affinity() < 0:
            raise UsageError("there is no srun here; submit from a machine of a Slurm cluster")

    def seconds_left(self, runs: Sequence[PlannedRun]) -> float | None:
        """Return None: nobody knows when Slurm starts a job."""

    def run(self, plan: Plan) -> Iterator[PlannedRun]:
        """Yield what has become of each run that was not complete; submit what is left.

        Raises:
            UsageError: another process runs this study in that folder.
            NoRoom: the folder cannot be written.
            P2PError: Slurm does not answer, or refuses the jobs.
        """
        submissions = Submissions(plan.out)
        if self.look_only:
            yield from look(plan, submissions)
            return
        submissions.make_folder()
        lock = FolderLock(plan.out)
        lock.acquire()
        try:
            yield from look(plan, submissions)
            yield from self._submit(plan, submissions)
        finally:
            lock.release()

    def _submit(self, plan: Plan, submissions: Submissions) -> Iterator[PlannedRun]:
        again = (State.WAITING, State.FAILED) if self.retry else (State.WAITING,)
        left = [run for run in plan.runs if run.state in again]
        number = max((one.number for one in submissions.all()), default=0)
        for cpus, runs in self._arrays(left):
            number += 1
            made = submissions.create(plan, runs, number)
            executor = self._executor(submissions.folder, made, cpus)
            job = submit(executor, submissions.file_of(made.name))
            self.submitted.append(submissions.note_job(made, job))
            for run in runs:
                run.state, run.error, run.exit_code = State.QUEUED, "", 0
                yield run

    def _arrays(self, runs: Sequence[PlannedRun]) -> Iterator[tuple[int, list[PlannedRun]]]:
        """Yield the CPUs of each array and its runs, the longest first: jobs of one are alike."""
        unlimited = Capacity(sys.maxsize, packed=False)
        by_size = sorted(runs, key=lambda run: (self._cpus(run), -typical_seconds(run, unlimited)))
        for cpus, group in groupby(by_size, self._cpus):
            alike = list(group)
            for first in range(0, len(alike), LARGEST_ARRAY):
                yield cpus, alike[first : first + LARGEST_ARRAY]

    def _cpus(self, run: PlannedRun) -> int:
        """Return how many CPUs a run's job asks for: one for each thread of each peer."""
        asked = self.parameters.get("cpus_per_task")
        return int(asked) if asked else run.config.num_peers * (run.config.threads_per_peer or 1)

    def _executor(self, folder: Path, made: Submission, cpus: int) -> SlurmExecutor:
        size = len(made.runs)
        given = {"wckey": None, "signal_delay_s": NOTICE, **self.parameters}
        # srun takes no number of CPUs from sbatch's options since Slurm 22.05
        given["srun_args"] = [f"--cpus-per-task={cpus}", *given.get("srun_args", ())]
        given |= {
            "job_name": made.name, "cpus_per_task": cpus, "array_parallelism": self.jobs or size,
            "time": None if self.time is None else _slurm_time(self.time),
            "stderr_to_stdout": True, "additional_parameters": {"requeue": True},
        }  # fmt: skip
        executor: SlurmExecutor = _executor_class()(folder)
        executor.update_parameters(**given)
        executor.parameters["map_count"] = size  # an array, of a single run too
        return executor


def read_parameters(given: Sequence[str]) -> dict[str, Any]:
    """Read KEY=VALUE: a whole number, true, or else text; those of `LISTS` add up.

    Raises:
        UsageError: one is not of this form, or is given twice.
    """
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = (part.strip() for part in text.partition("="))
        name = name.replace("-", "_")
        if not name or not equals or not value:
            raise UsageError(f"--slurm {text}: write KEY=VALUE, as in partition=cpu")
        if name in LISTS:
            found.setdefault(name, []).append(value)
        elif name in found:
            raise UsageError(f"--slurm {name} is given twice")
        else:
            found[name] = int(value) if value.isdecimal() else value if value != "true" else True
    return found


def check_parameters(given: Mapping[str, Any]) -> None:
    """Check that submitit has these parameters.

    Raises:
        UsageError: it has not, or is not installed.
    """
    known = sorted(_executor_class()._valid_parameters() - OURS.keys())
    for name, value in given.items():
        if name in OURS:
            raise UsageError(f"--slurm {name}: {OURS[name]}")
        if name not in known:
            raise UsageError(
                f"--slurm {name}: submitit has no such parameter{did_you_mean(name, known)}; "
                f"known: {', '.join(known)}; others are read from sbatch's environment, as in "
                "SBATCH_RESERVATION=NAME"
            )
        if name in ("cpus_per_task", "signal_delay_s") and not _is_count(value):
            raise UsageError(f"--slurm {name}={value}: give a whole number above 0")


def submit(executor: SlurmExecutor, submission: Path) -> str:
    """Submit an array, and return its id.

    The job is a plain command: submitit's own way, pickled functions, would leave jobs that find
    nothing to do if the submitter is killed before it has moved the pickles to their place.

    Raises:
        P2PError: Slurm refuses it.
    """
    from submitit.core.utils import FailedJobError

    words = [*COMMAND, str(submission.absolute()), json.dumps(stored_sources())]
    try:
        with redirect_stderr(StringIO()):  # which submitit writes sbatch's error to as well
            return str(executor._submit_command(shlex.join(words)).job_id)
    except (FailedJobError, OSError) as error:
        said = " ".join(str(error).split()).removeprefix("sbatch: error: ")
        raise P2PError(f"sbatch failed: {said}; these runs were not submitted") from None


def look(plan: Plan, submissions: Submissions) -> Iterator[PlannedRun]:
    """Set the state of each run that has a job; then yield all runs.

    Slurm is asked before the folders are read, so that a run that ends meanwhile is seen to.
    """
    last: dict[str, tuple[Submission, int]] = {}
    for one in submissions.all():
        last.update((run, (one, index)) for index, run in enumerate(one.runs))
    runs = [run for run in plan.runs if run.state is State.WAITING and run.name in last]
    jobs = ask_slurm([last[run.name] for run in runs])
    for run in runs:
        submission, index = last[run.name]
        status = submissions.status_of(run.name)
        if status is not None and status.submission != submission.name:
            status = None
        try:
            run.refresh()
        except P2PError as error:
            run.state, run.error, run.exit_code = State.FAILED, str(error), error.exit_code
        if run.state is State.WAITING:
            job = jobs.get((submission.name, index))
            judge(run, job, status, submissions.log_of(f"{submission.job}_{index}"))
    yield from plan.chosen


def judge(run: PlannedRun, job: Job | None, status: Status | None, log: Path) -> None:
    """Set the state of a run that is not complete.

    Args:
        job: as Slurm sees it; None if it no longer knows it.
        status: what the job itself has said; None if it has not begun.
        log: the job's log, if it has one.
    """
    if job is not None and not job.has_ended:
        _is_alive(run, job, status)
    elif status is not None and status.exit_code is not None:
        if 0 < status.exit_code < 128:  # else a signal, or what is asked of it has grown
            _has_failed(run, f"{status.error} (see {status.log})", status.exit_code)
    elif job is not None and job.state in ("FAILED", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"):
        _has_failed(run, f"Slurm says {job.state} (see {log})", P2PError.exit_code)
    elif job is None and status is None and log.exists():
        _has_failed(run, f"its job ended before it began (see {log})", P2PError.exit_code)


def _is_alive(run: PlannedRun, job: Job, status: Status | None) -> None:
    if job.state not in RUNNING:
        run.state, run.note = State.QUEUED, job.reason
        return
    begun = status is not None and status.exit_code is None
    run.state = State.TESTING if run.trained else State.RUNNING
    run.note = f"job {job.id}" + (f" on {status.host}" if status and begun else "")
    if run.steps and begun:
        records = RunFolder.open(run.path).journal.last(RECENT)
        run.recent.extend(record["seconds"] for record in records)


def _has_failed(run: PlannedRun, error: str, exit_code: int) -> None:
    run.state, run.error, run.exit_code = State.FAILED, error, exit_code


def _slurm_time(seconds: int) -> str:
    """Return a time as sbatch reads it; Slurm counts whole minutes, so that they are rounded up."""
    hours, minutes = divmod(-(-seconds // 60), 60)
    return f"{hours}:{minutes:02}:00"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _executor_class() -> Any:
    try:
        from submitit import SlurmExecutor
    except ImportError:
        raise UsageError(
            "--engine slurm needs submitit; install it with: pip install 'p2pdrl[slurm]'"
        ) from None
    return SlurmExecutor
