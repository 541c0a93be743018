"""Write the launcher files of tests/cluster/test_launcher.py: python -m tests.golden.make_cluster

They are read by a person before they are committed: every line of them starts machines that cost money.
"""

from __future__ import annotations

from pathlib import Path

from rlx.cluster.launcher import Local, Prepared, as_yaml, render_aws, render_on_premise
from rlx.cluster.load import load_cluster
from rlx.cluster.spec import AwsCluster
from rlx.cluster.versions import Versions

FOLDER = Path(__file__).resolve().parent
EXAMPLES = FOLDER.parents[1] / "cluster"
PREPARED = Prepared("sg-0123456789abcdef0", "rlx-apex", Path("/home/me/key.pem"), "rlx-apex-us-east-1")
LOCAL = Local(Versions("3.11.7", "2.60.0", "0.1.0"), Path("/home/me/rlx"), Path("/home/me/auth_token"))


def rendered(example: str) -> str:
    """Render a shipped cluster file with fixed values for what a machine adds."""
    spec = load_cluster(EXAMPLES / f"{example}.yaml").spec
    if isinstance(spec, AwsCluster):
        return as_yaml(render_aws(spec, PREPARED, LOCAL), f"cluster/{example}.yaml")
    return as_yaml(render_on_premise(spec, LOCAL), f"cluster/{example}.yaml")


def main() -> None:
    """Write both."""
    for example in ("aws", "on-prem"):
        (FOLDER / f"cluster-{example}.yaml").write_text(rendered(example))


if __name__ == "__main__":
    main()
