"""Part physics: bare `mj_step`, our envs and Gymnasium's loop over the same steps, one core."""

from __future__ import annotations

import time
from collections.abc import Callable

import mujoco
import numpy as np

from p2p.bench.bare_loop import BareLoop, Script, record_script
from p2p.bench.measure import Candidate, Measurement, Tell, compare
from p2p.bench.settings import Settings
from p2p.core.registration import IDS
from p2p.envs.model import stop_timers
from p2p.envs.task import find_task
from p2p.envs.vector import RandomisedEnvs
from p2p.policy.policy import Policy

GYMNASIUM_IDS = {task: name.removeprefix("p2p/") for name, task in IDS.items()}
NUM_ENVS = (16, 2)  # many, and as many as a peer has by default
SEED = 0


def play(envs: RandomisedEnvs, script: Script) -> float:
    """Step `envs` through `script`; return the seconds it took."""
    start = time.perf_counter()
    envs.reset(np.random.default_rng(script.seed))
    for action in script.action:
        envs.step(action)
    seconds = time.perf_counter() - start
    envs.finished.clear()
    return seconds


def timed(run: Callable[[], float]) -> Callable[[], float]:
    """Return what runs it with MuJoCo as it comes, filling `MjData.timer`."""

    def run_timed() -> float:
        mujoco.set_mjcb_time(None)
        try:
            return run()
        finally:
            stop_timers()

    return run_timed


def gymnasium_loop(script: Script) -> Callable[[], float]:
    """Return what steps `gymnasium.make(...)` through a script of one env, and times it."""
    import gymnasium

    env = gymnasium.make(GYMNASIUM_IDS[script.task])

    def run() -> float:
        # The stream that our envs spawn for the first of them.
        (env.unwrapped.np_random,) = np.random.default_rng(script.seed).spawn(1)
        start = time.perf_counter()
        env.reset()
        for action in script.action[:, 0]:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return time.perf_counter() - start

    return run


def measure_physics(settings: Settings, task: str, tell: Tell) -> list[Measurement]:
    """Return steps/s of each loop, with its ratio to the bare loop over the same steps."""
    run = settings.runs.get(task)
    policy = Policy.load(run) if run else None
    acts = f"actions of {run}, sampled" if run else "uniform random actions"
    given = f"{acts}, nominal domain, one core; resets included"
    candidates = []
    for N in (*NUM_ENVS, 1):
        script = record_script(task, N, max(1, settings.physics_steps // N), SEED, policy)
        bare = f"bare mj_step (steps of N={N})"
        candidates.append(
            Candidate(
                bare, _rate(script, BareLoop(script).run),
                "mj_step(model, data, frame_skip) and writing ctrl, nothing else, MuJoCo's timers "
                f"off and the model trimmed; {given}",
            )
        )  # fmt: skip
        if N > 1:
            candidates.append(_ours(script, bare, given))
        else:
            candidates += _as_it_comes(script, bare, given)
    return compare("physics", task, "steps/s", candidates, settings.rounds, tell)


def _ours(script: Script, bare: str, given: str) -> Candidate:
    envs = RandomisedEnvs(script.task, script.action.shape[1])
    what = "physics, observation, reward, termination, auto-reset"
    return Candidate(
        f"p2p envs, N={envs.num_envs}", _rate(script, lambda: play(envs, script)),
        f"{what}; {given}", bare,
    )  # fmt: skip


def _as_it_comes(script: Script, bare: str, given: str) -> list[Candidate]:
    """Return the bare loop and Gymnasium's for those who leave MuJoCo as it comes."""
    given = f"MjData.timer filled, as MuJoCo's bindings have it; {given}"
    whole = mujoco.MjModel.from_xml_path(str(find_task(script.task).model_path()))
    return [
        Candidate(
            "bare mj_step, as it comes", _rate(script, timed(BareLoop(script, whole).run)),
            f"the same, of the file's model as compiled; {given}", bare,
        ),
        Candidate(
            "gymnasium.make(...).step", _rate(script, timed(gymnasium_loop(script))),
            f"Gymnasium's own v5 env with its wrappers; {given}", bare,
        ),
    ]  # fmt: skip


def _rate(script: Script, run: Callable[[], float]) -> Callable[[], float]:
    return lambda: script.steps / run()
