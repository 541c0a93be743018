from __future__ import annotations

import pytest

from rlx.envs.ids import CLASSIC_ATARI_GAMES, OTHER_ATARI_GAMES
from rlx.reference import UnknownGameError, find_game, games


def test_the_suite() -> None:
    names = [game.name for game in games()]
    assert len(names) == 57
    assert names == sorted(names)
    # ALE's own spelling: the list of ids is compared with ale-py elsewhere.
    assert set(names) - set(CLASSIC_ATARI_GAMES) == {"Surround"}
    assert "Surround" in OTHER_ATARI_GAMES
    sizes = {"atari100k": 26, "atari5": 5, "atari55": 55, "hard_exploration": 6}
    for subset, size in sizes.items():
        assert sum(subset in game.subsets for game in games()) == size
    assert sum("nature2015" in game.baselines for game in games()) == 49


@pytest.mark.parametrize("game", games(), ids=lambda game: game.name)
def test_every_spelling_finds_its_game(game) -> None:
    versions = (f"{game.name}-v0", f"{game.name}Deterministic-v4", f"{game.name}-ramNoFrameskip-v4")
    module = f"ale_py:{game.ale_v5_id}"
    for spelling in (*game.spellings, *versions, module, game.name.upper(), f" {game.title} "):
        assert find_game(spelling) is game, spelling
    assert {game.name, game.title, game.ale_v5_id, game.noframeskip_v4_id} <= set(game.spellings)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Up'n Down", "UpNDown"),
        ("up_n_down", "UpNDown"),
        ("Q*Bert", "Qbert"),
        ("H.E.R.O.", "Hero"),
        ("Montezuma's Revenge", "MontezumaRevenge"),
        ("Pitfall!", "Pitfall"),
        ("River Raid", "Riverraid"),
        ("James Bond", "Jamesbond"),
        ("Ms. Pac-Man", "MsPacman"),
        ("Yar's Revenge", "YarsRevenge"),
        ("ALE/Pong-v5", "Pong"),
        ("PongNoFrameskip-v4", "Pong"),
    ],
)
def test_spellings_of_papers(text: str, name: str) -> None:
    assert find_game(text).name == name


def test_titles() -> None:
    assert find_game("BeamRider").title == "Beam Rider"
    assert find_game("UpNDown").title == "Up'n Down"
    assert len({game.title for game in games()}) == 57


@pytest.mark.parametrize(
    "text", ["MinAtar/Breakout-v1", "CartPole-v1", "Pacman", "ALE/Tetris-v5", "AirRaid", ""]
)
def test_other_games_are_unknown(text: str) -> None:
    with pytest.raises(UnknownGameError, match="no game of the 57"):
        find_game(text)


def test_nearest_names() -> None:
    with pytest.raises(UnknownGameError, match="did you mean 'Breakout'"):
        find_game("ALE/Brekout-v5")
    with pytest.raises(UnknownGameError, match="'MontezumaRevenge'"):
        find_game("montezumas")


def test_baselines_that_are_easily_wrong() -> None:
    pinball, dunk, invaders = find_game("VideoPinball"), find_game("DoubleDunk"), find_game("SpaceInvaders")
    assert pinball.random == 0.0
    assert pinball.baselines["printed_2016"].random == 16256.9
    assert (dunk.random, dunk.baselines["two_decimals"].random) == (-18.6, -18.55)
    assert (invaders.random, invaders.baselines["two_decimals"].random) == (148.0, 148.3)
    assert find_game("Alien").baselines["nature2015"].human == 6875.4
    differing = [game.name for game in games() if game.baseline != game.baselines["printed_2016"]]
    assert differing == ["VideoPinball"]


def test_normalised_by_hand() -> None:
    # Breakout: random 1.7, human 30.5.
    assert find_game("Breakout").baseline.normalise(16.1) == pytest.approx(0.5)
    assert find_game("Breakout").baseline.normalise(30.5) == 1.0
