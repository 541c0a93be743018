"""Lanes: acting in N environments step by step and writing what happened into columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rlx.actors.epsilon import EpsilonSource, select_actions
from rlx.actors.frame_stack import FrameStack
from rlx.envs.vector import EnvStep, VectorEnv
from rlx.errors import EvaluationAbandonedError
from rlx.plugins import PluginContext, PluginSet, RunnerPlugin, StepView
from rlx.replay.block import Block, SparseRows
from rlx.replay.recurrent import (
    NO_ACTION,
    PREVIOUS_ACTION,
    PREVIOUS_COLUMNS,
    PREVIOUS_REWARD,
    STORED_STATE,
)

if TYPE_CHECKING:
    from rlx.actors.policy import Policy


class PlayedStep(NamedTuple):
    """One step of N lanes that play, as `Lanes.play` tells it."""

    q: np.ndarray
    """Q values `[N, A]` of the states that were acted in."""
    actions: np.ndarray
    """int64 `[N]`."""
    explored: np.ndarray
    """bool `[N]`: the action was drawn at random."""
    acted: np.ndarray
    """bool `[N]`: False where the step only began the next episode, and its action was ignored."""
    step: EnvStep
    """What the environments returned."""


class Lanes:
    """N environments, their frame stacks and returns, and the rule that turns steps into rows.

    A row holds the frame that was acted on, so the row after an episode's last step carries its final
    observation and no action (`acted` False), and the one after it starts the next episode.

    Args:
        env: vector environment of N lanes.
        worker_index: index of the runner; lane ids are `max(worker_index - 1, 0) * N + lane`.
        seed: of this runner's action generator.
        stream_id: names this incarnation of the runner: a change of it is a seam.
        epsilon: gives the exploration rate of each lane.
        plugins, plugin_context, plugin_modules: see `rlx.plugins`.
        recurrent: record what windows of a policy that remembers need: previous action and reward, and the
            states of the rows that the plugins name.
    """

    def __init__(
        self,
        env: VectorEnv,
        *,
        worker_index: int,
        seed: int,
        stream_id: int,
        epsilon: EpsilonSource,
        plugins: PluginSet,
        plugin_context: PluginContext,
        plugin_modules: dict[str, Any],
        recurrent: bool = False,
    ) -> None:
        self.env = env
        self.num_lanes = env.num_envs
        first_lane = max(worker_index - 1, 0) * env.num_envs
        self.lane_ids = np.arange(first_lane, first_lane + env.num_envs, dtype=np.int64)
        self.stream_ids = np.full(env.num_envs, stream_id, dtype=np.int64)
        self.epsilon = epsilon
        self.rng = np.random.default_rng(seed)
        self.stack = FrameStack(env.num_envs, env.frame_stack, env.frame_shape, env.frame_dtype)
        self._plugin_set = plugins
        self._recurrent = recurrent
        self._plugin_columns = plugins.columns(plugin_context)
        halves = ((p.name, p.runner(plugin_context, plugin_modules.get(p.name))) for p in plugins.plugins)
        self._plugins: dict[str, RunnerPlugin] = {name: half for name, half in halves if half is not None}
        self._seed = seed
        self._rows_sent = 0
        self._started = False

    @classmethod
    def player(cls, env: VectorEnv, *, seed: int, epsilon: float) -> Lanes:
        """Make lanes that only play (evaluation): one epsilon for all, no plugins."""
        context = PluginContext(env.num_envs, env.num_actions, env.frame_shape, "", env.frame_stack, 1.0)
        return cls(
            env,
            worker_index=0,
            seed=seed,
            stream_id=0,
            epsilon=EpsilonSource("constant", env.num_envs, epsilon=epsilon),
            plugins=PluginSet(),
            plugin_context=context,
            plugin_modules={},
        )

    def restart(self, seed: int) -> None:
        """Reset every environment and begin a new stream in every lane."""
        self._begin(self.env.reset(seed))
        self.stream_ids += 1
        self._rows_sent = 0

    def _start(self) -> None:
        self._begin(self.env.reset(self._seed))

    def _begin(self, frames: np.ndarray) -> None:
        everyone = np.ones(self.num_lanes, dtype=bool)
        self.stack.push(frames, everyone)
        self._first = everyone
        self._over = np.zeros(self.num_lanes, dtype=bool)
        self._returns = np.zeros(self.num_lanes, dtype=np.float64)
        self._lengths = np.zeros(self.num_lanes, dtype=np.int64)
        self._episode_row = np.zeros(self.num_lanes, dtype=np.int64)
        self._previous_action = np.full(self.num_lanes, NO_ACTION, dtype=np.int64)
        self._previous_reward = np.zeros(self.num_lanes, dtype=np.float32)
        self._started = True

    def _columns(self, steps: int) -> dict[str, np.ndarray]:
        shape = (self.num_lanes, steps)
        columns = {
            "frame": np.empty((*shape, *self.env.frame_shape), self.env.frame_dtype),
            "action": np.empty(shape, np.int32),
            "reward": np.empty(shape, np.float32),
            "terminated": np.empty(shape, bool),
            "truncated": np.empty(shape, bool),
            "first": np.empty(shape, bool),
            "acted": np.empty(shape, bool),
            "q_taken": np.empty(shape, np.float32),
            "q_max": np.empty(shape, np.float32),
        }
        for name, spec in self._plugin_columns.items():
            columns[name] = np.empty((*shape, *spec.shape), spec.dtype)
        if self._recurrent:
            for name, (dtype, row_shape) in PREVIOUS_COLUMNS.items():
                columns[name] = np.empty((*shape, *row_shape), dtype)
        return columns

    def collect(
        self, policy: Policy, steps: int, env_steps: int, version: int
    ) -> tuple[Block, list[tuple[float, int, float, int]], float]:
        """Act for `steps` rows in every lane.

        Args:
            policy: gives Q values of every row.
            steps: T.
            env_steps: the run's env steps so far, for schedules.
            version: learner updates behind the acting weights.

        Returns:
            The block `[N, T]`; finished episodes as (return, length, epsilon, lane id); mean epsilon.
        """
        if not self._started:
            self._start()
        columns = self._columns(steps)
        epsilons = self.epsilon(self.lane_ids, env_steps)
        episodes: list[tuple[float, int, float, int]] = []
        lanes = np.arange(self.num_lanes)
        states = _States() if self._recurrent else None
        episode_rows = self._episode_row.copy()
        for t in range(steps):
            observation = self.stack.observation
            q = self._ask(policy)
            if states is not None:
                columns[PREVIOUS_ACTION][:, t] = self._previous_action
                columns[PREVIOUS_REWARD][:, t] = self._previous_reward
                states.keep(policy, t, self._plugin_set.state_rows(self._episode_row))
            actions, _ = select_actions(q, epsilons, self.rng)
            columns["frame"][:, t] = observation[:, -1]
            columns["first"][:, t] = self._first
            columns["action"][:, t] = actions
            columns["q_taken"][:, t] = q[lanes, actions]
            columns["q_max"][:, t] = q.max(axis=1)
            acted = ~self._over
            step = self.env.step(actions)
            columns["acted"][:, t] = acted
            columns["reward"][:, t] = step.rewards
            columns["terminated"][:, t] = step.terminated
            columns["truncated"][:, t] = step.truncated
            if self._plugins:
                self._record_plugins(columns, t, observation, actions, acted, step)
            self._count(acted, step, epsilons, episodes)
            self._move_on(actions, acted, step)
        block = Block(
            columns=columns,
            lane_ids=self.lane_ids.copy(),
            stream_ids=self.stream_ids.copy(),
            version=version,
            start_rows=np.full(self.num_lanes, self._rows_sent, dtype=np.int64),
            episode_rows=episode_rows,
            sparse={} if states is None else states.columns(),
        )
        self._rows_sent += steps
        return block, episodes, float(epsilons.mean())

    def _ask(self, policy: Policy) -> np.ndarray:
        return policy.q_values(
            self.stack.observation, self._first, self._previous_action, self._previous_reward
        )

    def _move_on(self, actions: np.ndarray, acted: np.ndarray, step: EnvStep) -> None:
        """Take the step's frames as the next rows."""
        self._first = ~acted
        self._over = step.over
        self._episode_row = np.where(self._first, 0, self._episode_row + 1)
        self._previous_action = np.where(self._first, NO_ACTION, actions)
        self._previous_reward = np.where(self._first, np.float32(0.0), step.rewards).astype(np.float32)
        self.stack.push(step.frames, self._first)

    def _record_plugins(
        self,
        columns: dict[str, np.ndarray],
        t: int,
        observation: np.ndarray,
        actions: np.ndarray,
        acted: np.ndarray,
        step: EnvStep,
    ) -> None:
        view = StepView(
            observation=observation,
            action=actions,
            reward=step.rewards,
            next_frame=step.frames,
            terminated=step.terminated,
            truncated=step.truncated,
            over=step.over,
            acted=acted,
            first=self._first,
        )
        for name, plugin in self._plugins.items():
            for column, values in plugin.on_step(view).items():
                columns[f"{name}/{column}"][:, t] = values

    def _count(
        self,
        acted: np.ndarray,
        step: EnvStep,
        epsilons: np.ndarray,
        episodes: list[tuple[float, int, float, int]],
    ) -> None:
        """Add up returns and lengths, and take out those of the episodes that ended."""
        self._returns += np.where(acted, step.rewards, 0.0)
        self._lengths += acted
        for lane in np.flatnonzero(step.over):
            episodes.append(
                (
                    float(self._returns[lane]),
                    int(self._lengths[lane]),
                    float(epsilons[lane]),
                    int(self.lane_ids[lane]),
                )
            )
            self._returns[lane] = 0.0
            self._lengths[lane] = 0

    def play(
        self,
        policy: Policy,
        episodes: int,
        on_episode: Callable[[int], None] | None = None,
        on_step: Callable[[PlayedStep], None] | None = None,
        abandon: Callable[[], bool] = lambda: False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Play whole episodes; lane i plays a number of them that is fixed beforehand.

        Args:
            policy: gives Q values of every row.
            episodes: how many.
            on_episode: told the number of counted episodes whenever one ends.
            on_step: told of every step, after the environments took it.
            abandon: asked before every step whether to give up: one episode may take minutes.

        Returns:
            Undiscounted raw returns float64 `[episodes]` and lengths int64 `[episodes]`.

        Raises:
            EvaluationAbandonedError: `abandon` said so.
        """
        self._start()
        epsilons = self.epsilon(self.lane_ids, 0)
        share = np.full(self.num_lanes, episodes // self.num_lanes)
        share[: episodes % self.num_lanes] += 1
        finished: list[list[tuple[float, int]]] = [[] for _ in range(self.num_lanes)]
        while any(len(done) < want for done, want in zip(finished, share, strict=True)):
            if abandon():
                raise EvaluationAbandonedError(
                    f"given up after {sum(map(len, finished))} of {episodes} episodes"
                )
            q = self._ask(policy)
            actions, explored = select_actions(q, epsilons, self.rng)
            acted = ~self._over
            step = self.env.step(actions)
            if on_step is not None:
                on_step(PlayedStep(q, actions, explored, acted, step))
            ended: list[tuple[float, int, float, int]] = []
            self._count(acted, step, epsilons, ended)
            for episode_return, length, _, lane in ended:
                if len(finished[lane]) < share[lane]:
                    finished[lane].append((episode_return, length))
                    if on_episode is not None:
                        on_episode(sum(map(len, finished)))
            self._move_on(actions, acted, step)
        flat = [result for lane in finished for result in lane]
        return np.array([r for r, _ in flat]), np.array([n for _, n in flat], dtype=np.int64)

    def plugin_metrics(self) -> dict[str, float]:
        """Return the plugins' metrics under `<plugin>/<metric>`."""
        return {
            f"{name}/{metric}": value
            for name, plugin in self._plugins.items()
            for metric, value in plugin.metrics().items()
        }

    def get_state(self) -> dict[str, Any]:
        """Return RNGs, plugins, and, where the environments can be saved, the episodes in progress."""
        state: dict[str, Any] = {
            "rng": self.rng.bit_generator.state,
            "stream_ids": self.stream_ids.copy(),
            "plugins": {name: plugin.get_state() for name, plugin in self._plugins.items()},
            "env": None,
        }
        env_state = self.env.get_state() if self._started else None
        if env_state is not None:
            state["env"] = env_state
            state["episode"] = {
                "rows_sent": self._rows_sent,
                "stack": self.stack.get_state(),
                "first": self._first.copy(),
                "over": self._over.copy(),
                "returns": self._returns.copy(),
                "lengths": self._lengths.copy(),
                "episode_row": self._episode_row.copy(),
                "previous_action": self._previous_action.copy(),
                "previous_reward": self._previous_reward.copy(),
            }
        return state

    def set_state(self, state: dict[str, Any]) -> bool:
        """Take `get_state`'s result; return True if the episodes in progress go on.

        Otherwise the lanes start new episodes, in a new stream, at the next step.
        """
        self.rng.bit_generator.state = state["rng"]
        for name, plugin in self._plugins.items():
            plugin.set_state(state["plugins"].get(name, {}))
        if state["env"] is None:
            return False
        self.env.set_state(state["env"])
        episode = state["episode"]
        self._rows_sent = episode["rows_sent"]
        self.stack.set_state(episode["stack"])
        self._first = episode["first"].copy()
        self._over = episode["over"].copy()
        self._returns = episode["returns"].copy()
        self._lengths = episode["lengths"].copy()
        self._episode_row = episode["episode_row"].copy()
        self._previous_action = episode["previous_action"].copy()
        self._previous_reward = episode["previous_reward"].copy()
        self.stream_ids = state["stream_ids"].copy()
        self._started = True
        return True


class _States:
    """Recurrent states of some rows of a block, collected step by step."""

    def __init__(self) -> None:
        self._lanes: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []
        self._values: list[np.ndarray] = []

    def keep(self, policy: Policy, row: int, wanted: np.ndarray) -> None:
        """Keep the states before row `row` of the lanes that are wanted, bool `[N]`."""
        lanes = np.flatnonzero(wanted)
        if lanes.size == 0:
            return
        state = policy.state()
        assert state is not None
        self._lanes.append(lanes)
        self._rows.append(np.full(lanes.size, row, np.int64))
        self._values.append(state[lanes])

    def columns(self) -> dict[str, SparseRows]:
        """Return the sparse column of the block; none if no row was kept."""
        if not self._lanes:
            return {}
        lanes, rows, values = (np.concatenate(part) for part in (self._lanes, self._rows, self._values))
        return {STORED_STATE: SparseRows(lanes, rows, values)}
