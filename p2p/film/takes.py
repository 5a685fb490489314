"""An episode kept to be drawn, and the model to draw it with."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from p2p.core.errors import P2PError
from p2p.envs.base import Episode
from p2p.envs.binding import derive
from p2p.envs.gymnasium_tasks import GymTask
from p2p.envs.model import load_model
from p2p.envs.task import find_task
from p2p.envs.terms import copy_fields
from p2p.film.episode import STATE, Moment, Player

PLACES = tuple(f"{of}_{what}" for of in ("body", "geom", "site") for what in ("pos", "quat"))


@dataclass(frozen=True)
class Take:
    """An episode in a domain, from its start to its end.

    Attributes:
        label: the domain, as it is written on pictures.
        domain: the same as exact text.
        model: with all that is seen, in the domain.
        dt: seconds a step.
        moments: [length + 1].
        episode: how it ended.
    """

    label: str
    domain: str
    model: mujoco.MjModel
    dt: float
    moments: tuple[Moment, ...]
    episode: Episode

    @property
    def seconds(self) -> float:
        """How long the episode lasts, in simulated time."""
        return self.episode.length * self.dt

    def at(self, seconds: float) -> Moment:
        """Return the moment nearest to a time; after the end, the last one."""
        return self.moments[min(round(seconds / self.dt), len(self.moments) - 1)]


def record(player: Player) -> Take:
    """Play the episode that evaluation scores, and keep it."""
    from p2p.film.captions import domain_label

    playing = player.play()
    first = next(playing)
    model = model_to_draw(player)  # while the episode stands at its start
    moments = (first, *playing)
    episode = moments[-1].ended
    assert episode is not None  # the time limit ends each
    domain = player.job.domain
    label = domain_label(player.randomisation, domain)
    return Take(label, str(domain), model, player.envs.dt, moments, episode)


def model_to_draw(player: Player) -> mujoco.MjModel:
    """Return a copy of the model that is simulated, with all that is seen.

    What steps a task's own robot has no lights, cameras and visual meshes; the file has, and takes
    over what the domain changes. An env of Gymnasium's steps its whole model.

    Raises:
        P2PError: the file's model has another state.
    """
    simulated, _ = player.envs.simulation(0)
    task = find_task(player.subject.task)
    if issubclass(task, GymTask):
        model = copy.copy(simulated)
        return model if player.envs.binding.root is None else with_endless_floor(model)
    model = load_model(task, player.randomisation)
    kept = _simulated_geoms(model, simulated)
    for name in {field for part in player.envs.binding.parts for field in part.term.fields}:
        changed, own = getattr(simulated, name, None), getattr(model, name, None)
        if not isinstance(changed, np.ndarray) or not isinstance(own, np.ndarray):
            continue
        if own.shape == changed.shape:
            own[:] = changed
        elif name.startswith("geom_") and len(kept) == len(changed):
            own[kept] = changed
    derive(model, mujoco.MjData(model))
    if mujoco.mj_stateSize(model, STATE) != mujoco.mj_stateSize(simulated, STATE):
        raise P2PError(f"task {player.subject.task}: the trimmed model has another state")
    return model if player.envs.binding.root is None else with_endless_floor(model)


def take_over_reset(player: Player, model: mujoco.MjModel) -> None:
    """Write into a drawn model what an env of Gymnasium's has moved in its own at a reset."""
    if issubclass(find_task(player.subject.task), GymTask):
        simulated, _ = player.envs.simulation(0)
        copy_fields(PLACES, simulated, model)


def _simulated_geoms(model: mujoco.MjModel, simulated: mujoco.MjModel) -> NDArray[np.intp]:
    """Return the geoms that are simulated, in their order: those only seen are left out there.

    Of geoms that touch nothing MuJoCo keeps those that something else, such as a sensor, names.
    """
    touches = (model.geom_contype | model.geom_conaffinity) != 0
    names = {simulated.geom(n).name for n in range(simulated.ngeom)} - {""}
    named = [model.geom(n).name in names for n in range(model.ngeom)]
    return np.flatnonzero(touches | named)


def with_endless_floor(model: mujoco.MjModel) -> mujoco.MjModel:
    """Let planes of the world be drawn without an end, as they touch; return the model.

    A HalfCheetah leaves the 40 m that its file's floor is drawn on after six seconds.
    """
    planes = (model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE) & (model.geom_bodyid == 0)
    for plane in np.flatnonzero(planes & (model.geom_size[:, :2] > 0).all(axis=1)):
        material, size = int(model.geom_matid[plane]), model.geom_size[plane, :2].copy()
        if material >= 0 and not model.mat_texuniform[material]:
            if (model.geom_matid == material).sum() > 1:
                continue  # its texture repeats otherwise on another geom
            model.mat_texrepeat[material] /= size  # of the half-width; now times a metre
        model.geom_size[plane, :2] = 0.0
    return model
