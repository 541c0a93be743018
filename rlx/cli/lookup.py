"""Decide whether a word means a run or an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlx.runs.errors import RunNotFoundError


@dataclass(frozen=True)
class Found:
    """Either the path of a run or a resolved experiment."""

    run: Path | None = None
    experiment: Any = None


def find(text: str, root: Path) -> Found:
    """Find a run, else an experiment.

    Raises:
        RunNotFoundError: it is neither.
        ExperimentError: the experiment has errors.
    """
    from rlx.experiment.catalog import find_experiment
    from rlx.experiment.load import load_experiment
    from rlx.experiment.problems import ExperimentError
    from rlx.runs.summary import find_run

    try:
        return Found(run=find_run(text, root).path)
    except RunNotFoundError as no_run:
        try:
            path = find_experiment(text)
        except ExperimentError as no_experiment:
            hints = [no_run.next, *(problem.hint for problem in no_experiment.problems)]
            near = next((hint for hint in hints if hint.startswith("did you mean")), no_run.next)
            what = f"neither a run in {root} nor an experiment"
            raise RunNotFoundError(what, text, near) from None
    return Found(experiment=load_experiment(path))
