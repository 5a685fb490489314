"""MLflow, as its own environment variables say (MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, ...).

MLflow's client is used, without its state of a current run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Files need no server and no database; MLflow asks for this word of those who still use them.
os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from p2p.cohort.tracking.quantities import Values
from p2p.cohort.tracking.tracker import PROJECT, Job, Point, Status, Tracker

ENDS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
LAST = "speed/steps_per_second"  # logged after all others of its iteration
METRICS, PARAMS, LENGTH = 1000, 100, 6000  # the most in a request; the longest value
OTHERS = re.compile(r"[^\w\-./ :]")  # that names of metrics may not have
PASSWORD = re.compile(r"//[^/@]*@")  # in a URI: no file or screen should have it


class Run(Tracker):
    """A run of MLflow's."""

    def __init__(self, job: Job, identity: Mapping[str, Any], logged: int) -> None:
        uri = identity.get("tracking_uri") if "MLFLOW_TRACKING_URI" not in os.environ else None
        self._client = client = MlflowClient(uri or _default_uri())
        self._run = identity.get("run_id") or self._create(job)
        client.update_run(self._run, status="RUNNING")
        experiment = client.get_experiment(client.get_run(self._run).info.experiment_id)
        uri = PASSWORD.sub("//", client.tracking_uri)
        self.identity = {"run_id": self._run, "tracking_uri": uri}
        self.where = f"experiment {experiment.name} at {uri}"
        self._logged = self._iterations(job) if identity else 0
        self._steps = 0

    def _create(self, job: Job) -> str:
        client, own = self._client, os.environ
        experiment = own.get("MLFLOW_EXPERIMENT_ID")
        if experiment is None:
            name = own.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            found = client.get_experiment_by_name(name)
            experiment = found.experiment_id if found else client.create_experiment(name)
        name = own.get("MLFLOW_RUN_NAME", job.name)
        created: str = client.create_run(experiment, run_name=name).info.run_id
        params = [Param(k, str(v)[:LENGTH]) for k, v in job.settings.items()]
        for start in range(0, len(params), PARAMS):
            client.log_batch(created, params=params[start : start + PARAMS])
        client.log_batch(created, tags=[RunTag("p2p.run", job.run)])
        return created

    def _iterations(self, job: Job) -> int:
        """Return the iterations that MLflow itself has; it would show repeated ones twice."""
        try:
            history = self._client.get_metric_history(self._run, LAST)
        except MlflowException:  # of a run that was killed before its first iteration
            return 0
        size: int = job.settings["steps_per_iteration"]
        return int(max((metric.step for metric in history), default=0)) // size

    def first(self, done: int, logged: int) -> int:
        """Return the iteration after the last one that MLflow has."""
        return self._logged

    def log(self, points: Sequence[Point]) -> None:
        """Log all numbers, in as few requests as may be."""
        metrics = [metric for point in points for metric in _metrics(point)]
        for start in range(0, len(metrics), METRICS):
            self._client.log_batch(self._run, metrics=metrics[start : start + METRICS])
        self._logged, self._steps = points[-1].iteration + 1, points[-1].steps

    def finish(self, status: Status, summary: Values) -> None:
        """Log the final scores as metrics, and close the run."""
        for tag, value in summary.items():
            self._client.log_metric(self._run, _name(tag), value, step=self._steps)
        self._client.set_terminated(self._run, ENDS[status])


def _default_uri() -> str | None:
    """Return files in ./mlruns where MLflow's own default, SQLite, lacks its library."""
    if "MLFLOW_TRACKING_URI" in os.environ or find_spec("sqlalchemy") is not None:
        return None
    return (Path.cwd() / "mlruns").as_uri()


def _metrics(point: Point) -> Iterator[Metric]:
    for tag in sorted(point.values, key=lambda tag: tag == LAST):
        when = round(1000 * point.time)
        yield Metric(_name(tag), point.values[tag], when, point.steps)


def _name(tag: str) -> str:
    return OTHERS.sub("_", tag)
