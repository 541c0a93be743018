"""Where the parts of a run live on the nodes of a cluster, and what then goes over the network.

Pure: nodes come in as numbers, a plan comes out. docs/design/0003-nodes.md has the rules and their reasons.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rlx.experiment.check import SMALL_TORSOS
from rlx.experiment.memory import PartSizes, format_bytes
from rlx.experiment.spec import ExperimentSpec

#: What a runner that reserves no CPU still weighs when nodes are compared.
_SMALLEST_LOAD_CPUS = 0.01


@dataclass(frozen=True)
class Node:
    """One node of a cluster.

    Attributes:
        name: what messages call it.
        cpus, gpus: what it has.
        memory_bytes: what processes may use, that is without Ray's object store.
        head: whether the driver runs on it.
        group: kind of node in the cluster file, empty if that is not known.
    """

    name: str
    cpus: float
    gpus: float
    memory_bytes: int
    head: bool
    group: str = ""


@dataclass(frozen=True)
class Shortage:
    """Something that the nodes do not have.

    Attributes:
        path: dotted path of the setting to change first.
        message: what is missing, with the numbers.
        hint: what to do.
    """

    path: str
    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}"


@dataclass(frozen=True)
class Load:
    """What a plan puts on one node.

    Attributes:
        cpus, gpus: used.
        memory: part (`daemons`, `driver`, `learners`, `shards`, `runners`) -> bytes.
    """

    cpus: float
    gpus: float
    memory: dict[str, int]

    @property
    def memory_bytes(self) -> int:
        """All parts together."""
        return sum(self.memory.values())


@dataclass(frozen=True)
class Placement:
    """Which node holds what, as indices into `nodes`.

    Attributes:
        nodes: as given to `place`.
        driver: the head.
        learners, shards, runners: node of each that has a process of its own, in order (runner 1 first).
        loads: of each node.
        shortages: what does not fit; what they are about is placed where it fits least badly.
    """

    nodes: tuple[Node, ...]
    driver: int
    learners: tuple[int, ...]
    shards: tuple[int, ...]
    runners: tuple[int, ...]
    loads: tuple[Load, ...]
    shortages: tuple[Shortage, ...]

    def problems(self) -> list[str]:
        """Return a sentence for everything that does not fit, with the numbers and what to do."""
        return [str(shortage) for shortage in self.shortages]

    def parts_on(self, node: int) -> dict[str, int]:
        """Count what is on a node: `driver`, `learners`, `shards`, `runners`; only what there is."""
        counts = {"driver": int(self.driver == node)}
        for part in ("learners", "shards", "runners"):
            counts[part] = getattr(self, part).count(node)
        return {part: count for part, count in counts.items() if count}


class _Room:
    """What is left of the nodes while a plan is made."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self.cpus = [node.cpus for node in nodes]
        self.gpus = [node.gpus for node in nodes]
        self.memory = [node.memory_bytes for node in nodes]
        self.parts: list[Counter[str]] = [Counter() for _ in nodes]
        #: CPUs taken, where those that reserve none weigh a little.
        self.load = [0.0 for _ in nodes]

    def take(self, node: int, part: str, memory: int, cpus: float = 0.0, gpus: float = 0.0) -> None:
        self.cpus[node] -= cpus
        self.gpus[node] -= gpus
        self.memory[node] -= memory
        self.load[node] += max(cpus, _SMALLEST_LOAD_CPUS)
        self.parts[node][part] += memory

    def fits(self, node: int, memory: int, cpus: float = 0.0, gpus: float = 0.0) -> bool:
        return (
            self.memory[node] >= memory and self.cpus[node] >= cpus - 1e-9 and self.gpus[node] >= gpus - 1e-9
        )

    def loads(self) -> tuple[Load, ...]:
        return tuple(
            Load(node.cpus - cpus, node.gpus - gpus, dict(parts))
            for node, cpus, gpus, parts in zip(self.nodes, self.cpus, self.gpus, self.parts, strict=True)
        )

    def most_memory(self) -> str:
        node = max(range(len(self.nodes)), key=lambda index: (self.memory[index], -index))
        return f"the most free is {format_bytes(max(0, self.memory[node]))} on {self.nodes[node].name}"


def place(spec: ExperimentSpec, nodes: Sequence[Node], sizes: PartSizes) -> Placement:
    """Say which node holds what. The same arguments give the same plan.

    Args:
        spec: a resolved spec.
        nodes: exactly one is the head.
        sizes: of the spec's parts (`rlx.experiment.memory.part_sizes`).

    Raises:
        ValueError: there is not exactly one head.
    """
    heads = [index for index, node in enumerate(nodes) if node.head]
    if len(heads) != 1:
        raise ValueError(f"{len(heads)} of {len(nodes)} nodes are heads, must be one")
    head, room, short = heads[0], _Room(nodes), list[Shortage]()
    for index in range(len(nodes)):
        room.take(index, "daemons", sizes.daemons)
    _place_driver(spec, head, sizes, room, short)
    learners = _place_learners(spec, head, sizes, room, short)
    shards = _place_shards(spec, Counter(learners or [head]).most_common(1)[0][0], sizes, room, short)
    runners = _place_runners(spec, head, sizes, room, short)
    totals = list(_total_shortages(spec, nodes))
    if totals:  # says it better than a sentence for each that found no room
        short = [shortage for shortage in short if shortage.path not in {total.path for total in totals}]
    return Placement(
        nodes=tuple(nodes),
        driver=head,
        learners=tuple(learners),
        shards=tuple(shards),
        runners=tuple(runners),
        loads=room.loads(),
        shortages=(*totals, *dict.fromkeys(short)),
    )


def driver_cpus(spec: ExperimentSpec) -> int:
    """Return the cores that the driver keeps busy: one, if runners, shards or learners are in it."""
    return int(0 in (spec.env_runners.num_env_runners, spec.learners.num_learners, spec.replay.num_shards))


def placed_learner_threads(spec: ExperimentSpec, placement: Placement) -> int:
    """Return the torch threads of a learner: as given, or the cores that nobody else has on its node.

    Several learners work in step, so all get what the fullest of their nodes leaves.
    """
    if spec.learners.num_torch_threads is not None:
        return spec.learners.num_torch_threads
    if spec.rl_module.torso in SMALL_TORSOS:
        return 1
    learners = Counter(placement.learners or [placement.driver])
    free = []
    for node, count in learners.items():
        others = placement.loads[node].cpus - count
        free.append(int((placement.nodes[node].cpus - others) // count))
    return max(1, min(free))


def reserved_cpus(spec: ExperimentSpec, placement: Placement) -> dict[int, float]:
    """Return the cores of each node that are the driver's or shards', which do not ask Ray for them.

    A shard asks for memory alone, so that it can start again on a node without a free core: without it the
    runners that write to it are idle.
    """
    reserved = {}
    for index, node in enumerate(placement.nodes):
        parts = placement.parts_on(index)
        wanted = parts.get("shards", 0) + (driver_cpus(spec) if "driver" in parts else 0)
        others = placement.loads[index].cpus - wanted
        cpus = min(float(wanted), node.cpus - others)
        if cpus > 0:
            reserved[index] = cpus
    return reserved


def _place_driver(
    spec: ExperimentSpec, head: int, sizes: PartSizes, room: _Room, short: list[Shortage]
) -> None:
    if not room.fits(head, sizes.driver):
        message = (
            f"the driver needs {format_bytes(sizes.driver)}, the head ({room.nodes[head].name}) has "
            f"{format_bytes(max(0, room.memory[head]))} for it"
        )
        short.append(Shortage("replay.capacity", message, "take a larger head, or more processes"))
    local_cuda = not spec.learners.num_learners and spec.learners.device.startswith("cuda")
    if local_cuda and not room.nodes[head].gpus:
        message = (
            f"learners.device is {spec.learners.device}, but the head ({room.nodes[head].name}) has no GPU"
        )
        short.append(Shortage("learners.device", message, "set learners.num_learners, or a head with a GPU"))
    room.take(head, "driver", sizes.driver, driver_cpus(spec))


def _place_learners(
    spec: ExperimentSpec, head: int, sizes: PartSizes, room: _Room, short: list[Shortage]
) -> list[int]:
    """Put learners beside each other: on GPU nodes if they ask for GPUs, else on the head first."""
    gpus, placed = spec.learners.num_gpus_per_learner, list[int]()

    def preferred(node: int) -> tuple[float, ...]:
        apart = node not in placed
        if gpus:
            return apart, -room.gpus[node], -room.memory[node], node
        return node != head, apart, -room.cpus[node], node

    for _ in range(spec.learners.num_learners):
        order = range(len(room.nodes))
        fitting = [node for node in order if room.fits(node, sizes.learner, 1, gpus)]
        if not fitting:
            fitting = [node for node in order if room.fits(node, 0, 0, gpus)]
            short.append(_no_room_for_learner(gpus, sizes.learner, room, bool(fitting)))
        node = min(fitting or order, key=preferred)
        room.take(node, "learners", sizes.learner, 1, gpus)
        placed.append(node)
    return placed


def _no_room_for_learner(gpus: float, memory: int, room: _Room, has_gpus: bool) -> Shortage:
    if not has_gpus:
        message = (
            f"a learner needs {gpus:g} GPUs: no node has more than {max(0.0, *room.gpus):g} free "
            f"({sum(node.gpus for node in room.nodes):g} in all)"
        )
        return Shortage("learners.num_gpus_per_learner", message, "fewer learners, or a node with a GPU")
    message = (
        f"a learner of {format_bytes(memory)} and 1 CPU fits on no node that has the GPUs; "
        f"{room.most_memory()}"
    )
    return Shortage("learners.num_learners", message, "fewer learners, or larger nodes")


def _place_shards(
    spec: ExperimentSpec, learner: int, sizes: PartSizes, room: _Room, short: list[Shortage]
) -> list[int]:
    """Put all shards beside the learner if they fit there, else each where most memory is free.

    A sample is several frames and every step is sampled about once, so that windows are several times the
    bytes of blocks: they are what should not cross the network. All or none, as the learner draws from every
    shard in turn and waits for the farthest.
    """
    count, placed = spec.replay.num_shards, list[int]()
    together = room.fits(learner, count * sizes.shard, count)
    for _ in range(count):
        order = range(len(room.nodes))
        if together:
            node = learner
        else:
            roomy = [node for node in order if room.fits(node, sizes.shard, 1)]
            if not roomy and (roomy := [node for node in order if room.fits(node, sizes.shard)]):
                message = (
                    f"a replay shard of {format_bytes(sizes.shard)} and 1 CPU: nodes with that memory have "
                    "no CPU free"
                )
                short.append(Shortage("replay.num_shards", message, "fewer shards, or larger nodes"))
            elif not roomy:
                message = (
                    f"a replay shard of {format_bytes(sizes.shard)} fits on no node: {room.most_memory()}"
                )
                hint = "more shards, a smaller replay.capacity, or nodes with more memory"
                short.append(Shortage("replay.num_shards", message, hint))
            node = max(roomy or order, key=lambda index: (room.memory[index], -index))
        room.take(node, "shards", sizes.shard, 1)
        placed.append(node)
    return placed


def _place_runners(
    spec: ExperimentSpec, head: int, sizes: PartSizes, room: _Room, short: list[Shortage]
) -> list[int]:
    """Spread runners so that every node is used in proportion to its cores, the head's last."""
    need, placed = spec.env_runners.num_cpus_per_env_runner, list[int]()

    def loaded(node: int) -> tuple[bool, float, int]:
        cpus = max(room.nodes[node].cpus, _SMALLEST_LOAD_CPUS)
        return node == head, (room.load[node] + max(need, _SMALLEST_LOAD_CPUS)) / cpus, node

    for _ in range(spec.env_runners.num_env_runners):
        order = range(len(room.nodes))
        fitting = [node for node in order if room.fits(node, sizes.runner, need)]
        if not fitting:
            fitting = [node for node in order if room.fits(node, 0, need)]
            short.append(_no_room_for_runner(need, sizes.runner, room, bool(fitting)))
        node = min(fitting or order, key=loaded)
        room.take(node, "runners", sizes.runner, need)
        placed.append(node)
    return placed


def _no_room_for_runner(cpus: float, memory: int, room: _Room, has_cpus: bool) -> Shortage:
    if has_cpus:
        message = (
            f"a runner of {format_bytes(memory)} fits on no node that has {cpus:g} CPUs free; "
            f"{room.most_memory()}"
        )
    else:
        message = f"a runner needs {cpus:g} CPUs: no node has more than {max(0.0, *room.cpus):g} free"
    return Shortage("env_runners.num_env_runners", message, "fewer runners, or more nodes")


def _total_shortages(spec: ExperimentSpec, nodes: Sequence[Node]) -> Iterator[Shortage]:
    runners, learners, shards = (
        spec.env_runners.num_env_runners,
        spec.learners.num_learners,
        spec.replay.num_shards,
    )
    needed = runners * spec.env_runners.num_cpus_per_env_runner + learners + shards + driver_cpus(spec)
    there = sum(node.cpus for node in nodes)
    if needed > there + 1e-9:
        parts = [_counted(runners, "runner"), _counted(learners, "learner"), _counted(shards, "shard")]
        parts += ["the driver"] if driver_cpus(spec) else []
        named = ", ".join(part for part in parts if part)
        message = f"{named} need {needed:g} CPUs, {_counted(len(nodes), 'node')} have {there:g}"
        yield Shortage("env_runners.num_env_runners", message, "take fewer runners, or more nodes")


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}" if count else ""


@dataclass(frozen=True)
class Flow:
    """What goes from one node to another, in bytes per second.

    Attributes:
        blocks: of runners to their shards.
        windows: of shards to learners.
        weights: of learners to runners.
    """

    blocks: float = 0.0
    windows: float = 0.0
    weights: float = 0.0

    @property
    def total(self) -> float:
        """All kinds together."""
        return self.blocks + self.windows + self.weights

    def __add__(self, other: Flow) -> Flow:
        return Flow(self.blocks + other.blocks, self.windows + other.windows, self.weights + other.weights)


def updates_wanted(spec: ExperimentSpec, env_steps_per_second: float) -> float | None:
    """Return the updates per second that the replay ratio asks for; None if the learner runs free.

    Args:
        spec: a resolved spec.
        env_steps_per_second: of all runners together.
    """
    ratio = spec.replay.samples_per_env_step
    return None if ratio is None else ratio * env_steps_per_second / spec.training.batch_size


def traffic(
    placement: Placement,
    spec: ExperimentSpec,
    sizes: PartSizes,
    env_steps_per_second: float,
    updates_per_second: float | None = None,
) -> dict[tuple[int, int], float]:
    """Estimate what goes over the network: `flows`, all kinds together.

    Returns:
        (index of the sending node, of the receiving one) -> bytes per second.

    Raises:
        ValueError: the learner runs free and no `updates_per_second` is given.
    """
    found = flows(placement, spec, sizes, env_steps_per_second, updates_per_second)
    return {pair: flow.total for pair, flow in found.items()}


def flows(
    placement: Placement,
    spec: ExperimentSpec,
    sizes: PartSizes,
    env_steps_per_second: float,
    updates_per_second: float | None = None,
) -> dict[tuple[int, int], Flow]:
    """Estimate what goes over the network: blocks, windows, weights between different nodes.

    Args:
        placement: where everything is.
        spec: a resolved spec.
        sizes: of its parts.
        env_steps_per_second: of one runner.
        updates_per_second: of the learners; needed only where `replay.samples_per_env_step` is null.

    Returns:
        (index of the sending node, of the receiving one) -> what goes there.

    Raises:
        ValueError: the learner runs free and no `updates_per_second` is given.
    """
    found: dict[tuple[int, int], Flow] = defaultdict(Flow)
    runners, learners = placement.runners or (placement.driver,), placement.learners or (placement.driver,)
    shards = placement.shards or (placement.driver,)
    if updates_per_second is None:
        updates_per_second = updates_wanted(spec, env_steps_per_second * len(runners))
        if updates_per_second is None:
            raise ValueError("a learner that runs free needs updates_per_second")
    lanes = spec.env_runners.num_envs_per_env_runner
    pulls = env_steps_per_second / (lanes * spec.env_runners.weights_pull_period_env_steps)
    for index, runner in enumerate(runners):
        found[runner, shards[index % len(shards)]] += Flow(blocks=env_steps_per_second * sizes.row)
        # No runner is sent the same weights twice.
        found[learners[0], runner] += Flow(weights=min(pulls, updates_per_second) * sizes.weights)
    for learner in learners:
        for shard in shards:
            windows = updates_per_second * sizes.batch / (len(learners) * len(shards))
            found[shard, learner] += Flow(windows=windows)
    return {pair: flow for pair, flow in sorted(found.items()) if pair[0] != pair[1] and flow.total}
