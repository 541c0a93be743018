"""The registry of plugins: `@register`, or the entry-point group `rlx.plugins`."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from rlx.plugins.base import Plugin, PluginSet

ENTRY_POINT_GROUP = "rlx.plugins"

#: Plugins of this package: name -> module and class. Loaded by name, so that importing the registry is cheap.
_BUILT_IN = {"burn_in": ("rlx.plugins.burn_in", "BurnIn")}

_PLUGINS: dict[str, type[Plugin]] = {}


class PluginError(ValueError):
    """A plugin is unknown, or its settings do not fit."""


def register(plugin: type[Plugin]) -> type[Plugin]:
    """Make a plugin known by its `name`; use as a class decorator.

    Raises:
        PluginError: if it has no name, or another class holds the name.
    """
    if not plugin.name:
        raise PluginError(f"{plugin.__qualname__}: a plugin needs a name")
    known = _PLUGINS.get(plugin.name)
    if known is not None and known.__qualname__ != plugin.__qualname__:
        raise PluginError(f"plugin name {plugin.name!r} is taken by {known.__module__}.{known.__qualname__}")
    _PLUGINS[plugin.name] = plugin
    return plugin


def known_plugins() -> dict[str, type[Plugin]]:
    """Return all registered plugins by name, those of installed packages included."""
    for name, (module, attribute) in _BUILT_IN.items():
        if name not in _PLUGINS:
            register(getattr(importlib.import_module(module), attribute))
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name not in _PLUGINS:
            register(point.load())
    return dict(_PLUGINS)


def make_plugin(name: str, settings: Mapping[str, Any] | None = None) -> Plugin:
    """Make one plugin from its name and settings.

    Raises:
        PluginError: if the name is unknown (with the nearest ones).
        pydantic.ValidationError: if the settings do not fit.
    """
    plugins = known_plugins()
    if name not in plugins:
        near = difflib.get_close_matches(name, plugins, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        known = ", ".join(sorted(plugins)) or "none"
        raise PluginError(f"plugin {name!r} unknown{hint} (known: {known})")
    plugin = plugins[name]
    return plugin(plugin.Settings.model_validate(dict(settings or {})))


def make_plugins(section: Mapping[str, Mapping[str, Any] | None]) -> PluginSet:
    """Make the plugins of an experiment's `plugins` section (name -> settings)."""
    return PluginSet(tuple(make_plugin(name, settings) for name, settings in section.items()))
