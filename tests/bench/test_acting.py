import numpy as np
import pytest

from rlx.actors.env_runner import ReplayEnvRunner
from rlx.bench import acting, experiments
from rlx.bench.figure import QUICK, Context
from rlx.experiment.build import build_config


@pytest.fixture(scope="module")
def runner() -> ReplayEnvRunner:
    return ReplayEnvRunner(config=build_config(experiments.acting(2)), worker_index=0)


def test_the_bare_loop_plays_the_same_game_with_the_same_network(runner: ReplayEnvRunner) -> None:
    config = runner.config
    bare = acting.BareLoop(config.env_spec(), 2, runner.module.q_network, 0.0)
    assert bare.observation.shape == (2, *config.module_spaces()["default_policy"][0].shape)
    assert bare.env.single_action_space.n == config.env_info.num_actions
    before = bare.observation.copy()
    assert bare.collect(3) == 6.0
    # Three steps on, the oldest of the four stacked frames is the newest one of before.
    np.testing.assert_array_equal(bare.observation[:, 0], before[:, 3])


def test_the_runner_counts_what_it_collects(runner: ReplayEnvRunner) -> None:
    before = runner.num_env_steps_sampled_lifetime
    rate = acting.runner_side(runner)(0.0)
    assert rate > 0
    assert runner.num_env_steps_sampled_lifetime - before == 2 * acting._STEPS


def test_the_figure_has_a_limit_of_the_same_kind() -> None:
    parts: list[float] = []
    (made,) = acting._runner(Context(QUICK, "cpu", parts.append, lambda text: None))
    assert made.name == "runner_env_steps_per_second"
    assert made.floor == 0.9
    assert made.ratio == pytest.approx(made.value / made.limit)
    assert parts[-1] == 1.0
