"""The tables that a person reads, made from the document: terminal and HTML show the same cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rlx.compare.budget import duration, quantity

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A titled table of text cells; an empty cell was not measured."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    #: Verdict of each row, for colours; empty where there is none.
    marks: tuple[str, ...] = field(default=())


def tables(document: Document) -> list[Table]:
    """Return all tables that have rows, in the order of reading, without columns that are all empty."""
    makers: tuple[Callable[[Document], Table], ...] = (
        _scores, _beside, _apart, _budgets, _aggregates, _improvements, _profiles, _runs, _references,
        _requirements,
    )  # fmt: skip
    return [without_empty(table) for make in makers if (table := make(document)).rows]


def without_empty(table: Table) -> Table:
    """Return a table without the columns that are empty in every row."""
    kept = [index for index in range(len(table.columns)) if any(row[index] for row in table.rows)]
    columns = tuple(table.columns[index] for index in kept)
    return replace(table, columns=columns, rows=tuple(tuple(row[i] for i in kept) for row in table.rows))


def number(value: float | None) -> str:
    """Write a score or a fraction with two decimals; nothing if it is missing."""
    return "" if value is None else f"{value:.2f}"


def _scores(document: Document) -> Table:
    rows, notes = [], []
    for row in document["scores"]:
        score = row["score"]
        rows.append(
            (
                row["env"],
                row["agent"],
                *_over_seeds(score),
                _reach(score),
                number(score["hns"]),
                score["taken"],
            )
        )
        notes += _why(row["env"], row["agent"], score["reason"])
        if not row["comparable"]:
            notes.append(f"{row['env']}, {row['agent']}: not comparable with the others; {row['protocol']}")
    columns = ("environment", "agent", "score", "std", "seeds", "after", "human-normalised", "which score")
    kinds = ", ".join(dict.fromkeys(row["kind"] for row in document["scores"]))
    return Table(f"Scores of the runs ({kinds})", columns, tuple(rows), _unique(notes))


_BESIDE = (
    "game", "agent", "score", "std", "seeds", "after", "hn", "reference", "its score", "its std",
    "its budget", "its hn", "verdict",
)  # fmt: skip


def _beside(document: Document) -> Table:
    rows = [row for row in document["comparisons"] if row["comparable"]]
    notes = _cell_notes(rows)
    for row in rows:
        if row["ours"]["taken"]:
            notes.append(f"beside {row['reference']}: {row['ours']['taken']}; its: {row['theirs']['taken']}")
        ratio = row["frames_ratio"]
        if ratio is not None and abs(ratio - 1.0) > 0.05:
            notes.append(
                f"{row['reference']}: {ratio:.3g} times the frames of {row['agent']}: budgets differ"
            )
        if row["unknown"]:
            notes.append(f"{row['reference']} against this: not known of both: {', '.join(row['unknown'])}")
    notes += [f"verdict: {row['verdict']['rule']}" for row in rows if row["verdict"]]
    marks = tuple(_word(row) for row in rows)
    return Table(
        "Beside published results (hn: human-normalised, 1 = human)", _BESIDE,
        tuple(_beside_cells(row, row["theirs"]) for row in rows), _unique(notes), marks,
    )  # fmt: skip


def _apart(document: Document) -> Table:
    rows = [row for row in document["comparisons"] if not row["comparable"]]
    notes = [f"{row['game']}, {row['reference']}: {'; '.join(row['differences'])}" for row in rows]
    cells = tuple(_beside_cells(row, row["theirs"]) for row in rows)
    return Table("NOT COMPARABLE: measured otherwise", _BESIDE, cells, _unique([*notes, *_cell_notes(rows)]))


def _budgets(document: Document) -> Table:
    columns = (
        "game", "agent", "equal", "score", "std", "seeds", "after", "hn", "reference", "its score", "its std",
        "its", "its hn", "verdict",
    )  # fmt: skip
    rows, notes, marks = [], [], []
    for row in document["equal_budgets"]:
        if row["ours"]["score"] is None and row["theirs"]["score"] is None:
            continue
        frames = row["axis"] == "frames"
        amount = f"{quantity(row['amount'])} frames" if frames else duration(row["amount"])
        rows.append((*_beside_cells(row, row["theirs"])[:2], amount, *_beside_cells(row, row["theirs"])[2:]))
        marks.append(_word(row))
        notes += _cell_notes([row])
        if not row["comparable"]:
            notes.append(f"{row['game']}, {row['reference']}: measured otherwise, no verdict")
        notes.append(f"{row['agent']}: on {row['hardware'] or 'hardware that was not recorded'}")
        notes.append(
            f"{row['reference']}: on {row['reference_hardware'] or 'hardware that was not recorded'}"
        )
    return Table("At equal budgets (training returns)", columns, tuple(rows), _unique(notes), tuple(marks))


def _aggregates(document: Document) -> Table:
    names = ("median_hns", "mean_hns", "iqm_hns", "capped_mean_hns", "p5_hns", "games_above_human")
    columns = (
        "of", "over the games of", "games", "median", "mean", "IQM", "capped mean", "5th pct", "above human"
    )  # fmt: skip
    rows, notes = [], []
    for row in document["aggregates"]:
        shared = f"{row['agent']} and {row['beside']}" if row["beside"] else row["agent"]
        cells = [_estimate(row["values"][name]) for name in names]
        rows.append((row["of"], shared, str(len(row["games"])), *cells))
        if row["reason"] and row["of"] == row["agent"]:
            notes.append(f"{row['of']}: no intervals: {row['reason']}")
    notes += _printed(document)
    title = "Over games, human-normalised (95% stratified bootstrap over seeds in brackets)"
    return Table(title, columns, tuple(rows), _unique(notes))


def _printed(document: Document) -> list[str]:
    """Say what a source prints where its scores do not come to it."""
    found = []
    for reference in document["references"]:
        published = reference["published"]
        if published and published["agreement"] in ("mismatch", "partial"):
            printed = f"median {number(published['median_hns'])}, mean {number(published['mean_hns'])}"
            own = f"{number(reference['median_hns'])} and {number(reference['mean_hns'])}"
            found.append(f"{reference['name']}: its source prints {printed}; all its scores come to {own}")
    return found


def _improvements(document: Document) -> Table:
    rows = tuple(
        (row["agent"], row["other"], str(len(row["envs"])), _estimate(row["probability"]))
        for row in document["improvements"]
    )
    notes = [
        f"{row['agent']} and {row['other']}: {row['reason']}"
        for row in document["improvements"]
        if row["reason"]
    ]
    return Table(
        "Probability of improvement", ("agent", "over", "environments", "probability"), rows, _unique(notes)
    )


def _profiles(document: Document) -> Table:
    agents = dict.fromkeys(point["agent"] for point in document["profiles"])
    taus = list(dict.fromkeys(point["threshold"] for point in document["profiles"]))
    rows = tuple(
        (
            agent,
            *(_estimate({**p, "value": p["fraction"]}) for p in document["profiles"] if p["agent"] == agent),
        )
        for agent in agents
    )
    columns = ("agent", *(f"> {tau:g}" for tau in taus))
    return Table(
        "Performance profile: fraction of runs x games above so much of the human score", columns, rows
    )


def _runs(document: Document) -> Table:
    columns = ("agent", "environment", "seed", "state", "frames", "time", "commit", "hardware", "path")
    rows, notes = [], []
    for agent in document["agents"]:
        for run in agent["runs"]:
            rows.append(
                (
                    agent["name"], run["env"], "" if run["seed"] is None else str(run["seed"]), run["state"],
                    "" if run["env_frames"] is None else quantity(run["env_frames"]),
                    "" if run["seconds"] is None else duration(run["seconds"]),
                    run["commit"], run["hardware"], run["path"],
                )
            )  # fmt: skip
            notes += [f"{run['path']}: {note}" for note in run["notes"]]
    return Table("Runs", columns, tuple(rows), _unique(notes))


def _references(document: Document) -> Table:
    columns = ("reference", "budget", "seeds", "protocol", "hardware")
    rows, notes = [], []
    for reference in document["references"]:
        rows.append(
            (
                reference["name"], reference["budget"]["words"], str(reference["seeds"] or ""),
                reference["protocol"]["words"], reference["hardware"],
            )
        )  # fmt: skip
        notes += [f"{reference['name']}: {caveat}" for caveat in reference["caveats"]]
    return Table("References", columns, tuple(rows), _unique(notes))


def _requirements(document: Document) -> Table:
    rows = tuple(
        (
            row["requirement"],
            row["agent"],
            number(row["value"]),
            "met" if row["met"] else "NOT MET",
            row["taken"],
            row["reason"],
        )
        for row in document["requirements"]
    )
    marks = tuple("above" if row["met"] else "below" for row in document["requirements"])
    return Table(
        "Requirements", ("requirement", "agent", "value", "outcome", "which score", "why"), rows, (), marks
    )


def _beside_cells(row: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[str, ...]:
    ours = row["ours"]
    return (
        row["game"], row["agent"], *_over_seeds(ours), _reach(ours), number(ours["hns"]), row["reference"],
        number(theirs["score"]), number(theirs["spread"]), _reach(theirs), number(row["reference_hns"]),
        _word(row),
    )  # fmt: skip


def _cell_notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    notes: list[str] = []
    for row in rows:
        notes += _why(row["game"], row["agent"], row["ours"]["reason"])
        notes += _why(row["game"], row["reference"], row["theirs"]["reason"])
        notes += [f"{row['game']}, {row['reference']}: {note}" for note in row.get("notes", ())]
    return notes


def _over_seeds(score: Mapping[str, Any]) -> tuple[str, str, str]:
    return number(score["score"]), number(score["spread"]), str(score["seeds"] or "")


def _reach(score: Mapping[str, Any]) -> str:
    """Return frames and time at which a score was read."""
    if score["score"] is None:
        return ""
    parts = [
        "" if score["env_frames"] is None else f"{quantity(score['env_frames'])} frames",
        "" if score["seconds"] is None else duration(score["seconds"]),
    ]
    return ", ".join(filter(None, parts))


def _estimate(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None:
        return ""
    if estimate["low"] is None:
        return number(estimate["value"])
    return f"{number(estimate['value'])} [{number(estimate['low'])}, {number(estimate['high'])}]"


def _word(row: Mapping[str, Any]) -> str:
    return str(row["verdict"]["word"]) if row["verdict"] else ""


def _why(where: str, who: str, reason: str) -> list[str]:
    return [f"{where}, {who}: {reason}"] if reason else []


def _unique(notes: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(notes))
