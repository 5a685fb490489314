"""A study: a grid of runs, trained and tested side by side, and their results.

grid         reads a study file into settings
names        what its runs are called, and what identifies their settings
plan         gives each run a folder, and tells how far it has come
engine       where the runs are trained and tested: here, or on a cluster
schedule     trains and tests the runs on this machine, as many at a time as fit
processes    the runs' processes, as the scheduler sees them
run_process  the process of one run
slurm        submits the runs to a Slurm cluster, and looks what has become of them
slurm_job    the job of one run there
slurm_queue  what Slurm says of jobs
submissions  what a study's folder remembers of jobs
testing      tests a trained run in unseen domains
results      makes tables from finished runs
curves       makes training curves from their journals
measured     files in a run folder of what a study has measured
surfaces     measures return surfaces around a trained run's policies
saving       saves the tables, from which `saved` counts rows as done
"""

from p2p.study.curves import curves_csv
from p2p.study.engine import Engine, LocalEngine, Submitted
from p2p.study.grid import Study, find_study, read_study, shipped_studies
from p2p.study.names import config_hash
from p2p.study.plan import Plan, PlannedRun, State, plan_study
from p2p.study.results import Group, Results, collect_results
from p2p.study.saved import owner_of, tables_of
from p2p.study.schedule import find_capacity, run_study, seconds_left
from p2p.study.surfaces import surfaces_csv

__all__ = [
    "Engine",
    "Group",
    "LocalEngine",
    "Plan",
    "PlannedRun",
    "Results",
    "State",
    "Study",
    "Submitted",
    "collect_results",
    "config_hash",
    "curves_csv",
    "find_capacity",
    "find_study",
    "owner_of",
    "plan_study",
    "read_study",
    "run_study",
    "seconds_left",
    "shipped_studies",
    "surfaces_csv",
    "tables_of",
]
