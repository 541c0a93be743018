"""How much of a bare loop's speed a runner keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from rlx.actors.env_runner import CollectRequest, ReplayEnvRunner
from rlx.bench import experiments
from rlx.bench.figure import Context, Figure, Rate, Row, medians, repeated, row
from rlx.experiment.build import build_config

_STEPS = 20
FLOOR = 0.9


class BareLoop:
    """What a person would write in ten lines: ale-py's vector environment, a network, an argmax.

    ale-py stacks the frames itself; nothing is recorded.

    Args:
        env_spec: the protocol of a game.
        num_envs: environments.
        network: stacked uint8 frames `[N, S, H, W]` -> an object with `q` `[N, A]`.
        epsilon: of the random actions.
    """

    def __init__(self, env_spec: Any, num_envs: int, network: Any, epsilon: float) -> None:
        from ale_py.vector_env import AtariVectorEnv

        self.network = network
        self.epsilon = epsilon
        self.rng = np.random.default_rng(0)
        self.env = AtariVectorEnv(
            env_spec.game,
            num_envs,
            num_threads=1,
            stack_num=env_spec.frame_stack,
            frameskip=env_spec.frame_skip,
            noop_max=env_spec.noop_max,
            repeat_action_probability=env_spec.sticky_action_probability,
            reward_clipping=False,
            use_fire_reset=False,
        )
        self.observation, _ = self.env.reset(seed=0)

    def collect(self, steps: int) -> float:
        """Act `steps` times in every environment; return the env steps taken."""
        num_envs, num_actions = self.env.num_envs, self.env.single_action_space.n
        for _ in range(steps):
            with torch.no_grad():
                q = self.network(torch.from_numpy(self.observation)).q
            actions = q.argmax(1).numpy()
            random = self.rng.random(num_envs) < self.epsilon
            actions = np.where(random, self.rng.integers(num_actions, size=num_envs), actions)
            self.observation, *_ = self.env.step(actions)
        return float(num_envs * steps)


def runner_side(runner: ReplayEnvRunner) -> Rate:
    """Return env steps/s of a runner's `collect`, blocks thrown away."""
    request = CollectRequest(steps=_STEPS)
    rows = float(runner.num_envs * _STEPS)

    def work() -> float:
        runner.collect(request)
        return rows

    return repeated(work)


def _runner(context: Context) -> Iterator[Row]:
    spec = experiments.acting(4 if context.budget.quick else 16)
    config = build_config(spec)
    runner = ReplayEnvRunner(config=config, worker_index=0)
    try:
        bare = BareLoop(config.env_spec(), runner.num_envs, runner.module.q_network, spec.exploration.epsilon)
        sides = [runner_side(runner), repeated(lambda: bare.collect(_STEPS))]
        ours, limit = medians(sides, context.budget, context.progress)
    finally:
        runner.stop()
    yield row("runner_env_steps_per_second", ours, "env steps/s", limit=limit, floor=FLOOR)


FIGURES = (Figure("runner_env_steps_per_second", _runner, FLOOR),)
