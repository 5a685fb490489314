"""Part evaluate: `p2p eval` on all cores, beside the limit."""

from __future__ import annotations

from pathlib import Path

from p2p.bench.bare import DOMAINS, ENVS
from p2p.bench.measure import Candidate, Measurement, Report, compare
from p2p.bench.settings import Settings, cores
from p2p.bench.training import bare_on_cores, train_once
from p2p.evaluation.evaluate import evaluate

EPS_TE = 0.5


def measure_evaluation(
    settings: Settings, task: str, folder: Path, report: Report
) -> list[Measurement]:
    """Return steps/s of an evaluation, with its ratio to the bare loop on as many cores."""
    num, run = cores(), settings.runs.get(task)
    report(f"evaluate {task}: training a policy")
    policy = run or train_once(task, folder, settings.eval_iterations - 1).policy
    acts = f"of {run}" if run else f"trained for {settings.eval_iterations} iterations"
    given = f"mean actions of a policy {acts}; strength {EPS_TE}"

    def test() -> float:
        found = evaluate(policy, EPS_TE, domains=settings.eval_domains, workers=num, save=False)
        return found.steps / found.seconds

    def bare() -> float:
        return bare_on_cores(num, task, settings.physics_steps, 0, policy, EPS_TE, True)

    limit = f"bare mj_step, {num} processes"
    candidates = [
        Candidate(
            "p2p eval", test,
            f"from the call to the table: {settings.eval_domains} domains, one episode in each, "
            f"processes started and domains applied; {given}",
            limit,
        ),
        Candidate(
            limit, bare,
            f"mj_step(model, data, frame_skip) and writing ctrl, nothing else, summed over {num} "
            f"processes at once; {DOMAINS} domains, {ENVS} episodes in each at a time, resets "
            f"included; {given}",
        ),
    ]  # fmt: skip
    return compare("evaluate", task, "steps/s", candidates, settings.rounds, report)
