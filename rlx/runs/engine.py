"""What the run loop needs of an engine: six calls. See docs/design/0001-contracts.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

#: Makes the engine of one run: `(spec, run directory) -> Engine`.
EngineFactory = Callable[[Any, Path], "Engine"]


class CheckpointJob(Protocol):
    """A checkpoint under way: small states are written, the replay may still be in the background."""

    @property
    def info(self) -> Mapping[str, Any]:
        """Counters at the time of the checkpoint (`env_steps`, `updates`, ...); complete once done."""
        ...

    def done(self) -> bool:
        """Return whether everything is written. Raises what failed."""
        ...

    def wait(self) -> None:
        """Block until everything is written. Raises what failed."""
        ...


class Engine(Protocol):
    """One algorithm, ready to train.

    Two more members are used where an engine has them: `first_env_step_at` (`time.time()` of its first step)
    and `checkpoint_committed(path)`, called when a checkpoint has got its final name. `train()` may have a
    list of sentences under `events` in its row: what died, what was lost.
    """

    def train(self) -> Mapping[str, Any]:
        """Run one iteration; the flat row of metrics, or a mapping with that row under `rlx`."""
        ...

    def begin_checkpoint(self, directory: Path, /) -> CheckpointJob:
        """Write small states into `directory` now, the rest in the background."""
        ...

    def restore(self, directory: Path, /) -> None:
        """Take the state of a checkpoint; only on a fresh engine."""
        ...

    def evaluate_policy(
        self, episodes: int, epsilon: float, seed: int, abandon: Callable[[], bool]
    ) -> Mapping[str, Any]:
        """Play whole episodes: `returns` and `lengths` (one per episode), `seconds`.

        Raises `EvaluationAbandonedError` soon after `abandon()` is true; training can go on afterwards.
        """
        ...

    def save_policy(self, directory: Path, /) -> None:
        """Write the network that the last `evaluate_policy` played, where a checkpoint has it."""
        ...

    def stop(self) -> None:
        """Release processes and memory."""
        ...
