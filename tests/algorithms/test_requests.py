"""Requests to runner processes. In a module of its own: engines of another module hold the CPUs of Ray."""

from typing import Any

import pytest

from tests.engines import small_config, train_until

pytestmark = pytest.mark.usefixtures("ray_started")


def test_a_runner_has_as_many_requests_before_it_as_the_experiment_says() -> None:
    """RLlib's manager has a limit of its own, and says nothing when it drops a request."""
    algo = small_config({"env_runners": {"num_env_runners": 1, "max_requests_in_flight": 3}}).build_algo()
    assert algo.runners.submit(0, None, -1) == 3
    assert algo.runners.in_flight == 3
    algo.stop()


def test_waiting_for_a_runner_costs_the_driver_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """RLlib's own answered requests, which nobody fetches, must not wake it up again and again."""
    import ray

    slow = {
        "env": "rlx/FixedLatency-v0",
        "environment": {"env_config": {"latency_seconds": 0.2}},
        "env_runners": {"num_env_runners": 1, "rollout_length_env_steps": 8},
        "reporting": {"interval_seconds": 1.0},
    }
    algo = small_config(slow).build_algo()
    train_until(algo, lambda row: row["env_steps"] > 0)
    waits, wait = [], ray.wait

    def counted(*args: Any, **kwargs: Any) -> Any:
        waits.append(1)
        return wait(*args, **kwargs)

    monkeypatch.setattr(ray, "wait", counted)
    algo.train()
    monkeypatch.undo()
    algo.stop()
    assert len(waits) < 300  # 50 looks a second, two calls each; without the wait there were thousands
