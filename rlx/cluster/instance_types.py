"""What AWS tells of an instance type."""

from __future__ import annotations

from dataclasses import dataclass

from rlx.cluster.aws import Aws, AwsError


@dataclass(frozen=True)
class InstanceType:
    """One type.

    Attributes:
        vcpus, gpus: of one instance.
        memory_mib: its memory in MiB, as it is sold: the system on it sees a little less.
        architectures: of its processor, empty if AWS does not tell.
        spot: whether it is sold as spot.
    """

    name: str
    vcpus: int
    gpus: int
    memory_mib: int
    architectures: tuple[str, ...] = ()
    spot: bool = True


def instance_type(aws: Aws, name: str) -> InstanceType | None:
    """Ask AWS about a type; None if the region has none of this name.

    Raises:
        AwsError: it cannot be asked.
    """
    try:
        found = aws.call("ec2", "describe_instance_types", InstanceTypes=[name])["InstanceTypes"][0]
    except AwsError as error:
        if not error.not_found:
            raise
        return None
    return InstanceType(
        name=name,
        vcpus=found["VCpuInfo"]["DefaultVCpus"],
        gpus=sum(gpu["Count"] for gpu in found.get("GpuInfo", {}).get("Gpus", ())),
        memory_mib=found["MemoryInfo"]["SizeInMiB"],
        architectures=tuple(found.get("ProcessorInfo", {}).get("SupportedArchitectures") or ()),
        spot="spot" in found.get("SupportedUsageClasses", ["spot"]),
    )
