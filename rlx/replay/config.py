"""Settings of a replay shard."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from rlx.replay.block import ColumnSpec, column_specs
from rlx.replay.windows import WindowSpec


@dataclass(frozen=True)
class ShardConfig:
    """Settings of one shard.

    Attributes:
        capacity_env_steps: rows kept, shared equally by the lanes. An episode of k steps takes k + 1 rows.
        num_lanes: lanes that will come; the ring of each is laid out at once.
        frame_shape, frame_dtype: of one frame, without stacking.
        frame_stack: S, frames that the policy sees.
        window: which rows an item takes.
        n_step: env steps until the bootstrap, for the priorities on arrival.
        gamma: discount of one env step, for the same.
        reward_clip: rewards are clipped to +-this for the same; None leaves them.
        prioritized: False draws all items alike.
        priority_exponent: alpha in P(i) = p_i^alpha / sum_j p_j^alpha.
        priority_epsilon: added to every |TD error|.
        initial_priority: of a new item: its TD error by the acting network, or the largest priority so far.
        priority_eta: share of the largest against the mean |TD error| of a window with several learned steps.
        min_items: `sample` gives None below this.
        seed: of the draws.
        extra_columns: name -> (dtype, shape of a row).
        sparse_columns: name -> (dtype, shape of a value): values that only some rows have.
        sparse_offsets: rows at which a window wants them, counted from its first learned row; None: at its
            first row, ``(-prefix,)``.
        rescale_epsilon: of the value rescaling h under which the acting network's values stand, for the
            priorities on arrival; None: they are on the scale of the rewards.
        compression: lz4 keeps frames compressed. What comes out is the same.

    Source: [PER] section 3.3 for alpha and epsilon; [R2D2] section 2.3 for eta and h.
    """

    capacity_env_steps: int
    num_lanes: int
    frame_shape: tuple[int, ...]
    frame_dtype: Any = np.uint8
    frame_stack: int = 1
    window: WindowSpec = field(default_factory=lambda: WindowSpec(length=2))
    n_step: int = 1
    gamma: float = 0.99
    reward_clip: float | None = None
    prioritized: bool = True
    priority_exponent: float = 0.6
    priority_epsilon: float = 1e-6
    initial_priority: Literal["td_error", "max"] = "td_error"
    priority_eta: float = 0.9
    min_items: int = 1
    seed: int = 0
    extra_columns: Mapping[str, tuple[Any, tuple[int, ...]]] = field(default_factory=dict)
    sparse_columns: Mapping[str, tuple[Any, tuple[int, ...]]] = field(default_factory=dict)
    sparse_offsets: tuple[int, ...] | None = None
    rescale_epsilon: float | None = None
    compression: Literal["none", "lz4"] = "none"

    def __post_init__(self) -> None:
        if self.num_lanes < 1 or self.frame_stack < 1 or self.n_step < 1 or self.min_items < 1:
            raise ValueError("num_lanes, frame_stack, n_step and min_items must be at least 1")
        if self.initial_priority not in ("td_error", "max"):
            raise ValueError(f"initial_priority is {self.initial_priority!r}; known: 'td_error', 'max'")
        if not (self.priority_exponent >= 0 and self.priority_epsilon >= 0 and 0 <= self.priority_eta <= 1):
            raise ValueError("priority_exponent and priority_epsilon must not be negative, eta in 0..1")
        if self.compression not in ("none", "lz4"):
            raise ValueError(f"compression is {self.compression!r}; known: 'none', 'lz4'")
        if self.rescale_epsilon is not None and not 0 <= self.rescale_epsilon < math.inf:
            raise ValueError(f"rescale_epsilon is {self.rescale_epsilon}, must be finite and not negative")
        self._check_sparse()
        learned = self.window.length - self.window.prefix - self.n_step
        if learned < 1 or self.window.period > learned:
            raise ValueError(
                f"{self.window} with n_step {self.n_step} learns {learned} steps of a window: "
                f"needs at least 1 and at least the period, {self.window.period}"
            )
        needed = 2 * (self.window.length + self.frame_stack)
        if self.rows_per_lane < needed:
            raise ValueError(
                f"capacity {self.capacity_env_steps} env steps over {self.num_lanes} lanes is "
                f"{self.rows_per_lane} rows a lane; windows of {self.window.length} rows with "
                f"{self.frame_stack} stacked frames need {needed}: raise the capacity to at least "
                f"{needed * self.num_lanes} or use fewer lanes"
            )

    def _check_sparse(self) -> None:
        hidden = self.columns().keys() & self.sparse_columns.keys()
        if hidden:
            raise ValueError(f"sparse columns {sorted(hidden)} have names of columns that every row has")
        least, end = -self.window.prefix, self.window.length - self.window.prefix
        outside = [offset for offset in self.offsets if not least <= offset < end]
        if outside or not self.offsets:
            raise ValueError(
                f"sparse_offsets {self.offsets}: at least one, each in {least}..{end - 1}, "
                f"the rows of {self.window}"
            )

    @property
    def offsets(self) -> tuple[int, ...]:
        """Rows at which a window wants sparse values, counted from its first learned row."""
        return (-self.window.prefix,) if self.sparse_offsets is None else tuple(self.sparse_offsets)

    @property
    def rows_per_lane(self) -> int:
        """Rows in the ring of one lane."""
        return -(-self.capacity_env_steps // self.num_lanes)

    def columns(self) -> dict[str, ColumnSpec]:
        """Return dtype and shape of the columns that a block must bring."""
        return column_specs(self.frame_shape, self.frame_dtype, self.extra_columns)

    def sparse(self) -> dict[str, ColumnSpec]:
        """Return dtype and shape of the sparse columns that a block may bring."""
        return {name: (np.dtype(dtype), tuple(shape)) for name, (dtype, shape) in self.sparse_columns.items()}

    def layout(self) -> dict[str, Any]:
        """Return the settings that a stored state must share with the shard that takes it."""
        return {
            "capacity_env_steps": self.capacity_env_steps,
            "num_lanes": self.num_lanes,
            "frame_stack": self.frame_stack,
            "window": [self.window.length, self.window.period, self.window.prefix],
            "n_step": self.n_step,
            "prioritized": self.prioritized,
            "priority_exponent": self.priority_exponent,
            "columns": {name: [dtype.str, list(shape)] for name, (dtype, shape) in self.columns().items()},
            "sparse_columns": {
                name: [dtype.str, list(shape)] for name, (dtype, shape) in self.sparse().items()
            },
        }
