"""The plan of an experiment on a cluster: cases worked by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rlx.cluster.capacity import ClusterNodes
from rlx.cluster.load import ClusterFile, load_cluster_text
from rlx.cluster.plan import ON_GPU_NODE, LoadWith, Plan, _names, make_plan
from rlx.cluster.plan_rates import Assumed, figure, rates_of
from rlx.experiment.load import load_text
from rlx.experiment.placement import Node
from rlx.experiment.problems import ExperimentError
from rlx.experiment.resolve import Experiment
from tests.cluster.conftest import TEXT

GB = 10**9
PRICED = TEXT.replace("volume_gb: 30", "price_per_hour: 0.5").replace("max_count: 3", "price_per_hour: 0.25")
EXPERIMENT = """\
algorithm: apex_dqn
env: CartPole-v1
seeds: [0]
stop: {{env_steps: 3600000}}
env_runners: {{num_env_runners: {runners}, num_envs_per_env_runner: 10, weights_pull_period_env_steps: 100}}
replay: {{num_shards: {shards}, capacity: 100000, samples_per_env_step: 0.5}}
training: {{batch_size: 100}}
rl_module: {{torso: mlp}}
learners: {{num_learners: 0, num_gpus_per_learner: 0, device: {device}}}
"""


def loads(text: str, *given: str) -> LoadWith:
    def load(more: Sequence[str]) -> Experiment:
        return load_text(text, "cart.yaml", [*given, *more])

    return load


def cart(runners: int = 4, shards: int = 1, device: str = "auto") -> str:
    return EXPERIMENT.format(runners=runners, shards=shards, device=device)


def cluster(workers: int = 2, gpus: float = 0, head_gpus: float = 0, cpus: float = 4) -> ClusterNodes:
    """A head with 4 CPUs, and workers; the first may have GPUs."""
    nodes = [Node("head", 4, head_gpus, 8 * GB, head=True, group="head")]
    nodes += [
        Node(f"actors#{number}", cpus, gpus if number == 1 else 0, 8 * GB, head=False, group="actors")
        for number in range(1, workers + 1)
    ]
    return ClusterNodes(tuple(nodes), ("m5.large", *["c5.xlarge"] * workers), "as made up")


@pytest.fixture
def priced() -> ClusterFile:
    return load_cluster_text(PRICED, "apex.yaml")


def plan(
    text: str, nodes: ClusterNodes, *given: str, file: ClusterFile | None = None, **assumed: float
) -> Plan:
    file = file or load_cluster_text(PRICED, "apex.yaml")
    return make_plan(loads(text, *given), file, nodes, assumed=Assumed(**assumed))


def test_equal_nodes_are_one_row() -> None:
    found = plan(cart(runners=18), cluster(8))
    rows = found.rows()
    # 18 runners on 8 workers: three on the first two, two on the others; the shard beside the learner.
    assert [(row.names, row.count, row.on_it) for row in rows] == [
        ("head", 1, "driver with learner, 1 shard"),
        ("actors#1..2", 2, "3 runners"),
        ("actors#3..8", 6, "2 runners"),
    ]
    assert [row.load.cpus for row in rows] == [2, 3, 2]
    assert rows[0].type == "m5.large"
    assert found.summary().startswith("head: driver with learner, 1 shard; actors#1..2: 3 runners; ")
    assert _names(["a#1", "a#2", "a#4", "a#10"]) == "a#1..2,4,10"


def test_hundreds_of_nodes_are_a_few_rows() -> None:
    assert len(plan(cart(runners=700), cluster(300)).rows()) == 3


def test_what_has_no_process_is_in_the_driver() -> None:
    found = plan(cart(runners=0, shards=0), cluster())
    assert found.on(0) == "driver with learner and replay and runner"
    assert found.busiest is None
    assert found.flows == {}
    assert found.replay_bytes[1:] == (0, 0)
    # 100,000 rows of 4 float32 and 41 bytes, and a tree over 2^17 leaves.
    assert found.replay_bytes[0] == 100_000 * (16 + 41) + 2 * 2**17 * 8


def test_traffic_by_kind_and_group() -> None:
    found = plan(cart(), cluster(), env_steps_per_second=1000.0)
    # A row is 57 bytes; four runners act 1,000 times a second, all far from the shard on the head.
    to_head = found.flows["actors", "head"]
    assert (to_head.blocks, to_head.windows, to_head.weights) == (pytest.approx(4 * 57e3), 0, 0)
    # Each fetches weights 1,000 / (10 x 100) times a second.
    from_head = found.flows["head", "actors"]
    assert (from_head.blocks, from_head.windows) == (0, 0)
    assert found.placement.shards == (0,)
    assert found.busiest == ("head", pytest.approx(4 * 57e3), from_head.weights)
    # 4 x 1,000 x 0.5 samples a second in batches of 100.
    assert found.rates.updates_per_second == pytest.approx(20)
    faster = plan(cart(), cluster(), env_steps_per_second=2000.0).flows["head", "actors"]
    assert faster.weights == pytest.approx(2 * from_head.weights)


def test_time_and_cost_by_given_rates(priced: ClusterFile) -> None:
    found = plan(cart(), cluster(), env_steps_per_second=250.0)
    # 3.6 M steps at 4 x 250 a second; one head and two workers.
    assert found.duration.seconds == pytest.approx(3600)
    assert found.duration.at_least
    assert found.price.per_hour == pytest.approx(0.5 + 2 * 0.25)
    assert found.cost == pytest.approx(1.0)
    # Learners that do half of what the ratio asks for (5/s) slow down acting.
    slow = plan(cart(), cluster(), env_steps_per_second=250.0, updates_per_second=2.5)
    assert slow.rates.env_steps_per_second == pytest.approx(125)
    assert (slow.duration.seconds, slow.duration.at_least) == (pytest.approx(7200), False)
    assert "slowed by the learner" in slow.rates.sampling
    two = plan(cart(), cluster(), "seeds=[0, 1]", env_steps_per_second=250.0)
    assert (two.runs, two.duration.seconds) == (2, pytest.approx(7200))


def test_what_is_not_known_is_said() -> None:
    found = plan(cart(), cluster())
    assert found.rates.env_steps_per_second_in_all == 1000
    assert "no rate of such runners was measured" in found.rates.sampling
    assert found.duration.seconds is None
    assert "--env-steps-per-second-per-runner gives one" in found.duration.words
    assert found.cost is None
    by_return = plan(cart(), cluster(), "stop={env_steps: null, return_mean: 400}", env_steps_per_second=10.0)
    assert by_return.duration.words == "nobody knows when the return that stops it is reached"
    open_price = make_plan(loads(cart()), load_cluster_text(TEXT, "c.yaml"), cluster(), priced=False)
    assert open_price.price.words == "no price of head, workers.actors"
    bounded = plan(cart(), cluster(), "stop={env_steps: 10, seconds: 60, return_mean: 400}")
    assert bounded.duration.seconds == 60
    assert (
        bounded.duration.words
        == "stop.seconds 60, or sooner: no rate is known; sooner if return_mean 400 is reached"
    )
    assert not bounded.duration.at_least


def test_hosts_have_no_price() -> None:
    text = "name: lab\nprovider: on-premise\nhosts: [a, b]\nssh_key: ~/k\nstorage: /runs\n"
    found = plan(cart(), cluster(1), file=load_cluster_text(text, "lab.yaml"))
    assert (found.price.per_hour, found.price.words) == (None, "hosts of one's own have no price")


def test_frames_are_four_steps_on_atari() -> None:
    runs = ["env=ALE/Pong-v5", "stop={env_steps: null, env_frames: 19888000}", "rl_module.torso=nature"]
    found = plan(cart(), cluster(), *runs, "env_runners.num_envs_per_env_runner=16")
    # 1,243 env steps/s of each of 4 runners: 19,888 frames a second.
    assert found.rates.env_steps_per_second == 1243
    assert found.duration.seconds == pytest.approx(1000)
    assert "docs/benchmarks.md" in found.rates.sampling
    assert not plan(cart(), cluster(), *runs).rates.known, "10 environments are slower than 16"


def test_rates_of_learners_that_run_free() -> None:
    spec = loads(cart(), "replay.samples_per_env_step=null")(()).spec
    assert rates_of(spec, "CartPole-v1", Assumed()).updates_per_second == 19
    given = rates_of(spec, "CartPole-v1", Assumed(10.0, 3.0))
    assert (given.updates_per_second, given.env_steps_per_second, given.at_most) == (3, 10, False)
    recurrent = spec.model_copy(update={"algorithm": "r2d2"})
    assert rates_of(recurrent, "CartPole-v1", Assumed()).updates_per_second == 5
    assert [figure(number) for number in (0.01234, 12.44, 39776.4)] == ["0.0123", "12.4", "39,776"]


def test_problems_have_their_place_in_the_experiment() -> None:
    found = plan(cart(runners=40), cluster())
    (problem,) = found.problems
    assert str(problem) == (
        "cart.yaml:5:32: env_runners.num_env_runners: 40 runners, 1 shard, the driver need 42 CPUs, 3 nodes "
        "have 12; take fewer runners, or more nodes"
    )
    with pytest.raises(ExperimentError, match=r"cart\.yaml:2:6: env: "):
        plan(cart().replace("CartPole-v1", "NoSuchGame-v3"), cluster())


def test_the_learner_goes_to_the_only_gpu() -> None:
    found = plan(cart(), cluster(gpus=1))
    assert found.settings == ON_GPU_NODE
    assert (found.placement.learners, found.placement.loads[1].gpus) == ((1,), 1)
    assert found.on(1).startswith("1 learner, 1 shard")
    assert not found.problems
    (note,) = found.notes
    assert "adds --set learners.num_learners=1 --set learners.num_gpus_per_learner=1, which" in note
    inside = plan(cart(shards=0), cluster(gpus=1))
    assert inside.settings == (*ON_GPU_NODE, "replay.num_shards=1")
    assert plan(cart(device="cuda"), cluster(gpus=1)).settings == ON_GPU_NODE


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        (cart(), cluster()),
        (cart(), cluster(gpus=1, head_gpus=1)),
        (cart(device="cpu"), cluster(gpus=1)),
        (cart().replace("num_learners: 0", "num_learners: 1"), cluster(gpus=1)),
    ],
    ids=["no GPU", "a GPU on the head", "cpu", "a process already"],
)
def test_the_learner_stays(text: str, nodes: ClusterNodes) -> None:
    found = plan(text, nodes)
    assert (found.settings, found.notes) == ((), ())


def test_the_learner_stays_and_why_is_said() -> None:
    asked = plan(cart(), cluster(gpus=1), "learners.num_learners=0")
    assert (asked.settings, asked.placement.learners) == ((), ())
    assert "--set learners.num_gpus_per_learner=1 would put it there" in asked.notes[0]
    local = plan(cart(runners=0, shards=0), cluster(gpus=1), "debugging.deterministic=true")
    assert local.settings == ()
    assert "does not go: " in local.notes[0]
    # 9 runners, a shard, the driver and its replay fill 3 nodes of 4; shard and learner are one too many.
    full = plan(cart(runners=11, shards=0), cluster(gpus=1))
    assert full.settings == ()
    assert "it does not fit" in full.notes[0]
    assert not full.problems


def test_the_end_of_the_cluster_is_said() -> None:
    found = plan(cart(), cluster(), "stop={seconds: 36000}")
    assert found.notes == ("the cluster ends by itself after 8 h, before the end; --resume goes on then",)
    text = PRICED.replace("max_hours: 8", "max_hours: 80, max_cost: 4")
    file: Any = load_cluster_text(text, "c.yaml")
    costly = plan(cart(), cluster(), "stop={seconds: 36000}", file=file)
    assert "after 4 h" in costly.notes[0]


def test_what_is_planned_without_is_said() -> None:
    nodes = ClusterNodes(cluster().nodes, cluster().types, "Ray", running=True, absent=(("actors", 1),))
    assert plan(cart(), nodes).notes == ("planned without nodes that are not in: 1 of actors",)
    more = plan(
        cart(), cluster(), file=load_cluster_text(TEXT.replace("spot: true", "price_per_hour: 1"), "c.yaml")
    )
    assert more.notes == ("planned on the nodes that are kept; up to 1 more on demand are not counted",)
