import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rlx.envs import make_vector_env, resolve_env
from rlx.envs.toy import Crash, chain_optimal_values, decode_count_frames


def test_chain_values_by_hand() -> None:
    q = chain_optimal_values(4, gamma=0.5)
    np.testing.assert_allclose(q, [[0.125, 0.25], [0.125, 0.5], [0.25, 1.0], [0.0, 0.0]], atol=1e-9)


def test_chain_values_without_an_end_are_those_of_a_steady_reward() -> None:
    q = chain_optimal_values(3, gamma=0.9, terminal=False)
    np.testing.assert_allclose(q[:, 1], [9.0, 10.0, 10.0], atol=1e-8)


def test_chain_walk() -> None:
    env = make_vector_env(resolve_env("rlx/Chain-v0", {"env_config": {"length": 3}}), 1, 0)
    assert env.reset().tolist() == [[1, 0, 0]]
    steps = [env.step(np.array([action])) for action in (0, 1, 0, 1, 1)]
    assert [s.frames[0].argmax() for s in steps] == [0, 1, 0, 1, 2]
    assert [s.rewards[0] for s in steps] == [0, 0, 0, 0, 1]
    assert [bool(s.terminated[0]) for s in steps] == [False] * 4 + [True]


def test_an_endless_chain_is_only_truncated() -> None:
    config = {"env_config": {"length": 2, "terminal": False}, "max_episode_frames": 3}
    env = make_vector_env(resolve_env("rlx/Chain-v0", config), 1, 0)
    env.reset()
    steps = [env.step(np.array([1])) for _ in range(3)]
    assert [s.rewards[0] for s in steps] == [1, 1, 1]
    assert [bool(s.truncated[0]) for s in steps] == [False, False, True]
    assert not any(s.terminated[0] for s in steps)


def test_count_frames_of_any_shape_and_large_numbers() -> None:
    config = {"lengths": [300], "frame_shape": [84, 84]}
    env = make_vector_env(resolve_env("rlx/CountFrames-v0", {"env_config": config}), 1, seed=513)
    env.reset()
    steps = [env.step(np.zeros(1, np.int64)) for _ in range(300)]
    assert decode_count_frames(steps[-1].frames).tolist() == [[513, 0, 300]]
    assert steps[-1].rewards[0] == 300.0
    # 513 + 0 is divisible by 3: this episode is truncated.
    assert (steps[-1].terminated[0], steps[-1].truncated[0]) == (False, True)


def test_slow_takes_its_time() -> None:
    env = make_vector_env(resolve_env("rlx/Slow-v0", {"env_config": {"step_seconds": 0.02}}), 1, 0)
    env.reset()
    start = time.perf_counter()
    env.step(np.array([0]))
    assert time.perf_counter() - start >= 0.02


def test_crash_raises_once_per_path(tmp_path: Path) -> None:
    marker = tmp_path / "crashed"
    config = {"env_config": {"crash_after_steps": 3, "once_path": str(marker)}}
    env = make_vector_env(resolve_env("rlx/Crash-v0", config), 1, 0)
    env.reset()
    env.step(np.array([0]))
    env.step(np.array([0]))
    with pytest.raises(RuntimeError, match="fails at step 3"):
        env.step(np.array([0]))
    assert marker.exists()
    env.step(np.array([0]))


def test_crash_can_end_the_process() -> None:
    code = "from rlx.envs.toy import Crash; e = Crash(1, how='exit'); e.reset(); e.step(0); print('alive')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (1, "")
    assert Crash().how == "raise"
