"""moto's server, with zones that run out of instances: types in the file RLX_NO_CAPACITY are refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import InstanceBackend
from moto.server import main

_REFUSED = Path(os.environ["RLX_NO_CAPACITY"])
_run_instances = InstanceBackend.run_instances


def run_instances(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Refuse as AWS does where a zone has no room, else start what is asked for."""
    refused = _REFUSED.read_text().split() if _REFUSED.exists() else []
    if kwargs.get("instance_type") in refused:
        raise EC2ClientError(
            "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {kwargs['instance_type']} capacity in the requested zone.",
        )
    return _run_instances(self, *args, **kwargs)


if __name__ == "__main__":
    InstanceBackend.run_instances = run_instances
    main()
