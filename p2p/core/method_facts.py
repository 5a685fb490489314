"""The methods' defaults, limits and sources: a row a method, which `p2p methods` prints.

What each of them does is in `p2p.methods`, under the same names.
"""

from __future__ import annotations

from typing import NamedTuple


class MethodFacts(NamedTuple):
    """A method's defaults and limits, and what there is to say of it in a line."""

    learning_rate: float
    num_peers: int  # default K
    peers: tuple[int, int]  # least and most
    exchanges: str  # what each peer shows the others
    objective: str  # what is minimised
    source: str  # where it comes from
    settings: tuple[tuple[str, str], ...] = ()  # those of its own, and where the default is from
    penalty_kl: str = ""  # what the journal's `penalty_kl` is; empty if nothing is added
    end_counts: str = ""  # why its numbers depend on where the run is to end


MANY = 1024
A2 = "appendix A.2"
GHOSH = "Ghosh et al. 2018, their code"
LIKE_ALPHA = "ours: holds Hopper's locals about as near as alpha = 1"
METHODS = {
    "p2pdrl": MethodFacts(
        1e-4, 2, (1, MANY), "actor", "L_PPO + alpha KL(pi_i, others)", "eq. 4, section 3.2",
        (("learning_rate", A2), ("distill_coef", A2), ("sync", "Algorithm 1")),
        "KL(pi_i || pi_k) on own states, mean over the other peers (eq. 3)",
    ),
    "ppo": MethodFacts(
        3e-4, 1, (1, 1), "nothing", "L_PPO", "eq. 2; Schulman et al. 2017",
        (("learning_rate", A2),),
    ),
    "dppo": MethodFacts(
        3e-4, 2, (1, MANY), "gradients", "mean over peers of L_PPO", "4.2; Heess et al. 2017",
        (("learning_rate", A2),),
    ),
    "distral": MethodFacts(
        1e-4, 2, (1, MANY), "centre's gradient", "L_PPO + alpha KL(pi_i, pi_0)",
        "4.2; Teh et al. 2017",
        (
            ("learning_rate", A2), ("distill_coef", A2),
            ("distral_form", "4.2: constrained at each gradient step"),
            ("distral_kl_coef", LIKE_ALPHA), ("distral_entropy_coef", "ours"),
        ),
        "KL(pi_i || pi_0) to the centre, on own states",
    ),
    "dnc": MethodFacts(
        1e-4, 2, (2, MANY), "actor, states", "L_PPO + alpha symmetric KL; reset every R",
        "4.2; Ghosh et al. 2018",
        (
            ("learning_rate", A2), ("distill_coef", A2), ("distil_every", GHOSH),
            ("distil_epochs", GHOSH), ("distil_loss", GHOSH), ("distil_learning_rate", "ours"),
        ),
        "KL(pi_i || pi_k) + KL(pi_k || pi_i) on own and others' states, mean over the other peers",
        "DnC distils once more at its end",
    ),
    "self-kl": MethodFacts(
        3e-4, 1, (1, 1), "nothing", "L_PPO + alpha KL(pi, pi_old)", "section 4.4, Fig. 7",
        (("learning_rate", "as PPO's"), ("distill_coef", "as P2PDRL's")),
        "KL(pi || pi_old) to the policy that collected, on own states",
    ),
    "entropy": MethodFacts(
        3e-4, 1, (1, 1), "nothing", "L_PPO - c H(pi)", "section 4.4, Fig. 8a",
        (("learning_rate", "as PPO's"), ("entropy_coef", "ours; the paper tries 1e-3 to 1e2")),
    ),
}  # fmt: skip
