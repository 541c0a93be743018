"""The best policy of a run: the network alone, kept whenever an evaluation is a new best.

best/.tmp-policy_000003/         being written
best/policy_000003/              complete: the network's files and DIGEST.json, sealed as a checkpoint's
best/discarded-policy_000002/    from after the checkpoint that a resume went back to

It cannot be resumed from, and the store of checkpoints never sees it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlx.runs.checkpoints import Checkpoint, commit, read_checkpoint
from rlx.runs.engine import Engine

#: Folder of a run directory with what this module keeps.
BEST_FOLDER = "best"
_NAME = re.compile(r"^(\.tmp-|discarded-)?policy_(\d{6,})$")


class PolicyStore:
    """Write, find and prune the kept policies of one run.

    Args:
        directory: `<run>/best`; made when there is something to keep.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def keep_if_best(
        self, engine: Engine, info: Mapping[str, Any], resumable_env_steps: int
    ) -> Checkpoint | None:
        """Keep the network that was just evaluated, unless a kept one has a higher return.

        Of equals the newer one is kept. Those before it go, except the best one that a run would still have
        after going back to its newest checkpoint.

        Args:
            engine: writes its network.
            info: facts to keep with it: `return_mean` of the evaluation, counts, seconds.
            resumable_env_steps: of the newest complete checkpoint; -1 if there is none.

        Returns:
            What was kept, or None.

        Raises:
            Exception: it could not be written; nothing of it is left, and the one before is still there.
        """
        best = best_policy(list_policies(self.directory))
        if best is not None and rating(best) > float(info["return_mean"]):
            return None
        self.directory.mkdir(parents=True, exist_ok=True)
        temporary = self.directory / f".tmp-policy_{self._next_number():06d}"
        try:
            temporary.mkdir()
            engine.save_policy(temporary)
            kept = commit(temporary, info)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        self._prune(resumable_env_steps)
        return kept

    def discard_after(self, env_steps: int) -> None:
        """Put aside what was kept after a checkpoint that the run went back to."""
        for policy in list_policies(self.directory):
            if policy.env_steps > env_steps:
                os.replace(policy.path, policy.path.with_name(f"discarded-{policy.path.name}"))

    def remove_leftovers(self) -> None:
        """Delete half-written ones of a dead process (call under the run's lock)."""
        for mark, path in _entries(self.directory):
            if mark == ".tmp-":
                shutil.rmtree(path, ignore_errors=True)

    def _prune(self, resumable_env_steps: int) -> None:
        policies = list_policies(self.directory)
        safe = [policy for policy in policies if policy.env_steps <= resumable_env_steps]
        keep = {policy.path for policy in (best_policy(policies), best_policy(safe)) if policy is not None}
        for policy in policies:
            if policy.path not in keep:
                # Renamed first: one half-deleted by a crash must not look like a damaged one.
                doomed = policy.path.with_name(f".tmp-{policy.path.name}")
                os.replace(policy.path, doomed)
                shutil.rmtree(doomed, ignore_errors=True)

    def _next_number(self) -> int:
        numbers = [int(path.name.rpartition("_")[2]) for _, path in _entries(self.directory)]
        return 1 + max(numbers, default=0)


def list_policies(directory: Path) -> list[Checkpoint]:
    """Return the complete policies of a `best/` directory, oldest first, changing nothing."""
    found = [read_checkpoint(path) for mark, path in _entries(directory) if not mark]
    return [policy for policy in found if policy is not None and "return_mean" in policy.info]


def damaged_policies(directory: Path) -> list[Path]:
    """Return the directories with a policy's name that hold no complete one: nobody knows how good it was."""
    whole = {policy.path for policy in list_policies(directory)}
    return [path for mark, path in _entries(directory) if not mark and path not in whole]


def best_policy(policies: Sequence[Checkpoint]) -> Checkpoint | None:
    """Return the one with the highest return (the newest of equals)."""
    return max(policies, key=lambda policy: (rating(policy), policy.path.name), default=None)


def rating(policy: Checkpoint) -> float:
    """Return the mean return of the evaluation for which a policy was kept."""
    return float(policy.info["return_mean"])


def _entries(directory: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        match = _NAME.match(path.name)
        if match and path.is_dir():
            yield match[1] or "", path
