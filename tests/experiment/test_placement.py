"""Where parts go: cases worked by hand, and what must hold for every cluster."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlx.experiment.memory import EnvShape, PartSizes, estimate, part_sizes
from rlx.experiment.placement import (
    Node,
    driver_cpus,
    place,
    placed_learner_threads,
    reserved_cpus,
    traffic,
)
from rlx.experiment.resolve import from_mapping
from rlx.experiment.spec import ExperimentSpec

GB = 10**9
SIZES = PartSizes(
    driver=2 * GB,
    learner=3 * GB,
    shard=10 * GB,
    runner=GB,
    daemons=0,
    row=7000,
    batch=25_000_000,
    weights=13_000_000,
)


def spec(
    runners: int,
    shards: int = 2,
    learners: int = 0,
    gpus: float = 0.0,
    threads: int | None = None,
    **sections: Any,
) -> ExperimentSpec:
    given: dict[str, Any] = {
        "algorithm": "apex_dqn",
        "env": "CartPole-v1",
        "stop": {"env_steps": 1000},
        "env_runners": {"num_env_runners": runners},
        "replay": {"num_shards": shards},
        "learners": {"num_learners": learners, "num_gpus_per_learner": gpus, "num_torch_threads": threads},
    }
    for name, section in sections.items():
        given[name] = {**given.get(name, {}), **section}
    return from_mapping(given)


def head(cpus: float = 4, gpus: float = 0, memory: int = 64) -> Node:
    return Node("head", cpus, gpus, memory * GB, head=True)


def worker(number: int, cpus: float = 4, gpus: float = 0, memory: int = 64) -> Node:
    return Node(f"actors#{number}", cpus, gpus, memory * GB, head=False, group="actors")


def test_shards_go_to_the_learner_where_all_fit_and_runners_to_the_workers() -> None:
    plan = place(spec(runners=8), [head(), worker(1), worker(2)], SIZES)
    assert plan.problems() == []
    assert (plan.driver, plan.learners) == (0, ())
    assert plan.shards == (0, 0)
    assert plan.runners == (1, 2, 1, 2, 1, 2, 1, 2)
    assert [load.cpus for load in plan.loads] == [3, 4, 4], "the driver, with the learner, and two shards"
    assert plan.loads[0].memory == {"daemons": 0, "driver": 2 * GB, "shards": 20 * GB}
    assert plan.parts_on(1) == {"runners": 4}


def test_shards_that_do_not_all_fit_beside_the_learner_go_where_memory_is() -> None:
    nodes = [head(memory=20), worker(1, memory=64), worker(2, memory=60)]
    plan = place(spec(runners=4, shards=3), nodes, SIZES)
    # 18, 64, 60 GB free: 64, then 60, then 54 against 50.
    assert plan.shards == (1, 2, 1)
    assert plan.problems() == []


def test_the_head_counts_its_driver_before_it_takes_shards() -> None:
    fits = place(spec(runners=4), [head(memory=22), worker(1)], SIZES)
    short = place(spec(runners=4), [head(memory=21), worker(1)], SIZES)
    assert (fits.shards, short.shards) == ((0, 0), (1, 1))


def test_learners_with_gpus_stay_together_and_shards_with_them() -> None:
    nodes = [head(), worker(1), worker(2, gpus=1), worker(3, cpus=8, gpus=2)]
    plan = place(spec(runners=6, learners=2, gpus=1), nodes, SIZES)
    assert plan.learners == (3, 3)
    assert plan.shards == (3, 3)
    assert plan.loads[3].gpus == 2
    assert plan.problems() == []


def test_learners_without_gpus_go_to_the_head_first() -> None:
    plan = place(spec(runners=2, shards=1, learners=2), [head(cpus=2), worker(1), worker(2)], SIZES)
    assert plan.learners == (0, 0)
    assert plan.shards == (1,), "no core is left on the head"


def test_runners_use_every_node_in_proportion_to_its_cores() -> None:
    nodes = [head(), worker(1, cpus=16), worker(2, cpus=4)]
    plan = place(spec(runners=10), nodes, SIZES)
    assert [plan.runners.count(node) for node in range(3)] == [0, 8, 2]
    # The head's last core is taken when the workers have none left.
    plan = place(spec(runners=21), nodes, SIZES)
    assert [plan.runners.count(node) for node in range(3)] == [1, 16, 4]
    assert plan.problems() == []


def test_what_does_not_fit_is_said_with_numbers() -> None:
    nodes = [head(cpus=2, memory=4), worker(1, memory=31), worker(2, memory=20)]
    plan = place(spec(runners=2), nodes, PartSizes(**{**vars(SIZES), "shard": 40 * GB}))
    assert plan.problems()[0] == (
        "a replay shard of 40.0 GB fits on no node: the most free is 31.0 GB on actors#1; "
        "more shards, a smaller replay.capacity, or nodes with more memory"
    )
    plan = place(spec(runners=9), [head(), worker(1)], SIZES)
    assert plan.problems() == [
        "9 runners, 2 shards, the driver need 12 CPUs, 2 nodes have 8; take fewer runners, or more nodes"
    ]
    plan = place(spec(runners=2, learners=1, gpus=1), [head(), worker(1)], SIZES)
    assert plan.problems() == [
        "a learner needs 1 GPUs: no node has more than 0 free (0 in all); "
        "fewer learners, or a node with a GPU"
    ]
    plan = place(spec(runners=2), [head(memory=1), worker(1)], SIZES)
    assert "the driver needs 2.0 GB, the head (head) has 1.0 GB for it" in plan.problems()[0]
    wide = spec(runners=3, env_runners={"num_cpus_per_env_runner": 3.0})
    plan = place(wide, [head(), worker(1), worker(2)], SIZES)
    assert "a runner needs 3 CPUs: no node has more than 1 free" in plan.problems()[0]


def test_a_shard_that_finds_memory_but_no_core() -> None:
    # Four shards and the driver want five cores of the head, the only node with memory for them.
    nodes = [head(), worker(1, memory=2), worker(2, memory=3)]
    assert place(spec(runners=4, shards=4), nodes, SIZES).problems() == [
        "a replay shard of 10.0 GB and 1 CPU: nodes with that memory have no CPU free; "
        "fewer shards, or larger nodes"
    ]


def test_a_runner_without_room_for_its_memory() -> None:
    plan = place(spec(runners=3, shards=0), [head(memory=2), worker(1, memory=2)], SIZES)
    assert "a runner of 1.0 GB fits on no node that has 1 CPUs free" in plan.problems()[0]


@pytest.mark.parametrize("heads", [0, 2])
def test_exactly_one_head(heads: int) -> None:
    with pytest.raises(ValueError, match="heads, must be one"):
        place(spec(runners=2), [worker(1)] + [head()] * heads, SIZES)


def test_threads_of_the_learner_are_the_cores_of_its_node_that_nobody_else_has() -> None:
    large = {"rl_module": {"torso": "nature"}}
    nodes = [head(cpus=8), worker(1, cpus=32)]
    plan = place(spec(runners=30, **large), nodes, SIZES)
    assert plan.shards == (0, 0)
    assert placed_learner_threads(spec(runners=30, **large), plan) == 6
    with_gpu = spec(runners=6, learners=1, gpus=1, **large)
    plan = place(with_gpu, [head(cpus=4), worker(1, cpus=8, gpus=1), worker(2, cpus=8)], SIZES)
    assert (plan.learners, plan.shards) == ((1,), (1, 1))
    assert placed_learner_threads(with_gpu, plan) == 8 - 2 - plan.runners.count(1)
    given_threads = spec(runners=2, threads=3)
    assert placed_learner_threads(given_threads, place(given_threads, nodes, SIZES)) == 3
    small = spec(runners=2, rl_module={"torso": "mlp"})
    assert placed_learner_threads(small, place(small, nodes, SIZES)) == 1


def test_the_cores_of_the_driver_and_of_shards_are_reserved() -> None:
    assert reserved_cpus(spec(4), place(spec(4), [head(), worker(1)], SIZES)) == {0: 3}
    separate = spec(runners=4, learners=1)
    assert reserved_cpus(separate, place(separate, [head(), worker(1)], SIZES)) == {0: 2}
    apart = place(spec(4), [head(memory=5), worker(1), worker(2)], SIZES)
    assert reserved_cpus(spec(4), apart) == {0: 1, 1: 1, 2: 1}
    # Never more than runners leave, or the reservation would wait for ever.
    full = spec(runners=8)
    assert sum(reserved_cpus(full, place(full, [head(), worker(1)], SIZES)).values()) <= 0 + 8


def test_traffic_counts_what_goes_between_nodes() -> None:
    run = spec(
        runners=2,
        shards=2,
        env_runners={"num_envs_per_env_runner": 10, "weights_pull_period_env_steps": 100},
        replay={"samples_per_env_step": 0.5},
        training={"batch_size": 100},
    )
    nodes = [head(memory=5), worker(1, memory=20), worker(2, memory=20)]
    plan = place(run, nodes, SIZES)
    assert (plan.shards, plan.runners) == ((1, 2), (1, 2))
    # Each runner writes to the shard beside it. 2 x 1000 steps/s x 0.5 = 10 updates/s of 25 MB, half from
    # each shard; each runner pulls 13 MB once a second (1000 / (10 x 100)).
    assert traffic(plan, run, SIZES, 1000.0) == {
        (1, 0): pytest.approx(125e6),
        (2, 0): pytest.approx(125e6),
        (0, 1): pytest.approx(13e6),
        (0, 2): pytest.approx(13e6),
    }
    # Shards beside the learner: blocks cross instead of windows.
    plan = place(run, [head(memory=64), *nodes[1:]], SIZES)
    flows = traffic(plan, run, SIZES, 1000.0)
    assert flows[1, 0] == pytest.approx(7e6)
    assert flows.keys() == {(0, 1), (0, 2), (1, 0), (2, 0)}


def test_traffic_of_a_free_learner_needs_its_rate() -> None:
    run = spec(runners=2, replay={"samples_per_env_step": None})
    nodes = [head(memory=5), worker(1), worker(2)]
    plan = place(run, nodes, SIZES)
    with pytest.raises(ValueError, match="updates_per_second"):
        traffic(plan, run, SIZES, 1000.0)
    slow = traffic(plan, run, SIZES, 1000.0, updates_per_second=1e-9)
    assert slow.get((0, 1), 0.0) < 1.0, "weights that do not change are not sent"


def test_sizes_of_parts_are_those_of_the_estimate() -> None:
    shape = EnvShape(frame_shape=(84, 84), dtype_bytes=1, frame_stack=4, num_actions=6)
    for run in (spec(runners=4, shards=2, learners=1), spec(runners=0, shards=0)):
        sizes, whole = part_sizes(run, shape), estimate(run, shape)
        parts = (
            sizes.driver
            + sizes.learner * run.learners.num_learners
            + sizes.shard * run.replay.num_shards
            + sizes.runner * run.env_runners.num_env_runners
            + sizes.daemons
        )
        assert parts == pytest.approx(whole.total - whole.parts["object store"], abs=10)


NODES = st.lists(
    st.builds(
        Node,
        name=st.just("n"),
        cpus=st.integers(1, 16).map(float),
        gpus=st.integers(0, 2).map(float),
        memory_bytes=st.integers(2, 80).map(lambda size: size * GB),
        head=st.just(False),
    ),
    min_size=0,
    max_size=5,
).map(lambda nodes: [head(), *nodes])
RUNS = st.tuples(st.integers(0, 20), st.integers(0, 4), st.integers(0, 2)).filter(
    lambda counts: counts[1] <= max(1, counts[0]) and (counts[1] or not counts[2])
)


@settings(max_examples=60, deadline=None)
@given(nodes=NODES, counts=RUNS)
def test_every_part_has_a_node_and_a_plan_without_problems_fits(
    nodes: list[Node], counts: tuple[int, int, int]
) -> None:
    runners, shards, learners = counts
    run = spec(runners, shards, learners)
    plan = place(run, nodes, SIZES)
    assert plan == place(run, nodes, SIZES)
    assert (len(plan.runners), len(plan.shards), len(plan.learners)) == counts
    assert plan.nodes[plan.driver].head
    used = sum(load.cpus for load in plan.loads)
    assert used == pytest.approx(runners + shards + learners + driver_cpus(run))
    if plan.problems():
        return
    for node, load in zip(nodes, plan.loads, strict=True):
        # The driver may share the core of its node with others only where that is said.
        assert load.cpus <= node.cpus
        assert load.gpus <= node.gpus
        assert load.memory_bytes <= node.memory_bytes
    workers = [index for index, node in enumerate(nodes) if not node.head]
    free = [index for index in workers if plan.loads[index].cpus < 1]
    assert not (plan.runners.count(0) and free and all(plan.loads[i].memory_bytes < GB for i in free)), (
        "the head's cores are the last"
    )
