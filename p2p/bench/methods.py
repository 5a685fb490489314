"""Part methods: `p2p train` by the method, how often peers look, and DnC's distillation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import mean

from p2p.bench.measure import Candidate, Measurement, Tell, compare
from p2p.bench.settings import Settings
from p2p.bench.training import train_once
from p2p.core.config import build_config
from p2p.core.consistency import settings_of

RATE = ("--learning-rate", "3e-4")  # one for all: how long episodes last tells on speed too
BASELINE, DNC = "p2pdrl", "dnc"
COMPARED = {  # flags by what is measured; all with K=2
    BASELINE: ("--method", "p2pdrl"),
    "p2pdrl, sync epoch": ("--method", "p2pdrl", "--sync", "epoch"),
    "p2pdrl, sync iteration": ("--method", "p2pdrl", "--sync", "iteration"),
    "dppo": ("--method", "dppo"),
    "distral": ("--method", "distral"),
    "distral, shaped reward": ("--method", "distral", "--distral-form", "reward"),
    DNC: ("--method", "dnc"),
}
INCLUDES = "as part train, K=2 and learning rate 3e-4; the methods in turns, ratios within a round"
UNDISTILLED = f"{INCLUDES}; without the distillation"
DISTILLATION = (
    "by which the last iteration, where the centre is distilled, outlasts the mean of the others"
)
AMORTISED = f"{INCLUDES}; one distillation in {{R}} iterations, as by default; computed"


def measure_methods(settings: Settings, task: str, folder: Path, tell: Tell) -> list[Measurement]:
    """Return training steps/s of each method with its ratio to P2PDRL's, and DnC's distillation."""
    distillations: list[float] = []

    def train(name: str) -> Callable[[], float]:
        seeds = iter(range(settings.rounds))

        def run() -> float:
            distils = int(name == DNC)  # at the end of training, whatever R
            flags = (*COMPARED[name], *RATE)
            found = train_once(task, folder, settings.iterations + distils, 2, next(seeds), flags)
            if not distils:
                return found.steps_per_second
            *others, last = found.seconds
            distillations.append(last - mean(others))
            return build_config().steps_per_iteration / mean(others)

        return run

    candidates = [
        Candidate(name, train(name), UNDISTILLED if name == DNC else INCLUDES, BASELINE)
        for name in COMPARED
    ]
    found = compare("methods", task, "steps/s", candidates, settings.rounds, tell)
    by_name = {m.name: m for m in found}
    return found + dnc_with_distillation(by_name[DNC], tuple(distillations), by_name[BASELINE])


def dnc_with_distillation(
    dnc: Measurement, distillations: tuple[float, ...], baseline: Measurement
) -> list[Measurement]:
    """Return what a distillation takes, and DnC's speed with one in R iterations.

    Args:
        dnc: without it.
        distillations: s, by round.
    """
    every: int = settings_of("dnc")["distill_every"].default
    steps = build_config().steps_per_iteration * every
    rates = [
        steps / (steps / rate + seconds)
        for rate, seconds in zip(dnc.values, distillations, strict=True)
    ]
    cost = Measurement(
        dnc.part, dnc.task, "dnc, one distillation", "s", DISTILLATION, distillations
    )
    amortised = AMORTISED.format(R=every)
    whole = Measurement(
        dnc.part, dnc.task, "dnc, with distillation", dnc.unit, amortised, tuple(rates)
    )
    return [cost, whole.over(baseline)]
