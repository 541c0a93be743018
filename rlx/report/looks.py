"""Who is drawn how, the same in all figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlx.report.scene import Style, style


@dataclass(frozen=True)
class Looks:
    """How agents and references are drawn; an agent may have the name of a reference.

    Attributes:
        agents, references: name -> style; lines of agents are solid, those of references dashed.
    """

    agents: Mapping[str, Style]
    references: Mapping[str, Style]

    def of(self, name: str, *, own: bool) -> Style:
        """Return the style of an agent (`own`) or of a reference."""
        return (self.agents if own else self.references)[name]

    def label(self, name: str, *, own: bool) -> str:
        """Return the name, told apart where an agent and a reference share it."""
        return f"{name} (published)" if not own and name in self.agents else name


def looks_of(agents: Sequence[str], references: Sequence[str]) -> Looks:
    """Return a look for each name, in their order."""
    return Looks(
        {name: style(index, solid=True) for index, name in enumerate(agents)},
        {name: style(len(agents) + index) for index, name in enumerate(references)},
    )
