"""What `rlx` returns to the shell."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command.

    `OK` is also a run that was stopped by one Ctrl-C or SIGTERM: it did as told and has its checkpoint.
    """

    OK = 0
    #: An error inside rlx or a library; `--debug` shows where.
    INTERNAL = 1
    #: The command line, or the experiment, is wrong; nothing was started.
    USAGE = 2
    #: A run directory is missing, in use, there already, damaged, or does not fit.
    RUN = 3
    #: Training ended by an error; the run has state `failed`.
    TRAINING_FAILED = 4
    #: A benchmark figure is below its floor.
    BELOW_FLOOR = 5
    #: A `--require` of `rlx compare` is not met.
    REQUIREMENT_NOT_MET = 6
    #: Something of a cluster still stands (`rlx cluster down`), or costs money (`rlx cluster leftovers`).
    STILL_THERE = 7
    #: A cluster cannot be had as asked: `rlx cluster check` found problems, or the provider refuses.
    CLUSTER = 8
    #: Training ended well, but not all of the run is in the bucket of `--mirror`.
    NOT_MIRRORED = 9
    #: Stopped at once by a second Ctrl-C.
    INTERRUPTED = 130
