"""`rlx evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlx.cli import completion, output
from rlx.cli.options import Checkpoint, Debug, Epsilon, Json, Out, Protocol


def evaluate(
    run: Annotated[
        str, typer.Argument(help="Run: path, or name below --out.", autocompletion=completion.runs)
    ],
    checkpoint: Checkpoint = "last",
    episodes: Annotated[int, typer.Option("--episodes", min=1, help="Whole episodes.")] = 100,
    protocol: Protocol = None,
    epsilon: Epsilon = None,
    envs: Annotated[int, typer.Option("--envs", min=1, help="Environments at a time.")] = 16,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of environments and random actions.")] = 0,
    out: Out = Path("runs"),
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Play whole episodes with a checkpoint's policy, and record scores, seeds and protocol with the run."""
    from rlx.runs.noise import quiet_libraries
    from rlx.runs.summary import find_run

    quiet_libraries()
    from rlx.runs.evaluate import evaluate as play

    directory = find_run(run, out).path
    with output.progress(f"evaluating {directory.name}", episodes, quiet=json) as on_episode:
        record = play(
            directory,
            checkpoint=checkpoint,
            protocol=protocol,
            episodes=episodes,
            num_envs=envs,
            epsilon=epsilon,
            seed=seed,
            on_episode=on_episode,
        )
    output.evaluation(record, as_json=json)
