"""What an environment id means: the protocol it is played under, every part of it explicit.

| id | sticky actions | frame skip | cap | no-op starts |
|---|---|---|---|---|
| `ALE/Pong-v5` | 0.25 | 4 | 108,000 frames | none |
| `PongNoFrameskip-v4` | none | 4, done by the preprocessing | 108,000 frames | up to 30 |
| `PongNoFrameskip-v0` | 0.25 | 4, done by the preprocessing | 108,000 frames | none |
| `PongDeterministic-v4` (`-v0`) | none (0.25) | 4 | 108,000 frames | up to 30 (none) |
| `Pong-v4`, `Pong-v0` | none, 0.25 | random: refused unless `frame_skip` is set | 108,000 frames | as above |
| `MinAtar/Breakout-v1` (`-v0`) | 0.1 | 1 | 27,000 frames | none |
| any other id | none | 1 | the id's time limit | none |

The sticky probability, the cap and the action set of Atari ids are read from what ale-py registers; the
rest is the convention of the papers: where there are no sticky actions, no-op starts provide the randomness
([DQN2015]), and where there are, they do, and nothing else is needed ([Machado2018] section 5). On
every Atari id: the minimal action set, 84x84 grey frames, the maximum of the last two raw frames, 4
stacked, lost lives do not end anything (set `life_loss_terminates`).

MinAtar has no time limit of its own; without one a policy that never loses would never report a return. The
cap is the number of agent steps in the Atari cap.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlx.envs.errors import EnvError
from rlx.envs.ids import LATENCY_ID, MEMORY_IDS, Family, env_family, parse_minatar_id, parse_old_atari_id
from rlx.envs.registry import registered_spec, require_minatar

MINATAR_MAX_EPISODE_FRAMES = 27_000
MINATAR_STICKY_ACTION_PROBABILITY = 0.1
NOOP_MAX = 30


@dataclass(frozen=True)
class EnvSpec:
    """An environment id and the protocol it is played under, with nothing left open."""

    id: str
    family: Family
    game: str | None
    """ROM name of an Atari game or module of a MinAtar game; None elsewhere."""
    noop_max: int
    """An episode starts with 0..noop_max no-op frames, uniformly drawn."""
    sticky_action_probability: float
    """Probability that the previous action is repeated: per emulator frame on Atari, per step on MinAtar."""
    life_loss_terminates: bool
    """A lost life sets `terminated` (no bootstrap) without ending the episode."""
    max_episode_frames: int | None
    """An episode is truncated after this many emulator frames, no-op starts not counted; None: never."""
    full_action_space: bool
    """All 18 actions (6 on MinAtar) instead of the game's own."""
    frame_skip: int
    """Emulator frames per agent step."""
    frame_stack: int
    """Frames the policy sees, S."""
    frame_size: int | None
    """Height and width of an Atari frame in pixels; None where frames are not resized."""
    grayscale: bool
    env_config: Mapping[str, Any]
    """Keyword arguments for other environments' constructors."""

    @property
    def frames_per_step(self) -> int:
        """Emulator frames per agent step."""
        return self.frame_skip

    @property
    def max_episode_steps(self) -> int | None:
        """Agent steps after which an episode is truncated: the frame cap in whole steps, rounded up."""
        return None if self.max_episode_frames is None else -(-self.max_episode_frames // self.frame_skip)


OVERRIDES = tuple(f.name for f in dataclasses.fields(EnvSpec) if f.name not in ("id", "family", "game"))
"""Names that `resolve_env` takes; the same as the fields of the experiment's `environment` section."""

_ANYWHERE = {"frame_stack", "max_episode_frames", "life_loss_terminates", "env_config"}
_NOT_APPLICABLE: dict[Family, dict[str, Any]] = {
    "atari": {"env_config": {}},
    "minatar": {"noop_max": 0, "frame_skip": 1, "frame_size": None, "grayscale": False},
    "gymnasium": {
        "noop_max": 0,
        "sticky_action_probability": 0.0,
        "full_action_space": False,
        "frame_skip": 1,
        "frame_size": None,
        "grayscale": False,
    },
}


def not_applicable(env_id: str) -> frozenset[str]:
    """Name the protocol fields that have no meaning for this id, so that a preset can leave them out."""
    return frozenset(_NOT_APPLICABLE[env_family(env_id)])


def resolve_env(env_id: str, overrides: Mapping[str, Any] | object | None = None) -> EnvSpec:
    """Resolve an id and the experiment's overrides to a complete protocol.

    Args:
        env_id: `ALE/Pong-v5`, `PongNoFrameskip-v4`, `MinAtar/Breakout-v1`, or any id gymnasium knows
            (`module:Name-v0` too).
        overrides: Mapping or object with the names in `OVERRIDES`; a missing name or None means what the id
            means.

    Raises:
        EnvError: Unknown id, missing package, a value out of range, or a field that this id cannot honour.
    """
    family = env_family(env_id)
    defaults = {"atari": _atari_defaults, "minatar": _minatar_defaults, "gymnasium": _gymnasium_defaults}[
        family
    ](env_id)
    given = _given(overrides)
    for name, neutral in _NOT_APPLICABLE[family].items():
        if name in given and given[name] != neutral:
            raise EnvError(
                f"environment.{name} = {given[name]!r} has no meaning for {env_id!r}; leave it out"
            )
    values = {**defaults, **given}
    values["env_config"] = dict(values["env_config"])
    spec = EnvSpec(id=env_id, family=family, **values)
    _check_ranges(spec)
    return spec


def _given(overrides: Mapping[str, Any] | object | None) -> dict[str, Any]:
    if overrides is None:
        return {}
    if isinstance(overrides, Mapping):
        unknown = sorted(set(overrides) - set(OVERRIDES))
        if unknown:
            raise EnvError(f"environment.{unknown[0]}: unknown key; known: {', '.join(OVERRIDES)}")
        found = dict(overrides)
    else:
        found = {name: getattr(overrides, name, None) for name in OVERRIDES}
    return {name: value for name, value in found.items() if value is not None}


def _atari_defaults(env_id: str) -> dict[str, Any]:
    old = parse_old_atari_id(env_id)
    deterministic = old is not None and old[1] == "Deterministic"
    registered = registered_spec(env_id.replace("Deterministic", "") if deterministic else env_id).kwargs
    sticky = float(registered["repeat_action_probability"])
    # 1 means that the id leaves skipping to the preprocessing; a tuple is a random skip, which nothing here
    # can do.
    skip = 4 if deterministic or registered["frameskip"] in (1, 4) else None
    return {
        "game": registered["game"],
        "noop_max": 0 if sticky > 0 else NOOP_MAX,
        "sticky_action_probability": sticky,
        "life_loss_terminates": False,
        "max_episode_frames": int(registered["max_num_frames_per_episode"]),
        "full_action_space": bool(registered["full_action_space"]),
        "frame_skip": skip,
        "frame_stack": 4,
        "frame_size": 84,
        "grayscale": True,
        "env_config": {},
    }


def _minatar_defaults(env_id: str) -> dict[str, Any]:
    parsed = parse_minatar_id(env_id)
    if parsed is None:
        registered_spec(env_id)
        raise EnvError(f"environment {env_id!r} is not one of MinAtar's five games")
    require_minatar(env_id)
    game, version = parsed
    return {
        **_plain_defaults(),
        "game": game,
        "sticky_action_probability": MINATAR_STICKY_ACTION_PROBABILITY,
        "max_episode_frames": MINATAR_MAX_EPISODE_FRAMES,
        "full_action_space": version == 0,
    }


def _gymnasium_defaults(env_id: str) -> dict[str, Any]:
    built_in = {**MEMORY_IDS, LATENCY_ID: None}
    limit = built_in[env_id] if env_id in built_in else registered_spec(env_id).max_episode_steps
    return {**_plain_defaults(), "max_episode_frames": limit}


def _plain_defaults() -> dict[str, Any]:
    return {
        "game": None,
        "noop_max": 0,
        "sticky_action_probability": 0.0,
        "life_loss_terminates": False,
        "max_episode_frames": None,
        "full_action_space": False,
        "frame_skip": 1,
        "frame_stack": 1,
        "frame_size": None,
        "grayscale": False,
        "env_config": {},
    }


def _check_ranges(spec: EnvSpec) -> None:
    if spec.frame_skip is None:
        raise EnvError(
            f"environment {spec.id!r} draws its frame skip at random from 2, 3, 4, which rlx does not do; "
            f"use 'ALE/...-v5' or '...NoFrameskip-v4', or set environment.frame_skip"
        )
    minima = {"noop_max": 0, "max_episode_frames": 1, "frame_skip": 1, "frame_stack": 1, "frame_size": 1}
    for name, minimum in minima.items():
        value = getattr(spec, name)
        if value is not None and value < minimum:
            raise EnvError(f"environment.{name} = {value!r} must be at least {minimum}")
    if not 0.0 <= spec.sticky_action_probability < 1.0:
        raise EnvError(
            f"environment.sticky_action_probability = {spec.sticky_action_probability!r} must be in [0, 1)"
        )
