"""Memory: numbers worked by hand, and refusal with the number."""

import pytest

from rlx.experiment.load import load_text
from rlx.experiment.memory import (
    EnvShape,
    MemoryEstimate,
    estimate,
    format_bytes,
    learner_bytes,
    machine_memory_bytes,
    memory_problems,
    num_parameters,
    object_store_bytes,
    replay_bytes,
)
from rlx.experiment.resolve import from_mapping

ATARI = EnvShape((84, 84), 1, 4, 6)
CARTPOLE = EnvShape((4,), 4, 1, 2)


def spec(algorithm="dqn", **sections):
    return from_mapping({"algorithm": algorithm, "env": "x", "stop": {"updates": 1}, **sections})


def test_a_million_atari_steps_take_seven_gigabytes():
    total = replay_bytes(spec(replay={"capacity": 1_000_000}), ATARI)
    # 7,056 bytes of frame and 41 beside it, and 2 * 2**20 float64 of the tree.
    assert total == 1_000_000 * (7_056 + 41) + 2 * 1_048_576 * 8
    assert total / 1e9 == pytest.approx(7.1, abs=0.05)
    assert total / 1e6 < 7_500  # bytes a step


def test_replay_does_not_depend_on_the_number_of_shards_but_for_the_trees():
    runners = {"num_env_runners": 4}
    one = replay_bytes(spec("apex_dqn", env_runners=runners, replay={"num_shards": 1}), ATARI)
    four = replay_bytes(spec("apex_dqn", env_runners=runners, replay={"num_shards": 4}), ATARI)
    assert four == one


@pytest.mark.parametrize(
    ("algorithm", "torso", "shape", "parameters"),
    [
        # conv 8224 + 32832 + 36928; head 3136*512+512 and 512*6+6
        ("dqn", "nature", ATARI, 77_984 + 1_606_144 + 3_078),
        # two streams of 1,606,144 and outputs of 6 and 1
        ("apex_dqn", "nature", ATARI, 77_984 + 2 * 1_606_144 + 3_078 + 513),
        # weights and noise scales of both streams, 51 atoms
        ("rainbow", "nature", ATARI, 77_984 + 2 * (2 * 1_606_144 + 513 * 306 + 513 * 51)),
        # 4-256-256, then 256-512-2
        ("dqn", "mlp", CARTPOLE, 1_280 + 65_792 + 131_584 + 1_026),
    ],
)
def test_parameters_by_hand(algorithm, torso, shape, parameters):
    assert num_parameters(spec(algorithm, rl_module={"torso": torso}), shape) == parameters


def test_nothing_is_in_the_object_store_of_a_local_run():
    assert object_store_bytes(spec(), ATARI) == 0
    told = spec("apex_dqn", resources={"object_store_memory_bytes": 123})
    assert object_store_bytes(told, ATARI) == 123


def test_object_store_by_hand():
    sections = {
        "env_runners": {
            "num_env_runners": 2,
            "num_envs_per_env_runner": 3,
            "rollout_length_env_steps": 9,
            "max_requests_in_flight": 2,
        },
        "training": {"batch_size": 10, "n_step": 3},
        "learners": {"num_learners": 1, "prefetch_batches": 4},
    }
    made = spec("apex_dqn", **sections)
    row = 7_056 + 41
    blocks = 2 * 2 * 3 * 10 * row
    batches = 5 * 10 * (4 + 3) * row
    assert object_store_bytes(made, ATARI) == blocks + batches + 8 * num_parameters(made, ATARI)


def test_several_learners_share_the_batch_and_copy_the_parameters():
    one = learner_bytes(spec("apex_dqn"), ATARI)
    two = learner_bytes(spec("apex_dqn", learners={"num_learners": 2}), ATARI)
    copies = 20 * num_parameters(spec("apex_dqn"), ATARI)
    assert copies < two < one


def test_refused_with_the_number_and_a_capacity_that_fits():
    text = "algorithm: dqn\nenv: a\nstop: {updates: 1}\nreplay:\n  capacity: 1000000\n"
    experiment = load_text(text, "f.yaml")
    needed = estimate(experiment.spec, ATARI)
    [problem] = memory_problems(experiment.spec, needed, experiment.origin, available_bytes=5_000_000_000)
    assert str(problem).startswith(
        "f.yaml:5:13: replay.capacity: the run needs about 8.1 GB (replay 7.1 GB, "
    )
    assert str(problem).endswith("there are 5.0 GB; a replay.capacity of 550000 would fit")
    fitting = load_text(text, "f.yaml", ["replay.capacity=550000"])
    fits = estimate(fitting.spec, ATARI)
    assert memory_problems(fitting.spec, fits, fitting.origin, available_bytes=5_000_000_000) == []
    assert memory_problems(experiment.spec, needed, experiment.origin, available_bytes=needed.total) == []
    told = load_text(text, "f.yaml", ["resources.memory_limit_bytes=1e9"])
    assert memory_problems(told.spec, needed, told.origin, available_bytes=10**12) != []


def test_runners_can_be_what_is_too_much():
    experiment = load_text("algorithm: apex_dqn\nenv: a\nstop: {updates: 1}\n", "f.yaml")
    needed = estimate(experiment.spec, CARTPOLE)
    [problem] = memory_problems(experiment.spec, needed, experiment.origin, available_bytes=16 * 10**9)
    assert (problem.path, str(problem.location)) == ("env_runners.num_env_runners", "preset apex_dqn")
    assert problem.hint == ""


def test_table():
    table = MemoryEstimate({"replay": 7_113_777_216, "learners": 60_700_000}).table()
    assert table == "replay           7.1 GB\nlearners        60.7 MB\ntotal            7.2 GB"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (7.11e9, "7.1 GB"), (2e12, "2.0 TB")]
)
def test_format_bytes(count, text):
    assert format_bytes(count) == text


def test_machine_memory_is_no_more_than_the_control_group_allows(monkeypatch):
    from pathlib import Path

    assert machine_memory_bytes() > 0
    limits = {"/sys/fs/cgroup/memory.max": "1000\n"}

    def read_text(path):
        if str(path) in limits:
            return limits[str(path)]
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", read_text)
    assert machine_memory_bytes() == 1_000
    limits["/sys/fs/cgroup/memory.max"] = "max\n"
    assert machine_memory_bytes() > 1_000


def test_cartpole_is_small():
    text = estimate(spec("dqn", replay={"capacity": 50_000}, rl_module={"torso": "mlp"}), CARTPOLE)
    assert text.parts["replay"] == 50_000 * (16 + 41) + 2 * 65_536 * 8
    assert text.total < 1.2e9
