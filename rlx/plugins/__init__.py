"""Plugins: additions to an algorithm that are named in the experiment and can be switched off."""

from rlx.plugins.base import (
    ColumnSpec,
    LearnerPlugin,
    Plugin,
    PluginContext,
    PluginSet,
    PluginSettings,
    RunnerPlugin,
    Sequences,
    StepView,
)
from rlx.plugins.registry import PluginError, known_plugins, make_plugin, make_plugins, register

__all__ = [
    "ColumnSpec",
    "LearnerPlugin",
    "Plugin",
    "PluginContext",
    "PluginError",
    "PluginSet",
    "PluginSettings",
    "RunnerPlugin",
    "Sequences",
    "StepView",
    "known_plugins",
    "make_plugin",
    "make_plugins",
    "register",
]
