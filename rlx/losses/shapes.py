"""Check tensor shapes by named dimensions.

A specification is a string of space-separated names, one for each dimension: ``"T B A"``. A name binds to
the size it meets first and must meet the same size wherever it comes again, within one call or, when calls
share a dict, across calls. A number must be met exactly, ``_`` meets any size, and ``...`` (once) meets any
number of dimensions. Checks look at ``tensor.shape`` only: they never read data, so they cost no device
synchronisation and may stand inside compiled or captured code.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["Dims", "check_shape"]

Dims = dict[str, int]
"""Sizes that dimension names are bound to."""


def check_shape(tensor: Tensor, spec: str, dims: Dims | None = None, *, name: str = "tensor") -> Dims:
    """Check that a tensor has the dimensions a specification names, and return the names' sizes.

    Args:
        tensor: any tensor.
        spec: dimension names, such as ``"B A"``; the empty string is a scalar.
        dims: sizes bound by earlier calls; extended in place, so pass one dict to several calls.
        name: what to call the tensor in an error.

    Returns:
        The bound sizes: ``dims`` itself if it was given.

    Raises:
        ValueError: the rank or a size differs; the message has shape, specification and bound sizes.
    """
    bound = {} if dims is None else dims
    shape = tuple(tensor.shape)
    names = spec.split()
    if "..." in names:
        at = names.index("...")
        missing = len(shape) - (len(names) - 1)
        names = names[:at] + ["_"] * max(missing, 0) + names[at + 1 :]
    if len(names) != len(shape):
        raise ValueError(
            f"{name}: shape {shape} has {len(shape)} dimensions, expected [{spec}]{_known(bound)}"
        )
    for dim, size in zip(names, shape, strict=True):
        if dim == "_":
            continue
        expected = int(dim) if dim.isdecimal() else bound.setdefault(dim, size)
        if expected != size:
            raise ValueError(
                f"{name}: shape {shape} does not fit [{spec}]: {dim} is {size} here, "
                f"expected {expected}{_known(bound)}"
            )
    return bound


def _known(bound: Dims) -> str:
    if not bound:
        return ""
    return " (with " + ", ".join(f"{dim}={size}" for dim, size in bound.items()) + ")"
