"""What docs/cluster.md says of the keys, the policy and the examples is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rlx.cluster.load import load_cluster_text
from rlx.cluster.reference import reference, write_reference

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/cluster.md").read_text()


def test_the_tables_are_in_step() -> None:
    # To remake them: make reference
    assert write_reference(TEXT) == TEXT
    assert "| `max_hours` | required |" in reference()
    with pytest.raises(ValueError, match="expected the lines"):
        write_reference("no marks")


def test_the_examples_are_the_shipped_files() -> None:
    examples = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert examples == [(ROOT / "cluster" / name).read_text() for name in ("aws.yaml", "on-prem.yaml")]
    for example in examples:
        load_cluster_text(example, "cluster.md")
