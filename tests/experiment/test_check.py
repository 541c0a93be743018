"""Combinations that cannot work: each is found, and its neighbour that works is not."""

import pytest

from rlx.experiment.check import all_conflicts, cpus_needed, learner_threads, machine_problems
from rlx.experiment.load import load_text
from rlx.experiment.resolve import from_mapping
from rlx.experiment.spec import ExperimentSpec

BASE = {"algorithm": "dqn", "env": "CartPole-v1", "stop": {"updates": 1}}
LOCAL_APEX = {
    "env_runners": {"num_env_runners": 0},
    "replay": {"num_shards": 0},
    "learners": {"num_learners": 0, "num_gpus_per_learner": 0},
}


def spec(algorithm: str = "dqn", **sections) -> ExperimentSpec:
    """Build a spec without the checks of `resolve`."""
    base = from_mapping({**BASE, "algorithm": algorithm})
    data = base.model_dump()
    for name, section in sections.items():
        data[name] = {**data[name], **section} if isinstance(section, dict) else section
    return ExperimentSpec.model_validate(data)


@pytest.mark.parametrize(
    ("algorithm", "bad", "good", "path", "message"),
    [
        ("dqn", {"stop": {"updates": None}}, {"stop": {"seconds": 1}}, "stop", "no condition is given"),
        (
            "dqn",
            {
                "stop": {"evaluation_return_mean": 1},
                "evaluation": {"interval_env_steps": None, "interval_seconds": None},
            },
            {
                "stop": {"evaluation_return_mean": 1},
                "evaluation": {"interval_env_steps": 10},
            },
            "stop.evaluation_return_mean",
            "the run waits for a return of evaluations, but none is made while it trains",
        ),
        (
            "apex_dqn",
            {"replay": {"num_shards": 0}},
            {"replay": {"num_shards": 1}},
            "replay.num_shards",
            "learner processes cannot read replay that lies in the driver's process (num_shards 0)",
        ),
        ("dqn", {"seeds": (1, 1)}, {"seeds": (1, 2)}, "seeds", "given twice: 1"),
        ("dqn", {"env": ("a", "b", "a")}, {"env": ("a", "b")}, "env", "given twice: a"),
        (
            "dqn",
            {"replay": {"capacity": 49_999}},
            {"replay": {"capacity": 50_000}},
            "replay.capacity",
            "49999 env steps are fewer than learning_starts_env_steps, 50000",
        ),
        (
            "dqn",
            {"replay": {"capacity": 31}, "training": {"learning_starts_env_steps": 0}},
            {"replay": {"capacity": 32}, "training": {"learning_starts_env_steps": 0}},
            "replay.capacity",
            "31 env steps are fewer than one batch of 32",
        ),
        (
            "dqn",
            {"env_runners": {"num_envs_per_env_runner": 200_001}, "training": {"n_step": 4}},
            {"env_runners": {"num_envs_per_env_runner": 200_000}, "training": {"n_step": 4}},
            "replay.capacity",
            "1000000 env steps leave 4 for each of 200001 lanes, fewer than 5",
        ),
        (
            "rainbow",
            {"training": {"v_min": 10}},
            {"training": {"v_min": 9.9}},
            "training.v_min",
            "10 is not below v_max, 10",
        ),
        (
            "rainbow",
            {"training": {"noisy": False}},
            {"training": {"noisy": False}, "exploration": {"kind": "linear"}},
            "exploration.kind",
            "nothing explores: kind is none and training.noisy is false",
        ),
        (
            "apex_dqn",
            {"learners": {"num_learners": 3}},
            {"learners": {"num_learners": 4}},
            "training.batch_size",
            "512 samples do not divide into 3 learners",
        ),
        (
            "dqn",
            {"training": {"update_mode": "cuda_graph"}, "learners": {"device": "cpu"}},
            {"training": {"update_mode": "cuda_graph"}},
            "training.update_mode",
            "cuda_graph needs a CUDA device, learners.device is cpu",
        ),
        (
            "apex_dqn",
            {"learners": {"device": "cpu"}},
            {"learners": {"device": "cpu", "num_gpus_per_learner": 0}},
            "learners.num_gpus_per_learner",
            "1 GPUs per learner, but learners.device is cpu",
        ),
        (
            "dqn",
            {"rl_module": {"torso": "mlp", "hidden_sizes": (), "head_hidden_size": 0}},
            {"rl_module": {"torso": "mlp", "hidden_sizes": (), "head_hidden_size": 8}},
            "rl_module.hidden_sizes",
            "an mlp without hidden layers and without head_hidden_size is linear",
        ),
        (
            "dqn",
            {"replay": {"num_shards": 2}, "env_runners": {"num_env_runners": 1}},
            {"replay": {"num_shards": 2}, "env_runners": {"num_env_runners": 2}},
            "replay.num_shards",
            "2 shards, but 1 runners: a shard would get no data",
        ),
        (
            "apex_dqn",
            {"debugging": {"deterministic": True}},
            {"debugging": {"deterministic": True}, **LOCAL_APEX},
            "debugging.deterministic",
            "a deterministic run is local: num_env_runners, num_shards and num_learners must be 0",
        ),
        (
            "rllib/DQN",
            {"training": {"optimizer": "rmsprop_centered"}},
            {"training": {"n_step": 3}},
            "training.optimizer",
            "RLlib's DQN has only adam, not rmsprop_centered",
        ),
        ("rllib/DQN", {"plugins": {"a": {}}}, {}, "plugins", "RLlib's DQN takes no plugins"),
    ],
)
def test_conflict(algorithm, bad, good, path, message):
    found = [(conflict.paths[0], conflict.message) for conflict in all_conflicts(spec(algorithm, **bad))]
    assert found == [(path, message)]
    assert list(all_conflicts(spec(algorithm, **good))) == []


def test_a_conflict_points_at_what_the_user_gave():
    text = "algorithm: rainbow\nenv: a\nstop: {updates: 1}\ntraining:\n  noisy: false\n"
    with pytest.raises(Exception, match="nothing explores") as caught:
        load_text(text, "f.yaml")
    assert str(caught.value) == (
        "f.yaml:5:10: training.noisy: nothing explores: kind is none and training.noisy is false; "
        "set exploration.kind to linear"
    )


def test_cpus_needed():
    assert cpus_needed(spec("dqn")) == 1
    assert cpus_needed(spec("apex_dqn")) == 362  # the driver only passes references
    one = {
        "env_runners": {"num_env_runners": 1},
        "replay": {"num_shards": 0},
        "learners": {"num_learners": 0},
    }
    assert cpus_needed(spec("apex_dqn", **one)) == 2
    half = {"env_runners": {"num_env_runners": 4, "num_cpus_per_env_runner": 0.5}}
    assert cpus_needed(spec("apex_dqn", **half)) == 4


def test_more_processes_than_cpus():
    text = "algorithm: apex_dqn\nenv: a\nstop: {updates: 1}\nenv_runners: {num_env_runners: 7}\n"
    experiment = load_text(text, "f.yaml")
    problems = machine_problems(experiment.spec, experiment.origin, num_cpus=8)
    assert [str(problem) for problem in problems] == [
        "f.yaml:4:32: env_runners.num_env_runners: 7 runners, 1 learner, 1 shard need 9 CPUs, there are 8; "
        "take fewer, or set resources.num_cpus to share cores"
    ]
    assert machine_problems(experiment.spec, experiment.origin, num_cpus=9) == []
    told = load_text(text, "f.yaml", ["resources.num_cpus=9"])
    assert machine_problems(told.spec, told.origin, num_cpus=2) == []


def test_no_cuda_device():
    text = (
        "algorithm: apex_dqn\nenv: a\nstop: {updates: 1}\ntraining: {update_mode: cuda_graph}\n"
        "learners: {device: 'cuda:1'}\n"
    )
    experiment = load_text(text, "f.yaml")
    problems = machine_problems(experiment.spec, experiment.origin, num_cpus=400, has_cuda=False)
    assert [str(problem) for problem in problems] == [
        "f.yaml:4:25: training.update_mode: needs a CUDA device, there is none; set it to eager",
        "preset apex_dqn: learners.num_gpus_per_learner: 1 GPUs per learner, there are none; set it to 0",
        "f.yaml:5:20: learners.device: cuda:1: there is no CUDA device; set it to cpu or auto",
    ]
    for has_cuda in (True, None):
        assert machine_problems(experiment.spec, experiment.origin, num_cpus=400, has_cuda=has_cuda) == []


def test_learner_threads():
    assert learner_threads(spec("dqn"), 2) == 2
    one = {
        "env_runners": {"num_env_runners": 1},
        "replay": {"num_shards": 0},
        "learners": {"num_learners": 0},
    }
    assert learner_threads(spec("apex_dqn", **one), 2) == 1
    assert learner_threads(spec("apex_dqn", **one), 16) == 15
    assert learner_threads(spec("apex_dqn"), 2) == 1
    assert learner_threads(spec("dqn", learners={"num_torch_threads": 3}), 2) == 3
    assert learner_threads(spec("dqn", rl_module={"torso": "mlp"}), 16) == 1
