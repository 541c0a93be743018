"""Load a cluster file: all that is wrong with it at once, each with its place."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from rlx.cluster.errors import ClusterUsageError
from rlx.cluster.spec import AUTO, NAME_PATTERN, AnyCluster, AwsCluster, OnPremiseCluster, Workers
from rlx.experiment import hints
from rlx.experiment.document import Document, parse_tolerantly
from rlx.experiment.document import Path as Keys
from rlx.experiment.load import read_text
from rlx.experiment.problems import ExperimentError, Location, Problem
from rlx.experiment.validate import as_yaml, word

PROVIDERS: Mapping[str, type[AwsCluster] | type[OnPremiseCluster]] = {
    "aws": AwsCluster,
    "on-premise": OnPremiseCluster,
}
_MISSING = {
    "provider": f"one of {', '.join(PROVIDERS)}",
    "budget": "say when the cluster ends by itself, e.g. budget: {max_hours: 8}",
    "allowed_address": "auto, or your address as the internet sees it, e.g. 203.0.113.7/32",
    "storage": "e.g. s3://bucket/prefix, or a folder that every node sees",
    "image": "the AMI of the nodes, e.g. ami-0123456789abcdef0",
}
_BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
#: A word for shells, ssh and rsync, and for Ray's launcher, which takes no IPv6.
_HOST = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_PATTERNS = {
    "environment": "a path that begins with / or ~/, of letters, digits and . _ - /",
    "ssh_user": "the name of a user",
    "name": "small letters, digits and -, at most 40, a letter first",
    "region": "a region, e.g. us-east-1",
    "image": "an AMI, e.g. ami-0123456789abcdef0",
}


@dataclass(frozen=True)
class ClusterFile:
    """A cluster and where each of its values stands."""

    spec: AnyCluster
    file: str
    document: Document

    def place(self, *path: str) -> Location:
        """Return where a value, or the nearest thing around it, stands."""
        return self.document.place(path) or Location(self.file)

    def problem(self, path: Keys, message: str, hint: str = "") -> Problem:
        """Make a problem of a value."""
        return Problem(self.place(*path), ".".join(path), message, hint)

    def on_aws(self, verb: str) -> AwsCluster:
        """Return the cluster, if it is one of AWS.

        Raises:
            ClusterUsageError: it is not.
        """
        if isinstance(self.spec, AwsCluster):
            return self.spec
        raise ClusterUsageError(
            f"rlx cluster {verb} works on provider aws, this is {self.spec.provider}",
            str(self.place("provider")),
        )


def load_cluster(path: str | Path) -> ClusterFile:
    """Load and check a cluster file.

    Raises:
        ExperimentError: with every problem of it.
    """
    return load_cluster_text(read_text(Path(path)), str(path))


def check_name(name: str) -> None:
    """Check a cluster's name that was given without its file.

    Raises:
        ClusterUsageError: it is none.
    """
    if not re.fullmatch(NAME_PATTERN, name) or "\n" in name:
        raise ClusterUsageError(f"expected {_PATTERNS['name']}, got {name!r}", "--name")


def load_cluster_text(text: str, source: str) -> ClusterFile:
    """Load like `load_cluster`, from a text whose places are named after `source`."""
    document, problems = parse_tolerantly(text, source)
    data = document.data
    if not isinstance(data, dict):
        where = document.places.get((), Location(source))
        raise ExperimentError([*problems, Problem(where, "", "expected a mapping, e.g. provider: aws")])
    model = PROVIDERS.get(data.get("provider", "")) if isinstance(data.get("provider", ""), str) else None
    if model is None:
        raise ExperimentError([*problems, _provider_problem(document, source)])
    problems += _conflicts(data, lambda path, *words: _problem(document, source, path, *words))
    spec: AnyCluster | None = None
    try:
        spec = model.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False)
        problems += _worded(found, model, document, source)
    if spec is None or problems:
        raise ExperimentError(problems)
    return ClusterFile(spec, source, document)


def _problem(document: Document, source: str, path: Keys, message: str, hint: str = "") -> Problem:
    return Problem(document.place(path) or Location(source), ".".join(path), message, hint)


def _provider_problem(document: Document, source: str) -> Problem:
    where = document.place(("provider",)) or Location(source)
    if "provider" not in document.data:
        return Problem(where, "provider", "is missing", _MISSING["provider"])
    given = document.data["provider"]
    hint = hints.closest(given, PROVIDERS) if isinstance(given, str) else ""
    return Problem(where, "provider", f"expected one of {', '.join(PROVIDERS)}, got {as_yaml(given)}", hint)


def _worded(errors: Any, model: type[BaseModel], document: Document, source: str) -> Iterator[Problem]:
    for found in errors:
        path = tuple(str(part) for part in found["loc"])
        message, hint = word(
            path,
            found,
            unknown_key=lambda path: _unknown_key(model, document.data, path),
            missing=_MISSING,
            patterns=_PATTERNS,
        )
        place = document.place(path, key=found["type"] == "extra_forbidden") or Location(source)
        yield Problem(place, ".".join(path), message, hint)


def _unknown_key(model: type[BaseModel], data: Any, path: Keys) -> str:
    """Guess what an unknown key was meant to be: a key of its own section, or one of another."""
    siblings = {name for keys in _known(model) if keys[:-1] == _general(path[:-1]) for name in keys[-1:]}
    if hint := hints.closest(path[-1], siblings):
        return hint
    elsewhere = [".".join(keys) for keys in _known(model) if keys[-1] == path[-1]]
    return f"did you mean {elsewhere[0]!r}?" if elsewhere else ""


def _general(path: Keys) -> Keys:
    """Replace the name of a group of workers, which is free."""
    return (path[0], "GROUP", *path[2:]) if len(path) > 1 and path[0] == "workers" else path


def _known(model: type[BaseModel]) -> list[Keys]:
    found: list[Keys] = []
    for name, field in model.model_fields.items():
        found.append((name,))
        kind, prefix = (Workers, (name, "GROUP")) if name == "workers" else (field.annotation, (name,))
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += [(*prefix, key) for key in kind.model_fields]
    return found


def _conflicts(data: Mapping[str, Any], problem: Callable[..., Problem]) -> Iterator[Problem]:
    """Check what no single field shows, as far as the fields have their types: the models word the rest."""
    region, zones = data.get("region"), data.get("zones")
    for index, zone in enumerate(zones if isinstance(zones, list) else []):
        if isinstance(region, str) and isinstance(zone, str) and zone[:-1] != region:
            hint = f"zones of this region begin with {region}"
            yield problem(("zones", str(index)), f"{zone!r} is not in region {region}", hint)
    if isinstance(address := data.get("allowed_address"), str):
        yield from _address_conflicts(address, problem)
    if isinstance(storage := data.get("storage"), str):
        yield from _storage_conflicts(storage, problem)
    hosts = data.get("hosts")
    for index, host in enumerate(hosts if isinstance(hosts, list) else []):
        if isinstance(host, str) and not re.fullmatch(_HOST, host):
            yield problem(("hosts", str(index)), f"{host!r} is no name or IPv4 address of a host")
        if host in data["hosts"][:index]:
            yield problem(("hosts", str(index)), f"{host} stands here twice")
    workers = data.get("workers")
    groups = workers if isinstance(workers, dict) else {}
    for name, group in groups.items():
        if name == "head" or not name.replace("-", "").replace("_", "").isalnum():
            message = "a group is named with letters, digits, - and _, and not 'head'"
            yield problem(("workers", name), message)
        count, most = (group.get(key) if isinstance(group, dict) else None for key in ("count", "max_count"))
        if isinstance(count, int) and isinstance(most, int) and most < count:
            yield problem(("workers", name, "max_count"), f"must be at least count ({count}), got {most}")


def _address_conflicts(address: str, problem: Callable[..., Problem]) -> Iterator[Problem]:
    path = ("allowed_address",)
    if address == AUTO:
        return
    try:
        network = ipaddress.IPv4Network(address)
    except ValueError:
        yield problem(path, f"expected auto or an IPv4 network, got {address!r}", "e.g. 203.0.113.7/32")
        return
    if str(network) != address:  # AWS would write it so, and no rule would be the wanted one
        yield problem(path, f"expected a.b.c.d/n, got {address!r}", f"write {network}")
    if network.prefixlen < 8:
        hint = "name your own address, e.g. 203.0.113.7/32"
        yield problem(path, f"{address} is most of the internet, and who gets in may start machines", hint)


def _storage_conflicts(storage: str, problem: Callable[..., Problem]) -> Iterator[Problem]:
    bucket, _, prefix = storage.removeprefix("s3://").partition("/")
    if storage.startswith("s3://"):
        # Both become part of the head's policy, where some signs stand for anything.
        if not re.fullmatch(_BUCKET, bucket):
            hint = "small letters, digits, . and -, 3 to 63 of them"
            yield problem(("storage",), f"{bucket!r} is no name of a bucket", hint)
        if wild := sorted(set(prefix) & set("*?${")):
            message = f"the prefix must not have {' '.join(wild)}"
            yield problem(("storage",), message, "a policy would read it as anything")
    elif not storage.startswith("/"):
        hint = "e.g. s3://bucket/prefix or /mnt/shared/runs"
        yield problem(("storage",), f"expected s3:// or an absolute path, got {storage!r}", hint)
