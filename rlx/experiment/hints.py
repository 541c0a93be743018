"""Guess what a misspelled key or value was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache

from pydantic import BaseModel

from rlx.experiment.document import Path
from rlx.experiment.spec import ExperimentSpec

# Names that other tools, and old RLlib, use for our fields.
_ELSEWHERE: dict[str, str] = {
    "adam_eps": "training.adam_epsilon",
    "batch": "training.batch_size",
    "buffer_size": "replay.capacity",
    "checkpoint_freq": "checkpointing.interval_seconds",
    "checkpoint_frequency": "checkpointing.interval_seconds",
    "checkpoint_interval": "checkpointing.interval_seconds",
    "discount": "training.gamma",
    "double_q": "training.double",
    "environments": "env",
    "env_id": "env",
    "episode_return_mean": "stop.return_mean",
    "episode_reward_mean": "stop.return_mean",
    "fcnet_hiddens": "rl_module.hidden_sizes",
    "frames": "stop.env_frames",
    "game": "env",
    "grad_clip": "training.grad_clip_norm",
    "keep_checkpoints_num": "checkpointing.keep_last",
    "learning_rate": "training.lr",
    "memory_size": "replay.capacity",
    "model": "rl_module",
    "multi_step": "training.n_step",
    "network": "rl_module",
    "num_steps_sampled_before_learning_starts": "training.learning_starts_env_steps",
    "num_workers": "env_runners.num_env_runners",
    "num_envs_per_worker": "env_runners.num_envs_per_env_runner",
    "prioritized_replay_alpha": "replay.priority_exponent",
    "prioritized_replay_beta": "replay.importance_exponent",
    "prioritized_replay_eps": "replay.priority_epsilon",
    "replay_ratio": "replay.samples_per_env_step",
    "reward": "stop.return_mean",
    "rollout_fragment_length": "env_runners.rollout_length_env_steps",
    "run": "algorithm",
    "seed": "seeds",
    "sigma0": "training.noisy_sigma0",
    "steps": "stop.env_steps",
    "target_network_update_freq": "training.target_update_period_updates",
    "target_update": "training.target_update_period_updates",
    "time_total_s": "stop.seconds",
    "timesteps": "stop.env_steps",
    "timesteps_total": "stop.env_steps",
    "train_batch_size": "training.batch_size",
    "training_ratio": "replay.samples_per_env_step",
}

_UNITS = (
    "env_steps",
    "env_frames",
    "updates",
    "samples",
    "seconds",
    "bytes",
    "steps",
    "frames",
    "minutes",
    "hours",
)


@cache
def known_paths() -> tuple[Path, ...]:
    """List the path of every section and field."""
    found: list[Path] = []
    for name, field in ExperimentSpec.model_fields.items():
        found.append((name,))
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found.extend((name, key) for key in field.annotation.model_fields)
    return tuple(found)


def closest(word: str, choices: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the nearest choice, or an empty text."""
    by_lower = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"did you mean {by_lower[found[0]]!r}?" if found else ""


def _stem(key: str) -> str:
    """Return a key without the unit at its end."""
    for unit in _UNITS:
        if key.endswith(f"_{unit}"):
            return key[: -len(unit) - 1]
    return key


def unknown_key(path: Path) -> str:
    """Word a hint for a key that is no field.

    Args:
        path: path of the unknown key.
    """
    key, section = path[-1], path[:-1]
    siblings = [p[-1] for p in known_paths() if p[:-1] == section]
    units = [name for name in siblings if _stem(name) == _stem(key) and _stem(name) != name]
    if units:
        why = "the unit is part of the name" if _stem(key) == key else "another unit"
        return "did you mean " + " or ".join(repr(name) for name in units) + f" ({why})?"
    if key in _ELSEWHERE:
        return f"did you mean {_relative(_ELSEWHERE[key], section)!r}?"
    elsewhere = [".".join(p) for p in known_paths() if p[-1] == key]
    elsewhere += [".".join(p) for p in known_paths() if _stem(p[-1]) == _stem(key) and _stem(p[-1]) != p[-1]]
    if elsewhere:
        return f"did you mean {elsewhere[0]!r}?"
    return closest(key, siblings) or closest(key, (p[-1] for p in known_paths() if len(p) == 1)) or _far(key)


def _far(key: str) -> str:
    """Look for the key in all sections, for one that was put in the wrong place and misspelled."""
    fields = {p[-1]: ".".join(p) for p in known_paths()}
    found = difflib.get_close_matches(key, fields, n=1, cutoff=0.75)
    return f"did you mean {fields[found[0]]!r}?" if found else ""


def _relative(dotted: str, section: Path) -> str:
    """Name a field as it is written inside its own section, with the section elsewhere."""
    prefix = ".".join(section) + "."
    return dotted.removeprefix(prefix) if section else dotted
