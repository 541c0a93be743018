"""A sum tree: draw leaves in proportion to their values, change values in O(log n)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlx.replay.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@compiled
def _set(nodes: Floats, base: int, leaves: Ints, values: Floats) -> None:
    for i in range(leaves.shape[0]):
        node = base + leaves[i]
        nodes[node] = values[i]
        node >>= 1
        while node >= 1:
            # Summed anew from both children: adding differences would drift.
            nodes[node] = nodes[2 * node] + nodes[2 * node + 1]
            node >>= 1


@compiled
def _rebuild(nodes: Floats, base: int) -> None:
    for node in range(base - 1, 0, -1):
        nodes[node] = nodes[2 * node] + nodes[2 * node + 1]


@compiled
def _find(nodes: Floats, base: int, masses: Floats, leaves: Ints) -> None:
    for i in range(masses.shape[0]):
        mass = masses[i]
        node = 1
        while node < base:
            left = nodes[2 * node]
            # Rounding may leave a mass at or beyond the sum of what follows: never enter an empty right half.
            right = (mass >= left) & (nodes[2 * node + 1] > 0.0)
            mass -= left * right
            node = 2 * node + right
        leaves[i] = node - base


class SumTree:
    """Values of `num_leaves` leaves, zero at first; an inner node is exactly the sum of its two children.

    Source: [PER] appendix B.2.1 (sum tree).
    """

    def __init__(self, num_leaves: int) -> None:
        if num_leaves < 1:
            raise ValueError(f"num_leaves is {num_leaves}, must be at least 1")
        self.num_leaves = num_leaves
        self._base = 1 << (num_leaves - 1).bit_length()
        # Node 1 is the root, nodes base .. base + num_leaves - 1 the leaves.
        self._nodes: Floats = np.zeros(2 * self._base, np.float64)

    @property
    def nbytes(self) -> int:
        """Bytes of the nodes."""
        return self._nodes.nbytes

    @property
    def total(self) -> float:
        """Sum of all leaves."""
        return float(self._nodes[1])

    def get(self, leaves: Ints) -> Floats:
        """Return the values of leaves ``[B]``."""
        return self._nodes[self._base + self._checked(leaves)]

    def set(self, leaves: Ints, values: Floats) -> None:
        """Set leaves ``[B]`` to values ``[B]``; of a leaf named twice the last value stays.

        Raises:
            ValueError: a value is negative or not finite, or the shapes differ.
            IndexError: a leaf does not exist.
        """
        leaves, values = self._checked(leaves), np.ascontiguousarray(values, np.float64)
        if leaves.shape != values.shape:
            raise ValueError(f"leaves {leaves.shape} and values {values.shape} differ in shape")
        if values.size and not (values.min() >= 0.0 and values.max() < np.inf):
            raise ValueError("values must be finite and not negative")
        _set(self._nodes, self._base, leaves, values)

    def sample(self, size: int, rng: np.random.Generator) -> Ints:
        """Draw leaves ``[size]``, one from each of `size` equal parts of the total (ascending).

        Raises:
            ValueError: the total is zero.

        Source: [PER] appendix B.2.1 (stratified draw).
        """
        if self.total <= 0.0:
            raise ValueError("cannot sample: all values are zero")
        masses = (np.arange(size) + rng.random(size)) * (self.total / size)
        return self.find(masses)

    def find(self, masses: Floats) -> Ints:
        """Return for each mass ``[B]`` in [0, total) the leaf whose part of the running sum holds it."""
        leaves = np.empty(masses.shape, np.int64)
        _find(self._nodes, self._base, masses, leaves)
        return leaves

    def get_state(self) -> Floats:
        """Return a copy of the leaves ``[num_leaves]``; the inner nodes follow from them bit for bit."""
        return self._nodes[self._base : self._base + self.num_leaves].copy()

    def set_state(self, leaves: Floats) -> None:
        """Take the result of `get_state`."""
        if leaves.shape != (self.num_leaves,):
            raise ValueError(f"{leaves.shape} leaves for a tree of {self.num_leaves}")
        self._nodes[:] = 0.0
        self._nodes[self._base : self._base + self.num_leaves] = leaves
        _rebuild(self._nodes, self._base)

    def check_valid(self) -> None:
        """Raise RuntimeError if a node is not the sum of its children or a leaf is not a priority."""
        leaves = self._nodes[self._base :]
        if not np.isfinite(leaves).all() or leaves.min() < 0.0 or leaves[self.num_leaves :].any():
            raise RuntimeError("sum tree: a leaf is negative, not finite, or beyond the last one")
        if not np.array_equal(self._nodes[1 : self._base], self._nodes[2::2] + self._nodes[3::2]):
            raise RuntimeError("sum tree: a node is not the sum of its children")

    def _checked(self, leaves: Ints) -> Ints:
        leaves = np.ascontiguousarray(leaves, np.int64)
        # The kernels do not check bounds.
        if leaves.size and (leaves.min() < 0 or leaves.max() >= self.num_leaves):
            raise IndexError(f"a leaf is outside 0..{self.num_leaves - 1}")
        return leaves
