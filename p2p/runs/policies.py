"""The policies of a run, as they are at its end or were at a milestone."""

from __future__ import annotations

from pathlib import Path

from p2p.core.errors import BadArtefact, UsageError
from p2p.policy.policy import Moments, Normaliser, Policy
from p2p.runs import RunFolder
from p2p.runs.files import reachable


def load_policy(run_or_file: str | Path, peer: int = 0) -> Policy:
    """Load a trained policy; it needs neither torch nor MuJoCo.

    Args:
        run_or_file: a run folder, or a `.safetensors` file from its `policies/`.
        peer: which peer's policy, if a run folder is given.

    Raises:
        BadArtefact: there is no policy there, it is damaged, or out of reach.
        UsageError: the run has no such peer.
    """
    path = reachable(Path(run_or_file))
    if path.is_dir():
        run = RunFolder.open(path)
        if not 0 <= peer < run.config.num_peers:
            raise UsageError(f"{path} has peers 0..{run.config.num_peers - 1}, not {peer}")
        path = run.policy_path(peer)
        if not path.exists():
            raise BadArtefact(f"{run.path} has no policy yet: none before its first checkpoint")
    return Policy.load(path)


def load_milestone_policy(run: RunFolder, milestone: Path, peer: int = 0) -> Policy:
    """Load a peer's policy as it was at one of `run.milestones()`.

    Where the method has a central policy it is that one, as in the run's `policies/`.

    Raises:
        BadArtefact: the milestone is damaged or foreign, or the run has no policy yet.
        UsageError: the run has no such peer.
    """
    last = load_policy(run.path, peer)
    found = run.load_milestone(milestone)
    try:
        own = found.tensors[f"peer{peer}.engine.actor"]
        actor = found.tensors.get(f"peer{peer}.method.centre", own)
        moments = Moments.from_vector(found.tensors[f"peer{peer}.peer.obs_moments"])
    except KeyError as missing:
        raise BadArtefact(f"{milestone} has no {missing}; is it of another version?") from None
    normaliser = Normaliser.of(moments, run.config.obs_clip, run.config.normalise_obs)
    return last.with_actor(actor, normaliser, iterations=found.iteration)
