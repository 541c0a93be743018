"""What a plugin is: settings, columns, a runner half, a module and a learner half.

A plugin is named in the experiment's `plugins:` section and adds something to any algorithm of the
engine: burn-in, an intrinsic reward, a meta-controller, an auxiliary loss. The engine never names one;
it calls the hooks below where they apply, so that switching a plugin off is an ablation.

Nothing here imports Ray or torch: the experiment loader checks settings without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import torch
    from torch import nn

Arrays = dict[str, np.ndarray]
Tensors = dict[str, "torch.Tensor"]


class PluginSettings(BaseModel):
    """Base of every plugin's settings: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class PluginContext:
    """What a plugin may know when its parts are made.

    Attributes:
        num_lanes: environments of this runner (0 in the learner).
        num_actions: size of the discrete action space.
        frame_shape: shape of one unstacked frame.
        frame_dtype: numpy dtype name of a frame.
        frame_stack: S, frames per observation.
        gamma: discount of the algorithm.
        worker_index: index of the runner (0: local).
        seed: seed for this part's own generator.
        device: torch device name of the learner or of the runner's inference.
    """

    num_lanes: int
    num_actions: int
    frame_shape: tuple[int, ...]
    frame_dtype: str
    frame_stack: int
    gamma: float
    worker_index: int = 0
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class ColumnSpec:
    """One extra column of a block: dtype name and shape behind `[N, T]`."""

    dtype: str
    shape: tuple[int, ...] = ()


@dataclass
class StepView:
    """What happened in one step of all lanes; arrays are `[N, ...]` and must not be changed.

    Attributes:
        observation: stacked observation the action was chosen from, `[N, S, *frame_shape]`.
        action: int `[N]`.
        reward: raw float32 `[N]`.
        next_frame: newest frame after the action, `[N, *frame_shape]`.
        terminated, truncated, over: bool `[N]`.
        acted: bool `[N]`, False where the lane was only being reset.
        first: bool `[N]`, True where `observation` starts an episode.
    """

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_frame: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    over: np.ndarray
    acted: np.ndarray
    first: np.ndarray


class RunnerPlugin:
    """A plugin's half in an environment runner. Override what applies."""

    def on_step(self, step: StepView) -> Arrays:
        """Return this plugin's columns of the step: name -> `[N, ...]`, exactly those it declared."""
        return {}

    def metrics(self) -> dict[str, float]:
        """Return scalar metrics since the last call."""
        return {}

    def get_state(self) -> dict[str, Any]:
        """Return everything that this half remembers, picklable."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take the state that `get_state` returned."""


class LearnerPlugin:
    """A plugin's half in a learner. Override what applies."""

    def transform_batch(self, batch: Tensors) -> Tensors:
        """Return the batch to learn from; change `batch["reward"]` (raw, `[B, L]`) for a bonus."""
        return batch

    def loss(self, batch: Tensors, outputs: Mapping[str, Any]) -> torch.Tensor | None:
        """Return a scalar to add to the loss, or None. `outputs` is what the module's hook returned."""
        return None

    def metrics(self) -> dict[str, float]:
        """Return scalar metrics since the last call."""
        return {}

    def get_state(self) -> dict[str, Any]:
        """Return everything that this half remembers beyond its module, picklable."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take the state that `get_state` returned."""


class Plugin:
    """A named addition to an algorithm.

    Subclasses set `name`, `Settings` and, where they record something, `columns`; they override the
    factories of the halves that they need.
    """

    name: ClassVar[str] = ""
    Settings: ClassVar[type[PluginSettings]] = PluginSettings

    def __init__(self, settings: PluginSettings) -> None:
        self.settings = settings

    def columns(self, context: PluginContext) -> dict[str, ColumnSpec]:
        """Declare the columns that the runner half records, without the plugin's prefix."""
        return {}

    def module(self, context: PluginContext) -> nn.Module | None:
        """Make the trainable part, held by the RLModule in runners and learners alike.

        Its `forward_train(batch) -> dict`, if it has one, runs with the learner's forward pass (inside
        the DDP wrapper) and its result reaches `LearnerPlugin.loss`.
        """
        return None

    def runner(self, context: PluginContext, module: nn.Module | None) -> RunnerPlugin | None:
        """Make the runner half; `module` is this plugin's part of the acting network."""
        return None

    def learner(self, context: PluginContext, module: nn.Module | None) -> LearnerPlugin | None:
        """Make the learner half; `module` is this plugin's part of the trained network."""
        return None


@dataclass(frozen=True)
class PluginSet:
    """The plugins of one experiment, in the order of the YAML."""

    plugins: tuple[Plugin, ...] = field(default=())

    def columns(self, context: PluginContext) -> dict[str, ColumnSpec]:
        """Return every plugin's columns under `<plugin>/<column>`."""
        return {
            f"{plugin.name}/{name}": spec
            for plugin in self.plugins
            for name, spec in plugin.columns(context).items()
        }
