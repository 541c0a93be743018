"""The sequence learner's figure is held against the same update, written by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rlx.bench import sequence_learning
from rlx.bench.figure import QUICK, Context
from rlx.bench.filled import filled_shard
from rlx.bench.learning import bare_side, learner_side, make_learner
from rlx.experiment.build import build_config
from rlx.networks.rl_module import OBS

CONTEXT = Context(QUICK, "cpu", lambda part: None, lambda text: None)


@pytest.fixture(scope="module")
def spec():
    return sequence_learning._spec(CONTEXT, 4, "eager", "f32")


def learner_of(spec):
    config = build_config(spec).shard_config(0)
    return make_learner(spec, shard=filled_shard(replace(config, min_items=1)))


def test_the_bare_loop_does_the_same_update(spec) -> None:
    """On the same windows, none of which meets an episode's end, both end at the same parameters."""
    learner = learner_of(spec)
    bare = sequence_learning.BareSequenceUpdate(spec, learner.config.network_config(), "cpu", 4)
    bare.online.load_state_dict(learner.q_module.q_network.state_dict())
    bare.target.load_state_dict(learner.q_module.target_q_network.state_dict())
    while True:
        sampled, batch = learner._next_staged()
        prepared = learner.prepare(batch, sampled.windows.size)
        if prepared["learned"].all() and (prepared["discounts"] > 0.98).all() and not prepared["lead"].any():
            break
    given = {
        "obs": prepared[OBS].clone(),
        "previous_action": prepared["previous_action"].clone(),
        "previous_reward": prepared["previous_reward"].clone(),
        "state": prepared["state"].clone(),
        "action": prepared["action_taken"][:, : bare.sizes.unroll].T.unsqueeze(-1).clone(),
        "returns": prepared["returns"].T.clone(),
        "weight": prepared["weights"].clone(),
    }
    before = [p.detach().clone() for p in bare.online.parameters()]
    learner._update_fn(batch, sampled.windows.size)
    bare.update(given)
    moved = 0.0
    ours_theirs_before = zip(
        learner.q_module.q_network.parameters(), bare.online.parameters(), before, strict=True
    )
    for ours, theirs, was in ours_theirs_before:
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
        moved += float((theirs - was).detach().abs().sum())
    assert moved > 0


def test_both_sides_count_updates(spec) -> None:
    learner = learner_of(spec)
    assert learner_side(learner)(0.2) > 0
    assert learner.updates >= 1
    bare = sequence_learning.BareSequenceUpdate(spec, learner.config.network_config(), "cpu", 2)
    assert bare_side(bare, "cpu")(0.0) > 0
    assert bare.calls == 1
