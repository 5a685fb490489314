"""The verdicts on the paper's claims (benchmarks/claims.py) and the returns beside them."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import claims
import comparisons
import pytest
import returns
from click.testing import CliRunner

TASKS = {"hopper", "walker2d", "halfcheetah", "ant", "humanoid"}
REPOSITORY = Path(claims.__file__).parents[1]


def test_the_docs_have_the_tables_and_the_verdicts_of_the_committed_rows():
    page = (REPOSITORY / "docs/results.md").read_text()
    folder = REPOSITORY / "data/results"
    rows = comparisons.read(folder, "fig4")
    lines = returns.return_lines(rows)
    whole = claims.is_whole("fig4", rows)
    lines += [
        line for line in claims.fig4_lines(rows, whole=whole)
        if "described" not in line or line.startswith("| A2 |")
    ]  # fmt: skip
    fig4 = rows
    for study, setting in claims.CONFOUNDERS.items():
        rows = comparisons.read(folder, study)
        described = claims.confounder_lines(rows, setting, fig4 if study == "learning-rate" else ())
        pooled = [line for line in described if line.split(" | ")[1] not in TASKS]
        assert pooled
        lines += returns.return_lines(rows, [setting]) + pooled
    fig8a, diverged = (comparisons.read(folder, f"fig8a{end}") for end in ("", "-diverged"))
    lines += returns.return_lines(fig8a, returns.SETTINGS["fig8a"])
    fig7 = comparisons.read(folder, "fig7")
    lines += returns.return_lines(fig7, returns.SETTINGS["fig7"]) + claims.fig7_lines(fig7)
    whole = claims.is_whole("fig7", fig7) and claims.is_whole("fig8a", fig8a, diverged)
    lines += claims.a3_lines(fig7, fig8a, diverged, decides=whole)
    lines += claims.all_seeds_lines(fig8a, fig4)
    brakes = comparisons.read(folder, "brakes")
    lines += returns.return_lines(brakes, returns.SETTINGS["brakes"])
    known = [r for study in claims.BESIDE_BRAKES for r in comparisons.read(folder, study)]
    found = [(line, *line.split(" | ")[:2]) for line in claims.brakes_lines(brakes, known)]
    several = {name for _, name, where in found if where not in TASKS}
    lines += [line for line, name, where in found if where not in TASKS or name not in several]
    fig9 = comparisons.read(folder, "fig9")
    lines += returns.return_lines(fig9, returns.SETTINGS["fig9"])
    lines += claims.fig9_lines(fig9, decides=claims.is_whole("fig9", fig9))
    for study in ("fig2", "fig6"):
        rows = comparisons.read(folder, study)
        lines += returns.return_lines(rows, returns.SETTINGS[study])
    lines += claims.fig6_lines(rows)
    fig8bc, curves = (comparisons.read(folder, f"fig8bc{end}") for end in ("", "-curves"))
    lines += returns.return_lines(fig8bc, returns.SETTINGS["fig8bc"], curves)
    lines += claims.variance_lines(fig8bc, curves, decides=claims.is_whole("fig8bc", fig8bc))
    rates, curves = (comparisons.read(folder, f"variance-rate{end}") for end in ("", "-curves"))
    lines += returns.return_lines(rates, returns.SETTINGS["variance-rate"], curves)
    lines += claims.variance_rate_lines(rates, curves)
    assert [line for line in lines if line not in page] == []


MEASURES = [f"{test}eps_te={eps}" for test in ("", "dynamics:") for eps in comparisons.STRENGTHS]


def rows_of(method: str, mean: float, seeds: int = 8, **cells: str) -> list[dict[str, str]]:
    """Rows of a table whose scores lie about `mean`, 7 apart from seed to seed."""
    return [
        {"task": "hopper", "method": method, "seed": str(seed), "steps": "4000000", **cells}
        | dict.fromkeys([*MEASURES, "train"], str(mean + 7 * seed))
        for seed in range(seeds)
    ]  # fmt: skip


def save(rows: list[dict[str, str]], file: Path) -> None:
    with file.open("w", newline="") as lines:
        table = csv.DictWriter(lines, rows[0])
        table.writeheader()
        table.writerows(rows)


def verdicts(lines: list[str]) -> list[list[str]]:
    """Claim, where, against and verdict of each line."""
    return [[*cells[1:4], cells[-2]] for cells in (re.split(r" *\| *", line) for line in lines)]


def test_a_claim_is_shown_not_shown_or_its_opposite_is():
    """By 1000, by nothing and by -1000, beside a spread of 17; training within 5 % is as good."""
    rows = [
        *rows_of("p2pdrl", 3000), *rows_of("ppo", 2000), *rows_of("dppo", 3001),
        *rows_of("dnc", 4000),
    ]  # fmt: skip
    assert verdicts(claims.fig4_lines(rows)) == [
        ["A1", "hopper", "dnc", "**the opposite is shown**"],
        *(
            [claim, "hopper", method, said]
            for claim in ("A2", "A2, dynamics")
            for method, said in (
                ("ppo", "**shown**"), ("dppo", "not shown"),
                ("dnc", "**the opposite is shown**"),
            )
        ),
    ]  # fmt: skip
    close = [*rows_of("p2pdrl", 3000), *rows_of("ppo", 3001)]
    assert verdicts(claims.fig4_lines(close))[0] == ["A1", "hopper", "ppo", "**shown**: as good as"]


def test_a_task_that_is_not_whole_decides_nothing():
    """Nor does it show by what it has; a task that is whole is tested without it."""
    whole = [*rows_of("p2pdrl", 3000), *rows_of("ppo", 2000)]
    begun = [*rows_of("p2pdrl", 9000, task="ant"), *rows_of("ppo", 1, seeds=7, task="ant")]
    assert claims.fig4_lines(begun) == []
    assert claims.fig4_lines(whole + begun) == claims.fig4_lines(whole)


def test_verdicts_are_so_far_while_tasks_are_missing(tmp_path):
    """Two methods on Hopper are not the study's five on five tasks."""
    rows = [*rows_of("p2pdrl", 3000, version="1"), *rows_of("ppo", 2000, version="1")]
    save(rows, tmp_path / "fig4.csv")
    lines = CliRunner().invoke(claims.main, [str(tmp_path)]).output.splitlines()[2:]
    assert {said for *_, said in verdicts(lines)} == {"**shown**, so far"}


def test_the_rows_of_some_tasks_can_be_tested_alone(tmp_path):
    rows = [
        row
        for task, mean in (("hopper", 3000), ("ant", 1000))
        for row in (
            *rows_of("p2pdrl", mean, task=task, version="1"),
            *rows_of("ppo", 2000, task=task, version="1"),
        )
    ]
    save(rows, tmp_path / "fig4.csv")
    options = [str(tmp_path), "--tasks"]
    lines = CliRunner().invoke(claims.main, [*options, "hopper"]).output.splitlines()[2:]
    assert {tuple(cells[1:]) for cells in verdicts(lines)} == {
        ("hopper", "ppo", "**shown**, so far")
    }
    wrong = CliRunner().invoke(claims.main, [*options, "hoper"])
    assert (wrong.exit_code, "no rows of hoper" in wrong.output) == (1, True)


def test_one_task_where_it_is_worse_does_not_hide_among_the_others():
    """Over both tasks nothing is shown; each is described beside it, with its own interval."""
    rows = [
        *rows_of("p2pdrl", 3000), *rows_of("ppo", 2000),
        *rows_of("p2pdrl", 2000, task="ant"), *rows_of("ppo", 3000, task="ant"),
    ]  # fmt: skip
    found = verdicts(claims.fig4_lines(rows))
    assert ["A2", "hopper, ant", "ppo", "not shown"] in found
    assert ["A2", "ant", "ppo", "described"] in found
    assert sum(said == "described" for *_, said in found) == 4


def test_a3_is_corrected_for_all_its_comparisons():
    """Self-KL on Humanoid and two coefficients on Walker2d: three tests of one claim."""
    fig7 = [
        row
        for method, mean in (("p2pdrl", 3000), ("self-kl", 2990), ("ppo", 0))
        for row in rows_of(method, mean, task="humanoid")
    ]
    fig8a = rows_of("p2pdrl", 3000, task="walker2d")
    for coefficient, mean in (("0.01", 2000), ("1.0", 4000)):
        fig8a += rows_of("entropy", mean, entropy_coef=coefficient, task="walker2d")
    assert verdicts(claims.a3_lines(fig7, fig8a)) == [
        ["A3", "humanoid", "self-kl", "not shown"],
        ["A3", "walker2d", "entropy 0.01", "**shown**"],
        ["A3", "walker2d", "entropy 1.0", "**the opposite is shown**"],
    ]
    far = [{"entropy_coef": "1.0"}] * 3  # of which there may be other seeds, with rows
    assert verdicts(claims.a3_lines(fig7, fig8a, far))[1:] == [
        ["A3", "walker2d", "entropy 0.01", "**shown**"],
        ["A3", "walker2d", "entropy 1.0", "3 diverged"],
    ]
    alone = claims.a3_lines(fig7[:16], [])
    assert float(alone[0].split("|")[7]) == float(alone[0].split("|")[8])  # one test, uncorrected


def test_cohorts_are_compared_at_equal_steps_a_peer_and_in_all():
    rows = [
        *rows_of("p2pdrl", 100, num_peers="1", steps="2000000"),
        *rows_of("p2pdrl", 900, num_peers="4", steps="8000000"),
        *rows_of("p2pdrl", 500, num_peers="1"), *rows_of("p2pdrl", 500, num_peers="4"),
    ]  # fmt: skip
    assert verdicts(claims.fig9_lines(rows))[:2] == [
        ["cohort size", "ant, equal steps a peer", "K = 1, 2M steps", "**shown**"],
        ["cohort size", "ant, equal steps in all", "K = 1, 4M steps", "not shown"],
    ]
    near = rows_of("p2pdrl", 115, num_peers="4", steps="8000000")
    assert corrected(claims.fig9_lines([*rows[:8], *near, *rows[16:]])[:2])
    assert [found for *_, found in verdicts(claims.fig9_lines(rows))[2:]] == ["described"] * 6
    both = rows_of("p2pdrl", 600, num_peers="2")  # 4M steps in all, which are 2M a peer
    others = [line.split(" | ") for line in claims.fig9_lines([*rows, *both])[4:]]
    assert [(ours, theirs, minus) for ours, _, theirs, _, minus, *_ in others if "2," in ours] == [
        ("| K = 2, 4M steps", "K = 1, 4M steps", "+100"),
        ("| K = 2, 4M steps", "K = 1, 2M steps", "+500"),
    ]
    assert len(others) == 8  # of ten pairs, two are tested


def test_returns_are_described_at_each_strength_of_training_and_against_that_of_a_half():
    """P2PDRL keeps 1000 at each strength; PPO falls by 100 from 0.5 to 1, and has 50 less at 0."""
    rows = [
        {**row, "eps_tr": eps, "train": str(3 * float(row["train"]))}
        for eps, lost in (("0.0", 50), ("0.5", 0), ("1.0", 100))
        for row in [*rows_of("p2pdrl", 1000), *rows_of("ppo", 1000 - lost)]
    ]
    cells = [line.split(" | ") for line in claims.fig6_lines(rows)]
    assert [(claim, against, minus) for claim, _, against, _, minus, *_ in cells] == [
        ("| test return, eps_tr 0.0", "ppo", "+50.00"),
        ("| test return, eps_tr 0.5", "ppo", "+0.00"),
        ("| test return, eps_tr 1.0", "ppo", "+100"),
        ("| training return, eps_tr 0.0", "ppo", "+150"),
        ("| training return, eps_tr 0.5", "ppo", "+0.00"),
        ("| training return, eps_tr 1.0", "ppo", "+300"),
        ("| test return, p2pdrl, eps_tr 0.0", "eps_tr 0.5", "+0.00"),
        ("| test return, p2pdrl, eps_tr 1.0", "eps_tr 0.5", "+0.00"),
        ("| test return, ppo, eps_tr 0.0", "eps_tr 0.5", "-50.00"),
        ("| test return, ppo, eps_tr 1.0", "eps_tr 0.5", "-100"),
    ]
    assert {cell[-1] for cell in cells} == {"described |"}


def measured(ours: float, entropy: float, rate: str = "") -> tuple[list[dict[str, str]], ...]:
    """Rows and curves of P2PDRL's ln Var and entropy beside PPO's -2 and 0."""
    rows, curves = [], []
    for method, log_variance, nats in (("p2pdrl", ours, entropy), ("ppo", -2.0, 0.0)):
        for row in rows_of(method, 0, task="ant"):
            run = f"{method}-{rate}-{row['seed']}"
            rows.append({**row, "run": run, "entropy": str(nats), "learning_rate": rate})
            jitter = int(row["seed"]) % 2 / 10
            curves += [
                {"run": run, "steps": "0", "log_grad_variance": "9"},
                {"run": run, "steps": "4e6", "log_grad_variance": str(log_variance + jitter)},
                {"run": run, "steps": "5e6", "log_grad_variance": ""},  # not measured
            ]
    return rows, curves


def variances(ours: float, entropy: float) -> list[str]:
    return claims.variance_lines(*measured(ours, entropy))


def test_a_lower_variance_is_shown_and_what_the_std_alone_explains_is_not():
    """P2PDRL's ln Var is 2 lower, and its log-std 1 higher: without that, nothing is left."""
    assert verdicts(variances(-4.0, 8.0)) == [
        ["gradient variance", "ant", "ppo", "**shown**"],
        ["gradient variance", "ant, without the std", "ppo", "not shown"],
    ]
    assert corrected(variances(-2.05, 0.2))


def test_a_table_of_returns_has_the_variances_that_were_measured():
    """P2PDRL's mean log-std is 1 by its entropy, PPO's 0. Such a study tests in no domain."""
    unit = 8 * 0.5 * math.log(2 * math.pi * math.e)  # the entropy of 8 actions at a log-std of 0
    (trained, curves), entropies = measured(-4.0, 0.0), {"p2pdrl": unit + 8, "ppo": unit}
    rows = [
        {name: cell for name, cell in row.items() if "eps_te" not in name}
        | {"entropy": str(entropies[row["method"]])}
        for row in trained
    ]
    head, _, *lines = returns.return_lines(rows, (), curves)[1:]
    assert head.endswith("| ln Var | ln Var, without the std |")
    cells = [line.strip("| ").split(" | ") for line in lines]
    assert [(cell[0], *cell[-2:]) for cell in cells] == [
        ("P2PDRL", "-3.95 ± 0.05", "-1.95 ± 0.05"),
        ("PPO", "-1.95 ± 0.05", "-1.95 ± 0.05"),
    ]
    alone = returns.return_lines(rows[:1], (), curves)[-1]
    assert alone.endswith("| -4.00 | -2.00 |")  # one seed has no deviation
    more = [
        point | {"ppo_log_grad_variance": point["log_grad_variance"], "grad_snr": "0.03125",
                 "ppo_grad_snr": "" if point["steps"] == "5e6" else "0.015625"}
        for point in curves
    ]  # fmt: skip
    head, _, line, _ = returns.return_lines(rows, (), more)[1:]
    assert head.endswith("| ln Var, PPO part | SNR | SNR, PPO part |")
    assert line.endswith("| -3.95 ± 0.05 | 0.0312 ± 0.0000 | 0.0156 ± 0.0000 |")


def test_variances_are_described_at_each_learning_rate():
    """At one P2PDRL's ln Var is 2 lower, at the other 1 higher."""
    (low, low_curves), (high, high_curves) = measured(-4.0, 8.0, "1"), measured(-1.0, 0.0, "2")
    lines = claims.variance_rate_lines([*low, *high], [*low_curves, *high_curves])
    assert [line.split(" | ")[:5:4] for line in lines] == [
        ["| gradient variance, learning_rate 1", "-2.00"],
        ["| gradient variance, learning_rate 1", "+0.00"],
        ["| gradient variance, learning_rate 2", "+1.00"],
        ["| gradient variance, learning_rate 2", "+1.00"],
    ]
    assert {found for *_, found in verdicts(lines)} == {"described"}


def corrected(lines: list[str]) -> bool:
    """Say whether the least of two p-values is doubled (Holm)."""
    (p, holms), other = sorted([float(cell) for cell in line.split("|")[7:9]] for line in lines)
    return 0.01 < p < other[0] and holms == pytest.approx(2 * p, abs=2e-3)


@pytest.mark.parametrize(
    "lines",
    [
        claims.fig4_lines,
        lambda rows: claims.a3_lines(rows, []),
        lambda rows: claims.a3_lines([], rows),
        lambda rows: claims.variance_lines(rows, []),
        lambda rows: claims.fig9_lines(rows),
        lambda rows: claims.confounder_lines(rows, "entropy_coef"),
    ],
)
@pytest.mark.parametrize("method", ["p2pdrl", "entropy"])
def test_a_study_that_has_only_begun_decides_nothing(lines, method):
    """P2PDRL without the others, or the others without P2PDRL."""
    assert lines(rows_of(method, 1000, entropy_coef="0.1", num_peers="1")) == []


def test_rows_of_several_versions_are_no_evidence(tmp_path):
    (tmp_path / "fig4.csv").write_text("task,method,version\nant,ppo,0.1.0\nant,ppo,0.2.0\n")
    done = CliRunner().invoke(claims.main, [str(tmp_path)])
    assert done.exit_code == 1
    assert "fig4.csv has rows of versions 0.1.0, 0.2.0; docs/protocol.md asks" in done.output


def test_a_claim_is_decided_once_its_study_is_whole(tmp_path):
    """Four seeds at K = 1 and 4, and then at K = 2 too, which decides nothing itself."""
    rows = [
        row | {"version": "1", "num_peers": K, "steps": steps}
        for K, scale in (("1", 1), ("4", 4), ("2", 2))
        for steps in (f"{2_000_000 * scale}", "4000000")
        for row in rows_of("p2pdrl", 100 * scale, seeds=4)
    ]  # fmt: skip
    for upto, said in ((16, "described"), (24, "**shown**")):
        save(rows[:upto], tmp_path / "fig9.csv")
        lines = CliRunner().invoke(claims.main, [str(tmp_path)]).output.splitlines()[2:]
        first, second, *others = [found for *_, found in verdicts(lines)]
        assert (first, second, set(others)) == (said, said, {"described"})


def test_a_confounder_is_described_at_each_value_that_all_methods_have():
    """P2PDRL loses at its own rate and wins at PPO's; a rate that PPO lacks says nothing."""
    rows = [*rows_of("p2pdrl", 9000, learning_rate="0.001")]
    for lr, mean in (("0.0001", 1000), ("0.0003", 3000)):
        rows += rows_of("p2pdrl", mean, learning_rate=lr)
        rows += rows_of("ppo", 2000, learning_rate=lr)
    found = [line.split(" | ") for line in claims.confounder_lines(rows, "learning_rate")]
    assert [(cells[0], cells[4], cells[-1]) for cells in found] == [
        ("| A1, learning_rate 0.0001", "-1000", "described |"),
        ("| A2, learning_rate 0.0001", "-1000", "described |"),
        ("| A2, dynamics, learning_rate 0.0001", "-1000", "described |"),
        ("| A1, learning_rate 0.0003", "+1000", "described |"),
        ("| A2, learning_rate 0.0003", "+1000", "described |"),
        ("| A2, dynamics, learning_rate 0.0003", "+1000", "described |"),
    ]


def test_what_a_confounder_does_to_each_method_is_described():
    """The lower rate costs P2PDRL 2000 and is worth nothing to PPO."""
    rows = []
    for lr, mean in (("0.0001", 1000), ("0.0003", 3000)):
        rows += rows_of("p2pdrl", mean, learning_rate=lr)
        rows += rows_of("ppo", 2000, learning_rate=lr)
    found = [line.split(" | ") for line in claims.confounder_lines(rows, "learning_rate")[-2:]]
    assert [(cells[0], cells[2], cells[4], cells[-1]) for cells in found] == [
        ("| A2, p2pdrl at 0.0001", "p2pdrl at 0.0003", "-2000", "described |"),
        ("| A2, ppo at 0.0001", "ppo at 0.0003", "+0.00", "described |"),
    ]


def test_a_brake_stands_beside_p2pdrl_and_ppo_at_its_rate_and_itself_at_the_other():
    """Fig. 8a has Walker2d's bonus at 3e-4; a task with three seeds says nothing."""
    low, high = {"learning_rate": "0.0001"}, {"learning_rate": "0.0003"}
    bonus = {"entropy_coef": "0.01", "target_kl": ""}
    rows = [
        *rows_of("entropy", 4000, 4, **bonus, **low),
        *rows_of("entropy", 3000, 4, **bonus, **high),
        *rows_of("entropy", 5000, 4, task="walker2d", **bonus, **low),
        *rows_of("ppo", 2500, 3, target_kl="0.02", **high),
    ]
    known = [
        row
        for task in ("hopper", "walker2d")
        for row in (
            *rows_of("p2pdrl", 2000, task=task, **low), *rows_of("ppo", 1000, task=task, **high),
            *rows_of("ppo", 2500, task="hopper", **low),
            *rows_of("entropy", 7000, 4, task="walker2d", entropy_coef="0.01", **high),
        )
    ]  # fmt: skip
    found = [line.split(" | ") for line in claims.brakes_lines(rows, known)]
    assert [(cells[0], *cells[1:3], f"{float(cells[4]):.0f}") for cells in found] == [
        (f"| A2, entropy 0.01 at {rate}", where, against, difference)
        for rate, where, against, difference in (
            ("0.0001", "hopper, walker2d", "p2pdrl at 0.0001", "2486"),
            ("0.0001", "hopper", "p2pdrl at 0.0001", "1986"),
            ("0.0001", "walker2d", "p2pdrl at 0.0001", "2986"),
            ("0.0001", "hopper", "ppo at 0.0001", "1486"),
            ("0.0001", "hopper, walker2d", "entropy 0.01 at 0.0003", "-500"),
            ("0.0001", "hopper", "entropy 0.01 at 0.0003", "1000"),
            ("0.0001", "walker2d", "entropy 0.01 at 0.0003", "-2000"),
            ("0.0003", "hopper, walker2d", "p2pdrl at 0.0001", "2986"),
            ("0.0003", "hopper", "p2pdrl at 0.0001", "986"),
            ("0.0003", "walker2d", "p2pdrl at 0.0001", "4986"),
            ("0.0003", "hopper", "ppo at 0.0001", "486"),
            ("0.0003", "hopper, walker2d", "ppo at 0.0003", "3986"),
            ("0.0003", "hopper", "ppo at 0.0003", "1986"),
            ("0.0003", "walker2d", "ppo at 0.0003", "5986"),
        )
    ]
    short = rows[:3]
    assert claims.brakes_lines(short, known) == []


def test_further_seeds_of_fig4_stand_in_lines_of_their_own():
    """P2PDRL's four further seeds are worth 2000 less; a method that is not varied is left out."""
    rows = [*rows_of("p2pdrl", 3000, 4, lr="1"), *rows_of("ppo", 2000, 4, lr="1")]
    later = [
        row
        for method, mean in (("p2pdrl", 1000), ("dnc", 9000))
        for row in rows_of(method, mean, lr="1")[4:]
    ]
    alone = claims.confounder_lines(rows, "lr")
    found = claims.confounder_lines(rows, "lr", [*rows[:4], *later])
    assert [line for line in found if "all seeds" not in line] == alone
    cells = [line.split(" | ") for line in found if "all seeds" in line]
    assert [(one[0], *one[2:5]) for one in cells] == [
        (f"| {claim}, lr 1, all seeds", "ppo", "8, 4", "+14.00")
        for claim in ("A1", "A2", "A2, dynamics")
    ]
