"""Requests to runner processes. In a module of its own: engines of another module hold the CPUs of Ray."""

import pytest

from tests.engines import small_config

pytestmark = pytest.mark.usefixtures("ray_started")


def test_a_runner_has_as_many_requests_before_it_as_the_experiment_says() -> None:
    """RLlib's manager has a limit of its own, and says nothing when it drops a request."""
    algo = small_config({"env_runners": {"num_env_runners": 1, "max_requests_in_flight": 3}}).build_algo()
    assert algo.runners.submit(0, None, -1) == 3
    assert algo.runners.in_flight == 3
    algo.stop()
