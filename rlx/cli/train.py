"""`rlx train` and `rlx resume`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rlx.cli import completion, output
from rlx.cli.cluster_plan import RunnerRate, UpdateRate
from rlx.cli.options import Debug, Json, Mirror, Out, Plain, Stop


class IfExists(StrEnum):
    """What to do about a run that is already there."""

    fail = "fail"
    resume = "resume"
    overwrite = "overwrite"


def train(
    experiment: Annotated[
        str,
        typer.Argument(
            help="YAML file, or name of a shipped experiment.", autocompletion=completion.experiments
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="Replace a value, e.g. training.lr=1e-4. Repeatable.",
            autocompletion=completion.settings,
        ),
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", help="Seed; repeat it for one run each.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            help="Environment id; repeat it for one run each.",
            autocompletion=completion.environments,
        ),
    ] = None,
    stop: Stop = None,
    out: Out = Path("runs"),
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the experiment; run directories start with it.")
    ] = None,
    if_exists: Annotated[
        IfExists, typer.Option("--if-exists", help="What to do about a run that is already there.")
    ] = IfExists.fail,
    mirror: Mirror = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the resolved experiment, resources, memory and deviations; start nothing.",
        ),
    ] = False,
    cluster: Annotated[
        Path | None,
        typer.Option(
            "--cluster",
            "-c",
            metavar="CLUSTER",
            help="With --dry-run: print the plan of the experiment on this cluster (YAML) instead.",
        ),
    ] = None,
    env_steps_per_second: RunnerRate = None,
    updates_per_second: UpdateRate = None,
    json: Json = False,
    plain: Plain = False,
    debug: Debug = False,
) -> None:
    """Train an experiment: one run for each environment and seed, one after the other.

    The first Ctrl-C writes a checkpoint and stops; a second one stops at once.
    """
    from rlx.cli import cluster_plan
    from rlx.runs.launch import launch
    from rlx.runs.preflight import preflight

    overrides = [*(settings or []), *([f"name={name}"] if name else [])]
    load = cluster_plan.loader(experiment, overrides, seeds=seed or (), stop=stop or (), envs=env or ())
    rates = (env_steps_per_second, updates_per_second)
    cluster_plan.check_options(dry_run=dry_run, cluster=cluster, rates=rates)
    if cluster is not None:
        raise typer.Exit(cluster_plan.dry_run(load, cluster, rates, as_json=json))
    loaded = load(())
    output.notes(loaded.notes)
    if dry_run:
        output.dry_run(loaded, preflight(loaded), as_json=json)
        return
    results = []
    runs = launch(
        loaded,
        out,
        lambda: output.view(plain=plain or debug, as_json=json),
        if_exists=if_exists.value,
        mirror=mirror,
        say=output.say,
        capture_terminal=not debug,
    )
    for result in runs:
        output.run_ended(result, debug=debug)
        results.append(result)
    raise typer.Exit(output.training_ended(results, total=len(loaded.runs()), as_json=json))


def resume(
    run: Annotated[
        str, typer.Argument(help="Run: path, or name below --out.", autocompletion=completion.runs)
    ],
    stop: Stop = None,
    out: Out = Path("runs"),
    mirror: Mirror = None,
    json: Json = False,
    plain: Plain = False,
    debug: Debug = False,
) -> None:
    """Go on with a run from its newest valid checkpoint; with --mirror, fetch what is newer there first."""
    from rlx.runs.launch import resume as go_on

    result = go_on(
        run,
        out,
        output.view(plain=plain or debug, as_json=json),
        stop=stop or (),
        mirror=mirror,
        say=output.say,
        capture_terminal=not debug,
    )
    output.run_ended(result, debug=debug)
    raise typer.Exit(output.training_ended([result], total=1, as_json=json))
