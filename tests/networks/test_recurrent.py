"""The recurrent network: inputs, state, burn-in, gradient boundary."""

from __future__ import annotations

import pytest
import torch

from rlx.networks.q_network import QNetworkConfig
from rlx.networks.recurrent import RecurrentQNetwork


def network(seed: int = 0, **changes: object) -> RecurrentQNetwork:
    torch.manual_seed(seed)
    settings = {
        "hidden_sizes": (8,),
        "head_hidden_size": 8,
        "lstm_size": 6,
        "lstm_input_size": 5,
        "dueling": True,
    }
    return RecurrentQNetwork(
        QNetworkConfig("mlp", (3,), num_actions=2, frame_stack=2, **(settings | changes))
    )  # type: ignore[arg-type]


def inputs(length: int, batch: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    obs = torch.randn(length, batch, 2, 3, generator=generator)
    return (
        obs,
        torch.randint(-1, 2, (length, batch), generator=generator),
        torch.randn(length, batch, generator=generator),
    )


def test_a_sequence_is_its_steps_one_after_the_other() -> None:
    net = network()
    obs, action, reward = inputs(7, 3)
    state = torch.randn(2, 3, 6)
    whole, last = net(obs, action, reward, state)
    for t in range(7):
        step, state = net(obs[t : t + 1], action[t : t + 1], reward[t : t + 1], state)
        torch.testing.assert_close(step.q[0], whole.q[t])
    torch.testing.assert_close(state, last)
    assert whole.q.shape == (7, 3, 2)


def test_the_lstm_is_the_textbook_one() -> None:
    # Gates in PyTorch's order i, f, g, o; c' = f c + i g; h' = o tanh(c').
    net = network()
    obs, action, reward = inputs(1, 1)
    h, c = torch.randn(2, 1, 6)
    x = net.core_inputs(obs, action, reward)[0]
    lstm = net.lstm
    gates = x @ lstm.weight_ih_l0.T + lstm.bias_ih_l0 + h @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
    i, f, g, o = gates.chunk(4, dim=-1)
    c_after = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h_after = o.sigmoid() * c_after.tanh()
    _, state = net(obs, action, reward, torch.stack([h, c]))
    torch.testing.assert_close(state, torch.stack([h_after, c_after]))


def test_previous_action_is_a_one_hot_and_none_is_zeros() -> None:
    net = network()
    obs, _, reward = inputs(3, 1)
    x = net.core_inputs(obs, torch.tensor([[-1], [0], [1]]), reward)
    assert x.shape == (3, 1, 5 + 2 + 1)
    assert x[:, 0, 5:7].tolist() == [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    assert x[:, 0, 7].tolist() == reward[:, 0].tolist()


@pytest.mark.parametrize("all_or_nothing", [True, False])
def test_burn_in_skips_rows_before_the_episode(all_or_nothing: bool) -> None:
    net = network()
    obs, action, reward = inputs(4, 3)
    state = torch.randn(2, 3, 6)
    lead = torch.tensor([0, 4, 0 if all_or_nothing else 3])
    burned = net.burn_in(obs, action, reward, state, lead, all_or_nothing=all_or_nothing)
    for b in range(3):
        start = int(lead[b])
        expected = state[:, b : b + 1]
        if start < 4:
            part = (x[start:, b : b + 1] for x in (obs, action, reward))
            _, expected = net(*part, expected)
        torch.testing.assert_close(burned[:, b : b + 1], expected)


def test_burn_in_of_no_rows_leaves_the_state() -> None:
    net = network()
    obs, action, reward = inputs(0, 2)
    state = torch.randn(2, 2, 6)
    lead = torch.zeros(2, dtype=torch.int64)
    assert net.burn_in(obs, action, reward, state, lead, all_or_nothing=True) is state


@pytest.mark.parametrize(
    ("change", "message"), [({"lstm_size": 0}, "lstm_size"), ({"distributional": True}, "distributional")]
)
def test_what_cannot_be_built(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**change)
