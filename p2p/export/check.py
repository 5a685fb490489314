"""Checks a bundle's files against the policy, on observations of real episodes.

Nothing that fails here is ever shown: an exported policy that acts otherwise than the trained one
is found on a robot, if not here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2p.analysis.evaluation.domain_sets import draw_set
from p2p.analysis.evaluation.worker import episode_stream
from p2p.core.errors import BadArtefact
from p2p.envs.build import build_envs
from p2p.envs.randomisation import Randomisation
from p2p.policy.acting import ActingPolicy
from p2p.policy.exported import INPUT, OUTPUT, new_session
from p2p.policy.parameters import Floats

NUM_OBSERVATIONS, NUM_ENVS = 1000, 4
LIMIT = 1e-5  # of an action's range; float32 rounding makes less than 1e-6 on the five tasks
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror")
PROGRAM = """\
#include <stdio.h>
#include "{header}"

int main(void) {{
    float obs[P2P_OBS_DIM], actions[P2P_ACTION_DIM];
    while (fread(obs, sizeof obs, 1, stdin) == 1) {{
        p2p_policy_act(obs, actions);
        fwrite(actions, sizeof actions, 1, stdout);
    }}
    return 0;
}}
"""


class Sample(NamedTuple):
    """Observations of real episodes, and what the policy does.

    Attributes:
        obs: [S, n] float64, raw.
        action: [S, A] float32, by `act`.
        low, high: [A], the bounds.
    """

    obs: NDArray[np.float64]
    action: Floats
    low: Floats
    high: Floats

    def worst(self, found: Floats) -> float:
        """Return the largest difference of `found` [S, A], as a share of the action's range."""
        with np.errstate(invalid="ignore"):
            share = np.abs(found - self.action) / (self.high - self.low)
        return float(share.max()) if np.isfinite(share).all() else np.inf


def sample_episodes(
    policy: ActingPolicy, randomisation: Randomisation, eps: float, seed: int
) -> Sample:
    """Let a policy act in test domains, and return the first thousand observations.

    Raises:
        BadArtefact: its actions are not finite.
    """
    envs = build_envs(policy.task, NUM_ENVS, randomisation)
    envs.set_domains(draw_set(envs.binding, eps, NUM_ENVS, seed).domains)
    envs.reset([episode_stream(seed, n, 0) for n in range(NUM_ENVS)])
    seen, done = [], []
    for _ in range(NUM_OBSERVATIONS // NUM_ENVS):
        seen.append(envs.obs.copy())
        done.append(policy.act(envs.obs))
        if not np.isfinite(done[-1]).all():
            raise BadArtefact(
                f"the policy for {policy.task} gives an action that is not finite; "
                "its parameters are damaged"
            )
        envs.step(done[-1])
        envs.finished.clear()
    return Sample(np.concatenate(seen), np.concatenate(done), policy.low, policy.high)


def check_graph(file: Path, sample: Sample) -> float:
    """Return the worst difference of an ONNX file, as a share of the action's range.

    The file is read back from the disk; observations come to it all together, and one by one.

    Raises:
        BadArtefact: it is no valid ONNX model, or differs too much.
    """
    import onnx

    try:
        onnx.checker.check_model(str(file), full_check=True)
        session = new_session(file.read_bytes())
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise BadArtefact(f"{file.name} is not valid: {reason}; nothing is exported") from None
    obs = sample.obs.astype(np.float32)
    (together,) = session.run([OUTPUT], {INPUT: obs})
    alone = np.concatenate([session.run([OUTPUT], {INPUT: row[None]})[0] for row in obs])
    return _checked(file, max(sample.worst(together), sample.worst(alone)))


def find_compiler() -> str | None:
    """Return the C compiler: that of the variable CC, or the first of the usual names."""
    names = [name for name in (os.environ.get("CC"), *COMPILERS) if name]
    return next((name for name in names if shutil.which(name)), None)


def check_header(file: Path, sample: Sample, compiler: str) -> float:
    """Compile a header with all warnings as errors, run it, and return the worst difference.

    Raises:
        BadArtefact: it does not compile, does not run, or differs too much.
    """
    with tempfile.TemporaryDirectory() as folder:
        main, program = Path(folder, "main.c"), Path(folder, "main")
        main.write_text(PROGRAM.format(header=file.name))
        command = [compiler, *FLAGS, "-I", str(file.parent), str(main), "-o", str(program), "-lm"]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            errors = [line for line in built.stderr.splitlines() if "error" in line]
            raise BadArtefact(
                f"{file.name} does not compile with {compiler}: "
                f"{(errors or ['no reason given'])[0].rpartition('/')[2]}; nothing is exported "
                "(--format onnx leaves it out)"
            )
        obs = sample.obs.astype(np.float32).tobytes()
        ran = subprocess.run([str(program)], input=obs, capture_output=True, check=False)
    found = np.frombuffer(ran.stdout, np.float32)
    if ran.returncode or found.size != sample.action.size:
        raise BadArtefact(f"{file.name}, compiled with {compiler}, fails; nothing is exported")
    return _checked(file, sample.worst(found.reshape(sample.action.shape)))


def _checked(file: Path, worst: float) -> float:
    if worst > LIMIT:
        raise BadArtefact(
            f"{file.name} acts otherwise than the policy: by {worst:.1e} of an action's range on "
            f"{NUM_OBSERVATIONS:,} observations, and {LIMIT:.0e} is allowed; nothing is exported"
        )
    return worst
