"""`rlx cluster`: a cluster's life: check, prepare, render, up, down, leftovers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlx.cli import output
from rlx.cli.cluster_group import DEFAULT, app
from rlx.cli.exit_codes import ExitCode
from rlx.cli.options import Debug, Json

if TYPE_CHECKING:
    from rlx.cluster.launcher import Local
    from rlx.cluster.load import ClusterFile
    from rlx.cluster.spec import OnPremiseCluster

File = Annotated[Path, typer.Argument(metavar="CLUSTER", help="Cluster file (YAML).")]
OptionalFile = Annotated[
    Path | None, typer.Argument(metavar="CLUSTER", help=f"Cluster file (YAML); default: {DEFAULT}.")
]
Source = Annotated[
    Path | None,
    typer.Option("--source", help="Checkout of rlx for the nodes; default: the one that this rlx runs from."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Name = Annotated[str | None, typer.Option("--name", help="Name of a cluster, in place of its file.")]
Region = Annotated[str | None, typer.Option("--region", help="Region of a cluster without its file.")]


@app.command("check")
def check(file: File = DEFAULT, source: Source = None, json: Json = False, debug: Debug = False) -> None:
    """Find all that would go wrong before anything is started.

    Exit code 8 if there is anything; all of it is said at once, with its place in the file.
    """
    from rlx.cluster.load import load_cluster

    raise typer.Exit(output.cluster_checked(_report(load_cluster(file), source), as_json=json))


@app.command("prepare")
def prepare(file: File = DEFAULT, json: Json = False, debug: Debug = False) -> None:
    """Make what the first node needs on AWS: security group, key pair, role, token. It costs nothing.

    Calling it again mends what is missing, and moves the group to a changed allowed_address.
    """
    from rlx.cluster.aws import Aws
    from rlx.cluster.load import load_cluster
    from rlx.cluster.prepare import prepare as make

    spec = load_cluster(file).on_aws("prepare")
    made = make(Aws(spec.region), spec, say=output.say)
    output.cluster_prepared(made, as_json=json)


@app.command("render")
def render(
    file: File = DEFAULT,
    source: Source = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", help="File; default: standard output.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Write the file for Ray's launcher that follows from the cluster file. Starts nothing."""
    from rlx.cluster.launcher import as_yaml
    from rlx.cluster.load import load_cluster

    cluster = load_cluster(file)
    output.text_or_file(as_yaml(_launcher(cluster, source), str(file)), out)


@app.command("up")
def up(
    file: File = DEFAULT,
    source: Source = None,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show; start nothing.")] = False,
    wait: Annotated[float, typer.Option("--wait", min=1, help="Most seconds until every node is in.")] = 1200,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Start a cluster, and wait until every node is in.

    Exit code 8 if a check fails or some node does not come; what was started then still runs.
    """
    from rlx.cluster.load import load_cluster
    from rlx.cluster.remnants import refuse_living

    cluster = load_cluster(file)
    spec = cluster.spec
    report = _report(cluster, source)
    if report.problems or dry_run:
        raise typer.Exit(output.cluster_checked(report, as_json=json))
    output.cluster_facts(report)
    machines = _machines(spec)
    refuse_living(spec, machines)
    if not yes and not _agreed(f"Start {spec.name}?", "rlx cluster up", "--yes starts without asking"):
        output.say("nothing was started")
        raise typer.Exit(ExitCode.CLUSTER)
    _start(cluster, source, machines, wait, json)


def _start(cluster: ClusterFile, source: Path | None, machines: Any, wait: float, json: bool) -> None:
    import time

    from rlx.cli import cluster_output
    from rlx.cluster.aws import Aws
    from rlx.cluster.prepare import prepare as make
    from rlx.cluster.remnants import end_remnants
    from rlx.cluster.spec import AwsCluster
    from rlx.cluster.up import STILL_RUNS, NotAllInError, start

    began, spec = time.monotonic(), cluster.spec
    end_remnants(spec, machines, say=output.say)
    if isinstance(spec, AwsCluster):
        make(Aws(spec.region), spec, say=output.say)
    launcher = _launcher(cluster, source)
    try:
        with cluster_output.live_nodes() as show:
            rows = start(spec, launcher, machines, show=show, wait_seconds=wait)
    except NotAllInError as error:
        cluster_output.not_all_in(error.rows)
        raise
    except KeyboardInterrupt:
        output.say(STILL_RUNS)
        raise
    cluster_output.up(spec, rows, time.monotonic() - began, as_json=json)


def _machines(spec: Any) -> Any:
    from rlx.cluster.machines import machines_of

    return machines_of(spec)


def _report(cluster: ClusterFile, source: Path | None) -> Any:
    from rlx.cluster.aws import Aws
    from rlx.cluster.check import check_cluster
    from rlx.cluster.on_premise import check_hosts
    from rlx.cluster.spec import AwsCluster
    from rlx.cluster.versions import checkout, local_versions

    source = source or checkout()
    spec = cluster.spec
    if isinstance(spec, AwsCluster):
        return check_cluster(Aws(spec.region), cluster, local_versions(), source)
    return check_hosts(cluster, local_versions(), source)


@app.command("down")
def down(
    file: OptionalFile = None,
    name: Name = None,
    region: Region = None,
    yes: Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed; remove nothing.")
    ] = False,
    wait: Annotated[
        float, typer.Option("--wait", min=0, help="Most seconds until all instances are gone.")
    ] = 600,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Remove a cluster, from AWS or from its hosts, and list what is left: exit code 7 if anything is.

    Only what belongs to this cluster is touched. A second time is fine.
    """
    if name is None and region is None:
        hosts = _on_hosts(file)
        if hosts is not None:
            raise typer.Exit(_down_on_hosts(hosts, yes=yes, dry_run=dry_run, json=json))
    raise typer.Exit(_down_on_aws(file, name, region, yes=yes, dry_run=dry_run, wait=wait, json=json))


def _down_on_hosts(spec: OnPremiseCluster, *, yes: bool, dry_run: bool, json: bool) -> ExitCode:
    from rlx.cli import cluster_output
    from rlx.cluster.on_premise import look_at_hosts, take_down_hosts

    if dry_run:
        return cluster_output.hosts(look_at_hosts(spec, Path.home()), as_json=json)
    question = f"End everything of {spec.name} on {len(spec.hosts)} hosts?"
    if not yes and not _agreed(question, "rlx cluster down", "--yes ends it without asking"):
        output.say("nothing was ended")
        return ExitCode.STILL_THERE
    return cluster_output.hosts_down(take_down_hosts(spec, say=output.say), as_json=json)


def _down_on_aws(
    file: Path | None,
    name: str | None,
    region: str | None,
    *,
    yes: bool,
    dry_run: bool,
    wait: float,
    json: bool,
) -> ExitCode:
    from rlx.cluster.account import check_account
    from rlx.cluster.aws import Aws
    from rlx.cluster.down import check_region, take_down
    from rlx.cluster.leftovers import find_leftovers

    cluster, place = _named(file, name, region, "down")
    aws = Aws(place)
    account = check_account(aws, cluster)
    found = find_leftovers(aws, [place], cluster)
    check_region(place, cluster, found)
    if dry_run or not yes:
        output.leftovers(found, as_json=json and dry_run, to_stderr=json and not dry_run)
        if dry_run:
            return ExitCode.OK
        theirs = [one for one in found if one.cluster == cluster and one.removable]
        question = f"Remove what belongs to {cluster} in {place}, account {account}?"
        if theirs and not _agreed(question, "rlx cluster down", "--yes removes without asking"):
            output.say("nothing was removed")
            return ExitCode.STILL_THERE
    outcome = take_down(aws, cluster, say=output.say, wait_seconds=wait)
    return output.cluster_down(outcome, place, as_json=json)


def _on_hosts(file: Path | None) -> OnPremiseCluster | None:
    """Return the cluster if its file is one of hosts."""
    from rlx.cluster.load import load_cluster
    from rlx.cluster.spec import OnPremiseCluster

    spec = load_cluster(file or DEFAULT).spec
    return spec if isinstance(spec, OnPremiseCluster) else None


@app.command("leftovers")
def leftovers(
    file: OptionalFile = None,
    all_regions: Annotated[
        bool,
        typer.Option(
            "--all-regions", help="Look in every region; without CLUSTER and --name: for all clusters."
        ),
    ] = False,
    name: Name = None,
    region: Region = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List what there is of a cluster, or of all clusters: exit code 7 if any of it costs money.

    Exit code 8 if AWS would not list some region: what is in the others is listed all the same.

    Looks in AWS and on this machine for the tags and names of rlx and of Ray's launcher; changes nothing.
    """
    from rlx.cluster.aws import Aws
    from rlx.cluster.leftovers import all_regions as every_region
    from rlx.cluster.leftovers import find_leftovers

    if not all_regions and name is None and region is None and (hosts := _on_hosts(file)) is not None:
        from rlx.cli import cluster_output
        from rlx.cluster.on_premise import look_at_hosts

        raise typer.Exit(cluster_output.hosts(look_at_hosts(hosts, Path.home()), as_json=json))
    cluster: str | None = name
    if all_regions and file is None:
        place = region or "us-east-1"
    elif region is not None and file is None:
        place = region
    else:
        cluster, place = _named(file, name, region, "leftovers")
    aws = Aws(place)
    unseen: dict[str, str] = {}
    if all_regions:
        found = find_leftovers(aws, every_region(aws), cluster, unseen=unseen)
    else:
        found = find_leftovers(aws, [place], cluster)
    code = output.leftovers(found, as_json=json)
    raise typer.Exit(output.not_looked_at(unseen) or code)


def _launcher(cluster: ClusterFile, source: Path | None) -> dict[str, Any]:
    from rlx.cluster.aws import Aws
    from rlx.cluster.launcher import render_aws, render_on_premise
    from rlx.cluster.names import token_file
    from rlx.cluster.prepare import find_prepared, make_token
    from rlx.cluster.prices import settle
    from rlx.cluster.spec import AwsCluster

    spec = cluster.spec
    if isinstance(spec, AwsCluster):
        aws = Aws(spec.region)
        prepared = find_prepared(aws, spec)
        return render_aws(settle(aws, spec), prepared, _local(cluster, source, spec.region))
    make_token(token_file("on-premise", spec.name, Path.home()))
    return render_on_premise(spec, _local(cluster, source, "on-premise"))


def _local(cluster: ClusterFile, source: Path | None, place: str) -> Local:
    from rlx.cluster.errors import ClusterUsageError
    from rlx.cluster.launcher import Local
    from rlx.cluster.names import token_file
    from rlx.cluster.versions import checkout, local_versions, pinned_ray

    source = source or checkout()
    if source is None and cluster.spec.environment is None:
        hint = "name one with --source, or an environment that the nodes have"
        raise ClusterUsageError("no checkout of rlx to install on the nodes", str(cluster.place()), hint)
    if source is not None and cluster.spec.environment is None:
        pinned_ray(source)
    token = token_file(place, cluster.spec.name, Path.home())
    return Local(local_versions(), (source or Path()).resolve(), token)


def _named(file: Path | None, name: str | None, region: str | None, verb: str) -> tuple[str, str]:
    """Return name and region, from a file or from the options that stand for a lost one."""
    from rlx.cluster.errors import ClusterUsageError
    from rlx.cluster.load import check_name, load_cluster

    if name is None and region is None:
        spec = load_cluster(file or DEFAULT).on_aws(verb)
        return spec.name, spec.region
    if file is not None or name is None or region is None:
        raise ClusterUsageError("expected either CLUSTER, or --name and --region", f"rlx cluster {verb}")
    check_name(name)
    return name, region


def _agreed(question: str, verb: str, otherwise: str) -> bool:
    from rlx.cluster.errors import ClusterUsageError

    if not _somebody_is_there():
        raise ClusterUsageError("nobody to ask", verb, otherwise)
    return typer.confirm(question, err=True)


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()
