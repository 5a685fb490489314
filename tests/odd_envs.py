"""Envs of Gymnasium's kind that p2p meets in the wild, each odd in one way.

Importing it registers them: `odd_envs:Pendulum-v0` and so on.
"""

from __future__ import annotations

import os
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

MJCF = """
<mujoco>
  <worldbody>
    <geom type="plane" size="5 5 1"/>
    <body name="target" pos="0 0 1"><geom size=".02" contype="0" conaffinity="0"/></body>
    <body name="arm" pos="0 0 1">
      <joint name="hinge" axis="0 1 0" damping=".1"/>
      <geom type="capsule" fromto="0 0 0 0 0 -.4" size=".03"/>
    </body>
  </worldbody>
  <actuator><motor name="motor" joint="hinge" ctrlrange="-1 1"/></actuator>
</mujoco>
"""
if "IMPORTED" in os.environ:  # a stranger's run folder must not get here
    Path(os.environ["IMPORTED"]).touch()


class Pendulum(gymnasium.Env):
    """A torque-driven arm; the methods below are what the others change."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, gain: float = 1.0, xml: str = MJCF, **_: object) -> None:
        self.model = mujoco.MjModel.from_xml_string(xml)
        self.data = mujoco.MjData(self.model)
        self.gain, self.count, self.steps = gain, 0, 0
        self.observation_space = Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = Box(-1.0, 1.0, (1,), np.float32)

    def _get_obs(self):
        return np.concatenate([self.data.qpos, self.data.qvel])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] = self.np_random.uniform(-0.1, 0.1, 1)
        mujoco.mj_forward(self.model, self.data)
        self.count = 0
        return self._get_obs(), {}

    def step(self, action):
        self.data.ctrl[:] = self.gain * action
        mujoco.mj_step(self.model, self.data, 5)
        self.count += 1
        self.steps += 1
        return self._get_obs(), -float(self.data.qpos[0] ** 2), False, False, {}


class Cut(Pendulum):
    """Truncates its episodes itself, after seven steps."""

    def step(self, action):
        obs, reward, _, _, info = super().step(action)
        return obs, reward, False, self.count == 7, info


class Moves(Pendulum):
    """Moves its target at each reset, in the model, as AdroitHandDoor does with its door."""

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        self.model.body("target").pos[0] += self.np_random.uniform(-0.1, 0.1)
        return obs, info

    def step(self, action):
        obs, _, *rest = super().step(action)
        return obs, float(self.model.body("target").pos[0]), *rest


class Bursts(Pendulum):
    """Diverges at its fourth step."""

    def step(self, action):
        if self.count == 3:
            self.data.qvel[:] = 1e11
        return super().step(action)


class Keeps(Pendulum):
    """Keeps the action and observes it a step later."""

    last = np.zeros(1)

    def step(self, action):
        before, self.last = self.last, action
        obs, *rest = super().step(action)
        return np.array([obs[0], before[0]]), *rest


class Silent(Pendulum):
    """Has no method that says what is observed."""

    _get_obs = None

    def reset(self, *, seed=None, options=None):
        mujoco.mj_resetData(self.model, self.data)
        return np.zeros(2), {}

    def step(self, action):
        return np.zeros(2), 0.0, False, False, {}


class Fails(Pendulum):
    """Fails in its first step."""

    def step(self, action):
        raise RuntimeError("no such\nthing")


class TwoActions(Pendulum):
    """Has two actions for one actuator."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)

    def step(self, action):
        return super().step(action[:1] + action[1:])


class Space(Pendulum):
    """Has spaces that p2p does not take."""

    def __init__(self, odd: str = "") -> None:
        super().__init__()
        if odd == "dict":
            self.observation_space = Dict({"x": self.observation_space})
        elif odd == "picture":
            self.observation_space = Box(0, 255, (8, 8, 3), np.uint8)
        elif odd == "discrete":
            self.action_space = Discrete(2)
        elif odd == "unbounded":
            self.action_space = Box(-np.inf, np.inf, (1,), np.float32)
        elif odd == "no actuator":
            start = MJCF.index("<actuator>")
            xml = MJCF[:start] + MJCF[MJCF.index("</actuator>") + 11 :]
            self.model = mujoco.MjModel.from_xml_string(xml)
        elif odd == "no model":
            self.model = None


for kind in (Pendulum, Cut, Moves, Bursts, Keeps, Silent, Fails, TwoActions, Space):
    gymnasium.register(
        f"{kind.__name__}-v0", entry_point=f"{__name__}:{kind.__name__}", max_episode_steps=20
    )
gymnasium.register(
    "Wrapped-v0",
    entry_point=f"{__name__}:Pendulum",
    additional_wrappers=(
        gymnasium.wrappers.RescaleAction.wrapper_spec(min_action=-2, max_action=2),
    ),
)
