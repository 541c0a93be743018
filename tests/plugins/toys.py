"""Two plugins that no engine file knows: a count bonus, and a predictor with a loss of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rlx.plugins import (
    ColumnSpec,
    LearnerPlugin,
    Plugin,
    PluginContext,
    PluginSettings,
    RunnerPlugin,
    StepView,
    register,
)


class CountBonusSettings(PluginSettings):
    """Settings of the count bonus."""

    beta: float = 0.1


class CountBonusRunner(RunnerPlugin):
    """Record 1 / sqrt(visits) of the state that each step entered."""

    def __init__(self) -> None:
        self.visits: dict[bytes, int] = {}

    def on_step(self, step: StepView) -> dict[str, np.ndarray]:
        bonus = np.zeros(len(step.action), np.float32)
        for lane in np.flatnonzero(step.acted):
            key = np.round(step.next_frame[lane], 1).tobytes()
            self.visits[key] = self.visits.get(key, 0) + 1
            bonus[lane] = self.visits[key] ** -0.5
        return {"bonus": bonus}

    def metrics(self) -> dict[str, float]:
        return {"states": float(len(self.visits))}

    def get_state(self) -> dict[str, Any]:
        return {"visits": dict(self.visits)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.visits = dict(state.get("visits", {}))


class CountBonusLearner(LearnerPlugin):
    """Add beta times the recorded bonus to the rewards."""

    def __init__(self, beta: float) -> None:
        self.beta = beta
        self.batches = 0
        self.sum = 0.0

    def transform_batch(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        bonus = batch["count_bonus/bonus"]
        self.batches += 1
        self.sum += float(bonus[:, 0].mean())
        return {**batch, "reward": batch["reward"] + self.beta * bonus}

    def metrics(self) -> dict[str, float]:
        return {"bonus_mean": self.sum / max(1, self.batches)}

    def get_state(self) -> dict[str, Any]:
        return {"batches": self.batches, "sum": self.sum}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.batches, self.sum = state["batches"], state["sum"]


@register
class CountBonus(Plugin):
    """Count-based exploration bonus."""

    name = "count_bonus"
    Settings = CountBonusSettings

    def columns(self, context: PluginContext) -> dict[str, ColumnSpec]:
        return {"bonus": ColumnSpec("float32")}

    def runner(self, context: PluginContext, module: nn.Module | None) -> RunnerPlugin:
        return CountBonusRunner()

    def learner(self, context: PluginContext, module: nn.Module | None) -> LearnerPlugin:
        return CountBonusLearner(self.settings.beta)  # type: ignore[attr-defined]


class PredictorModule(nn.Module):
    """Predict the reward from the observation; runs with the learner's forward pass."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.out = nn.Linear(inputs, 1)

    def forward_train(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"prediction": self.out(batch["obs"].flatten(1).float()).squeeze(-1)}


class PredictorSettings(PluginSettings):
    """Settings of the predictor."""

    weight: float = 1.0
    nan_after_updates: int | None = None


class PredictorLearner(LearnerPlugin):
    """Squared error of the prediction."""

    def __init__(self, settings: PredictorSettings) -> None:
        self.settings = settings
        self.updates = 0

    def loss(self, batch: Mapping[str, torch.Tensor], outputs: Mapping[str, Any]) -> torch.Tensor:
        self.updates += 1
        error = outputs["prediction"] - batch["reward"][:, 0]
        loss = self.settings.weight * (error**2).mean()
        after = self.settings.nan_after_updates
        return loss * float("nan") if after is not None and self.updates > after else loss

    def get_state(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.updates = state["updates"]


@register
class Predictor(Plugin):
    """An auxiliary task with parameters of its own."""

    name = "predictor"
    Settings = PredictorSettings

    def module(self, context: PluginContext) -> nn.Module:
        return PredictorModule(context.frame_stack * int(np.prod(context.frame_shape)))

    def learner(self, context: PluginContext, module: nn.Module | None) -> LearnerPlugin:
        assert isinstance(module, PredictorModule)
        return PredictorLearner(self.settings)  # type: ignore[arg-type]


class BreakingSettings(PluginSettings):
    """Which runner breaks while it is constructed: always, or only once `flag` is there."""

    worker_index: int = 2
    flag: str | None = None


@register
class Breaking(Plugin):
    """A runner whose constructor fails."""

    name = "breaking"
    Settings = BreakingSettings

    def runner(self, context: PluginContext, module: nn.Module | None) -> RunnerPlugin | None:
        flag = self.settings.flag
        if context.worker_index == self.settings.worker_index and (flag is None or Path(flag).exists()):
            raise OSError("no licence for this emulator")
        return None
