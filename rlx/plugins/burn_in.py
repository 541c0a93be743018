"""The plugin `burn_in`: recurrence, sequences, stored state and burn-in make R2D2 of Ape-X.

Every part is a setting, so that each can be switched off: the state that a sequence starts from, the rows
    that
are only run through, the rescaling of values. What computes stands in `rlx.networks.recurrent`,
`rlx.networks.sequence_module`, `rlx.learners.sequence_learner` and `rlx.losses.sequences`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from rlx.plugins.base import Plugin, PluginSettings, Sequences

RESCALE_EPSILON = 1e-3
"""The epsilon of h.  Source: [R2D2] section 2.3."""


def _switch(value: Any) -> Any:
    """Take `on` and `off` as words too: YAML 1.2 reads them as text."""
    return {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value


class BurnInSettings(PluginSettings):
    """Settings of `burn_in`; the defaults are the paper's.

    Source: [R2D2] section 2.3, section 3 and its table of hyper-parameters.
    """

    state: Literal["stored", "zero"] = Field(
        default="stored", description="State that a window starts from: the actor's, or zeros."
    )
    burn_in: int = Field(
        default=40, ge=0, description="Env steps run through before the learned ones, without gradient."
    )
    unroll: int = Field(default=80, ge=1, description="Env steps learned from in one window.")
    period: int = Field(default=40, ge=1, description="Env steps between the starts of two windows.")
    rescale: Annotated[bool, BeforeValidator(_switch)] = Field(
        default=True, description="Learn h(Q) of unclipped rewards instead of Q."
    )
    priority_eta: float = Field(
        default=0.9, ge=0, le=1, description="Share of the largest TD error of a window in its priority."
    )
    lstm_size: int = Field(default=512, ge=1, description="Units of the LSTM.")
    lstm_input_size: int = Field(
        default=512, ge=0, description="Units of the layer between torso and LSTM; 0 = none."
    )
    measure_delta_q: bool = Field(
        default=False,
        description="Report how far Q values from the window's state are from those of the actor's.",
    )


class BurnIn(Plugin):
    """Learn a recurrent network from sequences, as R2D2 does."""

    name = "burn_in"
    Settings = BurnInSettings
    module_class = "rlx.networks.sequence_module:SequenceQModule"
    learner_class = "rlx.learners.sequence_learner:SequenceQLearner"

    settings: BurnInSettings

    def sequences(self, n_step: int) -> Sequences:
        """Return windows of burn-in, learned rows, and the n rows that their targets need."""
        settings = self.settings
        return Sequences(
            length=settings.burn_in + settings.unroll + n_step,
            period=settings.period,
            prefix=settings.burn_in,
            state_offsets=self.state_offsets(),
        )

    def state_offsets(self) -> tuple[int, ...]:
        """Return the rows whose state a window brings: its start and, to measure, the learned ends."""
        settings = self.settings
        start = (-settings.burn_in,) if settings.state == "stored" or settings.measure_delta_q else ()
        return start + ((0, settings.unroll - 1) if settings.measure_delta_q else ())

    def state_rows(self, episode_row: np.ndarray) -> np.ndarray:
        """Tell which rows lie at one of the offsets from a window's first learned row."""
        wanted = np.zeros(episode_row.shape, bool)
        for offset in self.state_offsets():
            wanted |= (episode_row - offset) % self.settings.period == 0
        return wanted

    def network(self) -> dict[str, Any]:
        """Ask for the LSTM."""
        return {"lstm_size": self.settings.lstm_size, "lstm_input_size": self.settings.lstm_input_size}

    def replay(self) -> dict[str, Any]:
        """Set how priorities are formed."""
        settings = self.settings
        return {
            "priority_eta": settings.priority_eta,
            "rescale_epsilon": RESCALE_EPSILON if settings.rescale else None,
        }

    def conflicts(self, settings: Mapping[str, Any]) -> list[str]:
        """Name what does not go with sequences."""
        own, found = self.settings, []
        if settings["training"]["distributional"]:
            found.append(
                "sequences are learned by values, not distributions: set training.distributional to false"
            )
        if own.period > own.unroll:
            found.append(
                f"period {own.period} is longer than unroll {own.unroll}: some steps are never learned; "
                f"set period to at most {own.unroll}"
            )
        if own.rescale and settings["training"]["reward_clip"] is not None:
            found.append(
                "rescale stands in for clipping: set training.reward_clip to null, or rescale to off"
            )
        return found
