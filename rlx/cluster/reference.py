"""The reference of all keys of a cluster file, in Markdown, made from the models.

`python -m rlx.cluster.reference docs/cluster.md` writes it between the marks in that file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rlx.cluster.spec import AwsCluster, Budget, Machine, OnPremiseCluster, Workers
from rlx.experiment.reference import write_between
from rlx.experiment.validate import as_yaml

BEGIN = "<!-- reference: begin. Made by: python -m rlx.cluster.reference docs/cluster.md -->"
END = "<!-- reference: end -->"
_TABLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("provider `aws`", AwsCluster),
    ("`head`", Machine),
    ("each group of `workers`", Workers),
    ("`budget`", Budget),
    ("provider `on-premise`", OnPremiseCluster),
)


def reference() -> str:
    """Return one table for each section."""
    return "\n".join(f"### {title}\n\n{_table(model)}\n" for title, model in _TABLES)


def write_reference(text: str) -> str:
    """Return a document with what stands between its marks replaced.

    Raises:
        ValueError: a mark is missing.
    """
    return write_between(text, BEGIN, END, reference())


def _table(model: type[BaseModel]) -> str:
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        lines.append(f"| `{name}` | {_default(field)} | {field.description} |")
    return "\n".join(lines)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return f"`{as_yaml(field.get_default(call_default_factory=True))}`"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(write_reference(target.read_text()))
