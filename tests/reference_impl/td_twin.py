"""Slow twins of rlx/losses/td.py: plain Python over whole episodes, used only as oracles.

An episode here is a list of steps and the way it ended. The twin never sees windows or flags of rows: it
knows what happened, sums what may be summed, and says what may be bootstrapped from.
"""

import random
from dataclasses import dataclass

ENDS = ("terminated", "truncated", "seam")


@dataclass
class Episode:
    """What happened in one episode of one lane."""

    rewards: list[float]
    life_lost: list[bool]
    """Steps past which nothing is bootstrapped although the episode goes on."""
    end: str
    """terminated or truncated (a final row follows), or seam (the runner died, nothing follows)."""


def random_stream(rng: random.Random, episodes: int, max_steps: int) -> list[Episode]:
    """Draw episodes of 1 to max_steps steps with all kinds of endings."""
    stream = []
    for _ in range(episodes):
        steps = rng.randint(1, max_steps)
        rewards = [round(rng.gauss(0, 2), 3) for _ in range(steps)]
        life_lost = [rng.random() < 0.1 for _ in range(steps)]
        stream.append(Episode(rewards, life_lost, rng.choice(ENDS)))
    return stream


def rows_of(stream: list[Episode]) -> dict[str, list]:
    """Write a stream as rows (the columns of the contract, and the number of the episode)."""
    rows: dict[str, list] = {"reward": [], "terminated": [], "acted": [], "episode": []}
    for number, episode in enumerate(stream):
        last = len(episode.rewards) - 1
        for step, reward in enumerate(episode.rewards):
            over = step == last and episode.end == "terminated"
            _append(rows, reward, over or episode.life_lost[step], True, number)
        if episode.end != "seam":
            _append(rows, 0.0, False, False, number)
    return rows


def _append(rows: dict[str, list], reward: float, terminated: bool, acted: bool, episode: int) -> None:
    for name, value in zip(rows, (reward, terminated, acted, episode), strict=True):
        rows[name].append(value)


def n_step(
    episode: Episode, start: int, n: int, gamma: float, clip: float | None
) -> tuple[float, float, int]:
    """Sum from step ``start`` of an episode: (return, discount, steps to the row bootstrapped from).

    Where the discount is 0 the number of steps summed stands in the last place.
    """
    length = len(episode.rewards)
    if episode.end == "seam" and not episode.life_lost[-1]:
        length -= 1  # what the last action led to was never seen: its row is only bootstrapped from
    total = 0.0
    for k in range(n):
        step = start + k
        if step >= length:
            return total, gamma**k, k
        reward = episode.rewards[step]
        if clip is not None:
            reward = max(-clip, min(clip, reward))
        total += gamma**k * reward
        ended = step == len(episode.rewards) - 1 and episode.end == "terminated"
        if ended or episode.life_lost[step]:
            return total, 0.0, k + 1
    return total, gamma**n, n
