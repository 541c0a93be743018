"""The hard end: a node ends itself at its hour, with nobody's help.

The script goes in as user data: cloud-init runs it at the first start, so that it also holds when the
machine that started the cluster is gone by then. It writes down the hour once; a systemd timer looks at it
every minute, after a restart too. The instance is set to terminate when its system shuts down, and its root
volume to go with it.
"""

from __future__ import annotations

_SCRIPT = """\
#!/bin/bash
# rlx: the hard end of cluster @CLUSTER@.
set -u
mkdir -p /var/lib/rlx
[ -s /var/lib/rlx/end ] || echo $(( $(date +%s) + @SECONDS@ )) > /var/lib/rlx/end
cat > /usr/local/sbin/rlx-hard-end <<'RLX_END'
@END@RLX_END
chmod 755 /usr/local/sbin/rlx-hard-end
cat > /etc/systemd/system/rlx-hard-end.service <<'RLX_END'
[Unit]
Description=Hard end of the rlx cluster @CLUSTER@
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/rlx-hard-end
RLX_END
cat > /etc/systemd/system/rlx-hard-end.timer <<'RLX_END'
[Unit]
Description=Look every minute whether the hard end has come
[Timer]
OnBootSec=1min
OnUnitActiveSec=1min
[Install]
WantedBy=timers.target
RLX_END
systemctl daemon-reload
systemctl enable --now rlx-hard-end.timer
"""

_END = """\
#!/bin/bash
end=$(cat "${RLX_END_FILE:-/var/lib/rlx/end}")
case $end in ''|*[!0-9]*) end=0;; esac  # who does not know the hour ends now
[ "$(date +%s)" -ge "$end" ] || exit 0
@WORKERS@shutdown -h now
"""

# What ends the others: the head's role may terminate instances with this cluster's tag, and no others.
_WORKERS = """\
timeout 120 @PYTHON@ - <<'RLX_PYTHON'
import boto3
ec2 = boto3.client("ec2", region_name="@REGION@")
found = ec2.get_paginator("describe_instances").paginate(Filters=[
    {"Name": "tag:ray-cluster-name", "Values": ["@CLUSTER@"]},
    {"Name": "tag:ray-node-type", "Values": ["worker"]},
    {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
])
ids = [i["InstanceId"] for page in found for r in page["Reservations"] for i in r["Instances"]]
if ids:
    ec2.terminate_instances(InstanceIds=ids)
RLX_PYTHON
"""


def end_script(cluster: str, *, region: str, python: str, head: bool) -> str:
    """Write the script that runs every minute: nothing before the hour, the end after it.

    The head ends all workers first, and itself whether that worked or not. A worker ends itself alone.
    """
    workers = _WORKERS if head else ""
    script = _END.replace("@WORKERS@", workers)
    return script.replace("@PYTHON@", python).replace("@REGION@", region).replace("@CLUSTER@", cluster)


def user_data(cluster: str, *, region: str, hours: float, python: str, head: bool) -> str:
    """Write what cloud-init runs when a node first starts."""
    end = end_script(cluster, region=region, python=python, head=head)
    seconds = str(max(60, round(hours * 3600)))
    return _SCRIPT.replace("@END@", end).replace("@SECONDS@", seconds).replace("@CLUSTER@", cluster)
