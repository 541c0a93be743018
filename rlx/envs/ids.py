"""Names of environments, as plain text: imports nothing, so that shell completion stays fast.

The lists repeat what ale-py 0.12.1, MinAtar 1.0.15, POPGym 1.0.7 and gymnasium 1.2.2 register;
`tests/envs/test_ids.py` compares them.
"""

from __future__ import annotations

import re
from typing import Literal

Family = Literal["atari", "minatar", "gymnasium"]

CLASSIC_ATARI_GAMES: tuple[str, ...] = tuple(
    """
    Adventure AirRaid Alien Amidar Assault Asterix Asteroids Atlantis BankHeist BattleZone BeamRider Berzerk
    Bowling Boxing Breakout Carnival Centipede ChopperCommand CrazyClimber Defender DemonAttack DoubleDunk
    ElevatorAction Enduro FishingDerby Freeway Frostbite Gopher Gravitar Hero IceHockey Jamesbond
    JourneyEscape Kangaroo Krull KungFuMaster MontezumaRevenge MsPacman NameThisGame Phoenix Pitfall Pong
    Pooyan PrivateEye Qbert Riverraid RoadRunner Robotank Seaquest Skiing Solaris SpaceInvaders StarGunner
    Tennis TimePilot Tutankham UpNDown Venture VideoPinball WizardOfWor YarsRevenge Zaxxon
    """.split()  # noqa: SIM905
)
"""Games with `-v0` and `-v4` names as well as `ALE/...-v5`."""

OTHER_ATARI_GAMES: tuple[str, ...] = tuple(
    """
    Atlantis2 Backgammon BasicMath Blackjack Casino Crossbow Darkchambers DonkeyKong Earthworld Entombed Et
    FlagCapture Frogger Galaxian Hangman HauntedHouse HumanCannonball Kaboom KeystoneKapers KingKong Klax
    Koolaid LaserGates LostLuggage MarioBros MiniatureGolf MrDo Othello Pacman Pitfall2 SirLancelot SpaceWar
    Superman Surround Tetris TicTacToe3D Trondead Turmoil VideoCheckers VideoChess VideoCube WordZapper
    """.split()  # noqa: SIM905
)
"""Games that only have an `ALE/...-v5` name."""

MINATAR_GAMES: dict[str, str] = {
    "Asterix": "asterix",
    "Breakout": "breakout",
    "Freeway": "freeway",
    "Seaquest": "seaquest",
    "SpaceInvaders": "space_invaders",
}
"""Name in the id -> MinAtar's module."""

CLASSIC_CONTROL_IDS: tuple[str, ...] = (
    "Acrobot-v1",
    "CartPole-v0",
    "CartPole-v1",
    "LunarLander-v3",
    "MountainCar-v0",
)
"""Environments of gymnasium that have Box observations and Discrete actions (LunarLander needs Box2D)."""

POPGYM_TASKS: tuple[str, ...] = tuple(
    """
    Autoencode Concentration CountRecall HigherLower MultiarmedBandit NoisyPositionOnlyCartPole
    PositionOnlyCartPole RepeatFirst RepeatPrevious VelocityOnlyCartpole
    """.split()  # noqa: SIM905
)
"""Tasks of POPGym with Discrete actions; each has an id for `Easy`, `Medium` and `Hard`.

Battleship, MineSweeper and the pendulums have other actions, the labyrinths need a further package.
"""

POPGYM_LEVELS: tuple[str, ...] = ("Easy", "Medium", "Hard")

MEMORY_IDS: dict[str, int | None] = {"rlx/StatelessCartPole-v1": 500, "rlx/Recall-v0": None}
"""Built-in environments that need memory, see `rlx/envs/memory.py`; id -> time limit in steps."""

LATENCY_ID = "rlx/FixedLatency-v0"
"""Built-in environment for measuring how runners scale, see `rlx/envs/latency.py`; it has no time limit."""

TOY_IDS: tuple[str, ...] = ("rlx/Chain-v0", "rlx/CountFrames-v0", "rlx/Slow-v0", "rlx/Crash-v0")
"""Built-in test environments, see `rlx/envs/toy.py`."""

_OLD_ATARI_ID = re.compile(
    r"(?P<game>[A-Za-z0-9]+?)(?P<variant>NoFrameskip|Deterministic|)-v(?P<version>[04])"
)
_NEW_ATARI_ID = re.compile(r"ALE/(?P<game>[A-Za-z0-9]+)-v5")
_MINATAR_ID = re.compile(r"MinAtar/(?P<game>[A-Za-z]+)-v(?P<version>[01])")


def list_env_ids() -> list[str]:
    """List the environments that come with rlx and its dependencies, for completion. Imports nothing.

    Other ids of gymnasium's registry work too; they are left out here, as are the environments for tests and
    measurements (`TOY_IDS`, `LATENCY_ID`).
    """
    ale = [f"ALE/{game}-v5" for game in sorted(CLASSIC_ATARI_GAMES + OTHER_ATARI_GAMES)]
    no_frameskip = [f"{game}NoFrameskip-v4" for game in CLASSIC_ATARI_GAMES]
    minatar = [f"MinAtar/{game}-v{version}" for game in MINATAR_GAMES for version in (1, 0)]
    popgym = [f"popgym-{task}{level}-v0" for task in POPGYM_TASKS for level in POPGYM_LEVELS]
    return [*CLASSIC_CONTROL_IDS, *MEMORY_IDS, *minatar, *popgym, *ale, *no_frameskip]


def env_family(env_id: str) -> Family:
    """Say from its name alone which of the three kinds an id is.

    Returns:
        `"atari"` for `ALE/...` and the `-v0`/`-v4` names of Atari games, `"minatar"` for `MinAtar/...`,
        `"gymnasium"` for every other name, known or not.
    """
    if env_id.startswith("ALE/") or parse_old_atari_id(env_id):
        return "atari"
    return "minatar" if env_id.startswith("MinAtar/") else "gymnasium"


def parse_old_atari_id(env_id: str) -> tuple[str, str, int] | None:
    """Split `PongNoFrameskip-v4` into `("Pong", "NoFrameskip", 4)`; None when it is no such name."""
    match = _OLD_ATARI_ID.fullmatch(env_id)
    if match is None or match["game"] not in CLASSIC_ATARI_GAMES:
        return None
    return match["game"], match["variant"], int(match["version"])


def parse_new_atari_id(env_id: str) -> str | None:
    """Return `"Pong"` for `ALE/Pong-v5`; None when it is no such name (the game itself is not checked)."""
    match = _NEW_ATARI_ID.fullmatch(env_id)
    return match["game"] if match else None


def parse_minatar_id(env_id: str) -> tuple[str, int] | None:
    """Split `MinAtar/Breakout-v1` into `("breakout", 1)`; None when it is no such name."""
    match = _MINATAR_ID.fullmatch(env_id)
    if match is None or match["game"] not in MINATAR_GAMES:
        return None
    return MINATAR_GAMES[match["game"]], int(match["version"])
