from __future__ import annotations

from rlx.reference import throughput


def test_figures_of_one_agent() -> None:
    apex = {row.metric: row for row in throughput("apex")}
    assert apex["env_frames_per_s_total"].value == 50_000
    assert apex["env_frames_per_s_total"].status == "confirmed"
    assert apex["actors"].value == 360
    assert {row.agent for row in throughput("ape-x")} == {"Ape-X DQN"}
    assert {row.value for row in throughput("RLlib DQN")} == {92.0, 145.0}


def test_all() -> None:
    assert len(throughput()) == 57
    assert {row.status for row in throughput()} == {"confirmed", "secondary", "derived", "unverified"}
    assert throughput("nobody") == ()
