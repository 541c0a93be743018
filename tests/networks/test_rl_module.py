"""The RLModule: which network sees which observation, with or without gradient, in which precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns

from tests.engines import RAINBOW, merged, small_config


def make_module(*layers: dict[str, Any], inference_only: bool = False) -> Any:
    config = small_config(*layers)
    torch.manual_seed(0)
    module = config.get_rl_module_spec(spaces=config.module_spaces(), inference_only=inference_only).build()
    if not inference_only:
        module.make_target_networks()
        with torch.no_grad():
            for parameter in module.target_q_network.parameters():
                parameter.add_(0.1)
    return module


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(6, 1, 4, generator=generator) for name in (Columns.OBS, "bootstrap_obs")}


def test_forward_train_without_double() -> None:
    module, data = make_module(), batch()
    out = module.forward_train(data)
    assert out["selector"] is None
    torch.testing.assert_close(out["online"].q, module.q_network(data["obs"]).q)
    torch.testing.assert_close(out["target"].q, module.target_q_network(data["bootstrap_obs"]).q)
    assert out["online"].q.requires_grad
    assert not out["target"].q.requires_grad
    assert out["plugins"] == {}


def test_forward_train_with_double() -> None:
    module, data = make_module({"training": {"double": True}}), batch()
    out = module.forward_train(data)
    torch.testing.assert_close(out["selector"].q, module.q_network(data["bootstrap_obs"]).q)
    assert not out["selector"].q.requires_grad


def test_double_selects_with_the_noise_of_the_online_pass() -> None:
    """One draw for the online network in an update, another for the target."""
    module, data = make_module(RAINBOW), batch()
    data["bootstrap_obs"] = data["obs"]
    out = module.forward_train(data)
    torch.testing.assert_close(out["selector"].q, out["online"].q)
    again = module.forward_train(data)
    assert not torch.equal(out["online"].q, again["online"].q)
    assert not torch.equal(out["target"].q, again["target"].q)


def test_target_is_a_frozen_copy() -> None:
    config = small_config(RAINBOW)
    module = config.get_rl_module_spec(spaces=config.module_spaces()).build()
    module.make_target_networks()
    ((online, target),) = module.get_target_network_pairs()
    assert online is module.q_network
    for mine, copy in zip(online.parameters(), target.parameters(), strict=True):
        assert torch.equal(mine, copy)
        assert mine.data_ptr() != copy.data_ptr()
        assert not copy.requires_grad


def test_acting_state_has_no_target_and_fits_a_runner_s_module() -> None:
    module, runner = make_module(RAINBOW), make_module(RAINBOW, inference_only=True)
    acting, whole = module.get_state(inference_only=True), module.get_state()
    assert not [name for name in acting if name.startswith("target_q_network")]
    assert [name for name in whole if name.startswith("target_q_network")]
    runner.set_state(acting)
    for mine, theirs in zip(runner.q_network.parameters(), module.q_network.parameters(), strict=True):
        np.testing.assert_array_equal(mine.detach(), theirs.detach())


def test_inference_gives_greedy_actions() -> None:
    module, data = make_module(inference_only=True), batch()
    out = module.forward_inference({"obs": data["obs"]})
    assert out["q"].shape == (6, 2)
    assert out[Columns.ACTIONS].tolist() == out["q"].argmax(-1).tolist()


@pytest.mark.parametrize("layers", [{}, RAINBOW], ids=["dqn", "rainbow"])
def test_bf16_is_close_to_f32_and_returns_f32(layers: dict[str, Any]) -> None:
    plain = make_module(merged(layers, {"training": {"noisy": False}, "exploration": {"kind": "linear"}}))
    low = make_module(
        merged(
            layers,
            {
                "training": {"noisy": False, "precision": "bf16"},
                "exploration": {"kind": "linear"},
                "env_runners": {"precision": "bf16"},
            },
        )
    )
    data = batch()
    expected, found = plain.q_values(data["obs"]), low.q_values(data["obs"])
    assert found.dtype == torch.float32
    assert not torch.equal(expected, found), "it did compute in bf16"
    torch.testing.assert_close(found, expected, atol=0.05 * expected.abs().max().item() + 0.05, rtol=0.05)
    out = low.forward_train(data)
    assert out["online"].q.dtype == torch.float32
