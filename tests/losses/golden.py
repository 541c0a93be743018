"""Load the arrays recorded from rlax (tests/golden/make_rlax_golden.py says how)."""

from pathlib import Path

import numpy as np
import torch

PATH = Path(__file__).parents[1] / "golden" / "rlax.npz"


def golden(group: str) -> dict[str, torch.Tensor]:
    """Give the arrays of one group by their names."""
    with np.load(PATH) as arrays:
        names = [name for name in arrays.files if name.startswith(f"{group}/")]
        assert names, f"no group {group} in {PATH}"
        return {name.removeprefix(f"{group}/"): torch.from_numpy(arrays[name]) for name in names}


def close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    """Assert equality to the tolerance, relative and absolute, and of shape and dtype."""
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
