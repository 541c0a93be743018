"""`rlx cluster`: using one: submit, logs, status, stop, attach, exec, dashboard, fetch."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlx.cli import completion, output
from rlx.cli.cluster_group import DEFAULT, app
from rlx.cli.cluster_plan import RunnerRate, UpdateRate
from rlx.cli.options import Debug, Json, Out, Stop

if TYPE_CHECKING:
    from rlx.cluster.plan import LoadWith
    from rlx.cluster.spec import AnyCluster

OnCluster = Annotated[Path, typer.Option("--cluster", "-c", metavar="CLUSTER", help="Cluster file (YAML).")]
JobId = Annotated[
    str | None, typer.Argument(metavar="JOB", help="Job, or beginning of its id; default: the newest.")
]


@app.command("submit")
def submit(
    experiment: Annotated[
        str | None,
        typer.Argument(
            help="YAML file, or name of a shipped experiment.", autocompletion=completion.experiments
        ),
    ] = None,
    cluster: OnCluster = DEFAULT,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Replace a value, as for rlx train. Repeatable."),
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", help="Seed; repeat it for one run each.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", help="Environment id; repeat it for one run each.")
    ] = None,
    stop: Stop = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the experiment; run directories start with it.")
    ] = None,
    if_exists: Annotated[
        str, typer.Option("--if-exists", metavar="fail|resume|overwrite", help="About a run that is there.")
    ] = "fail",
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Go on with a run of the storage instead.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow what it writes.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan, what runs where; the cluster need not be up.")
    ] = False,
    env_steps_per_second: RunnerRate = None,
    updates_per_second: UpdateRate = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train an experiment on the cluster; it goes on without this terminal.

    The experiment is checked here first, and whether it fits. Runs are written to the cluster's storage.
    """
    from rlx.cli import cluster_plan
    from rlx.cluster.api import head_api
    from rlx.cluster.errors import ClusterUsageError
    from rlx.cluster.jobs import resume_command, train_command
    from rlx.cluster.jobs import submit as hand_in
    from rlx.cluster.load import load_cluster

    if (experiment is None) == (resume is None):
        raise ClusterUsageError("expected either EXPERIMENT or --resume RUN", "rlx cluster submit")
    if resume is not None and dry_run:
        raise ClusterUsageError("there is a plan of an EXPERIMENT only", "--dry-run")
    overrides = [*(settings or []), *([f"name={name}"] if name else [])]
    load = cluster_plan.loader(str(experiment), overrides, seeds=seed or (), stop=stop or (), envs=env or ())
    rates = (env_steps_per_second, updates_per_second)
    cluster_plan.check_options(dry_run=dry_run, cluster=cluster if dry_run else None, rates=rates)
    if dry_run:
        raise typer.Exit(cluster_plan.dry_run(load, cluster, rates, as_json=json))
    spec, machines, token = _cluster(cluster)
    stops = _repeated("--stop", stop)
    files: dict[str, str] = {}
    if resume is not None:
        title, command = resume, resume_command(spec, resume, stops)
    else:
        title, file, text = _experiment(str(experiment), load)
        added = cluster_plan.before_submit(load, load_cluster(cluster), machines)
        options = [
            *_repeated("--set", [*(settings or ()), *added]),
            *_repeated("--seed", seed),
            *_repeated("--env", env),
            *stops,
            *(["--name", name] if name else []),
            "--if-exists",
            if_exists,
        ]
        files = {file: text}
        command = train_command(spec, file, options)
    head = machines.head()
    with head_api(head, token) as api:
        id = hand_in(head, api, name=title, command=command, files=files)
    if json:
        output.json_document({"job": id, "command": command})
    else:
        print(id)
        output.say(f"runs go to {spec.storage}; rlx cluster logs -f {id} follows it")
    if follow:
        raise typer.Exit(_follow(machines, token, id))


@app.command("logs")
def logs(
    job: JobId = None,
    cluster: OnCluster = DEFAULT,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    debug: Debug = False,
) -> None:
    """Print what a job has written; -f follows it, over lost connections.

    With -f, exit code 4 if the job failed.
    """
    from rlx.cluster.api import head_api
    from rlx.cluster.jobs import find_job

    _, machines, token = _cluster(cluster)
    with head_api(machines.head(), token) as api:
        found = find_job(api, job)
        if not follow:
            sys.stdout.write(api.job_logs(found.id))
            return
    raise typer.Exit(_follow(machines, token, found.id))


@app.command("status")
def status(cluster: OnCluster = DEFAULT, json: Json = False, debug: Debug = False) -> None:
    """Show nodes, jobs, runs and cost so far. Exit code 8 if a node is missing."""
    from rlx.cli import cluster_output
    from rlx.cluster.status import status_of

    spec, machines, _ = _cluster(cluster)
    raise typer.Exit(cluster_output.status(status_of(spec, machines), as_json=json))


@app.command("stop")
def stop(
    job: JobId = None,
    cluster: OnCluster = DEFAULT,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Most seconds until it has ended.")] = 660,
    debug: Debug = False,
) -> None:
    """Stop a job: it writes a checkpoint first. The cluster stays up."""
    from rlx.cli import cluster_output
    from rlx.cluster.api import head_api
    from rlx.cluster.jobs import find_job
    from rlx.cluster.jobs import stop as end

    _, machines, token = _cluster(cluster)
    with head_api(machines.head(), token) as api:
        found = find_job(api, job)
        ended = found if found.ended else end(api, found.id, wait_seconds=wait, say=output.say)
    raise typer.Exit(cluster_output.job_ended(ended))


@app.command("attach")
def attach(cluster: OnCluster = DEFAULT, debug: Debug = False) -> None:
    """Open a shell on the head."""
    _, machines, _ = _cluster(cluster)
    machines.head().replace_this_process("", terminal=True)


@app.command("exec")
def execute(
    command: Annotated[list[str], typer.Argument(help="Command, after --.")],
    cluster: OnCluster = DEFAULT,
    debug: Debug = False,
) -> None:
    """Run a command on the head, with rlx's environment and Ray's token; its exit code is this one's."""
    from rlx.cluster.jobs import quoted
    from rlx.cluster.launcher import environment_of, show_token

    spec, machines, _ = _cluster(cluster)
    script = (
        f"export PATH={environment_of(spec)}/bin:$PATH {show_token(spec.name)}; "
        f"{' '.join(quoted(part) for part in command)}"
    )
    machines.head().replace_this_process(script, terminal=sys.stdin.isatty())


@app.command("dashboard")
def dashboard(
    cluster: OnCluster = DEFAULT,
    port: Annotated[int, typer.Option("--port", help="Port here for Ray's dashboard.")] = 8265,
    tensorboard_port: Annotated[
        int, typer.Option("--tensorboard-port", help="Port here for TensorBoard.")
    ] = 6006,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open both in a browser.")] = True,
    debug: Debug = False,
) -> None:
    """Reach Ray's dashboard and a TensorBoard of the runs on this machine's loopback, until Ctrl-C."""
    from rlx.cluster.dashboard import serve

    spec, machines, token = _cluster(cluster)
    serve(spec, machines.head(), token, (port, tensorboard_port), open_browser=open_browser, say=output.say)


@app.command("fetch")
def fetch(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Runs, or beginnings of names; default: all.")
    ] = None,
    cluster: OnCluster = DEFAULT,
    out: Out = Path("runs"),
    checkpoints: Annotated[
        str, typer.Option("--checkpoints", metavar="none|last|all", help="Which checkpoints come too.")
    ] = "last",
    debug: Debug = False,
) -> None:
    """Bring runs from the cluster's storage to this machine; call it again while they go on."""
    from rlx.cluster.errors import ClusterUsageError
    from rlx.cluster.fetch import CHECKPOINTS
    from rlx.cluster.fetch import fetch as bring

    if checkpoints not in CHECKPOINTS:
        raise ClusterUsageError(
            f"expected one of {', '.join(CHECKPOINTS)}, got {checkpoints}", "--checkpoints"
        )
    spec, machines, _ = _cluster(cluster)
    folders = bring(spec, machines, runs or (), out, checkpoints=checkpoints, say=output.say)
    for folder in folders:
        print(folder)
    if not folders:
        output.say(f"no run in {spec.storage}")


def _cluster(file: Path) -> tuple[AnyCluster, Any, Path]:
    from rlx.cluster.load import load_cluster
    from rlx.cluster.machines import machines_of, place_of
    from rlx.cluster.names import token_file

    spec = load_cluster(file).spec
    return spec, machines_of(spec), token_file(place_of(spec), spec.name, Path.home())


def _experiment(experiment: str, load: LoadWith) -> tuple[str, str, str]:
    """Check an experiment; its name, and the file to hand in."""
    from rlx.experiment.catalog import find_experiment

    path = find_experiment(experiment)
    loaded = load(())
    output.notes(loaded.notes)
    return loaded.spec.name or path.stem, path.name, path.read_text("utf-8")


def _repeated(option: str, values: Iterable[object] | None) -> list[str]:
    """Return an option once for each value."""
    return [part for value in values or () for part in (option, str(value))]


def _follow(machines: Any, token: Path, id: str) -> int:
    from rlx.cli import cluster_output
    from rlx.cluster.jobs import follow

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    try:
        return cluster_output.job_ended(follow(machines.head(), token, id, write, output.say))
    except KeyboardInterrupt:
        output.say(f"\n{id} goes on; rlx cluster logs -f {id} follows it again, rlx cluster stop ends it")
        return 0
