"""Losses and the network trace into one graph: nothing in them depends on data or falls back to Python."""

import torch

from rlx.losses import distributional, td
from rlx.networks.q_network import QNetwork, QNetworkConfig


def loss(net, target, obs, rewards, terminated, acted, in_episode, a_tm1, probabilities):
    """Compute a Rainbow loss from windows."""
    n_step = td.n_step_returns(rewards, terminated, acted, in_episode, 0.99, 1.0)
    bootstrap = td.take_rows(obs, n_step.bootstrap_row)[:, None]
    online = net(obs[:, :1])
    with torch.no_grad():
        logits_t, selector = target(bootstrap).logits, net(bootstrap).q
    losses = distributional.categorical_td_loss(
        online.logits, a_tm1, n_step.returns, n_step.discounts, logits_t, net.atoms, selector
    )
    return td.weighted_mean(losses, td.importance_weights(probabilities, 1000, 0.4))


def test_a_rainbow_loss_is_one_graph_with_the_same_value():
    torch.manual_seed(0)
    config = QNetworkConfig(
        "mlp", (4,), 3, hidden_sizes=(8,), head_hidden_size=8, dueling=True, distributional=True, noisy=True
    )
    net, target = QNetwork(config), QNetwork(config)
    flags = torch.rand(6, 4) > 0.2
    args = (
        net,
        target,
        torch.randn(6, 4, 4),
        torch.randn(6, 3),
        ~flags[:, :3],
        flags,
        flags,
        torch.randint(0, 3, (6,)),
        torch.rand(6) + 0.1,
    )
    traced = torch.compile(loss, backend="eager", fullgraph=True)
    torch.testing.assert_close(traced(*args), loss(*args))
