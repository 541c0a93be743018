"""Whether the files of a run are whole: what one of them says must be in the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlx.compare.errors import CompareError
from rlx.compare.records import RESTORE, Row
from rlx.runs.directory import FINISHED
from rlx.runs.metrics import EVALUATIONS, RESULTS


def refuse_missing_rows(
    run: Path, manifest: Mapping[str, Any], results: Sequence[Row], evaluations: Sequence[Row], records: int
) -> None:
    """Refuse a run whose files were cut: its last row would pass for the end of the run.

    A last line that is being written is no damage while a run is on; when it has finished, it is.

    Args:
        run: the run directory.
        manifest: of the run.
        results: rows of `result.json`.
        evaluations: rows of `evaluations.jsonl`.
        records: how many records of `rlx evaluate` there are.

    Raises:
        CompareError: rows are missing.
    """
    if not results and (evaluations or records):
        raise CompareError(
            "damaged: it has no row, and the run has been evaluated", str(run / RESULTS), RESTORE
        )
    end, last = _recorded_end(manifest), results[-1].cells.get("env_steps") if results else 0
    if end is not None and isinstance(last, (int, float)) and last < end:
        raise CompareError(
            f"damaged: it ends at {last:g} env steps and the run at {end:g}, so rows are missing",
            str(run / RESULTS),
            RESTORE,
        )
    there = {row.cells.get("training_iteration") for row in evaluations}
    for row in results:
        if row.cells.get("evaluation_return_mean") is not None:
            iteration = row.cells.get("training_iteration")
            if iteration not in there:
                raise CompareError(
                    f"damaged: the evaluation of iteration {iteration} is missing, which {RESULTS} has",
                    str(run / EVALUATIONS),
                    RESTORE,
                )


def _recorded_end(manifest: Mapping[str, Any]) -> float | None:
    """Return the env steps at which a run finished; None if it did not, or its last session trained nothing.

    Other ends may leave a last iteration without a row: a second Ctrl-C, an error, a killed process.
    """
    last: Mapping[str, Any] = next(iter(reversed(manifest.get("sessions") or [])), {})
    if manifest.get("state") != FINISHED or "env_steps_at_start" not in last:
        return None
    end = last.get("env_steps")
    return float(end) if isinstance(end, (int, float)) else None
