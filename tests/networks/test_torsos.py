import pytest
import torch

from rlx.networks.torsos import MinAtarTorso, MLPTorso, Mnih2013Torso, NatureTorso


def count(module):
    """Count trainable numbers."""
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("torso", "obs_shape", "features", "parameters"),
    [
        (NatureTorso(), (4, 84, 84), 3136, 8 * 8 * 4 * 32 + 32 + 4 * 4 * 32 * 64 + 64 + 3 * 3 * 64 * 64 + 64),
        (NatureTorso(frame_stack=1), (1, 84, 84), 3136, 77_984 - 8 * 8 * 3 * 32),
        (NatureTorso((96, 72), 2), (2, 96, 72), 64 * 8 * 5, 77_984 - 8 * 8 * 2 * 32),
        (NatureTorso((84, 84, 3), 2), (2, 84, 84, 3), 3136, 77_984 + 8 * 8 * 2 * 32),
        (Mnih2013Torso(), (4, 84, 84), 2592, 8 * 8 * 4 * 16 + 16 + 4 * 4 * 16 * 32 + 32),
        (MinAtarTorso((10, 10, 7)), (1, 10, 10, 7), 1024, 3 * 3 * 7 * 16 + 16),
        (MLPTorso((4,), 1, (64, 32)), (1, 4), 32, 4 * 64 + 64 + 64 * 32 + 32),
        (MLPTorso((3, 2), 2, ()), (2, 3, 2), 12, 0),
    ],
)
def test_sizes_by_hand(torso, obs_shape, features, parameters):
    assert torso.out_features == features
    assert count(torso) == parameters
    assert torso(torch.zeros(5, *obs_shape)).shape == (5, features)


@pytest.mark.parametrize(
    ("torso", "shape", "scale"),
    [(NatureTorso(), (4, 84, 84), 255), (MLPTorso((6,)), (1, 6), 255), (MinAtarTorso(), (1, 10, 10, 4), 1)],
)
def test_bytes_are_scaled_and_floats_are_not(torso, shape, scale):
    frames = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
    torch.testing.assert_close(torso(frames), torso(frames.float() / scale))
    torch.testing.assert_close(torso(frames > 99), torso((frames > 99).float() / scale))


def test_scaling_leaves_the_input_alone():
    frames = torch.full((1, 1, 6), 200, dtype=torch.uint8)
    MLPTorso((6,), hidden_sizes=())(frames)
    values = torch.ones(1, 1, 6)
    MLPTorso((6,), hidden_sizes=())(values)
    assert frames.unique().item() == 200
    assert values.unique().item() == 1


def test_channels_of_minatar_frames_are_planes():
    """A convolution that reads one pixel of plane 2 must see plane 2."""
    torso = MinAtarTorso((10, 10, 4), activation="relu")
    conv = torso.convs[0]
    with torch.no_grad():
        conv.weight.zero_()
        conv.bias.zero_()
        conv.weight[5, 2, 0, 0] = 1.0
    frames = torch.zeros(1, 1, 10, 10, 4, dtype=torch.uint8)
    frames[0, 0, 3, 6, 2] = 1
    features = torso(frames).view(16, 8, 8)
    assert features.nonzero().tolist() == [[5, 3, 6]]


def test_frames_of_several_planes_stack_oldest_first():
    torso = MinAtarTorso((10, 10, 2), frame_stack=3)
    frames = torch.rand(2, 3, 10, 10, 2)
    planes = torch.stack([frames[:, s, :, :, c] for s in range(3) for c in range(2)], 1)
    torch.testing.assert_close(torso(frames), torso.convs(planes).flatten(1))


@pytest.mark.parametrize(
    "torso", [NatureTorso(frame_stack=4), NatureTorso((84, 84, 3), 1), NatureTorso(frame_stack=1)]
)
def test_channels_last_changes_speed_only(torso):
    shape = (4, 84, 84) if torso.convs[0].in_channels == 4 else (1, 84, 84, 3)
    shape = (1, 84, 84) if torso.convs[0].in_channels == 1 else shape
    frames = torch.randint(0, 256, (2, *shape), dtype=torch.uint8)
    before = torso(frames)
    torch.testing.assert_close(
        torso.to(memory_format=torch.channels_last)(frames), before, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("torso", "shape"),
    [
        (Mnih2013Torso((42, 42)), (4, 42, 42)),
        (NatureTorso((84, 84, 3), 2), (2, 84, 84, 3)),
        (MinAtarTorso(), (1, 10, 10, 4)),
        (MLPTorso((6,)), (1, 6)),
    ],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_prepared_frames_give_what_the_frames_give(torso, shape, layout):
    """Bytes are scaled once, and preparing twice changes nothing."""
    torso = torso.to(memory_format=layout)
    frames = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
    prepared = torso.prepared(frames)
    kept = prepared.clone()
    torch.testing.assert_close(torso(prepared), torso(frames), rtol=0, atol=0)
    torch.testing.assert_close(torso.prepared(prepared), kept, rtol=0, atol=0)
    torch.testing.assert_close(prepared, kept, rtol=0, atol=0)


def test_a_window_slice_gives_what_its_copy_gives():
    torso = NatureTorso().to(memory_format=torch.channels_last)
    window = torch.randint(0, 256, (3, 7, 84, 84), dtype=torch.uint8)
    torch.testing.assert_close(torso(window[:, 2:6]), torso(window[:, 2:6].clone()), rtol=0, atol=0)


def test_autocast_computes_in_bfloat16():
    torso = NatureTorso()
    frames = torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torso.compute_dtype() == torch.bfloat16
        features = torso(frames)
    assert features.dtype == torch.bfloat16
    torch.testing.assert_close(features.float(), torso(frames), rtol=0.1, atol=0.02)


def test_initialisation_is_uniform_in_the_fan_in():
    torso = NatureTorso()
    for index, fan_in in ((0, 8 * 8 * 4), (2, 4 * 4 * 32), (4, 3 * 3 * 64)):
        bound = fan_in**-0.5
        for parameter in (torso.convs[index].weight, torso.convs[index].bias):
            assert parameter.abs().max() <= bound
            assert parameter.abs().max() > 0.8 * bound
        assert torso.convs[index].weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_frames_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="too small"):
        NatureTorso((10, 10))
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        NatureTorso((4,))
