"""Real games. The oracles are ale-py's own vector environment and gymnasium's single one."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from ale_py.vector_env import AtariVectorEnv
from numpy.typing import NDArray

from rlx.envs import EnvError, EnvStep, describe_env, make_vector_env, resolve_env
from rlx.envs.atari import AtariLanes

PLAIN = {"noop_max": 0, "sticky_action_probability": 0.0}


def lanes(
    env_id: str, num_envs: int = 1, seed: int = 0, num_threads: int = 1, **overrides: Any
) -> AtariLanes:
    env = make_vector_env(resolve_env(env_id, overrides), num_envs, seed, num_threads)
    assert isinstance(env, AtariLanes)
    return env


def draw(env: AtariLanes, steps: int) -> NDArray[np.int64]:
    return np.random.default_rng(1).integers(0, env.num_actions, (steps, env.num_envs))


def play(env: AtariLanes, actions: NDArray[np.int64]) -> list[EnvStep]:
    env.reset()
    return [env.step(row) for row in actions]


def test_life_losses_and_game_overs_against_ale_py() -> None:
    env = lanes("BreakoutNoFrameskip-v4", 2, seed=7, noop_max=29, life_loss_terminates=True)
    oracle = AtariVectorEnv(
        "breakout", 2, num_threads=1, stack_num=1, noop_max=30, life_loss_info=True,
        reward_clipping=False, use_fire_reset=False,
    )  # fmt: skip
    np.testing.assert_array_equal(env.reset(), oracle.reset(seed=7)[0][:, 0])
    lost, ended = 0, 0
    for actions in draw(env, 350):
        step = env.step(actions)
        frames, rewards, terminated, truncated, info = oracle.step(actions)
        np.testing.assert_array_equal(step.frames, frames[:, 0])
        np.testing.assert_array_equal(step.rewards, rewards)
        np.testing.assert_array_equal(step.terminated, terminated)
        # Breakout ends with the last life, so there its counter tells the two apart.
        np.testing.assert_array_equal(step.over, terminated & (info["lives"] == 0))
        assert not step.truncated.any()
        assert not truncated.any()
        lost += int((step.terminated & ~step.over).sum())
        ended += int(step.over.sum())
    assert ended >= 2
    assert lost >= 4 * ended


def test_lives_do_not_matter_unless_the_protocol_says_so() -> None:
    env = lanes("BreakoutNoFrameskip-v4", 2, seed=7)
    for step in play(env, draw(env, 200)):
        np.testing.assert_array_equal(step.terminated, step.over)


def test_a_game_without_lives_never_loses_one() -> None:
    env = lanes("PongNoFrameskip-v4", 2, life_loss_terminates=True)
    assert not any(step.terminated.any() for step in play(env, draw(env, 100)))


@pytest.mark.parametrize("game", ["SpaceInvaders", "Breakout"])
def test_raw_rewards_and_game_over_against_gymnasium(game: str) -> None:
    env = lanes(f"{game}NoFrameskip-v4", noop_max=0)
    single = gymnasium.make(f"ALE/{game}-v5", repeat_action_probability=0.0, frameskip=4)
    single.reset(seed=3)
    env.reset()
    rewards = []
    for actions in draw(env, 1500):
        step = env.step(actions)
        _, reward, ended, _, _ = single.step(int(actions[0]))
        rewards.append(reward)
        assert step.rewards[0] == reward
        assert step.over[0] == ended
        if ended:
            break
    assert step.over[0]
    assert max(rewards) > 1 or game == "Breakout"


def test_the_frame_cap_truncates_with_the_true_final_frame() -> None:
    cap, steps = 399, 100
    capped = lanes("PongNoFrameskip-v4", 2, seed=3, max_episode_frames=cap)
    free = lanes("PongNoFrameskip-v4", 2, seed=3)
    actions = draw(capped, steps + 1)
    a, b = play(capped, actions), play(free, actions)
    for t in range(steps):
        np.testing.assert_array_equal(a[t].frames, b[t].frames)
        assert a[t].truncated.all() == a[t].over.all() == (t == steps - 1)
        assert not a[t].terminated.any()
    assert not np.array_equal(a[steps].frames, b[steps].frames)
    assert not a[steps].over.any()


def test_ale_py_itself_returns_another_frame_at_its_cap() -> None:
    """The reason why the cap is kept in Python. If this fails, ale-py was repaired."""
    actions = draw(lanes("PongNoFrameskip-v4"), 100)

    def last_frame(cap: int) -> NDArray[np.uint8]:
        env = AtariVectorEnv(
            "pong", 1, num_threads=1, stack_num=1, noop_max=0, max_num_frames_per_episode=cap
        )
        env.reset(seed=0)
        frames: NDArray[np.uint8] = [env.step(row)[0] for row in actions][-1]
        return frames

    assert not np.array_equal(last_frame(400), last_frame(10_000))


def test_the_step_after_a_truncation_is_a_fresh_start() -> None:
    env = lanes("PongNoFrameskip-v4", 1, max_episode_frames=40, noop_max=0)
    start = env.reset()
    actions = draw(env, 10)
    episodes = []
    for _ in range(3):
        steps = [env.step(row) for row in actions]
        assert steps[-1].truncated.all()
        episodes.append([step.frames for step in steps])
        after = env.step(actions[0])
        np.testing.assert_array_equal(after.frames, start)
        assert not any(values.any() for values in after[1:])
    # Pong is deterministic without sticky actions: all three episodes are the same.
    np.testing.assert_array_equal(episodes[0], episodes[1])
    np.testing.assert_array_equal(episodes[0], episodes[2])


def test_a_truncation_at_a_lost_life_is_both() -> None:
    # The third life of this game is lost at a known step: cap the episode exactly there.
    options: dict[str, Any] = {"noop_max": 0, "life_loss_terminates": True}
    env = lanes("BreakoutNoFrameskip-v4", **options)
    actions = draw(env, 120)
    losses = [t for t, step in enumerate(play(env, actions)) if step.terminated[0]]
    capped = lanes("BreakoutNoFrameskip-v4", max_episode_frames=4 * (losses[0] + 1), **options)
    step = play(capped, actions[: losses[0] + 1])[-1]
    assert (step.terminated[0], step.truncated[0], step.over[0]) == (True, True, True)
    step = capped.step(actions[0])
    assert (step.terminated[0], step.truncated[0], step.over[0]) == (False, False, False)


def test_sticky_actions_by_id() -> None:
    """Lanes that start in the same state and take the same actions part only where actions stick."""
    for env_id, sticky in (
        ("ALE/Pong-v5", True),
        ("PongNoFrameskip-v4", False),
        ("PongNoFrameskip-v0", True),
    ):
        env = lanes(env_id, 2, seed=0, noop_max=0)
        same = np.repeat(draw(env, 100)[:, :1], 2, axis=1)
        last = play(env, same)[-1].frames
        assert np.array_equal(last[0], last[1]) is not sticky, env_id


def first_frames(env: AtariLanes, resets: int) -> set[bytes]:
    return {env.reset()[0].tobytes() for _ in range(resets)}


def test_no_op_starts_go_up_to_noop_max() -> None:
    reference = lanes("FreewayNoFrameskip-v4", frame_skip=1, **PLAIN)
    after_noops = [reference.reset()[0].tobytes()]
    after_noops += [reference.step(np.zeros(1, np.int64)).frames[0].tobytes() for _ in range(8)]
    assert len(set(after_noops)) == 9
    for noop_max in (0, 3):
        env = lanes("FreewayNoFrameskip-v4", noop_max=noop_max)
        assert first_frames(env, 10 * (noop_max + 1)) == set(after_noops[: noop_max + 1])


def test_lanes_start_apart_by_their_seeds() -> None:
    frames = lanes("FreewayNoFrameskip-v4", 4).reset()
    assert len({frame.tobytes() for frame in frames}) > 2


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    one, two = lanes("ALE/Breakout-v5", 2), lanes("ALE/Breakout-v5", 2, num_threads=2)
    actions = draw(one, 60)
    for a, b in zip(play(one, actions), play(two, actions), strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_large_seeds_are_taken() -> None:
    env = lanes("PongNoFrameskip-v4", 3, seed=2**40)
    np.testing.assert_array_equal(env.reset(), env.reset(seed=2**40))


def test_the_front_end_follows_the_spec() -> None:
    spec = resolve_env(
        "ALE/Pong-v5", {"full_action_space": True, "grayscale": False, "frame_size": 96, "frame_skip": 2}
    )
    info = describe_env(spec)
    assert (info.frame_shape, info.num_actions, info.frames_per_step) == ((96, 96, 3), 18, 2)
    assert make_vector_env(spec, 2, 0).reset().shape == (2, 96, 96, 3)
    assert describe_env(resolve_env("ALE/Breakout-v5")).num_actions == 4


def test_an_emulator_has_no_state_to_give() -> None:
    env = lanes("ALE/Pong-v5")
    assert env.get_state() is None
    with pytest.raises(EnvError, match="cannot be restored"):
        env.set_state(b"")


class ScriptedGame:
    """Stands in for ale-py's object: gains a life, then pays and ends in the step to be thrown away."""

    def __init__(self) -> None:
        self.steps = 0

    def reset(self, seed: Any = None, options: Any = None) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        return np.zeros((1, 1, 84, 84), np.uint8), {"lives": np.array([3], np.int32)}

    def step(self, actions: NDArray[np.int64]) -> tuple[Any, ...]:
        self.steps += 1
        thrown_away = self.steps == 3
        frames = np.full((1, 1, 84, 84), self.steps, np.uint8)
        rewards, ended = np.array([7 if thrown_away else 1], np.int32), np.array([thrown_away])
        return frames, rewards, ended, np.array([False]), {"lives": np.array([4], np.int32)}


def test_nothing_of_the_step_under_a_forced_reset_shows() -> None:
    env = lanes("PongNoFrameskip-v4", max_episode_frames=8, life_loss_terminates=True)
    env._env = ScriptedGame()
    env.reset()
    act = np.zeros(1, np.int64)
    steps = [env.step(act) for _ in range(4)]
    assert [int(s.frames[0, 0, 0]) for s in steps] == [1, 2, 0, 4]
    assert [float(s.rewards[0]) for s in steps] == [1, 1, 0, 1]
    assert [bool(s.truncated[0]) for s in steps] == [False, True, False, False]
    # Four lives before the reset, three after it: not a lost life.
    assert [bool(s.terminated[0]) for s in steps] == [False] * 4
    assert [bool(s.over[0]) for s in steps] == [False, True, False, False]
