import pytest

from rlx.bench import agents, experiments
from rlx.bench.figure import QUICK, Context


@pytest.mark.parametrize("make", [experiments.agent, experiments.remote_runner])
def test_both_sides_have_the_same_settings(make) -> None:
    ours = make("apex_dqn" if make is experiments.remote_runner else "dqn", quick=False)
    theirs = make("rllib/DQN", quick=False)
    for section in ("training", "rl_module", "exploration", "environment", "learners", "stop"):
        a, b = getattr(ours, section).model_dump(), getattr(theirs, section).model_dump()
        unused = {
            "priority_epsilon",
            "rmsprop_decay",
            "rmsprop_epsilon",
            "num_gpus_per_learner",
            "prefetch_batches",
        }
        assert {k: v for k, v in a.items() if k not in unused} == {
            k: v for k, v in b.items() if k not in unused
        }
    for name in ("capacity", "prioritized", "priority_exponent", "initial_priority"):
        assert getattr(ours.replay, name) == getattr(theirs.replay, name)
    # RLlib left to itself does one update for each request of 4 steps in 16 environments.
    expected = 8.0 if make is experiments.agent else 32 / 64
    assert ours.replay.samples_per_env_step == expected
    assert theirs.replay.samples_per_env_step == (8.0 if make is experiments.agent else None)
    for name in ("num_env_runners", "num_envs_per_env_runner", "rollout_length_env_steps"):
        assert getattr(ours.env_runners, name) == getattr(theirs.env_runners, name)


def test_the_agent_is_that_of_the_floor() -> None:
    spec = experiments.agent("dqn", quick=False)
    assert spec.env == "ALE/Pong-v5"
    assert spec.training.batch_size == 32
    assert spec.replay.samples_per_env_step == 32 / 4
    assert spec.rl_module.torso == "nature"


class _Engine:
    """20 env steps and one update in every iteration."""

    def __init__(self) -> None:
        self.iterations = 0

    def train(self):
        self.iterations += 1
        return {"rlx": {"env_steps": 20 * self.iterations, "updates": self.iterations}}

    def stop(self) -> None:
        self.iterations = -1


def test_a_side_counts_only_its_own_turns() -> None:
    engine = _Engine()
    side = agents.EngineSide(engine)
    side.warm_up()
    assert engine.iterations == agents._WARM_UPDATES
    assert side(0.0) > 0
    first = side.env_steps
    side(0.0)
    assert side.env_steps == 2 * first
    assert side.env_steps == 20 * side.updates


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("figure", agents.FIGURES, ids=lambda figure: figure.name)
def test_the_figures_run(figure) -> None:
    import ray

    try:
        made, shared, updates = figure.measure(Context(QUICK, "cpu", lambda part: None, lambda text: None))
    finally:
        ray.shutdown()
    assert made.value > 0
    assert made.limit > 0
    assert shared.value == made.value
    assert shared.limit > 0
    assert updates.value > 0
    assert updates.ok is None
