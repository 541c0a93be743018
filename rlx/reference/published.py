"""References from the 57-game score table: papers, and the random and human baselines."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from types import MappingProxyType
from typing import cast

from rlx.reference.reference import (
    Agreement,
    Budget,
    Published,
    Reference,
    ScoreKind,
    ScorePoint,
    ScoreProtocol,
    Start,
)
from rlx.reference.tables import Row, cached_table, number, whole


@cache
def published_references() -> tuple[Reference, ...]:
    """Return one reference per column of `atari57_scores.csv`, in its order."""
    protocols = {row["column"]: row for row in cached_table("atari57_protocols.csv")}
    aggregates = {row["column"]: row for row in cached_table("atari57_aggregates.csv")}
    return tuple(
        _reference(row, protocols[row["column"]], aggregates.get(row["column"]))
        for row in cached_table("atari57_columns.csv")
    )


def _reference(row: Row, protocol: Row, aggregates: Row | None) -> Reference:
    name = row["column"]
    notes = _notes(name)
    general = notes.pop("*", "")
    checked = f"reporting: {row['reporting']}" if "not checked" in row["reporting"] else ""
    caveats = (_remark(row), general, checked, protocol["note"])
    return Reference(
        name=name,
        title=row["agent"],
        kind="baseline" if row["remark"] == "baseline" else "paper",
        key=protocol["key"],
        source=row["original_source"],
        address=address(row["arxiv_or_doi"]),
        year=whole(protocol["year"]),
        protocol=_protocol(row, protocol),
        budget=Budget(whole(protocol["budget_env_frames"]), words=row["training_frames"]),
        seeds=whole(protocol["seeds"]),
        hardware=protocol["hardware"],
        scores=_scores(name),
        published=_published(aggregates) if aggregates else None,
        caveats=tuple(dict.fromkeys(text for text in caveats if text)),
        cell_notes=MappingProxyType(notes),
        found_in=row["found_in"],
    )


def _remark(row: Row) -> str:
    """Return the remark where it says more than what other fields have."""
    return "" if row["remark"] in ("baseline", "see cell notes", "49 games") else row["remark"]


def _scores(name: str) -> Mapping[str, float | None]:
    return MappingProxyType({row["game"]: number(row[name]) for row in cached_table("atari57_scores.csv")})


def _notes(name: str) -> dict[str, str]:
    table = cached_table("atari57_cell_notes.csv")
    return {row["game"]: row["note"] for row in table if row["column"] == name}


def _protocol(row: Row, protocol: Row) -> ScoreProtocol:
    sticky = {"no": "no sticky actions", "yes": "sticky actions"}[row["sticky_actions"]]
    frames = whole(protocol["max_episode_frames"])
    cap = f"episodes of at most {frames:,} frames" if frames else "episode cap not stated"
    starts = f"starts: {row['starts']}" + (f" (up to {protocol['noop_max']})" if protocol["noop_max"] else "")
    words = "; ".join([starts, sticky, cap, row["reporting"] or "how it was read: not stated"])
    return ScoreProtocol(
        start=cast(Start, protocol["start"]),
        noop_max=whole(protocol["noop_max"]),
        sticky_action_probability=number(protocol["sticky_probability"]),
        max_episode_frames=frames,
        score_kind=cast(ScoreKind, protocol["score_kind"]),
        score_point=cast(ScorePoint, protocol["score_point"]),
        words=words,
    )


def _published(row: Row) -> Published | None:
    median, mean = row["published_median_hns_pct"], row["published_mean_hns_pct"]
    if not median and not mean:
        return None
    return Published(
        median_hns=_fraction(median),
        mean_hns=_fraction(mean),
        median_tolerance=half_unit(median) / 100,
        mean_tolerance=half_unit(mean) / 100,
        where=row["published_where"],
        agreement=_agreement(row["verdict"]),
        verdict=row["verdict"],
    )


def _agreement(verdict: str) -> Agreement:
    if verdict.startswith("MISMATCH"):
        return "mismatch"
    if verdict.startswith("match on median;"):
        return "partial"
    return "match" if verdict.startswith("match") else "unchecked"


def _fraction(percent: str) -> float | None:
    """Return a printed percentage as a fraction, without the digits that a division by 100 would add."""
    return float(Decimal(percent) / 100) if percent else None


def half_unit(printed: str) -> float:
    """Return half a unit of the last printed digit: what rounding may have moved; 0 for an empty cell."""
    if not printed:
        return 0.0
    exponent = Decimal(printed).as_tuple().exponent
    return 0.5 * 10.0 ** int(exponent)


def address(identifier: str) -> str:
    """Return the address of `1511.06581`, `doi 10.1038/...` or `OpenReview ...`; of the first of several."""
    first = identifier.split(";")[0].strip()
    kind, _, rest = first.partition(" ")
    prefixes = {"doi": "https://doi.org/", "OpenReview": "https://openreview.net/forum?id="}
    return prefixes[kind] + rest if kind in prefixes else f"https://arxiv.org/abs/{first}"
