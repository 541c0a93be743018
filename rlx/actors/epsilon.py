"""How often each lane acts at random, and the choice of actions."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Kind = Literal["ladder", "linear", "constant", "none"]
KINDS: tuple[Kind, ...] = ("ladder", "linear", "constant", "none")


def ladder(num_lanes: int, epsilon: float = 0.4, alpha: float = 7.0) -> NDArray[np.float64]:
    """Return the epsilon of every lane: `epsilon ** (1 + alpha * i / (N - 1))`, i = 0 .. N - 1.

    Args:
        num_lanes: N, over all runners. One lane gets exponent 1.
        epsilon: Base, in [0, 1]; lane 0 has exactly this value.
        alpha: The last lane's exponent is `1 + alpha`.

    Returns:
        float64 `[N]`, non-increasing.

    Source: [ApeX] section 4.1.
    """
    if num_lanes < 1:
        raise ValueError(f"num_lanes = {num_lanes} must be at least 1")
    _check_probability("epsilon", epsilon)
    exponents = 1.0 + alpha * np.arange(num_lanes) / max(num_lanes - 1, 1)
    return np.power(float(epsilon), exponents)


@dataclass(frozen=True)
class LinearSchedule:
    """Go from `initial` to `final` in a straight line, then stay.

    Source: [DQN2015] methods: 1.0 to 0.1 over the first million steps.
    """

    initial: float
    final: float
    decay_env_steps: int
    """Length of the line; 0: `final` from `start_env_steps` on."""
    start_env_steps: int = 0
    """The value is `initial` until here (dqn_zoo starts the decay when learning starts)."""

    def __call__(self, env_steps: int) -> float:
        """Return the value after this many env steps, counted over all lanes."""
        since = env_steps - self.start_env_steps
        if since < 0:
            return self.initial
        if since >= self.decay_env_steps:
            return self.final
        return self.initial + (self.final - self.initial) * since / self.decay_env_steps


@dataclass(frozen=True)
class EpsilonSource:
    """Give the epsilons of any lanes at any time, from the exploration section. It remembers nothing.

    `ladder`: one constant per lane (`epsilon`, `alpha`). `linear`: one schedule for all lanes. `constant`:
    `epsilon`. `none`: 0.
    """

    kind: Kind
    num_lanes: int
    """Lanes of all runners together."""
    epsilon: float = 0.4
    alpha: float = 7.0
    schedule: LinearSchedule | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"exploration.kind {self.kind!r} unknown; known: {', '.join(KINDS)}")
        if self.kind == "linear" and self.schedule is None:
            raise ValueError("exploration.kind linear needs initial, final and decay_env_steps")
        _check_probability("exploration.epsilon", self.epsilon)

    @classmethod
    def from_section(cls, exploration: Any, num_lanes: int, start_env_steps: int = 0) -> EpsilonSource:
        """Build from an object with the fields of the exploration section.

        Args:
            exploration: Has `kind`, and what that kind needs: `epsilon alpha`, or `initial final
                decay_env_steps`.
            num_lanes: Lanes of all runners together.
            start_env_steps: When a linear schedule starts to fall.
        """
        kind = exploration.kind
        if kind == "ladder":
            return cls(kind, num_lanes, epsilon=exploration.epsilon, alpha=exploration.alpha)
        if kind == "constant":
            return cls(kind, num_lanes, epsilon=exploration.epsilon)
        if kind == "linear":
            _check_probability("exploration.initial", exploration.initial)
            _check_probability("exploration.final", exploration.final)
            schedule = LinearSchedule(
                exploration.initial, exploration.final, exploration.decay_env_steps, start_env_steps
            )
            return cls(kind, num_lanes, schedule=schedule)
        return cls(kind, num_lanes)

    def __call__(self, lane_ids: ArrayLike, env_steps: int) -> NDArray[np.float64]:
        """Return the epsilons of these lanes.

        Args:
            lane_ids: Global lane ids `[N]`, each in `0 .. num_lanes - 1`.
            env_steps: Env steps taken so far by all lanes.

        Returns:
            float64 `[N]`.
        """
        lanes = np.asarray(lane_ids, np.int64)
        if lanes.size and not 0 <= lanes.min() <= lanes.max() < self.num_lanes:
            raise IndexError(f"lane ids {lanes.min()}..{lanes.max()} outside 0..{self.num_lanes - 1}")
        if self.kind == "ladder":
            return _cached_ladder(self.num_lanes, self.epsilon, self.alpha)[lanes]
        if self.schedule is not None:
            return np.full(lanes.shape, self.schedule(env_steps))
        return np.full(lanes.shape, self.epsilon if self.kind == "constant" else 0.0)


def select_actions(
    q: NDArray[Any], epsilons: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Choose each lane's action: any with probability epsilon, else the first of the largest Q.

    Ties go to the lowest action, not to a random one. The same amount of randomness is drawn whatever the
    values are, so lanes do not disturb each other. A random action can be the greedy one.

    Args:
        q: Action values `[N, A]`.
        epsilons: `[N]`.
        rng: Source of all randomness.

    Returns:
        Actions int64 `[N]`, and bool `[N]`: which were drawn at random.
    """
    if q.ndim != 2 or epsilons.shape != q.shape[:1]:
        raise ValueError(f"q must be [N, A] and epsilons [N]: got {q.shape} and {epsilons.shape}")
    draws = rng.random((2, q.shape[0]))
    random_actions = (draws[1] * q.shape[1]).astype(np.int64)
    explored = draws[0] < epsilons
    return np.where(explored, random_actions, q.argmax(axis=1)), explored


_cached_ladder = functools.lru_cache(maxsize=8)(ladder)


def _check_probability(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} = {value} must be in [0, 1]")
