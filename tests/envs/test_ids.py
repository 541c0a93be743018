import subprocess
import sys

import gymnasium
import pytest

from rlx.envs.ids import (
    CLASSIC_ATARI_GAMES,
    MEMORY_IDS,
    MINATAR_GAMES,
    OTHER_ATARI_GAMES,
    TOY_IDS,
    env_family,
    list_env_ids,
    parse_minatar_id,
    parse_new_atari_id,
    parse_old_atari_id,
)
from rlx.envs.registry import registered_spec


def test_the_static_names_are_those_that_ale_py_registers() -> None:
    registered_spec("ALE/Pong-v5")
    names = [str(name) for name in gymnasium.registry]
    assert {n for n in names if n.startswith("ALE/")} == {
        f"ALE/{game}-v5" for game in CLASSIC_ATARI_GAMES + OTHER_ATARI_GAMES
    }
    assert {n for n in names if n.endswith("NoFrameskip-v4")} == {
        f"{game}NoFrameskip-v4" for game in CLASSIC_ATARI_GAMES
    }


def test_the_static_names_are_those_that_minatar_registers() -> None:
    minatar_gym = pytest.importorskip("minatar.gym")
    minatar_gym.register_envs()
    listed = {name for name in list_env_ids() if name.startswith("MinAtar/")}
    assert listed == {str(n) for n in gymnasium.registry if str(n).startswith("MinAtar/")}
    for name in listed:
        parsed = parse_minatar_id(name)
        assert parsed is not None
        assert gymnasium.spec(name).kwargs["game"] == parsed[0] == MINATAR_GAMES[name[8:-3]]


def test_the_static_names_are_those_of_popgym_that_can_be_used() -> None:
    pytest.importorskip("popgym")
    listed = {name for name in list_env_ids() if name.startswith("popgym-")}
    usable = set()
    for name in [str(n) for n in gymnasium.registry if str(n).startswith("popgym-")]:
        if "Labyrinth" not in name:
            env = gymnasium.make(name)
            usable |= {name} if isinstance(env.action_space, gymnasium.spaces.Discrete) else set()
    assert listed == usable
    assert len(listed) == 30


def test_the_built_in_environments_are_listed() -> None:
    assert set(MEMORY_IDS) <= set(list_env_ids())
    assert not set(TOY_IDS) & set(list_env_ids())


def test_the_listed_classic_and_toy_ids_are_registered() -> None:
    for name in (*list_env_ids()[:5], *TOY_IDS):
        assert registered_spec(name).id == name


def test_listing_ids_imports_no_third_party_package() -> None:
    code = (
        "import sys; from rlx.envs import list_env_ids; assert len(list_env_ids()) > 150; "
        "print([m for m in ('numpy', 'gymnasium', 'ale_py', 'minatar', 'ray', 'torch') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("env_id", "family"),
    [
        ("ALE/Pong-v5", "atari"),
        ("ALE/Unknown-v5", "atari"),
        ("PongNoFrameskip-v4", "atari"),
        ("PongDeterministic-v0", "atari"),
        ("UpNDown-v4", "atari"),
        ("Pong-v5", "gymnasium"),
        ("Acrobot-v1", "gymnasium"),
        ("MinAtar/Breakout-v1", "minatar"),
        ("CartPole-v1", "gymnasium"),
        ("some_module:Pong-v9", "gymnasium"),
    ],
)
def test_family_by_name(env_id: str, family: str) -> None:
    assert env_family(env_id) == family


def test_parsing() -> None:
    assert parse_old_atari_id("MsPacmanNoFrameskip-v4") == ("MsPacman", "NoFrameskip", 4)
    assert parse_old_atari_id("MsPacman-v0") == ("MsPacman", "", 0)
    assert parse_old_atari_id("MsPacman-v5") is None
    assert parse_new_atari_id("ALE/Pong-v5") == "Pong"
    assert parse_new_atari_id("ALE/Pong-v4") is None
    assert parse_minatar_id("MinAtar/SpaceInvaders-v0") == ("space_invaders", 0)
    assert parse_minatar_id("MinAtar/Pong-v0") is None
