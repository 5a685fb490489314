"""Loads the policies of a run, as of its end or of a milestone."""

from __future__ import annotations

import time
from pathlib import Path

from p2p.core.errors import BadArtefact, UsageError
from p2p.core.reading import DAMAGE
from p2p.peer.reports import POLICY
from p2p.policy.normaliser import Moments, Normaliser
from p2p.policy.policy import Policy
from p2p.runs import Checkpoint, RunFolder
from p2p.runs.checkpoints import Checkpoints
from p2p.runs.files import reachable
from p2p.runs.lock import is_locked

LOOKS, PAUSE = 40, 0.05  # s, for the policies of one iteration


def load_policy(run_or_file: str | Path, peer: int = 0, *, best: bool = False) -> Policy:
    """Load a trained policy. Needs neither torch nor MuJoCo.

    Args:
        run_or_file: a run folder, or a `.safetensors` file from its `policies/`.
        peer: which peer's policy, if a run folder is given.
        best: of a run folder the policy with which the peer did best in its tests in held-out
            domains (`test_every`), not the last one.

    Raises:
        BadArtefact: there is no policy, or it is damaged or not accessible.
        UsageError: the run has no such peer.
    """
    path = reachable(Path(run_or_file))
    if path.is_dir():
        run = RunFolder.open(path)
        if not 0 <= peer < run.config.num_peers:
            raise UsageError(f"{path} has peers 0..{run.config.num_peers - 1}, not {peer}")
        path = run.best_policy_path(peer) if best else run.policy_path(peer)
        if best and not path.exists():
            raise BadArtefact(
                f"{run.path} has no best policy: a run keeps them if it tests its policies while "
                "it trains (p2p train --test-every N)"
            )
        if not path.exists():
            raise BadArtefact(f"{run.path} has no policy yet: the first checkpoint writes one")
    return Policy.load(path)


def load_policies(run: RunFolder) -> tuple[Policy, ...]:
    """Load the policies of all peers as of one iteration, also of a run that trains.

    A checkpoint replaces their files one after another. Whoever reads in between waits for the
    last one; if the run was killed in between, its checkpoint has them all, unless it was deleted.

    Raises:
        BadArtefact: there is no policy, or it is damaged or not accessible.
    """
    ranks = range(run.config.num_peers)
    for _ in range(LOOKS):
        found = tuple(load_policy(run.path, rank) for rank in ranks)
        if len({policy.meta.get("iterations") for policy in found}) == 1:
            return found
        if not is_locked(run.path):
            break
        time.sleep(PAUSE)
    checkpoint = run.load_checkpoint() if Checkpoints(run.path).newest() else None
    if checkpoint is None:
        return found
    return tuple(_of_tensors(run, checkpoint.path, checkpoint, rank) for rank in ranks)


def load_milestone_policy(run: RunFolder, milestone: Path, peer: int = 0) -> Policy:
    """Load a peer's policy as of one of `run.milestones()`.

    If the method has a central policy, that is returned, as in the run's `policies/`.

    Raises:
        BadArtefact: the milestone is damaged or foreign.
        UsageError: the run has no such peer.
    """
    if not 0 <= peer < run.config.num_peers:
        raise UsageError(f"{run.path} has peers 0..{run.config.num_peers - 1}, not {peer}")
    found = run.load_milestone(milestone)
    kept = found.tensors.get(f"peer{peer}.{POLICY}")
    if kept is None:
        return _of_tensors(run, milestone, found, peer)
    return Policy.from_bytes(kept.tobytes(), milestone)


def _of_tensors(run: RunFolder, milestone: Path, found: Checkpoint, peer: int) -> Policy:
    """Make the policy of a checkpoint, or of a milestone of a version before 0.2: none is kept."""
    last = load_policy(run.path, peer)
    try:
        own = found.tensors[f"peer{peer}.engine.actor"]
        actor = found.tensors.get(f"peer{peer}.method.centre", own)
        moments = Moments.from_vector(found.tensors[f"peer{peer}.peer.obs_moments"])
        normaliser = Normaliser.of(moments, run.config.obs_clip, run.config.normalise_obs)
        return last.with_actor(actor, normaliser, iterations=found.iteration)
    except KeyError as missing:
        raise BadArtefact(f"{milestone} has no {missing}; is it of another version?") from None
    except DAMAGE as error:
        raise BadArtefact(f"{milestone} does not fit its run: {error}; remove it") from None
