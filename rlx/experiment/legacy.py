"""Read RLlib's old experiment files (`cartpole-dqn: {run: DQN, env: ..., stop: {...}, config: {...}}`).

Common keys are translated, places included, so that an error still points into the old file. What has no
counterpart is named in the notes, with its place; nothing is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rlx.experiment.document import Document, Path
from rlx.experiment.problems import ExperimentError, Location, Problem

_ALGORITHMS = {
    "DQN": "dqn",
    "SIMPLEQ": "dqn",
    "APEX": "apex_dqn",
    "APEX_DQN": "apex_dqn",
    "RAINBOW": "rainbow",
}

_STOP = {
    "timesteps_total": "env_steps",
    "num_env_steps_sampled_lifetime": "env_steps",
    "time_total_s": "seconds",
    "episode_reward_mean": "return_mean",
    "env_runners/episode_return_mean": "return_mean",
    "sampler_results/episode_reward_mean": "return_mean",
}

# Old key (dotted inside `config`) -> path of ours. Counts keep their value, because the units agree.
_SAME = {
    "lr": "training.lr",
    "gamma": "training.gamma",
    "n_step": "training.n_step",
    "train_batch_size": "training.batch_size",
    "adam_epsilon": "training.adam_epsilon",
    "grad_clip": "training.grad_clip_norm",
    "double_q": "training.double",
    "dueling": "training.dueling",
    "noisy": "training.noisy",
    "sigma0": "training.noisy_sigma0",
    "v_min": "training.v_min",
    "v_max": "training.v_max",
    "num_steps_sampled_before_learning_starts": "training.learning_starts_env_steps",
    "learning_starts": "training.learning_starts_env_steps",
    "buffer_size": "replay.capacity",
    "replay_buffer_config.capacity": "replay.capacity",
    "replay_buffer_config.prioritized_replay_alpha": "replay.priority_exponent",
    "replay_buffer_config.prioritized_replay_beta": "replay.importance_exponent",
    "replay_buffer_config.prioritized_replay_eps": "replay.priority_epsilon",
    "replay_buffer_config.num_replay_buffer_shards": "replay.num_shards",
    "replay_buffer_config.learning_starts": "training.learning_starts_env_steps",
    "num_workers": "env_runners.num_env_runners",
    "num_rollout_workers": "env_runners.num_env_runners",
    "num_env_runners": "env_runners.num_env_runners",
    "num_envs_per_worker": "env_runners.num_envs_per_env_runner",
    "num_envs_per_env_runner": "env_runners.num_envs_per_env_runner",
    "rollout_fragment_length": "env_runners.rollout_length_env_steps",
    "num_cpus_per_worker": "env_runners.num_cpus_per_env_runner",
    "env_config": "environment.env_config",
    "num_gpus": "learners.num_gpus_per_learner",
    "num_learners": "learners.num_learners",
    "num_gpus_per_learner": "learners.num_gpus_per_learner",
    "model.fcnet_hiddens": "rl_module.hidden_sizes",
    "model.fcnet_activation": "rl_module.activation",
    "evaluation_duration": "evaluation.episodes",
    "exploration_config.initial_epsilon": "exploration.initial",
    "exploration_config.final_epsilon": "exploration.final",
    "exploration_config.epsilon_timesteps": "exploration.decay_env_steps",
    "log_level": "debugging.log_level",
    "seed": "seeds",
}

# Old keys that say nothing here: the framework and the API stack are fixed.
_IDLE = {
    "framework",
    "enable_rl_module_and_learner",
    "enable_env_runner_and_connector_v2",
    "create_env_on_driver",
}

_EXPLORATION = {"EpsilonGreedy": "linear", "PerWorkerEpsilonGreedy": "ladder"}


def is_legacy(document: Document) -> bool:
    """Tell whether a document is an old RLlib file: experiments by name, each with `run`."""
    data = document.data
    return isinstance(data, dict) and any(isinstance(one, dict) and "run" in one for one in data.values())


def convert(document: Document) -> tuple[Document, list[str]]:
    """Translate an old file into a document of ours, and list what was and was not translated.

    Raises:
        ExperimentError: the file holds several experiments, or an algorithm that has no counterpart.
    """
    names = list(document.data)
    if len(names) > 1:
        where = document.keys[(names[1],)]
        message = f"an old RLlib file with {len(names)} experiments; split it into one file for each"
        raise ExperimentError([Problem(where, names[1], message)])
    return _Conversion(document, names[0]).run()


class _Conversion:
    def __init__(self, old: Document, name: str) -> None:
        self.old, self.name = old, name
        self.new = Document({"name": name}, {(): old.places[()]}, {})
        self._keep(("name",), (name,))
        self.notes: list[str] = [f"{old.places[()].source} is an old RLlib file and was translated:"]

    def run(self) -> tuple[Document, list[str]]:
        one = self.old.data[self.name]
        self._algorithm(one["run"])
        if "env" in one:
            self._set(("env",), one["env"], (self.name, "env"))
        for key, value in _flat(one.get("stop"), set(_STOP)):
            self._stop(key, value)
        for key, value in _flat(one.get("config"), set(_SAME)):
            self._config(key, value, (self.name, "config", *key.split(".")))
        for key in one:
            if key not in ("run", "env", "stop", "config"):
                self._untranslated((self.name, key))
        return self.new, self.notes

    def _algorithm(self, run: Any) -> None:
        at = (self.name, "run")
        known = _ALGORITHMS.get(str(run).upper().replace("-", "_"))
        if known is None:
            choices = ", ".join(sorted(_ALGORITHMS))
            place = self.old.place(at) or Location(self.name)
            raise ExperimentError(
                [Problem(place, ".".join(at), f"{run!r} has no counterpart", f"known: {choices}")]
            )
        self._set(("algorithm",), known, at)

    def _stop(self, key: str, value: Any) -> None:
        at = (self.name, "stop", *key.split("."))
        if key in _STOP:
            self._set(("stop", _STOP[key]), value, at)
        else:
            self._untranslated(at)

    def _config(self, key: str, value: Any, at: Path) -> None:
        special = self._special().get(key)
        if key in _SAME:
            value = [value] if key == "seed" else value
            self._set(tuple(_SAME[key].split(".")), value, at)
        elif key not in _IDLE and (special is None or not special(value, at)):
            self._untranslated(at)

    def _special(self) -> dict[str, Callable[[Any, Path], bool]]:
        return {
            "env": lambda value, at: self._set(("env",), value, at),
            "num_atoms": self._atoms,
            "replay_buffer_config.type": self._buffer,
            "prioritized_replay": lambda value, at: self._set(("replay", "prioritized"), value, at),
            "exploration_config.type": self._exploration,
            "target_network_update_freq": self._target_period,
            "training_intensity": lambda value, at: self._set(("replay", "samples_per_env_step"), value, at),
        }

    def _atoms(self, value: Any, at: Path) -> bool:
        self._set(("training", "distributional"), value != 1, at)
        return value == 1 or self._set(("training", "num_atoms"), value, at)

    def _buffer(self, value: Any, at: Path) -> bool:
        return self._set(("replay", "prioritized"), "Prioritized" in str(value), at)

    def _exploration(self, value: Any, at: Path) -> bool:
        kind = _EXPLORATION.get(str(value))
        return kind is not None and self._set(("exploration", "kind"), kind, at)

    def _target_period(self, value: Any, at: Path) -> bool:
        """Convert env steps between target updates into updates, at one update per rollout fragment."""
        config = self.old.data[self.name]["config"]
        fragment = config.get("rollout_fragment_length", 4)
        if not isinstance(value, int) or not isinstance(fragment, int) or fragment < 1:
            return False
        return self._set(("training", "target_update_period_updates"), max(1, value // fragment), at)

    def _set(self, path: Path, value: Any, at: Path) -> bool:
        data = self.new.data
        for key in path[:-1]:
            data = data.setdefault(key, {})
        data[path[-1]] = value
        self._keep(path, at)
        self.notes.append(
            f"  {self.old.place(at, key=True)}: {'.'.join(at[1:])} -> {'.'.join(path)}: {value}"
        )
        return True

    def _untranslated(self, at: Path) -> None:
        self.notes.append(f"  {self.old.place(at, key=True)}: {'.'.join(at[1:])} was NOT translated")

    def _keep(self, path: Path, at: Path) -> None:
        """Give a new value the place of the old one, and its sections too if they have none yet."""
        place = self.old.place(at) or Location(self.name)
        key = self.old.place(at, key=True) or place
        for length in range(1, len(path) + 1):
            self.new.places.setdefault(path[:length], place)
            self.new.keys.setdefault(path[:length], key)
        self.new.places[path], self.new.keys[path] = place, key


def _flat(section: Any, known: set[str], at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a mapping with dotted keys; a mapping that is itself a known key stays whole."""
    for key, value in (section if isinstance(section, dict) else {}).items():
        dotted = f"{at}.{key}" if at else key
        if isinstance(value, dict) and dotted not in known:
            yield from _flat(value, known, dotted)
        else:
            yield dotted, value
