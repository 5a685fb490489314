"""Slurm's commands, played: sbatch, srun, squeue, scontrol, sacct over a folder of files.

    python played_slurm.py COMMAND ARGS...

PLAYED_SLURM names the folder. A job waits there as `<array>_<index>.json`; with PLAYED_SLURM_RUNS
it is run at once, by processes of its own, and again if it is requeued meanwhile. What is in the
file `refuse` sbatch prints as its error; while there is a file `hang` it takes the job and hangs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(os.environ.get("PLAYED_SLURM", "."))


def write(job: str, **fields: object) -> dict[str, str]:
    file = HERE / f"{job}.json"
    kept = {**(json.loads(file.read_text()) if file.exists() else {}), **fields}
    new = file.with_suffix(".new")
    new.write_text(json.dumps(kept))
    new.replace(file)
    return kept


def sbatch(script: str) -> int:
    if (HERE / "refuse").exists():
        sys.stderr.write((HERE / "refuse").read_text())
        return 1
    text = Path(script).read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", text, re.MULTILINE))
    array = str(1 + len(list(HERE.glob("*.sh"))))
    (HERE / f"{array}.sh").write_text(text)
    last = int(options["array"].partition("%")[0].partition("-")[2])
    for index in range(last + 1):
        job = f"{array}_{index}"
        write(job, name=options["job-name"], state="PENDING", reason="Resources", pid="")
        if "PLAYED_SLURM_RUNS" in os.environ:
            environment = {
                **os.environ, "SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": str(index),
                "SLURM_JOB_ID": job, "SLURM_CPUS_PER_TASK": options["cpus-per-task"],
            }  # fmt: skip
            subprocess.Popen(
                [sys.executable, __file__, "run", job], env=environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
    while (HERE / "hang").exists():
        time.sleep(0.05)
    print("Submitted batch job", array)
    return 0


def run(job: str) -> int:
    """Run a job to its end, and as often as it is requeued."""
    array = job.partition("_")[0]
    while True:
        write(job, state="RUNNING", reason="None", requeue="")
        code = subprocess.call(["bash", str(HERE / f"{array}.sh")])
        if not write(job)["requeue"]:
            write(job, state="FAILED" if code else "COMPLETED")
            return code


def srun(*args: str) -> int:
    words = list(args)
    while words[0].startswith("-"):
        word = words.pop(0)
        if word == "--output":
            log = words.pop(0)
    array, index = os.environ["SLURM_ARRAY_JOB_ID"], os.environ["SLURM_ARRAY_TASK_ID"]
    path = log.replace("%A", array).replace("%a", index).replace("%t", "0")
    with Path(path).open("ab") as file:
        child = subprocess.Popen(words, stdout=file, stderr=file, process_group=0)
    write(f"{array}_{index}", pid=str(child.pid))
    return child.wait()


def squeue(*args: str) -> int:
    if (HERE / "down").exists():
        sys.stderr.write("slurm_load_jobs error: Unable to contact slurm controller\n")
        return 1
    names = args[args.index("-n") + 1].split(",")
    for file in sorted(HERE.glob("*_*.json")):
        job = json.loads(file.read_text())
        if job["name"] in names:
            print(f"{job['name']}|{file.stem}|{job['state']}|{job['reason']}")
    return 0


def scontrol(verb: str, job: str) -> int:
    assert verb == "requeue"
    write(job, requeue="yes")
    return 0


def sacct(*_: str) -> int:
    if not (HERE / "accounted").exists():
        sys.stderr.write("Slurm accounting storage is disabled\n")
        return 1
    print((HERE / "accounted").read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(globals()[sys.argv[1]](*sys.argv[2:]))
