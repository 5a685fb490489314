"""A study: a grid of runs, trained side by side, and what came of them.

grid      a file becomes settings
plan      settings become runs, each with its folder
schedule  runs are trained, `jobs` at a time, each by `run`'s process
results   finished runs become tables
"""

from p2p.study.grid import Study, find_study, read_study, shipped_studies
from p2p.study.plan import Plan, PlannedRun, State, plan_study
from p2p.study.results import Group, Results, collect_results
from p2p.study.schedule import default_jobs, run_study, seconds_left

__all__ = [
    "Group",
    "Plan",
    "PlannedRun",
    "Results",
    "State",
    "Study",
    "collect_results",
    "default_jobs",
    "find_study",
    "plan_study",
    "read_study",
    "run_study",
    "seconds_left",
    "shipped_studies",
]
