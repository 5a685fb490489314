"""An episode as evaluation plays it, moment by moment.

What is played is what `p2p.analysis.evaluation` would run for the same domain and seed: its target
says which policy, domain and start noise, and `EpisodeRunner` steps it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.analysis.evaluation.config import build_eval_config
from p2p.analysis.evaluation.session import EvaluationTarget
from p2p.analysis.evaluation.subjects import Given, load_subjects
from p2p.analysis.evaluation.worker import episode_stream
from p2p.core.errors import UsageError
from p2p.envs.base import Episode, VectorEnvs
from p2p.envs.build import build_envs
from p2p.envs.domain import Domain
from p2p.policy.episodes import EpisodeRunner, Job

Floats = NDArray[np.float64]
STATE = mujoco.mjtState.mjSTATE_INTEGRATION


class Moment(NamedTuple):
    """The state at the start of an episode, or after a step of it.

    Attributes:
        step: steps so far.
        episode_return: undiscounted, so far.
        state: [S], MuJoCo's integration state.
        ended: the episode, if it ended here.
    """

    step: int
    episode_return: float
    state: Floats
    ended: Episode | None = None


class Player:
    """Plays the mean action of one policy in one domain.

    Args:
        run: a run folder, a policy file or a policy.
        domain: a domain's text, such as `wind=3` or `nominal`.
        peer: which of the run's policies.
        seed: of the start noise, as `p2p eval --domain-seed`.
        randomise: what varies, as a domains file or its tables; None: as in training.

    Raises:
        UsageError: there is no such peer, or the domain does not fit the robot.
        BadArtefact: there is no run or policy there, or it is damaged.
    """

    def __init__(
        self, run: Given, domain: str | Domain = "nominal", *, peer: int = 0, seed: int = 0,
        randomise: Any = None,
    ) -> None:  # fmt: skip
        (self.subject,) = load_subjects([run])
        config = build_eval_config(domain=str(domain), domain_seed=seed, randomise=randomise)
        target = EvaluationTarget(self.subject, config, save=False)
        if peer not in self.subject.peers:
            known = ", ".join(map(str, self.subject.peers))
            raise UsageError(f"{self.subject.path} has no peer {peer}; it has {known}")
        self.peer, self.seed = peer, seed
        self.job = list(target.jobs())[self.subject.peers.index(peer)]
        self.randomisation = target.randomisation
        self.envs = build_envs(self.subject.task, 1, target.randomisation)

    def play(self, number: int = 0) -> Iterator[Moment]:
        """Play an episode: number 0 is the one that `p2p eval --domain` scores.

        When the first moment is there, `envs.simulation(0)` is at the start.
        """
        key, policy, domain = self.job
        rng = episode_stream(self.seed, key.start, number)
        runner = _Watched(self.envs, Job(policy, domain, rng))
        yield Moment(0, 0.0, state_of(self.envs))
        for _, ended in runner.run():
            if ended:
                ((_, episode),) = ended
                yield Moment(episode.length, episode.episode_return, runner.last, episode)
                continue
            envs = self.envs
            yield Moment(int(envs.elapsed[0]), float(envs.episode_return[0]), state_of(envs))


class _Watched(EpisodeRunner):
    """Runs one job, and keeps the state that it ends in: the envs restart in the same step."""

    def __init__(self, envs: VectorEnvs, job: Job) -> None:
        super().__init__(envs, [job], lambda: None, deterministic=True)
        self.last = state_of(envs)

    def next_job(self, env: int) -> Domain | None:
        self.last = state_of(self.envs)
        return super().next_job(env)


def state_of(envs: VectorEnvs) -> Floats:
    """Return the state of the first env, which stays as it is."""
    model, data = envs.simulation(0)
    state = np.zeros(mujoco.mj_stateSize(model, STATE))
    mujoco.mj_getState(model, data, state, STATE)
    return state


def set_state(model: mujoco.MjModel, data: mujoco.MjData, state: Floats) -> None:
    """Put `data` in a state, and compute what is drawn of it.

    The simulation's own data would lag behind: its positions are of the last step's start, and
    computing them anew would change what the solver starts from.
    """
    mujoco.mj_setState(model, data, state, STATE)
    mujoco.mj_forward(model, data)
