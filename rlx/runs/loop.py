"""The training loop: iterate, record, checkpoint, evaluate, stop for a reason; what it leaves can go on."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlx.runs import directory as states
from rlx.runs.checkpoints import Checkpoint, CheckpointFailure, CheckpointOutcome, CheckpointStore
from rlx.runs.directory import RunDirectory
from rlx.runs.engine import Engine, EngineFactory
from rlx.runs.errors import EvaluationAbandonedError, NoCheckpointError, RlxError
from rlx.runs.metrics import MetricsWriter, discard_after, read_ratings
from rlx.runs.mirror import HURRIED_FLUSH_SECONDS, Mirror, MirrorOutcome
from rlx.runs.policies import PolicyStore
from rlx.runs.signals import SignalGuard
from rlx.runs.stopping import Periodic, limits, reached
from rlx.runs.view import RunContext, SteadyView, View

log = logging.getLogger(__name__)


@dataclass
class RunResult:
    """How a session ended.

    `state` is `finished`, `stopped` or `failed`; `row` the last metrics; `error` what failed; `interrupted`
    whether a second Ctrl-C ended it without a checkpoint; `mirror` whether all of it is in the bucket, None
    if there is none.
    """

    path: Path
    state: str
    reason: str = ""
    row: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] | None = None
    checkpoint: str | None = None
    warnings: list[str] = field(default_factory=list)
    error: BaseException | None = None
    interrupted: bool = False
    mirror: MirrorOutcome | None = None


def train(
    spec: Any,
    run_dir: RunDirectory,
    engine_factory: EngineFactory,
    view: View,
    *,
    if_exists: str = "fail",
    clock: Callable[[], float] = time.monotonic,
    tensorboard: bool = True,
    protocol: Mapping[str, Any] | None = None,
    around: Callable[[Path], AbstractContextManager[object]] = nullcontext,
    mirror: Mirror | None = None,
) -> RunResult:
    """Train one run until a stop condition, a signal or an error; start it or go on with it.

    Args:
        spec: resolved experiment with one env and one seed.
        run_dir: where it is recorded.
        engine_factory: called once, after the directory is ready.
        view: shows rows and events.
        if_exists: `fail`, `resume` (from the newest valid checkpoint) or `overwrite`.
        clock: seconds; monotonic.
        tensorboard: whether to write event files.
        protocol: how the environment is played, for the manifest; by default what the spec says.
        around: makes what is entered once the directory is ready, e.g. to catch the noise of libraries in it.
        mirror: keeps a copy in a bucket; what it fails to do ends no training.

    Returns:
        How it ended; errors of the engine are in it, not raised.

    Raises:
        RlxError: the directory cannot be used (it exists, is locked, was made by another spec).
    """
    guard = SignalGuard()
    with run_dir.locked(), guard, mirror or nullcontext():
        if mirror is not None and if_exists == "overwrite":
            mirror.clear()
        resumed = run_dir.prepare(spec, if_exists, protocol)
        session = _Session(spec, run_dir, engine_factory, view, guard, clock, tensorboard, mirror)
        with around(run_dir.path):
            return session.run(resumed)


class _Session:
    """One process's part of a run."""

    def __init__(
        self,
        spec: Any,
        run_dir: RunDirectory,
        engine_factory: EngineFactory,
        view: View,
        guard: SignalGuard,
        clock: Callable[[], float],
        tensorboard: bool,
        mirror: Mirror | None,
    ) -> None:
        self.mirror = mirror
        self.spec, self.run_dir, self.guard, self.clock = spec, run_dir, guard, clock
        self.view = SteadyView(view)
        self.engine_factory = engine_factory
        self.tensorboard = tensorboard
        self.stop = limits(spec.stop)
        self.store = CheckpointStore(run_dir.checkpoints, spec.checkpointing.keep_last)
        if mirror is not None:
            self.store.pinned = lambda: mirror.pinned
        self.policies = PolicyStore(run_dir.best)
        self.result = RunResult(run_dir.path, states.FAILED)
        self.engine: Engine | None = None
        self.metrics: MetricsWriter | None = None
        self.row: dict[str, Any] = {}
        self.recorded = False
        self.iteration = 0
        self.seconds_before = 0.0
        self.blocked_seconds = 0.0
        self.restarts: float = 0
        self.disk_full_reported = False
        self.began = clock()
        guard.on_first = self._announce_stop

    # One session, from start to end ---------------------------------------------------------------------

    def run(self, resumed: bool) -> RunResult:
        """Build, restore, iterate, end; always leaves a true state in the manifest."""
        where = {} if self.mirror is None else {"mirror": self.mirror.bucket.url}
        self.run_dir.begin_session(resumed=resumed, **where)
        self.view.start(self._context())
        if self.mirror is not None:
            self.mirror.start()
        error: BaseException | None = None
        try:
            self._open(resumed)
            self.result.reason = self._iterate()
            self.result.state = states.STOPPED if self.guard.stop_requested else states.FINISHED
        except KeyboardInterrupt as interrupt:
            self.store.abandon()
            self.result.state, self.result.interrupted = states.STOPPED, True
            self.result.reason = f"stopped at once; {self._last_good()}"
            log.info("stopped at once (%r)", interrupt)
        except Exception as caught:
            error = caught
            self._fail(caught)
        self._close(error)
        return self.result

    def _open(self, resumed: bool) -> None:
        checkpoint = self._find_checkpoint() if resumed else None
        if checkpoint is not None:
            self._take_over(checkpoint)
        if self._already_done():
            return
        self.engine = self.engine_factory(self.spec, self.run_dir.path)
        self.guard.install()
        if checkpoint is not None:
            self.engine.restore(checkpoint.path)
        if resumed:
            self._go_back(checkpoint)
        purge = checkpoint.env_steps if checkpoint else (-1 if resumed else None)
        self.metrics = MetricsWriter(
            self.run_dir.path, tensorboard=self.tensorboard, purge_after_env_steps=purge
        )
        self.run_dir.update_session(
            seconds_to_engine_ready=_since_process_start(),
            restored_checkpoint=checkpoint.path.name if checkpoint else None,
            env_steps_at_start=checkpoint.env_steps if checkpoint else 0,
        )

    def _iterate(self) -> str:
        """Run iterations until the run ends; why it ended."""
        if self._already_done():
            return f"{reached(self.stop, self.row)} (already before this session)"
        self.began = self.clock()
        steps = int(self.row.get("env_steps") or 0)
        deterministic = bool(self.spec.debugging.deterministic)
        saving, testing = self.spec.checkpointing, self.spec.evaluation
        save = _periodic(saving, deterministic, self.began, steps)
        test = _periodic(testing, deterministic, self.began, steps)
        while not self.guard.stop_requested:
            self.row = self._train_once()
            reason = reached(self.stop, self.row)
            steps = int(self.row.get("env_steps") or 0)
            self._tell_mirror()
            if reason or self.guard.stop_requested:
                break
            if test.due(self.clock(), steps):
                self._evaluate()
                test.mark(self.clock(), steps)
                reason = reached(self.stop, self.row)
                if reason or self.guard.stop_requested:
                    break
            self._record()
            self._blocked(lambda: self._report(self.store.poll()))
            if save.due(self.clock(), steps) and not self.store.busy:
                self._blocked(self._begin_checkpoint)
                save.mark(self.clock(), steps)
                if deterministic:
                    # Waits, so that checkpoints lie at the same steps however fast the disk is.
                    self._blocked(lambda: self._report(self.store.finish()))
        else:
            reason = None
        self._finish(evaluate=reason is not None and testing.at_end)
        return reason or f"stopped by {self.guard.signal_name}"

    def _finish(self, evaluate: bool) -> None:
        """Checkpoint first, so that what follows can be interrupted without losing anything."""
        fresh = self.iteration > 0 and self.row.get("session") == self._session_number()
        try:
            self._report(self.store.finish())
            if fresh and self.spec.checkpointing.at_end:
                self._begin_checkpoint()
                self._report(self.store.finish())
            if fresh and evaluate:
                self._evaluate(final=True)
        finally:
            if fresh and not self.recorded:
                self._record()

    def _close(self, error: BaseException | None) -> None:
        """Record the end before anything that may hang, then release everything."""
        result = self.result
        last = self.store.complete()[-1:]
        result.checkpoint = last[0].path.name if last else None
        result.row = self.row
        facts = {"reason": result.reason, "last_checkpoint": result.checkpoint, **_counts(self.row)}
        failure = _describe(error) if error is not None else None
        if self.metrics is not None:
            self._guarded("closing the metrics", self.metrics.close)
        self.run_dir.end_session(result.state, error=failure, **facts)
        self._end_mirror()
        self.view.finish(result)
        if self.engine is not None:
            self._guarded("stopping the engine", self.engine.stop)

    # Iterations -----------------------------------------------------------------------------------------

    def _train_once(self) -> dict[str, Any]:
        assert self.engine is not None
        result = self.engine.train()
        whole = dict(result.get("rlx", result))
        row = {key: value for key, value in whole.items() if _is_scalar(value)}
        if self.iteration == 0 or self.row.get("session") != self._session_number():
            self._note_first_step()
        self.iteration += 1
        seconds = self._seconds()
        elapsed = max(1e-9, self.clock() - self.began)
        row.update(
            training_iteration=self.iteration,
            timestamp=time.time(),
            session=self._session_number(),
            seconds=seconds,
            time_total_s=seconds,
            checkpoint_blocked_fraction=self.blocked_seconds / elapsed,
        )
        self._tell_faults(row, whole.get("events") or ())
        self.recorded = False
        return row

    def _tell_faults(self, row: Mapping[str, Any], events: Iterable[str]) -> None:
        told = list(events)
        restarts = row.get("restarted_runners") or 0
        if restarts > self.restarts and not told:
            lost = row.get("lost_env_steps") or 0
            told.append(f"{restarts - self.restarts:g} runner(s) restarted; {lost:g} env steps lost so far")
        self.restarts = restarts
        for text in told:
            self._warn(text)

    def _record(self) -> None:
        assert self.metrics is not None
        self._note_disk(self.metrics.write(self.row))
        self.recorded = True
        self.view.update(self.row)

    def _evaluate(self, *, final: bool = False) -> None:
        assert self.engine is not None
        assert self.metrics is not None
        evaluation = self.spec.evaluation
        steps = int(self.row.get("env_steps") or 0)
        # Differs from every training seed; the same for the same point of the run, also when resumed.
        # The last one plays other episodes than one that ended the run at this very point.
        seed = 1_000_003 * (int(self.spec.seeds[0]) + 1) + steps + (500_009 if final else 0)
        try:
            found = self.engine.evaluate_policy(
                episodes=evaluation.episodes,
                epsilon=evaluation.epsilon,
                seed=seed,
                abandon=lambda: self.guard.stop_requested,
            )
        except EvaluationAbandonedError as given_up:
            later = f"; rlx evaluate {self.run_dir.path} makes one" if final else ""
            self._event(f"evaluation {given_up} ({self.guard.signal_name}): nothing of it is recorded{later}")
            return
        returns = [float(value) for value in found["returns"]]
        if not returns:
            self._warn("an evaluation finished no episode")
            return
        mean, std = statistics.fmean(returns), statistics.pstdev(returns)
        self.row.update(
            evaluation_return_mean=mean, evaluation_return_std=std, evaluation_episodes=len(returns)
        )
        self.result.evaluation = {
            **_counts(self.row),
            "training_iteration": self.iteration,
            "timestamp": time.time(),
            "epsilon": evaluation.epsilon,
            "seed": seed,
            "return_mean": mean,
            "return_std": std,
            "episodes": len(returns),
            "returns": returns,
            "lengths": found.get("lengths", []),
            "evaluation_seconds": found.get("seconds"),
        }
        self._note_disk(self.metrics.write_evaluation(self.result.evaluation))
        self.store.ratings[steps] = mean
        self._event(f"evaluation: return {mean:.2f} +- {std:.2f} over {len(returns)} episodes")
        self._blocked(self._keep_if_best)

    def _keep_if_best(self) -> None:
        """Keep the network of an evaluation that is a new best; a failure costs no training."""
        assert self.engine is not None
        assert self.result.evaluation is not None
        evaluation = self.result.evaluation
        info = {**evaluation, "seconds": self._seconds()}
        for long in ("returns", "lengths"):
            del info[long]
        newest = self.store.complete()[-1:]
        try:
            kept = self.policies.keep_if_best(self.engine, info, newest[0].env_steps if newest else -1)
        except Exception as error:
            self._warn(f"the best policy was not kept: {_wording(error)}; training goes on")
            return
        if kept is not None:
            log.info("kept %s: return %.2f, the best so far", kept.path.name, evaluation["return_mean"])

    # Checkpoints ----------------------------------------------------------------------------------------

    def _begin_checkpoint(self) -> None:
        assert self.engine is not None
        info = {**_counts(self.row), "row": self.row, "training_iteration": self.iteration}
        info["seconds"] = self._seconds()
        self._report(self.store.begin(self.engine, info))

    def _report(self, outcome: CheckpointOutcome | None) -> None:
        if isinstance(outcome, Checkpoint):
            # The engine knows the temporary name; what it reads later, it must read from the final one.
            committed = getattr(self.engine, "checkpoint_committed", None)
            if committed is not None:
                committed(outcome.path)
            self.view.checkpoint(outcome.path.name)
            missing = outcome.info.get("missing_shards")
            lacks = f" without replay shard {', '.join(map(str, missing))}" if missing else ""
            self._event(f"saved {outcome.path.name} ({outcome.size_bytes / 2**20:.1f} MiB){lacks}")
            self._refresh_manifest(outcome)
            if self.mirror is not None:
                self.mirror.poke()
        elif isinstance(outcome, CheckpointFailure):
            self._warn(outcome.message)

    def _refresh_manifest(self, outcome: Checkpoint) -> None:
        restarted = outcome.info.get("restarted_episodes")
        facts: dict[str, Any] = {"last_checkpoint": outcome.path.name}
        if restarted is not None:
            facts["restarted_episodes_on_resume"] = restarted
        if "missing_shards" in outcome.info:
            facts["missing_shards"] = outcome.info["missing_shards"]
        self._note_disk(self.run_dir.update_session(**facts))

    def _find_checkpoint(self) -> Checkpoint | None:
        self.policies.remove_leftovers()
        left = self.store.remove_leftovers()
        if left:
            self._warn(f"removed half-written checkpoints: {', '.join(left)}")
        damaged: list[str] = []
        checkpoint = self.store.latest_valid(damaged.append)
        for sentence in damaged:
            self._warn(sentence)
        if checkpoint is None and damaged:
            raise NoCheckpointError(
                "every checkpoint is damaged",
                str(self.run_dir.checkpoints),
                "restore them from a copy, or start anew with --if-exists overwrite",
            )
        return checkpoint

    def _take_over(self, checkpoint: Checkpoint) -> None:
        info = checkpoint.info
        self.row = {**(info.get("row") or {}), **_counts(info)}
        self.iteration = int(info.get("training_iteration") or 0)
        self.seconds_before = float(info.get("seconds") or 0.0)
        self.row["seconds"] = self.seconds_before
        self.restarts = self.row.get("restarted_runners") or 0

    def _go_back(self, checkpoint: Checkpoint | None) -> None:
        steps = checkpoint.env_steps if checkpoint else -1
        moved = discard_after(self.run_dir.path, steps)
        self.policies.discard_after(steps)
        aside = f"; {moved} later rows were moved to *.discarded.*" if moved else ""
        if checkpoint is None:
            self._warn(f"no checkpoint was there: the run begins again at step 0{aside}")
        else:
            self._event(f"resumed from {checkpoint.path.name} at {checkpoint.env_steps} env steps{aside}")
        self.store.ratings.update(read_ratings(self.run_dir.path))

    # The copy in a bucket ---------------------------------------------------------------------------------

    def _tell_mirror(self) -> None:
        for level, text in self.mirror.drain() if self.mirror is not None else ():
            (self._warn if level == "warning" else self._event)(text)

    def _end_mirror(self) -> None:
        """Wait, within bounds, until all is in the bucket; say whether it is."""
        if self.mirror is None:
            return
        self._tell_mirror()
        try:
            outcome = self.mirror.flush(HURRIED_FLUSH_SECONDS if self.result.interrupted else None)
        except KeyboardInterrupt:
            outcome = MirrorOutcome(self.mirror.bucket.url, False, "given up (Ctrl-C)")
        self._tell_mirror()
        self.result.mirror = outcome
        (self._event if outcome.complete else self._warn)(str(outcome))

    # Small things ---------------------------------------------------------------------------------------

    def _already_done(self) -> bool:
        return bool(self.row) and reached(self.stop, self.row) is not None and self.engine is None

    def _seconds(self) -> float:
        return self.seconds_before + self.clock() - self.began

    def _session_number(self) -> int:
        return len(self.run_dir.manifest["sessions"])

    def _blocked(self, act: Callable[[], None]) -> None:
        started = self.clock()
        act()
        self.blocked_seconds += self.clock() - started

    def _note_first_step(self) -> None:
        """The engine may know when its first step was; else the end of the first iteration bounds it."""
        at = getattr(self.engine, "first_env_step_at", None)
        self.run_dir.update_session(seconds_to_first_env_step=_since_process_start(at))

    def _note_disk(self, complete: bool) -> None:
        if not complete and not self.disk_full_reported:
            self._warn("disk full: rows of metrics are kept in memory and written when there is room")
        elif complete and self.disk_full_reported:
            self._event("there is room on the disk again")
        self.disk_full_reported = not complete

    def _event(self, text: str) -> None:
        log.info(text)
        self.view.event("info", text)

    def _warn(self, text: str) -> None:
        log.warning(text)
        self.result.warnings.append(text)
        self.view.event("warning", text)

    def _announce_stop(self, name: str) -> None:
        self._event(f"{name}: stopping after this iteration and a checkpoint; Ctrl-C again stops at once")

    def _last_good(self) -> str:
        last = self.store.complete()[-1:]
        return f"the last good checkpoint is {last[0].path.name}" if last else "there is no checkpoint"

    def _fail(self, error: Exception) -> None:
        self._guarded("ending the checkpoint under way", lambda: self._report(self.store.finish()))
        log.error("the run failed", exc_info=error)
        self.result.state, self.result.error = states.FAILED, error
        self.result.reason = f"{_wording(error)}; {self._last_good()}"

    def _guarded(self, what: str, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:
            log.error("%s failed", what, exc_info=error)
            self.result.warnings.append(f"{what} failed: {error}")

    def _context(self) -> RunContext:
        env = self.spec.env if isinstance(self.spec.env, str) else self.spec.env[0]
        return RunContext(
            path=self.run_dir.path,
            algorithm=str(self.spec.algorithm),
            env=env,
            seed=int(self.spec.seeds[0]),
            stop=self.stop,
        )


def _periodic(section: Any, deterministic: bool, now: float, env_steps: int) -> Periodic:
    # A clock would make two equal runs differ, so deterministic runs go by steps alone.
    seconds = None if deterministic else section.interval_seconds
    return Periodic(seconds, section.interval_env_steps, now=now, env_steps=env_steps)


def _counts(row: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("env_steps", "env_frames", "updates", "samples", "episodes")
    return {key: row[key] for key in keys if row.get(key) is not None}


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str)) or getattr(value, "ndim", None) == 0


def _describe(error: BaseException) -> dict[str, Any]:
    return {"type": type(error).__name__, "what": _wording(error), "at": time.time()}


def _wording(error: BaseException) -> str:
    """Say what failed in one line; a remote actor's error is a whole traceback, its last line says it."""
    if isinstance(error, RlxError):
        return str(error.what)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1:
        return lines[-1]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def _since_process_start(at: float | None = None) -> float:
    import psutil

    until = time.time() if at is None or not math.isfinite(at) else at
    return float(round(until - psutil.Process().create_time(), 3))
