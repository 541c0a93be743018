import dataclasses
import itertools
import pickle

import pytest
import torch

from rlx.losses.distributional import expected_values, support
from rlx.networks.q_network import QNetwork, QNetworkConfig

NATURE = QNetworkConfig("nature", (84, 84), num_actions=18, frame_stack=4)
CONVS = 77_984  # 8,224 + 32,832 + 36,928
SMALL = QNetworkConfig("mlp", (4,), num_actions=3, hidden_sizes=(8,), head_hidden_size=6, num_atoms=11)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, CONVS + 3136 * 512 + 512 + 512 * 18 + 18),
        ({"dueling": True}, CONVS + 2 * (3136 * 512 + 512) + 512 * 18 + 18 + 512 + 1),
        ({"dueling": True, "num_actions": 6}, 3_293_863),
        ({"distributional": True}, CONVS + 3136 * 512 + 512 + (512 + 1) * 18 * 51),
        ({"noisy": True}, CONVS + 2 * (3136 * 512 + 512 + 512 * 18 + 18)),
        (
            {"noisy": True, "dueling": True, "distributional": True},
            CONVS + 2 * (2 * (3136 * 512 + 512) + (512 + 1) * 51 * (18 + 1)),
        ),
        (
            {"torso": "mnih2013", "head_hidden_size": 256, "num_actions": 4},
            4_112 + 8_224 + 2592 * 256 + 256 + 256 * 4 + 4,
        ),
    ],
)
def test_number_of_parameters_by_hand(changes, expected):
    assert QNetwork(dataclasses.replace(NATURE, **changes)).num_parameters() == expected


def test_plain_nature_dqn_has_1_69_million_parameters():
    assert QNetwork(NATURE).num_parameters() == 1_693_362


@pytest.mark.parametrize(("dueling", "distributional", "noisy"), itertools.product([False, True], repeat=3))
def test_every_combination_of_switches(dueling, distributional, noisy):
    net = QNetwork(dataclasses.replace(SMALL, dueling=dueling, distributional=distributional, noisy=noisy))
    obs = torch.randn(5, 1, 4)
    out = net(obs)
    assert out.q.shape == (5, 3)
    if distributional:
        assert out.logits.shape == (5, 3, 11)
        torch.testing.assert_close(out.q, expected_values(out.logits, support(-10, 10, 11)))
    else:
        assert out.logits is None
    out.q.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.sample_noise(torch.Generator().manual_seed(1))
    assert torch.equal(net(obs).q, out.q) == (not noisy)
    net.use_noise(False)
    quiet = net(obs).q
    net.sample_noise()
    assert torch.equal(net(obs).q, quiet)


@pytest.mark.parametrize("dueling", [False, True])
def test_outputs_are_float32_under_autocast(dueling):
    net = QNetwork(dataclasses.replace(SMALL, distributional=True, dueling=dueling))
    with torch.autocast("cpu", torch.bfloat16):
        out = net(torch.randn(2, 1, 4))
    assert out.q.dtype == out.logits.dtype == torch.float32


def test_minatar_bytes_are_not_scaled_unless_asked():
    config = QNetworkConfig("minatar", (10, 10, 4), num_actions=3, head_hidden_size=16)
    assert QNetwork(config).torso.uint8_scale == 1.0
    assert QNetwork(dataclasses.replace(config, uint8_scale=0.5)).torso.uint8_scale == 0.5
    assert QNetwork(NATURE).torso.uint8_scale == pytest.approx(1 / 255)


def test_the_state_dict_holds_parameters_only():
    net = QNetwork(dataclasses.replace(SMALL, distributional=True, noisy=True, dueling=True))
    assert set(net.state_dict()) == {name for name, _ in net.named_parameters()}
    other = QNetwork(net.config)
    other.load_state_dict(net.state_dict())
    other.use_noise(False)
    net.use_noise(False)
    obs = torch.randn(2, 1, 4)
    assert torch.equal(other(obs).q, net(obs).q)


def test_the_same_seed_gives_the_same_network():
    nets = []
    for _ in range(2):
        torch.manual_seed(4)
        nets.append(QNetwork(dataclasses.replace(SMALL, noisy=True)))
    obs = torch.randn(2, 1, 4)
    assert torch.equal(nets[0](obs).q, nets[1](obs).q)


def test_a_config_is_plain_hashable_data():
    config = QNetworkConfig("mlp", [4], num_actions=2, hidden_sizes=[3, 3])
    assert config.frame_shape == (4,)
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(config) == hash(dataclasses.replace(config))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.noisy = True


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"torso": "resnet"}, "torso: 'resnet' unknown; known: nature"),
        ({"activation": "sine"}, "activation: 'sine' unknown"),
        ({"num_actions": 0}, "num_actions: 0"),
        ({"frame_stack": 0}, "frame_stack: 0"),
        ({"head_hidden_size": -1}, "head_hidden_size: -1"),
        ({"distributional": True, "v_min": 1.0, "v_max": 1.0}, "v_min"),
        ({"distributional": True, "num_atoms": 1}, "num_atoms"),
    ],
)
def test_impossible_configs_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **changes)


def test_configs_of_checkpoints_from_earlier_versions_are_read():
    config = QNetworkConfig("mlp", (4,), num_actions=2, hidden_sizes=(3,), noisy=True, lstm_size=7)
    assert pickle.loads(pickle.dumps(config)) == config
    old = QNetworkConfig.__new__(QNetworkConfig)
    state = config.__getstate__()
    old.__setstate__({name: value for name, value in state.items() if not name.startswith("lstm")})
    assert old == QNetworkConfig("mlp", (4,), num_actions=2, hidden_sizes=(3,), noisy=True)
    in_order = QNetworkConfig.__new__(QNetworkConfig)
    in_order.__setstate__([value for name, value in state.items() if not name.startswith("lstm")])
    assert in_order == old
