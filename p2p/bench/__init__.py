"""`p2p bench`: what the trainer costs on this machine, beside the limit.

The one limit that cannot be moved is `mj_step` in a bare loop. Everything that is compared is
measured in the same run, in turns (A B A B), so that a machine that slows down slows down
all of it; ratios are taken within a round, and what is reported is their median.
"""

from p2p.bench.measure import Measurement, Results, Spread, load_results
from p2p.bench.settings import PARTS, Settings
from p2p.bench.suite import run_bench

__all__ = [
    "PARTS",
    "Measurement",
    "Results",
    "Settings",
    "Spread",
    "load_results",
    "run_bench",
]
