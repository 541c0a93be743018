"""All references, and finding one by name."""

from __future__ import annotations

from functools import cache

from rlx.reference.dopamine import dopamine_references
from rlx.reference.errors import UnknownReferenceError, did_you_mean, plain
from rlx.reference.published import published_references
from rlx.reference.reference import Reference
from rlx.reference.rllib import rllib_references

# What people call an agent where that is neither the name nor the title of its reference.
_ALIASES = {
    "apex": "apex_dqn",
    "ddqn": "double_dqn",
    "go-explore": "go_explore_exploration",
    "impala": "impala_deep",
    "noisynet": "noisynet_dqn",
    "per": "prioritized_ddqn",
    "qr-dqn-1": "qr_dqn",
    "rllib-dist-dqn": "rllib-distributional-dqn",
}


@cache
def references() -> tuple[Reference, ...]:
    """Return every reference: papers in the order of the table, then RLlib's results, then Dopamine's."""
    return (*published_references(), *rllib_references(), *dopamine_references())


def find_reference(name: str) -> Reference:
    """Find a reference by its name, or by the agent's name in its paper.

    Case, spaces, hyphens and underscores do not count: `apex_dqn`, `Ape-X DQN` and `APEX-DQN` are one.

    Raises:
        UnknownReferenceError: there is none, with the nearest names.
    """
    found = _by_name().get(plain(name))
    if found is not None:
        return found
    hint = did_you_mean(name, (reference.name for reference in references()))
    raise UnknownReferenceError("no such reference", name, hint or "rlx references lists them")


@cache
def _by_name() -> dict[str, Reference]:
    """Map plain names to references; a name comes before a title, and a title before an alias."""
    names = {plain(reference.name): reference for reference in references()}
    titles = {plain(reference.title): reference for reference in references()}
    aliases = {plain(alias): names[plain(name)] for alias, name in _ALIASES.items()}
    return {**aliases, **titles, **names}
