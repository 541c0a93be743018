"""Everything that would go wrong with a cluster on AWS, found before anything is started, all at once.

It asks and changes nothing. What it is not told (whether a zone has room right now, a price) it does not
guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from rlx.cluster import names
from rlx.cluster.address import covers, own_address
from rlx.cluster.aws import Aws, AwsError
from rlx.cluster.boundary import NAME, permits_bucket, require_boundary
from rlx.cluster.errors import ClusterError
from rlx.cluster.instance_types import InstanceType, instance_type
from rlx.cluster.leftovers import tag
from rlx.cluster.load import ClusterFile
from rlx.cluster.prepare import find_group, find_key_pair, network, reachable_from, refuse_ray_s, wanted_rules
from rlx.cluster.prices import NodePrice, Prices, find_prices, with_prices
from rlx.cluster.quotas import QUOTAS, Bucket, count_vcpus, family
from rlx.cluster.spec import AUTO, AwsCluster, Machine
from rlx.cluster.versions import Versions, pinned_ray
from rlx.experiment.problems import Problem


@dataclass
class Report:
    """What was found.

    Attributes:
        facts: (what, what about it), in the order of asking.
        problems: what has to be mended, each with its place in the cluster file.
    """

    facts: list[tuple[str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def check_cluster(
    aws: Aws, file: ClusterFile, versions: Versions, source: Path | None, *, home: Path | None = None
) -> Report:
    """Check a cluster on AWS.

    Args:
        aws: whom to ask.
        file: the cluster.
        versions: those of this machine.
        source: checkout that nodes would install; None if there is none.
        home: where keys are, by default the user's home.

    Raises:
        ClusterError: AWS cannot be asked at all: credentials, region, network.
    """
    spec = file.on_aws("check")
    return _Check(aws, file, spec, home or Path.home()).run(versions, source)


class _Check:
    def __init__(self, aws: Aws, file: ClusterFile, spec: AwsCluster, home: Path) -> None:
        self.aws, self.file, self.spec, self.home = aws, file, spec, home
        self.report = Report()
        self.architecture = ""
        self.types: dict[str, InstanceType] = {}

    def run(self, versions: Versions, source: Path | None) -> Report:
        self._versions(versions, source)
        # Whatever is wrong here is wrong with every other call too.
        self._identity()
        steps: tuple[tuple[str, Callable[[], None]], ...] = (
            ("zones", self._zones),
            ("image", self._image),
            ("head", self._instance_types),
            ("zones", self._offers),
            ("budget", self._prices),
            ("workers", self._quotas),
            ("allowed_address", self._address),
            ("subnets", self._network),
            ("name", self._key),
            ("name", self._boundary),
            ("storage", self._storage),
            ("name", self._nodes),
        )
        for path, step in steps:
            try:
                step()
            except ClusterError as error:
                # A call that is not permitted, most of all. The other steps still say what they find.
                self._problem((path,), error.what, error.next)
        return self.report

    def _fact(self, what: str, text: str) -> None:
        self.report.facts.append((what, text))

    def _problem(self, path: tuple[str, ...], message: str, hint: str = "") -> None:
        self.report.problems.append(self.file.problem(path, message, hint))

    def _machines(self) -> Iterator[tuple[tuple[str, ...], Machine, bool, int]]:
        """Yield (path, machine, spot, how many at most)."""
        yield ("head",), self.spec.head, False, 1
        for name, group in self.spec.workers.items():
            yield ("workers", name), group, group.spot, group.most

    def _versions(self, versions: Versions, source: Path | None) -> None:
        text = f"python {versions.python}, ray {versions.ray}, rlx {versions.rlx}"
        if self.spec.environment is not None:
            self._fact("nodes get", f"{text}: {self.spec.environment} must have them, set-up compares")
            return
        if source is None:
            hint = "run rlx from a checkout, name one with --source, or name an environment"
            self._problem(("environment",), "no checkout of rlx to install on the nodes", hint)
            return
        try:
            pinned = pinned_ray(source)
        except ClusterError as error:
            self._problem(("environment",), str(error))
            return
        self._fact("nodes get", f"{text}, from {source}")
        if pinned != versions.ray:
            hint = f"pip install 'ray[default,rllib]=={pinned}' here"
            self._problem(
                ("environment",), f"ray is {versions.ray} here, {source} pins {pinned or 'none'}", hint
            )

    def _identity(self) -> None:
        found = self.aws.call("sts", "get_caller_identity")
        self._fact("account", f"{found['Account']}, {found['Arn']}")

    def _zones(self) -> None:
        found = self.aws.call("ec2", "describe_availability_zones")["AvailabilityZones"]
        states = {zone["ZoneName"]: zone["State"] for zone in found}
        for index, zone in enumerate(self.spec.zones):
            if zone not in states:
                self._problem(
                    ("zones", str(index)), f"no zone {zone}", f"there are {', '.join(sorted(states))}"
                )
            elif states[zone] != "available":
                self._problem(("zones", str(index)), f"zone {zone} is {states[zone]}")
        self._fact("region", f"{self.spec.region}, zones {', '.join(self.spec.zones)}")

    def _image(self) -> None:
        spec = self.spec
        try:
            images = self.aws.call("ec2", "describe_images", ImageIds=[spec.image])["Images"]
        except AwsError as error:
            if not error.not_found:
                raise
            images = []
        if not images:
            hint = "each region has ids of its own; is the image shared with this account?"
            self._problem(("image",), f"no image {spec.image} in {spec.region}", hint)
            return
        image = images[0]
        self.architecture = image.get("Architecture", "")
        self._fact("image", f"{spec.image}, {image.get('Name', '')}, {self.architecture}")
        if image.get("State", "available") != "available":
            self._problem(("image",), f"the image is {image['State']}")
        if image.get("RootDeviceType") == "instance-store":
            self._problem(("image",), "the image has no EBS root volume", "take one that has")
        root = image.get("RootDeviceName")
        if root and root != spec.root_device:
            self._problem(("root_device",), f"the image's root device is {root}, not {spec.root_device}")
        sizes = [
            mapping["Ebs"].get("VolumeSize", 0)
            for mapping in image.get("BlockDeviceMappings") or ()
            if mapping.get("DeviceName") == root and "Ebs" in mapping
        ]
        for path, machine, _, _ in self._machines():
            if sizes and machine.volume_gb < sizes[0]:
                message = f"the image needs {sizes[0]} GB, volume_gb is {machine.volume_gb}"
                self._problem((*path, "volume_gb"), message)

    def _instance_types(self) -> None:
        for path, machine, spot, count in self._machines():
            name = machine.instance_type
            found = instance_type(self.aws, name)
            if found is None:
                self._problem((*path, "instance_type"), f"no instance type {name!r} in {self.spec.region}")
                continue
            self.types[name] = found
            each = f"{found.vcpus} vCPUs, {found.memory_mib / 1024:.4g} GiB, {found.gpus} GPUs"
            bought = "spot" if spot else "on demand"
            self._fact(".".join(path), f"up to {count} x {name} {bought}: {each}, {machine.volume_gb} GB gp3")
            if self.architecture and found.architectures and self.architecture not in found.architectures:
                message = f"{name} is {' or '.join(found.architectures)}, the image is {self.architecture}"
                self._problem((*path, "instance_type"), message)
            if spot and not found.spot:
                self._problem((*path, "spot"), f"{name} is not sold as spot")

    def _offers(self) -> None:
        if not self.types:
            return
        filters = [
            {"Name": "location", "Values": list(self.spec.zones)},
            {"Name": "instance-type", "Values": sorted(self.types)},
        ]
        offers = self.aws.items(
            "ec2",
            "describe_instance_type_offerings",
            "InstanceTypeOfferings",
            LocationType="availability-zone",
            Filters=filters,
        )
        offered = {(offer["InstanceType"], offer["Location"]) for offer in offers}
        for path, machine, _, _ in self._machines():
            name = machine.instance_type
            zones = [zone for zone in self.spec.zones if (name, zone) in offered]
            if name in self.types and not zones:
                message = f"{name} is not offered in {', '.join(self.spec.zones)}"
                self._problem((*path, "instance_type"), message, "other zones, or another type")
            elif name in self.types and len(zones) < len(self.spec.zones):
                self._fact(".".join(path), f"{name} is offered in {', '.join(zones)} only")

    def _prices(self) -> None:
        """Say what each node costs and all of them until the hard end, and who says so."""
        prices = find_prices(self.aws, self.spec)
        for node in prices.nodes:
            self._fact(node.group, f"price per hour and node: {_price_words(node, prices.day)}")
        spec = with_prices(self.spec, prices)
        if prices.unknown and spec.budget.max_cost is not None:
            message = f"max_cost needs the price of {prices.unknown[0].group}, and AWS does not tell it"
            self._problem(("budget", "max_cost"), message, "give a price_per_hour, or leave max_cost out")
        hours = spec.lifetime_hours()
        self._fact("hard end", f"{hours:.4g} h after its first start the head ends its workers and itself")
        self._fact("cost", _cost_words(prices, hours))

    def _quotas(self) -> None:
        """Compare with the account's limits; what already runs counts, whoever started it."""
        wanted = count_vcpus(
            [
                (
                    machine.instance_type,
                    spot,
                    self.types[machine.instance_type].vcpus,
                    count,
                )
                for _, machine, spot, count in self._machines()
                if machine.instance_type in self.types
            ]
        )
        if not wanted:
            return
        filters = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        running = []
        for reservation in self.aws.items("ec2", "describe_instances", "Reservations", Filters=filters):
            for one in reservation["Instances"]:
                if tag(one, names.CLUSTER_TAG) == self.spec.name:
                    continue  # counted above
                known = self.types[one["InstanceType"]].vcpus if one["InstanceType"] in self.types else 0
                cpus = one.get("CpuOptions") or {}
                vcpus = cpus["CoreCount"] * cpus["ThreadsPerCore"] if "CoreCount" in cpus else known
                running.append((one["InstanceType"], one.get("InstanceLifecycle") == "spot", vcpus, 1))
        used = count_vcpus(running)
        for bucket, vcpus in wanted.items():
            what = f"{bucket[0]} {'spot' if bucket[1] else 'on demand'}"
            code = QUOTAS[bucket]
            try:
                quota = self.aws.call(
                    "service-quotas", "get_service_quota", ServiceCode="ec2", QuotaCode=code
                )
            except AwsError as error:
                if not error.not_found:
                    raise
                self._fact("quota", f"{what}: AWS does not tell; {vcpus} vCPUs are wanted")
                continue
            limit = quota["Quota"]["Value"]
            self._fact("quota", f"{what}: {vcpus} vCPUs wanted, {used[bucket]} in use, {limit:g} permitted")
            if vcpus + used[bucket] > limit:
                message = (
                    f"{vcpus} vCPUs {what} wanted and {used[bucket]} in use, the account's quota is {limit:g}"
                )
                hint = f"fewer or smaller nodes, or ask AWS for more (quota {code})"
                self._problem(self._first_in(bucket), message, hint)

    def _first_in(self, bucket: Bucket) -> tuple[str, ...]:
        """Return the place of the first group that counts in a quota."""
        machines = ((path, (family(one.instance_type), spot)) for path, one, spot, _ in self._machines())
        return next(path for path, counted in machines if counted == bucket)

    def _address(self) -> None:
        """Compare the file's address with the present one, or take that one; the group must have it."""
        spec = self.spec
        try:
            present = own_address()
        except ClusterError as error:
            if spec.allowed_address == AUTO:
                raise
            self._fact("address", f"{spec.allowed_address}; {error.what}")
            return
        if spec.allowed_address == AUTO:
            self.spec = spec.model_copy(update={"allowed_address": present})
            self._fact("address", f"{self.spec.allowed_address}, this machine's at this moment")
        elif covers(spec.allowed_address, present):
            self._fact("address", f"{spec.allowed_address}, this machine's is {present}")
        else:
            text = f"warning: this machine's is {present} now, ssh from here would not be let in"
            self._fact("address", f"{spec.allowed_address}; {text}")

    def _boundary(self) -> None:
        """Say whether the role of the head can be made, and may use the storage."""
        boundary = require_boundary(self.aws)
        self._fact("boundary", boundary)
        if self.spec.storage.startswith("s3://"):
            bucket = self.spec.storage.removeprefix("s3://").partition("/")[0]
            if not permits_bucket(self.aws, boundary, bucket):
                message = f"the policy {NAME} does not let the head use the bucket {bucket}"
                hint = "an administrator puts the bucket into it, in place of my-bucket"
                self._problem(("storage",), message, hint)

    def _network(self) -> None:
        spec = self.spec
        vpc = network(self.aws, spec)
        filters = [{"Name": "vpc-id", "Values": [vpc]}]
        by_id = {
            one["SubnetId"]: one
            for one in self.aws.items("ec2", "describe_subnets", "Subnets", Filters=filters)
        }
        for index, id in enumerate(spec.subnets):
            if id not in by_id:
                self._problem(("subnets", str(index)), f"no subnet {id} in {vpc}", "all must be of one VPC")
        chosen = [by_id[id] for id in spec.subnets if id in by_id] if spec.subnets else list(by_id.values())
        usable = [
            one for one in chosen if one["AvailabilityZone"] in spec.zones and one["MapPublicIpOnLaunch"]
        ]
        if not usable:
            hint = "name subnets of these zones that give nodes public addresses"
            message = f"no subnet of {vpc} in {', '.join(spec.zones)} gives public addresses"
            self._problem(("subnets",), message, hint)
        self._fact(
            "network", f"{vpc}, subnets {', '.join(sorted(one['SubnetId'] for one in usable)) or 'none'}"
        )
        group = find_group(self.aws, spec, vpc)
        if group is None:
            self._fact("security group", "not there yet; rlx cluster prepare makes it")
        elif spec.allowed_address == AUTO:
            text = "not compared: this machine's address is not known"
            self._fact("security group", f"{group['GroupId']}, {text}")
        elif reachable_from(group) != reachable_from({"IpPermissions": wanted_rules(spec, group["GroupId"])}):
            message = f"{names.resource_name(spec.name)} lets in others than {spec.allowed_address} by ssh"
            self._problem(("allowed_address",), message, "rlx cluster prepare mends it")
        else:
            self._fact("security group", f"{group['GroupId']}, ssh from {spec.allowed_address} only")

    def _key(self) -> None:
        name, file = (
            names.resource_name(self.spec.name),
            names.key_file(self.spec.region, self.spec.name, self.home),
        )
        known = find_key_pair(self.aws, self.spec)
        if known and not file.is_file():
            message = f"key pair {name} is in {self.spec.region}, its private key {file} is not here"
            hint = "copy it from the machine that made it, or rlx cluster down first"
            self._problem(("name",), message, hint)
        elif file.exists() and not known:
            message = f"a private key {file} is here, and {self.spec.region} has no key pair {name} for it"
            self._problem(("name",), message, "rlx cluster down, or move it away if no node needs it")
        else:
            self._fact(
                "key pair", f"{name}, {file}" if known else "not there yet; rlx cluster prepare makes it"
            )

    def _storage(self) -> None:
        if not self.spec.storage.startswith("s3://"):
            self._fact("storage", f"{self.spec.storage}: only the nodes can tell whether it is there")
            return
        bucket = self.spec.storage.removeprefix("s3://").partition("/")[0]
        try:
            self.aws.call("s3", "head_bucket", Bucket=bucket)
        except AwsError as error:
            if error.code == "404":
                self._problem(("storage",), f"no bucket {bucket}", f"aws s3 mb s3://{bucket}")
                return
            if error.code == "403":
                hint = "it is somebody else's, or this user lacks s3:ListBucket"
                self._problem(("storage",), f"bucket {bucket} may not be read", hint)
                return
            raise
        self._fact("storage", f"{self.spec.storage}: the bucket is there")

    def _nodes(self) -> None:
        """Say whether the cluster is up already: a second start restarts its Ray."""
        filters = [
            {"Name": f"tag:{names.CLUSTER_TAG}", "Values": [self.spec.name]},
            {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
        ]
        found = self.aws.items("ec2", "describe_instances", "Reservations", Filters=filters)
        states = [one["State"]["Name"] for reservation in found for one in reservation["Instances"]]
        text = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "none"
        self._fact("nodes now", text)
        refuse_ray_s(self.aws, self.spec)


def _price_words(node: NodePrice, day: date) -> str:
    """Say what a node costs, by the file and by AWS."""
    words = [] if node.own is None else [f"{node.own:.4g} by price_per_hour in the cluster file"]
    if node.on_demand is not None:
        words.append(f"{node.on_demand:.4g} USD on demand by AWS's price list of {day}")
    if node.spot_by_zone:
        zones = ", ".join(f"{price:.4g} in {zone}" for zone, price in node.spot_by_zone.items())
        words.append(f"{zones} USD spot by AWS at this moment ({day})")
    if node.silence:
        what = "spot price" if node.spot else "price"
        words.append(f"AWS does not tell the {what} ({node.silence})")
    return "; ".join(words)


def _cost_words(prices: Prices, hours: float) -> str:
    """Say what all nodes that there can be cost in an hour and until the hard end."""
    demand = prices.on_demand_per_hour
    all_on_demand = "" if demand is None else f"; {demand:.4g} USD per hour if all were on demand"
    if prices.per_hour is None:
        missing = ", ".join(node.group for node in prices.unknown)
        return f"not known: no price of {missing}{all_on_demand}"
    own = [node.own is not None for node in prices.nodes]
    unit = "" if any(own) else " USD"
    whose = "by the file's prices" if all(own) else "by the file and AWS" if any(own) else "by AWS"
    total = f"{prices.per_hour * hours:.4g}{unit} until the hard end"
    return (
        f"{prices.per_hour:.4g}{unit} per hour {whose}, {total}"
        f"{all_on_demand}; an estimate: volumes come on top, spot prices change, and a worker that is "
        "started late and loses its head runs on for as long again"
    )
