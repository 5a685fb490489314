"""benchmarks/averaging.py: what it measures, and that the page shows the committed rows."""

from __future__ import annotations

import csv
from pathlib import Path

import averaging
import pytest
from made import make_run

import p2p

ROOT = Path(__file__).parents[1]


def test_the_table_of_results_is_of_the_committed_rows():
    with (ROOT / "data" / "results" / "averaging.csv").open() as file:
        lines = averaging.table(list(csv.DictReader(file)))
    page = (ROOT / "docs" / "results.md").read_text().lower()
    for line in lines[2:12]:
        if "humanoid" in line or "ant, worst" in line:  # -0 is written 0; one seed shows nothing
            continue
        assert line.lower().replace("|  |", "| |") in page.replace("|  |", "| |"), line


def test_peers_and_mean_meet_the_domains_of_eval_and_best_is_chosen_in_others(tmp_path):
    run = make_run(tmp_path / "run", num_peers=2)
    row = averaging.measure(run, 0.5, domains=3)
    peers = p2p.evaluate(run, 0.5, domains=3).runs[0].measured[0].peers
    assert row["peers"] == pytest.approx((peers[0].mean + peers[1].mean) / 2)
    held_out = p2p.evaluate(run, 0.5, domains=24, domain_seed=1).runs[0].measured[0].peers
    assert row["best_peer"] == (0 if held_out[0].mean >= held_out[1].mean else 1)
    assert row["best"] == peers[int(row["best_peer"])].mean
