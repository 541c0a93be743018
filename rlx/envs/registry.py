"""Which environments there are, and whether rlx can use one."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from typing import Any

from rlx.envs.errors import EnvError
from rlx.envs.ids import env_family, list_env_ids, parse_minatar_id, parse_old_atari_id

__all__ = [
    "check_env",
    "list_env_ids",
    "nearest_env_ids",
    "registered_spec",
    "require_minatar",
    "require_popgym",
    "usable_spaces",
]


def check_env(env_id: str) -> None:
    """Raise unless rlx can run this environment with its own settings.

    Raises:
        EnvError: The id is unknown (the nearest ids are named), a package it needs is not installed, or its
            spaces are not among those of `usable_spaces`. The message says what to do.
    """
    from rlx.envs.spec import resolve_env
    from rlx.envs.vector import describe_env

    describe_env(resolve_env(env_id))


def registered_spec(env_id: str) -> Any:
    """Return gymnasium's own record of an id, after registering the packages that the name calls for.

    `module:Name-v0` imports `module` first, as `gymnasium.make` does. `PongDeterministic-v4` and its like
    are no longer registered by ale-py; `rlx.envs.spec` gives them their old meaning (frame skip 4) and asks
    here for `Pong-v4`.

    Raises:
        EnvError: The id is unknown or its package is missing.
    """
    import gymnasium

    _register_packages(env_id)
    name = env_id.rpartition(":")[2]
    try:
        return gymnasium.spec(name)
    except gymnasium.error.Error:
        raise EnvError(_unknown_message(env_id)) from None


def require_minatar(env_id: str) -> None:
    """Raise EnvError unless the MinAtar package is installed."""
    if importlib.util.find_spec("minatar") is None:
        raise EnvError(
            f"environment {env_id!r} needs MinAtar, which is not installed: pip install 'rlx[envs]'"
        )


def require_popgym(env_id: str) -> None:
    """Raise EnvError unless the POPGym package is installed."""
    if importlib.util.find_spec("popgym") is None:
        raise EnvError(
            f"environment {env_id!r} needs POPGym, which is not installed: pip install 'rlx[envs]'"
        )


def nearest_env_ids(env_id: str, count: int = 4) -> list[str]:
    """Return up to `count` known ids that look most like this one, best first."""
    import gymnasium

    _register_packages("ALE/")
    registered = [str(name) for name in gymnasium.registry if not _has_random_skip(str(name))]
    known = list(dict.fromkeys([*list_env_ids(), *registered]))
    lowered = {name.lower(): name for name in reversed(known)}
    wanted = env_id.lower()
    core = wanted.rpartition("/")[2].partition("-v")[0]
    containing = [name for name in known if len(core) >= 3 and core in name.lower()]
    similar = [lowered[match] for match in difflib.get_close_matches(wanted, lowered, n=count, cutoff=0.6)]
    containing.sort(key=lambda name: -difflib.SequenceMatcher(None, wanted, name.lower()).ratio())
    return list(dict.fromkeys([*containing, *similar]))[:count]


def usable_spaces(env_id: str, observation_space: Any, action_space: Any) -> None:
    """Raise EnvError unless the action space is Discrete and the observations are numbers of a fixed count.

    Those are a Box, a Discrete, a MultiDiscrete, and a Tuple or Dict of them, nested or not.
    """
    from gymnasium.spaces import Discrete

    supported = (
        "rlx supports observations that are a Box, Discrete, MultiDiscrete, or a Tuple or Dict of these, "
        "with Discrete actions"
    )
    if not isinstance(action_space, Discrete):
        raise EnvError(f"environment {env_id!r} has the action space {action_space}; {supported}")
    if not _usable_observation(observation_space):
        raise EnvError(f"environment {env_id!r} has the observation space {observation_space}; {supported}")


def _usable_observation(space: Any) -> bool:
    from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple

    if isinstance(space, Tuple | Dict):
        parts = list(space.spaces.values() if isinstance(space, Dict) else space.spaces)
        return bool(parts) and all(map(_usable_observation, parts))
    return isinstance(space, Box | Discrete | MultiDiscrete)


def _register_packages(env_id: str) -> None:
    import gymnasium

    if env_family(env_id) == "atari":
        import ale_py

        gymnasium.register_envs(ale_py)
    elif env_id.startswith("rlx/"):
        from rlx.envs.toy import register_toy_envs

        register_toy_envs()
    elif env_id.startswith("popgym-"):
        require_popgym(env_id)
        importlib.import_module("popgym")
    elif ":" in env_id:
        module = env_id.partition(":")[0]
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise EnvError(f"environment {env_id!r}: cannot import {module!r} ({error})") from None


def _has_random_skip(env_id: str) -> bool:
    """`Pong-v4` and its like are registered, but refused by `resolve_env`: no help as a suggestion."""
    parsed = parse_old_atari_id(env_id)
    return parsed is not None and parsed[1] == ""


def _unknown_message(env_id: str) -> str:
    near = nearest_env_ids(env_id)
    hint = f"did you mean {', '.join(near)}?" if near else "nothing known looks like it"
    if parse_old_atari_id(env_id) is None and parse_minatar_id(env_id) is None and "ram" in env_id.lower():
        hint += " (observations of the console's memory are not supported)"
    return f"environment {env_id!r} is unknown; {hint}"
