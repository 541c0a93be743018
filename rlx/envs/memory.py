"""Built-in environments that cannot be solved without memory.

Functions of arrays; `rlx/envs/batched.py` makes vector environments of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

GRAVITY = 9.8
"""m / s^2."""
CART_MASS = 1.0
"""kg."""
POLE_MASS = 0.1
"""kg."""
POLE_HALF_LENGTH = 0.5
"""m."""
FORCE = 10.0
"""N, to the left or to the right."""
STEP_SECONDS = 0.02
MAX_POSITION = 2.4
"""m from the middle of the track."""
MAX_ANGLE = 12 * 2 * np.pi / 360
"""rad from upright."""
START_RANGE = 0.05
"""All four variables start in +- this."""


class StatelessCartPole:
    """Balance a pole without being told how fast anything moves: velocities must be inferred from the past.

    Dynamics, limits, rewards and start states are those of gymnasium's `CartPole-v1`, equal seeds give
    equal episodes, but the frame has only the cart's position in m and the pole's angle in rad, float32
    `[2]`. Every step pays 1, the one in which the pole falls too, so that the maximum return is the time
    limit, 500.

    Source: [Barto1983] for the task; RLlib's examples have the same reduction, with all else as here.
    """

    num_actions = 2
    frame_shape: tuple[int, ...] = (2,)

    def start(self, rng: np.random.Generator) -> Floats:
        """Draw position, velocity, angle and angular velocity, `[4]`."""
        return rng.uniform(-START_RANGE, START_RANGE, 4)

    def advance(self, variables: Floats, steps: Ints, actions: Ints) -> tuple[Floats, Floats, Bools]:
        """Push to the left (0) or right (1), see `Task.advance`."""
        after = cart_pole_step(variables, np.where(actions == 1, FORCE, -FORCE))
        fallen = (np.abs(after[:, 0]) > MAX_POSITION) | (np.abs(after[:, 2]) > MAX_ANGLE)
        return after, np.ones(len(after)), fallen

    def observe(self, variables: Floats, steps: Ints) -> NDArray[np.float32]:
        """Show position and angle, `[N, 2]`."""
        return variables[:, ::2].astype(np.float32)


def cart_pole_step(variables: Floats, force: Floats) -> Floats:
    """Move carts and poles by one Euler step without friction.

    With total mass M, pole mass m, half length l, angle a and force F:

        push = (F + m l a'^2 sin a) / M
        a'' = (g sin a - push cos a) / (l (4/3 - m cos^2 a / M))
        x'' = push - m l a'' cos a / M

    The operations are in gymnasium's order, so that results are equal to the last bit.

    Args:
        variables: `[N, 4]`: x in m, x' in m/s, a in rad, a' in rad/s.
        force: `[N]`, N.

    Returns:
        `[N, 4]`, `STEP_SECONDS` later.

    Source: [Barto1983] appendix, without friction.
    """
    _, x_dot, angle, angle_dot = variables.T
    sin, cos = np.sin(angle), np.cos(angle)
    total_mass = POLE_MASS + CART_MASS
    moment = POLE_MASS * POLE_HALF_LENGTH
    push = (force + moment * np.square(angle_dot) * sin) / total_mass
    angle_acc = (GRAVITY * sin - cos * push) / (
        POLE_HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * np.square(cos) / total_mass)
    )
    x_acc = push - moment * angle_acc * cos / total_mass
    rates = np.stack([x_dot, x_acc, angle_dot, angle_acc], axis=1)
    moved: Floats = variables + STEP_SECONDS * rates
    return moved


class Recall:
    """Repeat at the end of an episode the symbol that was shown at its start.

    The frame is float32 `[symbols + 1]`. The first one has the symbol, one-hot; the last entry is 1 in the
    frame that asks, `delay` steps later, and everything else is 0. The action taken on that frame ends the
    episode and pays 1 if it names the symbol, 0 if not; the actions before it do nothing. So an episode has
    `delay + 1` steps, the maximum return is 1, and without memory `1 / symbols` is the best mean. With
    `delay: 0` the first frame asks, and no memory is needed.
    """

    def __init__(self, delay: int = 8, symbols: int = 4) -> None:
        """Choose the delay in steps and the number of symbols, which are the actions."""
        for name, value, minimum in (("delay", delay, 0), ("symbols", symbols, 2)):
            if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
                raise ValueError(f"{name} = {value!r} must be a whole number of at least {minimum}")
        self.delay = delay
        self.num_actions = symbols
        self.frame_shape: tuple[int, ...] = (symbols + 1,)

    def start(self, rng: np.random.Generator) -> Floats:
        """Draw the symbol, `[1]`."""
        return rng.integers(0, self.num_actions, 1).astype(np.float64)

    def advance(self, variables: Floats, steps: Ints, actions: Ints) -> tuple[Floats, Floats, Bools]:
        """Compare the answer where the frame asks, see `Task.advance`."""
        asked = steps == self.delay
        right = asked & (actions == variables[:, 0])
        return variables.copy(), right.astype(np.float64), asked

    def observe(self, variables: Floats, steps: Ints) -> NDArray[np.float32]:
        """Show the symbol at step 0 and the question at step `delay`, `[N, symbols + 1]`."""
        frames = np.zeros((len(steps), self.num_actions + 1), np.float32)
        first = np.flatnonzero(steps == 0)
        frames[first, variables[first, 0].astype(np.int64)] = 1.0
        frames[:, -1] = steps == self.delay
        return frames
