import importlib.util
import re
import sys
import types
from typing import Any

import gymnasium
import pytest
from gymnasium.spaces import Dict, Discrete, MultiBinary, Sequence, Text, Tuple

from rlx.envs import EnvError, check_env, list_env_ids, nearest_env_ids
from rlx.envs.registry import usable_spaces


@pytest.mark.parametrize(
    "env_id",
    [
        "ALE/Pong-v5",
        "BreakoutNoFrameskip-v4",
        "MinAtar/Seaquest-v1",
        "CartPole-v1",
        "Acrobot-v1",
        "rlx/Chain-v0",
        "rlx/StatelessCartPole-v1",
        "rlx/Recall-v0",
        "Taxi-v3",
        "Blackjack-v1",
    ],
)
def test_usable_ids_pass(env_id: str) -> None:
    check_env(env_id)


@pytest.mark.parametrize(
    ("env_id", "nearest"),
    [
        ("ALE/Pnog-v5", "ALE/Pong-v5"),
        ("Pong-v5", "ALE/Pong-v5"),
        ("pong", "ALE/Pong-v5"),
        ("BreakoutNoFrameskip-v5", "BreakoutNoFrameskip-v4"),
        ("CartPole-v7", "CartPole-v1"),
        ("Cartpole-v1", "CartPole-v1"),
        ("MinAtar/breakout-v1", "MinAtar/Breakout-v1"),
        ("MinAtar/Brakout-v1", "MinAtar/Breakout-v1"),
        ("rlx/Chian-v0", "rlx/Chain-v0"),
        ("rlx/StatelessCartPole-v0", "rlx/StatelessCartPole-v1"),
        ("popgym-RepeatPrevious-v0", "popgym-RepeatPreviousEasy-v0"),
    ],
)
def test_an_unknown_id_names_the_nearest(env_id: str, nearest: str) -> None:
    with pytest.raises(EnvError, match=f"environment '{env_id}' is unknown; did you mean ") as caught:
        check_env(env_id)
    assert nearest in str(caught.value)


def test_an_id_that_resembles_nothing() -> None:
    with pytest.raises(EnvError, match="'qqqqqq' is unknown; nothing known looks like it"):
        check_env("qqqqqq")


def test_a_memory_observation_says_so() -> None:
    with pytest.raises(EnvError, match="memory are not supported"):
        check_env("ALE/Pong-ram-v5")


def test_suggestions_can_themselves_be_used() -> None:
    for name in nearest_env_ids("Pong-v9", count=6):
        check_env(name)


def test_missing_minatar_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "minatar" else found(name))
    with pytest.raises(EnvError, match=r"needs MinAtar, which is not installed: pip install 'rlx\[envs\]'"):
        check_env("MinAtar/Breakout-v1")


def test_missing_popgym_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "popgym" else found(name))
    with pytest.raises(EnvError, match=r"needs POPGym, which is not installed: pip install 'rlx\[envs\]'"):
        check_env("popgym-RepeatPreviousEasy-v0")


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("Pendulum-v1", r"action space Box\(.*\); rlx supports observations that .* with Discrete actions"),
        ("popgym-BattleshipEasy-v0", r"action space MultiDiscrete\("),
    ],
)
def test_unsupported_actions_are_named(env_id: str, message: str) -> None:
    with pytest.raises(EnvError, match=f"'{env_id}' has the {message}"):
        check_env(env_id)


@pytest.mark.parametrize(
    "space",
    [
        Text(5),
        Sequence(Discrete(2)),
        MultiBinary(3),
        Tuple((Discrete(2), Text(5))),
        Dict(a=Dict(b=Sequence(Discrete(2)))),
        Tuple(()),
    ],
    ids=repr,
)
def test_unsupported_observations_are_named(space: Any) -> None:
    message = (
        f"'Some-v0' has the observation space {space}; rlx supports observations that are a Box, Discrete"
    )
    with pytest.raises(EnvError, match=re.escape(message)):
        usable_spaces("Some-v0", space, Discrete(2))


def test_a_missing_package_of_another_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*_: Any, **__: Any) -> None:
        raise gymnasium.error.DependencyNotInstalled("Box2D is not installed, run `pip install ...`")

    monkeypatch.setattr(gymnasium, "make", make)
    with pytest.raises(EnvError, match="'LunarLander-v3' needs a package that is not installed: Box2D"):
        check_env("LunarLander-v3")


def test_ids_of_a_module_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvError, match="cannot import 'no_such_module_'"):
        check_env("no_such_module_:Some-v0")
    monkeypatch.setitem(sys.modules, "module_with_envs", types.ModuleType("module_with_envs"))
    gymnasium.register("OfModule-v0", entry_point="rlx.envs.toy:Chain")
    try:
        check_env("module_with_envs:OfModule-v0")
    finally:
        del gymnasium.registry["OfModule-v0"]


def test_listed_ids_resolve() -> None:
    from rlx.envs import resolve_env

    for name in list_env_ids():
        assert resolve_env(name).id == name
