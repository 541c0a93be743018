"""How fast runners act and learners learn, as far as that was measured or published: what a plan assumes."""

from __future__ import annotations

from dataclasses import dataclass

from rlx.envs.ids import env_family
from rlx.experiment.placement import updates_wanted
from rlx.experiment.spec import ExperimentSpec

#: Env steps/s of a runner process on Atari: `runner_env_steps_per_second` of docs/benchmarks.md, and the
#: environments that it had. With fewer it is slower, nobody has measured by how much.
ATARI_RUNNER, ATARI_ENVS = 1243.0, 16
_ATARI_WORDS = "measured on one core with Pong, 16 environments and the Nature network (docs/benchmarks.md)"
#: Env steps/s of all runners together where no rate was measured.
ROUND_RATE = 1000.0
_APEX_UPDATES, _R2D2_UPDATES = 19.0, 5.0


@dataclass(frozen=True)
class Assumed:
    """Rates that a person gives.

    Attributes:
        env_steps_per_second: of one runner.
        updates_per_second: the most that learners do.
    """

    env_steps_per_second: float | None = None
    updates_per_second: float | None = None


@dataclass(frozen=True)
class Rates:
    """What the figures of a plan rest on.

    Attributes:
        env_steps_per_second: of one runner.
        env_steps_per_second_in_all: of all runners.
        updates_per_second: of the learners.
        sampling, learning: where these come from, in words.
        known: whether the first is given or measured: without, nothing can be said about time.
        at_most: whether learners that are slower than assumed slow down acting too.
    """

    env_steps_per_second: float
    env_steps_per_second_in_all: float
    updates_per_second: float
    sampling: str
    learning: str
    known: bool
    at_most: bool = False


def rates_of(spec: ExperimentSpec, env: str, assumed: Assumed) -> Rates:
    """Say how fast a run would go, and why one should think so.

    With a replay ratio runners and learners go in step: learning follows acting, unless learners are given
    that are slower than that.

    Args:
        spec: a resolved spec.
        env: its environment.
        assumed: what is given.
    """
    runners = max(1, spec.env_runners.num_env_runners)
    rate, sampling, known = _sampling(spec, env, assumed, runners)
    wanted, given = updates_wanted(spec, rate * runners), assumed.updates_per_second
    if wanted is None:
        updates, learning = _free_updates(spec, given)
    elif given is not None and given < wanted:
        rate, updates = rate * given / wanted, given
        sampling = f"slowed by the learner to keep replay.samples_per_env_step; otherwise {sampling}"
        learning = "as given"
    else:
        updates = wanted
        learning = (
            "what replay.samples_per_env_step asks for; if learners do fewer, all is slower in proportion"
        )
    at_most = wanted is not None and given is None
    return Rates(rate, rate * runners, updates, sampling, learning, known, at_most)


def _sampling(spec: ExperimentSpec, env: str, assumed: Assumed, runners: int) -> tuple[float, str, bool]:
    if assumed.env_steps_per_second is not None:
        return assumed.env_steps_per_second, "as given", True
    lanes = spec.env_runners.num_envs_per_env_runner
    if env_family(env) == "atari" and spec.env_runners.num_env_runners and lanes >= ATARI_ENVS:
        return ATARI_RUNNER, _ATARI_WORDS, True
    words = f"a round figure, {ROUND_RATE:,.0f} in all: no rate of such runners was measured"
    return ROUND_RATE / runners, words, False


def _free_updates(spec: ExperimentSpec, given: float | None) -> tuple[float, str]:
    """Return the updates of learners that run free.

    Source: [ApeX] section 4.1 (19 batches of 512 a second), [R2D2] section 2.3 (5 updates of 64 sequences),
    each with one GPU.
    """
    if given is not None:
        return given, "as given"
    if spec.algorithm == "r2d2":
        return _R2D2_UPDATES, "assumed, as learners run free: that of the R2D2 paper's GPU"
    return _APEX_UPDATES, "assumed, as learners run free: that of the Ape-X paper's GPU"


def figure(number: float) -> str:
    """Show a rate with three digits or all that stand before the point: 0.0123, 12.4, 39,776."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
