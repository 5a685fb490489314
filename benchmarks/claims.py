"""The verdicts on the paper's claims, by the tests of docs/protocol.md, from committed rows.

    python benchmarks/claims.py data/results

reads what is there of fig4.csv (A1, A2), fig7.csv and fig8a.csv (A3), fig8bc.csv with its curves
(gradient variance), fig9.csv (cohort size), fig6.csv (strength of training), learning-rate.csv,
rollout.csv, brakes.csv and variance-rate.csv with its curves (confounders). A row is a comparison:
P2PDRL minus another method, or what column "claim" names at one setting minus what "against" names.
The first p is that of Welch's t, the second Holm's over the comparisons of the claim; the interval
is at the level that agrees with the second. Rows marked "described" have their own 95 % interval,
and decide nothing: so have all of a claim whose studies are not whole yet, but for fig4, of which
each task is tested once it is whole, and whose verdicts are "so far" until all are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import click
from comparisons import (
    HEADER,
    OURS,
    Comparison,
    Row,
    Scores,
    against_each,
    against_the_best,
    dynamics_return,
    mean_return,
    named,
    of_tasks,
    read,
    scores,
    table,
    training_return,
    whole_tasks,
)
from gradients import variances

from p2p.study.grid import find_study, read_study

OUR_RATE, PPO_RATE = "0.0001", "0.0003"  # learning rates of appendix A.2
SEEDS = 4  # that the protocol asks for, of all but Fig. 4
TOLERATED = 0.05  # of the competitor's mean: a loss within it is "as good as" (A1)


def measures(rows: Sequence[Row]) -> dict[str, Callable[[Row], float]]:
    """Return what A1 and A2 measure, by the claim, as far as the rows have it."""
    found: dict[str, Callable[[Row], float]] = {"A1": training_return, "A2": mean_return}
    if all(row.get("dynamics:eps_te=1") for row in rows):
        found["A2, dynamics"] = dynamics_return
    return found


def fig4_lines(rows: Sequence[Row], *, whole: bool = True) -> list[str]:
    """Return A1 and A2, over the tasks that are whole; `whole` says whether all are."""
    tasks = whole_tasks(rows)
    if not tasks:
        return []
    trained = list(against_the_best(rows, training_return, tasks))
    lines = table("A1", trained, so_far=not whole, tolerated=TOLERATED)
    for claim, measure in (("A2", mean_return), ("A2, dynamics", dynamics_return)):
        lines += table(claim, list(against_each(rows, measure, tasks)), so_far=not whole)
        for task in tasks if len(tasks) > 1 else ():
            lines += table(claim, list(against_each(rows, measure, [task])), decides=False)
    return lines


def confounder_lines(rows: Sequence[Row], setting: str, fig4: Sequence[Row] = ()) -> list[str]:
    """Return A1's and A2's differences at each value of a setting, where all methods have it.

    Then those of A2 within each method, between the first of two values and the second.

    Args:
        fig4: the same runs and further seeds of some of them, with which lines of "all seeds" are.
    """
    runs = {_run(row, setting) for row in rows}
    more = [r for r in fig4 if _run(r, setting) in runs]
    every = list({(*_run(r, setting), r["seed"]): r for r in [*rows, *more]}.values())
    groups = {"": rows} | ({", all seeds": every} if more else {})
    values = sorted({row[setting] for row in rows})
    lines = []
    for value in values:
        tasks = whole_tasks([row for row in rows if row[setting] == value])
        for said, found in groups.items():
            some = [row for row in found if row[setting] == value]
            for claim, measure in measures(some).items():
                for where in _together_and_each(tasks):
                    compared = list(against_each(some, measure, where))
                    lines += table(f"{claim}, {setting} {value}{said}", compared, decides=False)
    for method in dict.fromkeys(row["method"] for row in rows) if len(values) == 2 else ():
        for said, found in groups.items():
            one, other = (scores(found, mean_return, method=method, **{setting: v}) for v in values)
            for where in _together_and_each([task for task in one if task in other]):
                sides = of_tasks(one, where), of_tasks(other, where)
                c = Comparison(named(where), f"{method} at {values[1]}", *sides)
                lines += table(f"A2, {method} at {values[0]}{said}", [c], decides=False)
    return lines


def brakes_lines(rows: Sequence[Row], known: Sequence[Row]) -> list[str]:
    """Return A2's measure of each brake on PPO's step minus that of what it stands beside.

    That is P2PDRL and plain PPO, at P2PDRL's learning rate and at the brake's, and the brake itself
    at PPO's rate.

    Args:
        known: all runs of the studies in `BESIDE_BRAKES`.
    """
    brakes = dict.fromkeys(map(_brake, rows))
    known = list(
        {(row["task"], *_brake(row), row["seed"]): row for row in [*rows, *known]}.values()
    )
    measured = {brake: _measured(known, brake) for brake in map(_brake, known)}
    lines = []
    for name, rate in brakes:
        ours = measured[name, rate]
        others = [(method, at) for method in (OURS, "ppo") for at in (OUR_RATE, rate)]
        for other in dict.fromkeys([*others, (name, PPO_RATE)]):
            theirs = measured.get(other, {}) if other != (name, rate) else {}
            for where in _together_and_each([task for task in ours if task in theirs]):
                sides = of_tasks(ours, where), of_tasks(theirs, where)
                c = Comparison(named(where), " at ".join(other), *sides)
                lines += table(f"A2, {name} at {rate}", [c], decides=False)
    return lines


def _brake(row: Row) -> tuple[str, str]:
    """What brakes PPO's step, or another method, and the learning rate."""
    target_kl = row.get("target_kl") and f"target_kl {row['target_kl']}"
    name = " ".join(filter(None, [row["method"], row.get("entropy_coef"), target_kl]))
    return name, row.get("learning_rate", "")


def _measured(rows: Sequence[Row], brake: tuple[str, str]) -> Scores:
    """Return A2's measure on each task that has the protocol's seeds."""
    found = scores([row for row in rows if _brake(row) == brake], mean_return)
    return {task: values for task, values in found.items() if len(values) >= SEEDS}


def _run(row: Row, setting: str) -> tuple[str, ...]:
    return row["task"], row["method"], row.get(setting, "")


def _together_and_each(tasks: Sequence[str]) -> list[Sequence[str]]:
    return ([tasks] if len(tasks) > 1 else []) + [[task] for task in tasks]


def is_whole(study: str, rows: Sequence[Row], diverged: Sequence[Row] = ()) -> bool:
    """Say whether each run that the protocol asks for, those of the small budget, has its row."""
    return len(rows) + len(diverged) >= len(read_study(find_study(study)).configs)


def a3_lines(
    fig7: Sequence[Row], fig8a: Sequence[Row], diverged: Sequence[Row] = (), *,
    claim: str = "A3", decides: bool = True,
) -> list[str]:  # fmt: skip
    """Return A3: beside self-KL on Humanoid, and each coefficient of the entropy bonus.

    Args:
        diverged: runs of `fig8a` that did; their coefficients are named, not compared.
    """
    compared = [c for c in _all(fig7, mean_return) if c.against == "self-kl"]
    ours = scores(fig8a, mean_return, method=OURS)
    bonuses = [row for row in fig8a if row["method"] == "entropy"]
    lost = [row["entropy_coef"] for row in diverged]
    for coefficient in dict.fromkeys(row["entropy_coef"] for row in bonuses if ours):
        if coefficient in lost:
            continue
        theirs = scores(bonuses, mean_return, entropy_coef=coefficient)
        compared.append(Comparison("walker2d", f"entropy {coefficient}", ours, theirs))
    return table(claim, compared, decides=decides) + [
        f"| A3 | walker2d | entropy {one}{' | ' * 6} | {lost.count(one)} diverged |"
        for one in dict.fromkeys(lost)
    ]


def fig7_lines(rows: Sequence[Row]) -> list[str]:
    """Return A3's measure on Humanoid, and the return in training and at strength 0, uncorrected.

    P2PDRL beside self-KL and beside PPO, which has no regulariser.
    """
    kinds: dict[str, Callable[[Row], float]] = {
        "A3, uncorrected": mean_return,
        "A3, in training": training_return,
        "A3, eps_te 0": lambda row: float(row["eps_te=0"]),
    }
    return [
        line for claim, measure in kinds.items()
        for line in table(claim, _all(rows, measure), decides=False)
    ]  # fmt: skip


def all_seeds_lines(fig8a: Sequence[Row], fig4: Sequence[Row]) -> list[str]:
    """Return A3 on Walker2d by all of Fig. 4's seeds of P2PDRL, which the study has four of."""
    ours = [row for row in fig4 if row["method"] == OURS and row["task"] == "walker2d"]
    theirs = [row for row in fig8a if row["method"] != OURS]
    return a3_lines([], [*ours, *theirs], claim="A3, all seeds", decides=False)


def _all(rows: Sequence[Row], measure: Callable[[Row], float]) -> list[Comparison]:
    """Return P2PDRL beside each other method, on each task that is whole."""
    return [c for task in whole_tasks(rows) for c in against_each(rows, measure, [task])]


def variance_lines(
    rows: Sequence[Row], curves: Sequence[Row], *, claim: str = "gradient variance",
    decides: bool = True,
) -> list[str]:  # fmt: skip
    """Return the gradient's variance on each task beside PPO."""
    compared = [
        c._replace(where=", ".join(filter(None, [c.where, said])))
        for said, measure in variances(curves).items()
        for c in _all(rows, measure)
    ]
    return table(claim, compared, decides=decides, lower=True)


def variance_rate_lines(rows: Sequence[Row], curves: Sequence[Row]) -> list[str]:
    """Return the same at each learning rate."""
    lines = []
    for rate in dict.fromkeys(row["learning_rate"] for row in rows):
        some = [row for row in rows if row["learning_rate"] == rate]
        claim = f"gradient variance, learning_rate {rate}"
        lines += variance_lines(some, curves, claim=claim, decides=False)
    return lines


def _at_half(row: Row) -> float:
    """Return the return in test domains at strength 0.5, of Figs. 2, 6 and 9."""
    return float(row["eps_te=0.5"])


def fig9_lines(rows: Sequence[Row], *, decides: bool = True) -> list[str]:
    """Return K = 4 beside K = 1 at strength 0.5, at equal steps a peer and in all.

    Then the same in training, and each other pair of cohorts, which decide nothing.
    """

    def cohort(row: Row) -> tuple[int, int]:
        return int(row["num_peers"]), round(int(row["steps"]) / 1e6)  # of all peers

    def compared(
        one: tuple[int, int], other: tuple[int, int], where: str = "ant",
        measure: Callable[[Row], float] = _at_half,
    ) -> list[Comparison]:  # fmt: skip
        sides = [scores([r for r in rows if cohort(r) == c], measure) for c in (one, other)]
        return [Comparison(where, _cohort_name(*other), *sides)] if all(sides) else []

    primary = {"equal steps a peer": ((4, 8), (1, 2)), "equal steps in all": ((4, 4), (1, 4))}
    tests = [c for said, pair in primary.items() for c in compared(*pair, f"ant, {said}")]
    lines = table("cohort size", tests, decides=decides)
    for said, pair in primary.items():
        trained = compared(*pair, f"ant, {said}", training_return)
        lines += table("cohort size, in training", trained, decides=False)
    for one, other in combinations(sorted({cohort(row) for row in rows}, reverse=True), 2):
        if (one, other) not in primary.values():
            lines += table(_cohort_name(*one), compared(one, other), decides=False)
    return lines


def _cohort_name(peers: int, millions: int) -> str:
    return f"K = {peers}, {millions}M steps"


def fig6_lines(rows: Sequence[Row]) -> list[str]:
    """Return the return in the test domain and in training, by the strength of training.

    First P2PDRL beside PPO at each strength. Then each method's test return at every strength minus
    that at 0.2, with which all other studies train, and minus that at 0.5, from where the paper has
    PPO's drop.
    """
    strengths = sorted({row["eps_tr"] for row in rows}, key=float)
    lines = []
    for kind, measure in (("test", _at_half), ("training", training_return)):
        for eps in strengths:
            compared = _all([row for row in rows if row["eps_tr"] == eps], measure)
            lines += table(f"{kind} return, eps_tr {eps}", compared, decides=False)
    for method in dict.fromkeys(row["method"] for row in rows):
        by_eps = {eps: scores(rows, _at_half, method=method, eps_tr=eps) for eps in strengths}
        for other in ("0.2", "0.5"):
            for eps, ours in by_eps.items():
                if eps == other or (eps, other) == ("0.2", "0.5"):  # which the first has
                    continue
                where = [task for task in ours if task in by_eps.get(other, {})]
                sides = of_tasks(ours, where), of_tasks(by_eps.get(other, {}), where)
                compared = [Comparison(named(where), f"eps_tr {other}", *sides)] if where else []
                lines += table(f"test return, {method}, eps_tr {eps}", compared, decides=False)
    return lines


BESIDE_BRAKES = ("fig4", "learning-rate", "fig7", "fig8a")  # have what each brake stands beside
CONFOUNDERS = {"learning-rate": "learning_rate", "rollout": "domain_schedule"}  # what they vary


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--tasks", metavar="TASK,...", help="Use the rows of these alone [default: all].")
def main(folder: Path, tasks: str | None) -> None:
    """Print the verdicts that the rows in FOLDER allow, as a table in Markdown."""

    def rows_of(study: str) -> list[Row]:
        chosen = tasks.split(",") if tasks else None
        return [row for row in read(folder, study) if chosen is None or row["task"] in chosen]

    tables = {study: rows_of(study) for study in ("fig4", "fig7", "fig8a", "fig8bc", "fig9")}
    if not any(tables.values()):
        raise click.ClickException(f"{folder} has no rows of {tasks or 'any study of the claims'}")
    diverged = read(folder, "fig8a-diverged")
    whole = {study: is_whole(study, rows) for study, rows in tables.items()}
    whole["fig8a"] = is_whole("fig8a", tables["fig8a"], diverged)
    lines = fig4_lines(tables["fig4"], whole=whole["fig4"])
    a3 = whole["fig7"] and whole["fig8a"]
    lines += a3_lines(tables["fig7"], tables["fig8a"], diverged, decides=a3)
    lines += fig7_lines(tables["fig7"]) + all_seeds_lines(tables["fig8a"], tables["fig4"])
    curves = read(folder, "fig8bc-curves")
    lines += variance_lines(tables["fig8bc"], curves, decides=whole["fig8bc"])
    lines += variance_rate_lines(rows_of("variance-rate"), read(folder, "variance-rate-curves"))
    lines += fig9_lines(tables["fig9"], decides=whole["fig9"])
    lines += fig6_lines(rows_of("fig6"))
    for study, setting in CONFOUNDERS.items():
        fig4 = tables["fig4"] if study == "learning-rate" else ()
        lines += confounder_lines(rows_of(study), setting, fig4)
    known = [row for study in BESIDE_BRAKES for row in rows_of(study)]
    lines += brakes_lines(rows_of("brakes"), known)
    print("\n".join([*HEADER, *lines]))


if __name__ == "__main__":
    main()
