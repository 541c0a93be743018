"""The hard end: a node ends itself at its hour, with nobody's help.

The script goes in as user data: cloud-init runs it at the first start, so that it also holds when the
machine that started the cluster is gone by then. It writes down the hour once, in a file that is named after
the instance; a systemd timer looks at it every minute, after a restart too. An image that is made of a node
has the script, the timer and the old file with it: there they do nothing, and a node of ours that is started
from it gets an hour of its own. The instance is set to terminate when its system shuts down, and its root
volume to go with it.
"""

from __future__ import annotations

_SCRIPT = """\
#!/bin/bash
# rlx: the hard end of cluster @CLUSTER@.
set -u
mkdir -p /var/lib/rlx
id=$(cat /var/lib/cloud/data/instance-id)
[ -s "/var/lib/rlx/end-$id" ] || echo $(( $(date +%s) + @SECONDS@ )) > "/var/lib/rlx/end-$id"
echo "$id" > /var/lib/rlx/instance
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
folder=${RLX_FOLDER:-/var/lib/rlx}
id=$(cat "${RLX_ID_FILE:-/var/lib/cloud/data/instance-id}")
own=$(cat "$folder/instance")
# In an image of another node: not ours to end, or not yet set up.
[ -z "$id" ] || [ -z "$own" ] || [ "$id" = "$own" ] || exit 0
end=$(cat "$folder/end-$own")
case $end in ''|*[!0-9]*) end=0;; esac  # who does not know the hour ends now
[ "$(date +%s)" -ge "$end" ] || exit 0
@WORKERS@shutdown -h now
"""

# What ends the others: the head's role may terminate instances with this cluster's tag, and no others.
_WORKERS = """\
timeout 60 @RAY@ stop --force  # or its autoscaler starts new ones
timeout 240 @PYTHON@ - <<'RLX_PYTHON'
import time

import boto3

ec2 = boto3.client("ec2", region_name="@REGION@")
filters = [
    {"Name": "tag:ray-cluster-name", "Values": ["@CLUSTER@"]},
    {"Name": "tag:rlx-cluster", "Values": ["@CLUSTER@"]},
    {"Name": "tag:ray-node-type", "Values": ["worker"]},
    {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
]


def end(ids):
    try:
        ec2.terminate_instances(InstanceIds=ids)
    except Exception as error:
        print(ids, error)
        if len(ids) > 1:  # a single bad one spoils them all
            for id in ids:
                end([id])


until, empty = time.monotonic() + 120, 0
while empty < 2 and time.monotonic() < until:
    try:
        pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
        ids = [i["InstanceId"] for page in pages for r in page["Reservations"] for i in r["Instances"]]
        empty = 0 if ids else empty + 1  # one that was just started may be listed late
        if ids:
            end(ids)
    except Exception as error:
        print(error)
    time.sleep(5)
RLX_PYTHON
"""


def end_script(cluster: str, *, region: str, python: str, head: bool) -> str:
    """Write the script that runs every minute: nothing before the hour, the end after it.

    The head stops Ray and ends all workers first, and itself whether that worked or not. A worker ends
    itself alone.
    """
    workers = _WORKERS if head else ""
    script = _END.replace("@WORKERS@", workers)
    script = script.replace("@RAY@", f"{python.rpartition('/')[0]}/ray")
    return script.replace("@PYTHON@", python).replace("@REGION@", region).replace("@CLUSTER@", cluster)


def user_data(cluster: str, *, region: str, hours: float, python: str, head: bool) -> str:
    """Write what cloud-init runs when a node first starts."""
    end = end_script(cluster, region=region, python=python, head=head)
    seconds = str(max(60, round(hours * 3600)))
    return _SCRIPT.replace("@END@", end).replace("@SECONDS@", seconds).replace("@CLUSTER@", cluster)
