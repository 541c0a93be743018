import pytest
import torch

from rlx.bench import experiments, learning
from rlx.bench.figure import QUICK, Context
from rlx.networks.rl_module import BOOTSTRAP_OBS, OBS

CONTEXT = Context(QUICK, "cpu", lambda part: None, lambda text: None)


@pytest.fixture(scope="module")
def spec():
    return learning._spec(CONTEXT, 8)


@pytest.fixture(scope="module")
def shard(spec):
    return learning._shard(spec)


def test_the_bare_loop_does_the_same_update(spec, shard) -> None:
    """On the same batch, network, optimiser and clipping, both end at the same parameters."""
    learner = learning.make_learner(spec, shard=shard)
    bare = learning.BareUpdate(spec, learner.config.network_config(), "cpu", 8)
    bare.online.load_state_dict(learner.q_module.q_network.state_dict())
    bare.target.load_state_dict(learner.q_module.target_q_network.state_dict())
    sampled, batch = learner._next_staged()
    prepared = learner.prepare(batch, sampled.windows.size)
    given = {
        "obs": prepared[OBS].clone(),
        "next_obs": prepared[BOOTSTRAP_OBS].clone(),
        "action": prepared["action_taken"][:, None],
        "reward": prepared["returns"],
        "discount": prepared["discounts"],
        "weight": prepared["weights"],
    }
    before = [p.detach().clone() for p in bare.online.parameters()]
    statistics = learner._update_fn(batch, sampled.windows.size)
    errors = bare.update(given)
    torch.testing.assert_close(errors, statistics["priority"])
    moved = 0.0
    for ours, theirs, was in zip(
        learner.q_module.q_network.parameters(), bare.online.parameters(), before, strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
        moved += float((theirs - was).detach().abs().sum())
    assert moved > 0


def test_both_sides_count_updates(spec, shard) -> None:
    learner = learning.make_learner(spec, shard=shard)
    assert learning.learner_side(learner)(0.2) > 0
    assert learner.updates >= 1
    bare = learning.BareUpdate(spec, learner.config.network_config(), "cpu", 8)
    assert learning.bare_side(bare, "cpu")(0.0) > 0
    assert bare.calls == 1


def test_learning_uses_one_thread_and_the_asked_batch() -> None:
    made = experiments.learning(512)
    assert made.training.batch_size == 512
    assert made.learners.num_torch_threads == 1
    assert made.replay.capacity == 100_000


@pytest.mark.parametrize(
    "name",
    [
        "gpu_learner_updates_per_second_eager_f32",
        "gpu_learner_updates_per_second_graph_bf16",
        pytest.param("gpu_learner_updates_per_second_compile_bf16", marks=pytest.mark.slow),
    ],
)
def test_the_gpu_figures_run_with_the_device_swapped(name: str) -> None:
    (made,) = learning.measure_mode(CONTEXT, name)
    assert made.name == name
    assert made.value > 0
    assert made.limit > 0
    assert made.ok is None
