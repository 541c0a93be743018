"""Slow twin of ale-py's vector environment: one emulator, and the preprocessing written out in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ale_py
import numpy as np
from ale_py import roms
from numpy.typing import NDArray


@dataclass(frozen=True)
class TwinStep:
    """What a step showed: `observation` grey `[size, size]`, `screen` `[H, W, 3]`, reward, end, lives."""

    observation: NDArray[np.uint8]
    screen: NDArray[np.uint8]
    reward: float
    over: bool
    lives: int


class AtariTwin:
    """One game from its start, after a given number of no-ops."""

    def __init__(
        self, game: str, seed: int, *, sticky: float, noops: int, size: int = 84, skip: int = 4
    ) -> None:
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self.ale = ale_py.ALEInterface()
        self.ale.setFloat("repeat_action_probability", sticky)
        self.ale.setInt("random_seed", seed)
        self.ale.loadROM(roms.get_rom_path(game))
        self.ale.reset_game()
        self.actions = self.ale.getMinimalActionSet()
        self.size, self.skip = size, skip
        for _ in range(noops):
            self.ale.act(ale_py.Action.NOOP)
        self.start = self._seen([self._raw()], 0.0)

    def step(self, action: int) -> TwinStep:
        """Do an action for `skip` frames, or until the game ends: then ale-py's own frames are older ones."""
        reward, raw = 0.0, []
        for _ in range(self.skip):
            reward += self.ale.act(self.actions[action])
            raw.append(self._raw())
            if self.ale.game_over():
                break
        return self._seen(raw, reward)

    def _raw(self) -> tuple[Any, Any]:
        return self.ale.getScreenGrayscale(), self.ale.getScreenRGB()

    def _seen(self, raw: list[tuple[Any, Any]], reward: float) -> TwinStep:
        grey, screen = (np.max([frame[kind] for frame in raw[-2:]], axis=0) for kind in (0, 1))
        rows, columns = (mean_weights(length, self.size) for length in grey.shape)
        observation = np.rint(rows @ grey.astype(np.float64) @ columns.T).astype(np.uint8)
        return TwinStep(observation, screen, reward, self.ale.game_over(), self.ale.lives())


def mean_weights(before: int, after: int) -> NDArray[np.float64]:
    """Return `[after, before]`: the share of every old pixel in a new one, which is as wide as several."""
    weights = np.zeros((after, before))
    ratio = before / after
    for new in range(after):
        left, right = new * ratio, (new + 1) * ratio
        for old in range(before):
            weights[new, old] = max(0.0, min(right, old + 1) - max(left, old)) / ratio
    return weights
