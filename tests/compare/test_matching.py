"""Which command makes the score that is missing: derived from the protocols that `rlx evaluate` plays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rlx.compare.budget import BEST, FINAL
from rlx.compare.matching import command
from rlx.compare.rlx_run import read_rlx_run
from rlx.evaluation.protocols import PROTOCOLS
from rlx.reference import find_reference
from rlx.reference.reference import ScoreProtocol
from tests.compare.made import add_record, line, make_run

PAPERS = ScoreProtocol("noop", 30, 0.0, 108_000, "evaluation", "unstated")
STICKY = ScoreProtocol("none", None, 0.25, 108_000, "evaluation", "unstated")


@pytest.mark.parametrize(("name", "protocol"), [("noop30", PAPERS), ("sticky", STICKY)])
def test_what_a_protocol_plays_is_what_its_scores_say(
    tmp_path: Path, name: str, protocol: ScoreProtocol
) -> None:
    run = make_run(tmp_path, line(4000, 10, 5))
    add_record(run, 9.0, 4000.0, protocol=name)
    played = read_rlx_run(run).series[0].protocol
    assert played == protocol
    assert command(read_rlx_run(run), protocol, FINAL) == (
        f"rlx evaluate {run} --protocol {name} --checkpoint last"
    )


def test_no_command_is_named_that_would_not_help(tmp_path: Path) -> None:
    run = read_rlx_run(make_run(tmp_path, line(4000, 10, 5)))
    assert command(run, PAPERS, BEST).endswith("--protocol noop30 --checkpoint best")
    assert command(run, replace(PAPERS, score_kind="training"), FINAL) == ""
    assert command(run, replace(PAPERS, max_episode_frames=18_000), FINAL) == ""
    assert command(run, replace(PAPERS, start="human", noop_max=None), FINAL) == ""
    other = read_rlx_run(make_run(tmp_path, line(4000, 10, 5), env="CartPole-v1"))
    assert command(other, PAPERS, FINAL) == ""


def test_most_papers_are_measured_as_noop30_plays() -> None:
    assert find_reference("rainbow").protocol.differences(PAPERS) == ()
    assert set(PROTOCOLS) == {"noop30", "sticky", "as-trained"}
