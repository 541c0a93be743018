"""The one place that words errors and chooses their exit codes."""

from __future__ import annotations

import sys
import traceback

from rlx.cli.exit_codes import ExitCode


def report(error: BaseException, *, debug: bool) -> ExitCode:
    """Print what is wrong, where, and what next, to stderr; the traceback too if `debug`.

    Returns:
        The exit code for it.
    """
    if debug:
        traceback.print_exception(error)
    lines, code = word(error)
    for line in lines:
        print(line, file=sys.stderr)
    if code is ExitCode.INTERNAL and not debug:
        print("rlx: --debug shows where it happened", file=sys.stderr)
    return code


def word(error: BaseException) -> tuple[list[str], ExitCode]:
    """Return the lines that describe an error, and its exit code."""
    from rlx.cluster.errors import ClusterError, ClusterUsageError
    from rlx.compare.errors import CompareUsageError
    from rlx.envs.errors import EnvError
    from rlx.evaluation.protocols import ProtocolError
    from rlx.experiment.problems import ExperimentError
    from rlx.reference.errors import UnknownGameError, UnknownReferenceError
    from rlx.runs.errors import MirrorUsageError, RlxError
    from rlx.video.errors import VideoError

    if isinstance(error, KeyboardInterrupt):
        return ["rlx: interrupted"], ExitCode.INTERRUPTED
    if isinstance(error, ExperimentError):
        return [str(problem) for problem in error.problems] or [str(error)], ExitCode.USAGE
    of_the_command = (
        ClusterUsageError,
        MirrorUsageError,
        EnvError,
        ProtocolError,
        CompareUsageError,
        UnknownGameError,
        UnknownReferenceError,
        VideoError,
    )
    if isinstance(error, of_the_command):
        return [f"rlx: {error}"], ExitCode.USAGE
    if isinstance(error, ClusterError):
        return [f"rlx: {error}"], ExitCode.CLUSTER
    if isinstance(error, RlxError):
        return [f"rlx: {error}"], ExitCode.RUN
    if isinstance(error, OSError) and error.filename:
        return [f"rlx: {error.filename}: {error.strerror or error}"], ExitCode.INTERNAL
    return [f"rlx: {type(error).__name__}: {error}"], ExitCode.INTERNAL


def training_failed(result: object) -> list[str]:
    """Word the failure of a run."""
    path, reason = getattr(result, "path", ""), getattr(result, "reason", "")
    return [f"rlx: {path}: training failed: {reason}", f"rlx: details are in {path}/train.log"]
