import pickle
from typing import Any

import numpy as np
import pytest

from rlx.envs import EnvError, VectorEnv, describe_env, make_vector_env, resolve_env
from rlx.envs.paced import Pace, PacedLanes

ID = "rlx/FixedLatency-v0"


class FakeClock:
    """A clock that only `sleep` and `work` move."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    work = sleep


def paced(clock: FakeClock, lanes: int = 2, **config: Any) -> PacedLanes:
    spec = resolve_env(ID, {"env_config": {"latency_seconds": 0.1, **config}})
    return PacedLanes(spec, lanes, seed=3, pace=Pace(0.1, clock, clock.sleep))


def test_a_step_of_all_lanes_takes_the_latency_and_work_beside_it_is_hidden() -> None:
    for work in (0.0, 0.03, 0.1):
        clock = FakeClock()
        env = paced(clock, lanes=8)
        env.reset()
        assert clock.now == 100.0
        for _ in range(50):
            env.step(np.zeros(8, np.int64))
            clock.now += work
        assert clock.now - work == pytest.approx(105.0)


def test_beyond_the_latency_the_work_decides() -> None:
    clock = FakeClock()
    env = paced(clock)
    env.reset()
    for _ in range(50):
        env.step(np.zeros(2, np.int64))
        clock.now += 0.15
    # The first step waits, the others never do.
    assert clock.now == pytest.approx(100.0 + 0.1 + 50 * 0.15)
    assert len(clock.slept) == 1


def test_a_delay_is_made_good_by_one_step_at_most() -> None:
    clock, ends = FakeClock(), []
    pace = Pace(0.1, clock, clock.sleep)
    pace.wait()
    clock.now += 5.0
    for _ in range(4):
        pace.wait()
        ends.append(round(clock.now - 105.1, 9))
    assert ends == [0.0, 0.0, 0.1, 0.2]
    pace.restart()
    clock.now += 7.0
    before = clock.now
    pace.wait()
    assert clock.now - before == pytest.approx(0.1)


def test_episodes_have_a_fixed_length_and_pay_what_they_show_next() -> None:
    clock = FakeClock()
    env = paced(clock, lanes=3, length=4)
    frames = env.reset()
    assert frames.dtype == np.float32
    assert frames.shape == (3, 1)
    over, rewards = [], []
    for _ in range(10):
        step = env.step(np.zeros(3, np.int64))
        assert not step.truncated.any()
        np.testing.assert_array_equal(step.terminated, step.over)
        over.append(bool(step.over.all()))
        if not (len(over) > 1 and over[-2]):  # a restart pays nothing
            np.testing.assert_allclose(step.rewards, step.frames[:, 0])
            rewards.append(step.rewards)
    assert [t + 1 for t, ended in enumerate(over) if ended] == [4, 9]
    values = np.concatenate(rewards)
    assert (values >= 0).all()
    assert (values < 1).all()
    assert len(np.unique(values)) == len(values)


def test_it_is_an_environment_like_any_other() -> None:
    spec = resolve_env(ID, {"env_config": {"latency_seconds": 0.0}})
    env = make_vector_env(spec, 2, 0)
    info = describe_env(spec)
    assert isinstance(env, PacedLanes)
    assert isinstance(env, VectorEnv)
    assert (env.num_envs, env.num_actions, env.frames_per_step, env.frame_shape) == (2, 2, 1, (1,))
    assert (env.frame_dtype, env.frame_stack) == (info.frame_dtype, info.frame_stack)
    assert (spec.max_episode_steps, spec.frame_skip, spec.noop_max) == (None, 1, 0)
    env.reset()
    env.step(np.zeros(2, np.int64))
    state = env.get_state()
    assert state is not None
    expected = env.step(np.zeros(2, np.int64))
    other = make_vector_env(spec, 2, 9)
    other.set_state(state)
    np.testing.assert_array_equal(other.step(np.zeros(2, np.int64)).frames, expected.frames)
    assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"latency_seconds": -0.1}, "latency_seconds = -0.1 must be a number from 0 to 60"),
        ({"latency_seconds": True}, "latency_seconds = True must be a number"),
        ({"length": 0}, "length = 0 must be a whole number of at least 1"),
        ({"latency": 1}, "unexpected keyword argument 'latency'"),
    ],
)
def test_wrong_env_config_is_explained(config: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=rf"does not fit '{ID}': .*{message}"):
        make_vector_env(resolve_env(ID, {"env_config": config}), 1, 0)
