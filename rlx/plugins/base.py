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


@dataclass(frozen=True)
class Sequences:
    """Which rows an algorithm learns from, where that is not a step and the n rows behind it.

    Attributes:
        length: rows of a window, its prefix included.
        period: windows' first learned rows lie this many rows apart, from an episode's first row on.
        prefix: rows in front of the first learned one (burn-in).
        state_offsets: rows, counted from the first learned one, whose recurrent state the window brings;
            empty if the network starts from zero.
    """

    length: int
    period: int
    prefix: int = 0
    state_offsets: tuple[int, ...] = ()


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
    factories of the halves that they need. A plugin that learns from sequences answers `sequences` and the
    hooks behind it, and names its own module and learner; at most one plugin of an experiment may do each of
    that.
    """

    name: ClassVar[str] = ""
    Settings: ClassVar[type[PluginSettings]] = PluginSettings
    module_class: ClassVar[str | None] = None
    """`package.module:Class` of the RLModule, a `QModule`; None leaves the algorithm's."""
    learner_class: ClassVar[str | None] = None
    """`package.module:Class` of the learner, a `ReplayLearner`; None leaves the algorithm's."""

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

    def sequences(self, n_step: int) -> Sequences | None:
        """Say which windows are learned from; None leaves single steps."""
        return None

    def network(self) -> dict[str, Any]:
        """Return fields of the network's config (`QNetworkConfig`) that this plugin decides."""
        return {}

    def replay(self) -> dict[str, Any]:
        """Return settings of the shards (`ShardConfig`) that this plugin decides."""
        return {}

    def state_rows(self, episode_row: np.ndarray) -> np.ndarray:
        """Tell of which rows the recurrent state is to be kept.

        Takes int64 `[N]`, the numbers of rows in their episodes; gives bool `[N]`.

        The state of an episode's first row is zero and need not be.
        """
        return np.zeros(episode_row.shape, bool)

    def conflicts(self, settings: Mapping[str, Any]) -> list[str]:
        """Name what this plugin cannot be combined with.

        Args:
            settings: the experiment, section -> setting -> value.

        Returns:
            Sentences for the user, each with what to do; none if all is well.
        """
        return []

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

    def only(self, hook: str, *arguments: Any) -> Any:
        """Return what the one plugin that answers a hook (or has a class attribute) says; None if none does.

        Raises:
            ValueError: two plugins answer.
        """
        answers = {}
        for plugin in self.plugins:
            value = getattr(plugin, hook)
            answer = value(*arguments) if callable(value) else value
            if answer is not None:
                answers[plugin.name] = answer
        if len(answers) > 1:
            raise ValueError(f"plugins {' and '.join(answers)} both decide {hook}: use one of them")
        return next(iter(answers.values()), None)

    def merged(self, hook: str) -> dict[str, Any]:
        """Merge the mappings that plugins return from a hook (`network`, `replay`).

        Raises:
            ValueError: two plugins decide the same entry.
        """
        found: dict[str, Any] = {}
        for plugin in self.plugins:
            mapping = getattr(plugin, hook)()
            if twice := found.keys() & mapping.keys():
                raise ValueError(
                    f"plugin {plugin.name}: another plugin decides {', '.join(sorted(twice))} too"
                )
            found.update(mapping)
        return found

    def state_rows(self, episode_row: np.ndarray) -> np.ndarray:
        """Tell of which rows any plugin wants the recurrent state: `[N]` -> bool `[N]`."""
        wanted = np.zeros(episode_row.shape, bool)
        for plugin in self.plugins:
            wanted |= plugin.state_rows(episode_row)
        return wanted

    def columns(self, context: PluginContext) -> dict[str, ColumnSpec]:
        """Return every plugin's columns under `<plugin>/<column>`."""
        return {
            f"{plugin.name}/{name}": spec
            for plugin in self.plugins
            for name, spec in plugin.columns(context).items()
        }
