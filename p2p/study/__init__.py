"""A study: a grid of runs, trained and tested side by side, and what came of them.

grid      a file becomes settings
plan      settings become runs, each with its folder
schedule  runs are trained and tested, as many at a time as fit, each by `run`'s process
testing   a trained run is tested in unseen domains
results   finished runs become tables
curves    their journals become training curves
"""

from p2p.study.curves import curves_csv
from p2p.study.grid import Study, find_study, read_study, shipped_studies
from p2p.study.plan import Plan, PlannedRun, State, plan_study
from p2p.study.results import Group, Results, collect_results
from p2p.study.schedule import find_room, run_study, seconds_left

__all__ = [
    "Group",
    "Plan",
    "PlannedRun",
    "Results",
    "State",
    "Study",
    "collect_results",
    "curves_csv",
    "find_room",
    "find_study",
    "plan_study",
    "read_study",
    "run_study",
    "seconds_left",
    "shipped_studies",
]
