from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rlx.reference import ReferenceDataError, UnknownReferenceError, find_reference, references, tables
from rlx.reference.tables import cached_table, read_table

ROOT = Path(__file__).resolve().parents[2]


def test_every_column_is_a_reference_with_its_scores() -> None:
    by_name = {reference.name: reference for reference in references()}
    assert len(by_name) == len(references())
    for row in cached_table("atari57_scores.csv"):
        for column, cell in row.items():
            if column != "game":
                score = by_name[column].scores[row["game"]]
                assert score == (float(cell) if cell else None)


def test_the_two_baselines_are_0_and_1() -> None:
    assert find_reference("random").mean_hns == 0.0
    human = find_reference("human").aggregates
    assert (human.median_hns, human.mean_hns, human.games_above_human) == (1.0, 1.0, 57)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("apex_dqn", "apex_dqn"),
        ("Ape-X DQN", "apex_dqn"),
        ("APEX-DQN", "apex_dqn"),
        ("ape-x", "apex_dqn"),
        ("agent-57", "agent57"),
        ("MuZero", "muzero"),
        ("rllib-apex", "rllib-apex"),
        ("RLlib Apex", "rllib-apex"),
        ("rllib_apex", "rllib-apex"),
        ("rainbow", "rainbow"),
        ("Dopamine Rainbow", "dopamine-rainbow"),
        ("qr-dqn", "qr_dqn"),
        ("impala", "impala_deep"),
    ],
)
def test_names_in_other_spellings(text: str, name: str) -> None:
    assert find_reference(text).name == name


def test_every_name_finds_itself_and_no_title_hides_a_name() -> None:
    for reference in references():
        assert find_reference(reference.name) is reference
        assert find_reference(reference.name.upper().replace("-", "_")) is reference


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(UnknownReferenceError, match="did you mean 'rainbow'"):
        find_reference("rainbwo")
    with pytest.raises(UnknownReferenceError, match="rllib-apex"):
        find_reference("rlib-apex")
    with pytest.raises(UnknownReferenceError, match="rlx references"):
        find_reference("zzz")


def test_each_says_where_it_is_from() -> None:
    keys = set(re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs/references.md").read_text(), re.MULTILINE))
    for reference in references():
        assert reference.key in keys, reference.name
        assert reference.source
        assert reference.address.startswith("https://")
        assert reference.found_in
        assert reference.protocol.words
        assert len(reference.scores) == 57
        assert reference.games


def test_each_is_in_the_documentation() -> None:
    lines = (ROOT / "docs/reference-results.md").read_text().splitlines()
    rows = [line.split("|") for line in lines if line.startswith("|")]
    named = {name for row in rows for name in re.findall(r"`([a-z0-9_…-]+)`", row[1])}
    families = tuple(name.removesuffix("…") for name in named if name.endswith("…"))
    # Other budgets of the same reference stand beside it: `-1h`.
    suffixes = {name for row in rows for name in re.findall(r"`(-[a-z0-9]+)`", row[-2])}
    for reference in references():
        base = next((reference.name.removesuffix(s) for s in suffixes if reference.name.endswith(s)), "")
        known = reference.name in named or reference.name.startswith(families) or base in named
        assert known or reference.kind == "baseline", reference.name


def test_as_plain_data() -> None:
    for reference in references():
        data = json.loads(json.dumps(reference.as_dict()))
        assert data["name"] == reference.name
        assert data["median_hns"] == reference.median_hns
        assert data["scores"]["Pong"] == reference.scores["Pong"]
        assert data["protocol"]["start"] == reference.protocol.start
    published = find_reference("apex_dqn").as_dict()["published"]
    assert published["median_hns"] == 4.341


def test_shared_data_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        find_reference("dqn").scores["Pong"] = 21.0  # type: ignore[index]


def test_listing_loads_no_numpy() -> None:
    program = (
        "import sys, rlx.reference as r; r.references(); r.games(); r.throughput(); r.rllib_rows();"
        "assert r.find_reference('agent57').median_hns > 19; print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_names_of_the_package_stay_functions_when_their_modules_are_loaded() -> None:
    import rlx.reference as package

    for name in package.__all__:
        assert callable(getattr(package, name)) or name == "Rounding", name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_damaged_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "DATA", tmp_path)
    (tmp_path / "half.csv.gz").write_bytes(b"\x1f\x8b\x08half")
    whole = bytearray(gzip.compress(b"game,score\n" + b"Pong,1\n" * 500))
    whole[len(whole) // 2] ^= 0xFF
    (tmp_path / "bent.csv.gz").write_bytes(whole)
    for name in ("half.csv.gz", "bent.csv.gz", "absent.csv"):
        with pytest.raises(ReferenceDataError, match=name):
            read_table(name)
