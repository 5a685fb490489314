"""Part evaluate: `p2p eval` on all cores, beside the limit."""

from __future__ import annotations

from pathlib import Path

from p2p.analysis.evaluation.results import Evaluation
from p2p.analysis.evaluation.session import evaluate
from p2p.bench.bare_loop import bare_episodes
from p2p.bench.measure import Candidate, Measurement, Tell, compare
from p2p.bench.processes import run_together
from p2p.bench.settings import Settings, cores
from p2p.bench.training import train_once

EPS_TE = 0.5


def measure_evaluation(
    settings: Settings, task: str, folder: Path, tell: Tell
) -> list[Measurement]:
    """Return steps/s of an evaluation, with its ratio to the bare loop on as many cores."""
    num, run = min(cores(), settings.eval_domains), settings.runs.get(task)
    tell(f"evaluate {task}: training a policy")
    policy = run or train_once(task, folder, settings.eval_iterations - 1).policy
    acts = f"of {run}" if run else f"trained for {settings.eval_iterations} iterations"
    given = f"mean actions of a policy {acts}; strength {EPS_TE}"
    tested: list[Evaluation] = []

    def test() -> float:
        found = evaluate(policy, EPS_TE, domains=settings.eval_domains, workers=num, save=False)
        tested[:] = [found]
        return found.steps / found.seconds

    def bare() -> float:
        """Play what was tested last."""
        (found,) = tested
        domains, seed = found.runs[0].measured[0].set, found.config.domain_seed
        shares = run_together(bare_episodes, [(policy, domains, seed)] * num)
        assert sum(steps for _, steps in shares) == found.steps
        return sum(rate for rate, _ in shares)

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
            "processes at once; the same steps of the same episodes, resets included, models made "
            f"before; {given}",
        ),
    ]  # fmt: skip
    return compare("evaluate", task, "steps/s", candidates, settings.rounds, tell)
