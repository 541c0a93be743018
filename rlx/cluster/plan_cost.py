"""How long the runs of a plan take and what its nodes cost, where that can be known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlx.cluster.aws import Aws
from rlx.cluster.plan_rates import Rates, figure
from rlx.cluster.prices import find_prices, machines, with_prices
from rlx.cluster.spec import AnyCluster, AwsCluster
from rlx.runs.preflight import Preflight


@dataclass(frozen=True)
class Duration:
    """How long all runs take, one after the other.

    Attributes:
        seconds: None if that is not known.
        words: which stop condition it follows from, or why it is not known.
        at_least: whether it is longer if the learners are slower than the replay ratio asks for.
    """

    seconds: float | None
    words: str
    at_least: bool = False


@dataclass(frozen=True)
class Price:
    """What the planned nodes cost in an hour.

    Attributes:
        per_hour: None if a price is not known.
        unit: ` USD`; empty where the file's own prices are in it.
        words: who says so, or what is not known.
        most_per_hour: of all nodes that there can be, None if not known.
    """

    per_hour: float | None
    unit: str
    words: str
    most_per_hour: float | None = None


def duration_of(runs: Sequence[tuple[Preflight, Rates]]) -> Duration:
    """Add up the runs; each is as long as its first stop condition says.

    Args:
        runs: what is known of each, and how fast it is assumed to go.
    """
    found = [_of_run(check, rates) for check, rates in runs]
    seconds = [one.seconds for one in found if one.seconds is not None]
    if len(seconds) < len(found):
        return next(one for one in found if one.seconds is None)
    words = found[0].words + (f"; {len(found)} runs, one after the other" if len(found) > 1 else "")
    return Duration(sum(seconds), words, any(one.at_least for one in found))


def price_of(spec: AnyCluster, counts: Mapping[str, int], *, ask: bool = True) -> Price:
    """Return what nodes cost in an hour: the file's prices first, then AWS's.

    Args:
        spec: the cluster.
        counts: nodes of each group, and `head`.
        ask: whether AWS is asked for what the file leaves open.
    """
    if not isinstance(spec, AwsCluster):
        return Price(None, "", "hosts of one's own have no price")
    own = {group: machine.price_per_hour for group, machine in machines(spec)}
    every, words = dict(own), "by the cluster file"
    if None in own.values() and ask:
        prices = find_prices(Aws(spec.region), spec)
        every = {node.group: node.per_hour for node in prices.nodes}
        spec = with_prices(spec, prices)
        words = (
            f"by AWS on {prices.day}"
            if set(own.values()) == {None}
            else f"by the file and AWS on {prices.day}"
        )
    unit = " USD" if set(own.values()) == {None} else ""
    unknown = [group for group, price in every.items() if price is None]
    if unknown:
        return Price(None, unit, f"no price of {', '.join(unknown)}")
    total = sum(
        (price or 0.0) * counts.get(group.removeprefix("workers."), 0) for group, price in every.items()
    )
    return Price(total, unit, f"{words}; volumes and traffic not counted", spec.price_per_hour())


def _of_run(check: Preflight, rates: Rates) -> Duration:
    """Return how long one run takes: the least that its stop conditions say."""
    stop, in_all = check.run.spec.stop, rates.env_steps_per_second_in_all
    ends: dict[str, float] = {}
    if stop.seconds is not None:
        ends[f"stop.seconds {stop.seconds:,g}"] = stop.seconds
    if rates.known and stop.env_steps is not None:
        ends[f"stop.env_steps {stop.env_steps:,} at {figure(in_all)} env steps/s"] = stop.env_steps / in_all
    if rates.known and stop.env_frames is not None:
        frames = in_all * int(check.protocol["frame_skip"])
        ends[f"stop.env_frames {stop.env_frames:,} at {figure(frames)} frames/s"] = stop.env_frames / frames
    if rates.known and stop.updates is not None:
        words = f"stop.updates {stop.updates:,} at {figure(rates.updates_per_second)} updates/s"
        ends[words] = stop.updates / rates.updates_per_second
    if not ends:
        return Duration(None, _why_unknown(check, rates))
    words = min(ends, key=lambda key: ends[key])
    at_least = rates.at_most and not words.startswith("stop.seconds")
    counted = any(value is not None for value in (stop.env_steps, stop.env_frames, stop.updates))
    if counted and not rates.known:
        words += ", or sooner: no rate is known"
    returns = {"return_mean": stop.return_mean, "evaluation_return_mean": stop.evaluation_return_mean}
    sooner = [f"{key} {value:g}" for key, value in returns.items() if value is not None]
    if sooner:
        words += f"; sooner if {' or '.join(sooner)} is reached"
    return Duration(min(ends.values()), words, at_least)


def _why_unknown(check: Preflight, rates: Rates) -> str:
    stop = check.run.spec.stop
    if all(value is None for value in (stop.env_steps, stop.env_frames, stop.updates)):
        return "nobody knows when the return that stops it is reached"
    return "no rate is known; --env-steps-per-second-per-runner gives one"
