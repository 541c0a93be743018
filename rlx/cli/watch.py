"""`rlx watch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlx.cli import completion, output
from rlx.cli.options import Checkpoint, Debug, Epsilon, Json, Out, Protocol


def watch(
    run: Annotated[
        str, typer.Argument(help="Run: path, or name below --out.", autocompletion=completion.runs)
    ],
    checkpoint: Checkpoint = "last",
    episodes: Annotated[int, typer.Option("--episodes", min=1, help="Whole episodes, a video each.")] = 1,
    protocol: Protocol = None,
    epsilon: Epsilon = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the environment and random actions.")] = 0,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Return, action and Q values beside the picture.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Video to write: .webp or .mp4; default: in the run's videos."),
    ] = None,
    max_seconds: Annotated[
        float, typer.Option("--max-seconds", min=0.1, help="Of video; the episode is played to its end.")
    ] = 180.0,
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps", min=0.1, max=100, help="Env steps shown in a second; default: the game's speed."
        ),
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option("--scale", min=1, max=64, help="Pixels for one of the game's; default: 320 in height."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace videos that are there.")] = False,
    out: Out = Path("runs"),
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Play episodes with a checkpoint's policy, write a video of each, and print its figures."""
    from rlx.runs.noise import quiet_libraries
    from rlx.runs.summary import find_run

    quiet_libraries()
    from rlx.runs.watch import VideoSettings
    from rlx.runs.watch import watch as play

    directory = find_run(run, out).path
    with output.progress(f"playing {directory.name}", None, quiet=json) as on_step:
        records = play(
            directory,
            checkpoint=checkpoint,
            protocol=protocol,
            episodes=episodes,
            epsilon=epsilon,
            seed=seed,
            settings=VideoSettings(file, overlay, max_seconds, fps, scale, force),
            on_step=on_step,
        )
    output.watched(records, as_json=json)
