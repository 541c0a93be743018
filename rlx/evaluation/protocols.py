"""Named protocols: how environments are played when a policy is judged.

A protocol changes what a published result fixes (starts, sticky actions, frame cap, whole games) and leaves
what the network was built for as it was trained: frames, their size and stack, and the set of actions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlx.envs.spec import EnvSpec
from rlx.errors import RlxError


class ProtocolError(RlxError):
    """A protocol is unknown, does not fit the environment, or cannot be had."""


@dataclass(frozen=True)
class Protocol:
    """How environments are played. What is known of a published score is a `rlx.reference.ScoreProtocol`.

    Attributes:
        name: what `--protocol` takes.
        title: one line for tables.
        changes: fields of `EnvSpec` that it fixes.
        families: environments that it is for; empty for all.
    """

    name: str
    title: str
    changes: Mapping[str, Any]
    families: tuple[str, ...] = ()


#: Emulator frames of 30 minutes at 60 Hz. [DQN2015] plays 5 minutes; all later results of the lineage, 30.
FRAME_CAP = 108_000

_WHOLE_GAMES = {"max_episode_frames": FRAME_CAP, "life_loss_terminates": False}

NOOP30 = Protocol(
    "noop30",
    "up to 30 no-op starts, no sticky actions, 108,000 frames",
    {"noop_max": 30, "sticky_action_probability": 0.0, **_WHOLE_GAMES},
    ("atari",),
)
STICKY = Protocol(
    "sticky",
    "sticky actions with probability 0.25, no no-op starts, 108,000 frames",
    {"noop_max": 0, "sticky_action_probability": 0.25, **_WHOLE_GAMES},
    ("atari",),
)
AS_TRAINED = Protocol(
    "as-trained", "the environment section of the run, whole games", {"life_loss_terminates": False}
)

#: By name. Source: `noop30` [DQN2015] Methods and [Rainbow] section 4; `sticky` [Machado2018] section 5.
PROTOCOLS: Mapping[str, Protocol] = {p.name: p for p in (NOOP30, STICKY, AS_TRAINED)}

_HUMAN_STARTS = ("human", "human-starts", "human_starts")


def find_protocol(name: str | None, family: str) -> Protocol:
    """Find a protocol by its name.

    Args:
        name: of the protocol; None takes `noop30` on Atari and `as-trained` elsewhere.
        family: of the environment: `atari`, `minatar` or `gymnasium`.

    Raises:
        ProtocolError: it is unknown, or not for this family.
    """
    if name is None:
        return NOOP30 if family == "atari" else AS_TRAINED
    if name in _HUMAN_STARTS:
        raise ProtocolError(
            "human starts cannot be played: the recorded starts of that protocol were never published",
            name,
            "use noop30, which most published results have too",
        )
    if name not in PROTOCOLS:
        raise ProtocolError("unknown protocol", name, f"known: {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[name]
    if protocol.families and family not in protocol.families:
        raise ProtocolError(
            f"a protocol of {' and '.join(protocol.families)} has no meaning for a {family} environment",
            name,
            f"use {AS_TRAINED.name}",
        )
    return protocol


def with_protocol(env: EnvSpec, protocol: Protocol) -> EnvSpec:
    """Return an environment as a protocol plays it."""
    return dataclasses.replace(env, **protocol.changes)
