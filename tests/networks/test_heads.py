import pytest
import torch

from rlx.networks.heads import DuelingHead, QHead, combine_dueling
from rlx.networks.noisy import NoisyLinear


def test_dueling_by_hand():
    value = torch.tensor([[[10.0]]])
    advantage = torch.tensor([[[1.0], [2.0], [6.0]]])
    assert combine_dueling(value, advantage).flatten().tolist() == [8.0, 9.0, 13.0]


def test_the_mean_over_actions_is_the_value_atom_by_atom():
    value, advantage = torch.randn(5, 1, 7), torch.randn(5, 4, 7)
    q = combine_dueling(value, advantage)
    torch.testing.assert_close(q.mean(1), value[:, 0])
    torch.testing.assert_close(q[:, 2] - q[:, 1], advantage[:, 2] - advantage[:, 1])


@pytest.mark.parametrize("noisy", [None, 0.5])
@pytest.mark.parametrize("hidden", [0, 8])
@pytest.mark.parametrize("head_class", [QHead, DuelingHead])
def test_shapes_and_kinds_of_layers(head_class, hidden, noisy):
    head = head_class(6, 3, 5, hidden, noisy_sigma0=noisy)
    assert head(torch.randn(2, 6)).shape == (2, 3, 5)
    kind, other = (torch.nn.Linear, NoisyLinear) if noisy is None else (NoisyLinear, torch.nn.Linear)
    layers = [m for m in head.modules() if isinstance(m, kind)]
    assert len(layers) == (1 if head_class is QHead else 2) * (2 if hidden else 1)
    assert not any(isinstance(m, other) for m in head.modules())


def test_outputs_are_ordered_by_action_then_atom():
    head = QHead(1, 2, 3, hidden_size=0)
    with torch.no_grad():
        head.q[0].weight.zero_()
        head.q[0].bias.copy_(torch.arange(6.0))
    assert head(torch.zeros(1, 1)).tolist() == [[[0, 1, 2], [3, 4, 5]]]


def test_the_dueling_head_combines_its_two_streams():
    head = DuelingHead(4, 3, 2, hidden_size=5)
    x = torch.randn(6, 4)
    expected = combine_dueling(head.value(x)[:, None], head.advantage(x).view(6, 3, 2))
    torch.testing.assert_close(head(x), expected)


def test_dueling_sums_in_float32_under_autocast():
    head = DuelingHead(4, 2, hidden_size=0)
    with torch.no_grad():
        head.value[0].weight.zero_()
        head.value[0].bias.fill_(1000.0)
        head.advantage[0].weight.zero_()
        head.advantage[0].bias.copy_(torch.tensor([0.5, -0.5]))
    with torch.autocast("cpu", torch.bfloat16):
        q = head(torch.zeros(1, 4))
    assert q.flatten().tolist() == [1000.5, 999.5]
