"""A small reader of IAM policies, for the tests: moto evaluates neither resources nor conditions.

Source: AWS IAM User Guide, Policy evaluation logic, and IAM JSON policy elements: Condition operators. An
explicit Deny goes before all; a boundary and the policies must both allow. Operators that say Not are true
where the key is not there, the others false.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

Policy = Mapping[str, Any]


def permitted(
    policies: Sequence[Policy],
    action: str,
    resource: str,
    context: Mapping[str, str] | None = None,
    *,
    boundary: Policy | None = None,
) -> bool:
    """Return whether a call is permitted.

    Args:
        policies: of the user or role.
        context: condition keys of the call.
        boundary: of the user or role.
    """
    known = context or {}
    everything = [*policies, *([boundary] if boundary else [])]
    if any(_says("Deny", policy, action, resource, known) for policy in everything):
        return False
    if boundary is not None and not _says("Allow", boundary, action, resource, known):
        return False
    return any(_says("Allow", policy, action, resource, known) for policy in policies)


def _says(effect: str, policy: Policy, action: str, resource: str, context: Mapping[str, str]) -> bool:
    return any(
        statement["Effect"] == effect
        and any(fnmatchcase(action, one) for one in listed(statement["Action"]))
        and any(fnmatchcase(resource, one) for one in listed(statement["Resource"]))
        and all(
            _holds(operator, context.get(key), listed(values))
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
        for statement in policy["Statement"]
    )


def _holds(operator: str, value: str | None, values: Sequence[str]) -> bool:
    if operator == "Null":
        return (value is None) == (values == ["true"])
    if operator == "StringNotLike":
        return value is None or not any(fnmatchcase(value, one) for one in values)
    if value is None:
        return operator.startswith("ForAllValues:")
    if operator == "StringLike":
        return any(fnmatchcase(value, one) for one in values)
    if operator in ("StringEquals", "ForAllValues:StringEquals"):
        return value in values
    raise NotImplementedError(operator)


def listed(value: Any) -> list[Any]:
    """Return a list of what may be a single thing."""
    return value if isinstance(value, list) else [value]
