"""Protocols: what each fixes, what it leaves, and which cannot be had."""

import pytest

from rlx.envs.spec import resolve_env
from rlx.evaluation.protocols import ProtocolError, find_protocol, with_protocol


def test_noop30_fixes_starts_stickiness_and_cap_and_leaves_what_the_network_needs() -> None:
    trained = resolve_env(
        "ALE/Pong-v5",
        {
            "life_loss_terminates": True,
            "frame_size": 42,
            "full_action_space": True,
            "max_episode_frames": 1000,
        },
    )
    assert trained.sticky_action_probability == 0.25
    played = with_protocol(trained, find_protocol("noop30", "atari"))
    assert (played.noop_max, played.sticky_action_probability, played.max_episode_frames) == (
        30,
        0.0,
        108_000,
    )
    assert played.life_loss_terminates is False
    assert (played.frame_size, played.full_action_space, played.id) == (42, True, "ALE/Pong-v5")


def test_sticky() -> None:
    trained = resolve_env("PongNoFrameskip-v4")
    assert (trained.noop_max, trained.sticky_action_probability) == (30, 0.0)
    played = with_protocol(trained, find_protocol("sticky", "atari"))
    assert (played.noop_max, played.sticky_action_probability) == (0, 0.25)


def test_as_trained_changes_only_what_a_game_is() -> None:
    trained = resolve_env("ALE/Pong-v5", {"life_loss_terminates": True})
    played = with_protocol(trained, find_protocol("as-trained", "atari"))
    assert played == resolve_env("ALE/Pong-v5")


@pytest.mark.parametrize(
    ("family", "name"), [("atari", "noop30"), ("minatar", "as-trained"), ("gymnasium", "as-trained")]
)
def test_default(family: str, name: str) -> None:
    assert find_protocol(None, family).name == name


@pytest.mark.parametrize(
    ("name", "family", "message"),
    [
        ("human-starts", "atari", "never published; use noop30"),
        ("noop300", "atari", "unknown protocol; known: noop30, sticky, as-trained"),
        (
            "sticky",
            "gymnasium",
            "no meaning for a gymnasium environment; use as-trained",
        ),
    ],
)
def test_protocols_that_cannot_be_had(name: str, family: str, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        find_protocol(name, family)
