"""Write the document as CSV or as a page of HTML; JSON is the document itself."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterator, Mapping
from typing import Any

from rlx.compare.tables import Document, Table, tables

#: Columns of the CSV; an empty cell was not measured, or has no meaning in this kind of row.
CSV_COLUMNS = (
    "kind", "agent", "env", "game", "reference", "comparable", "statistic", "amount",
    "score", "spread", "seeds", "low", "high", "hns", "env_frames", "seconds",
    "reference_score", "reference_spread", "reference_hns", "reference_env_frames", "reference_seconds",
    "verdict", "margin", "reason",
)  # fmt: skip

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.4 system-ui, sans-serif; margin: 1rem auto; max-width: 80rem; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; white-space: nowrap; }
th, td { padding: .2rem .6rem; text-align: left; border-bottom: 1px solid #8885; }
.above { color: #0a7d33; } .below { color: #c0392b; }
ul { color: #888; }
"""


def to_csv(document: Document) -> str:
    """Return scores, comparisons, equal budgets and aggregates as one table, `kind` telling them apart."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in _csv_rows(document):
        writer.writerow({key: "" if value is None else value for key, value in row.items()})
    return buffer.getvalue()


def to_html(document: Document) -> str:
    """Return one page that needs nothing else: all tables, their notes, every text escaped."""
    parts = [_html_table(table) for table in tables(document)]
    notes = _html_notes(document["notes"])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>rlx compare</title><style>{_STYLE}</style></head>\n<body><h1>rlx compare</h1>\n"
        f"<p>Scores are read: {html.escape(document['at'])}.</p>\n{notes}{''.join(parts)}</body></html>\n"
    )


def _html_table(table: Table) -> str:
    marks = table.marks or ("",) * len(table.rows)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
    body = "".join(
        f'<tr class="{html.escape(mark)}">{"".join(f"<td>{html.escape(cell)}</td>" for cell in row)}</tr>\n'
        for row, mark in zip(table.rows, marks, strict=True)
    )
    return (
        f'<h2>{html.escape(table.title)}</h2>\n<div class="wide"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>\n{_html_notes(table.notes)}"
    )


def _html_notes(notes: Any) -> str:
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f"<ul>{items}</ul>\n" if items else ""


def _csv_rows(document: Document) -> Iterator[dict[str, Any]]:
    for row in document["scores"]:
        yield {"kind": "score", **_who(row), **_ours(row["score"]), "comparable": row["comparable"]}
    for row in document["comparisons"]:
        yield {"kind": "comparison", **_who(row), **_pair(row)}
    for row in document["equal_budgets"]:
        yield {"kind": f"equal_{row['axis']}", **_who(row), **_pair(row), "amount": row["amount"]}
    for row in document["aggregates"]:
        for name, estimate in row["values"].items():
            of_reference = row["of"] != row["agent"]
            yield {
                "kind": "aggregate_of_reference" if of_reference else "aggregate",
                "agent": row["agent"],
                "reference": row["beside"],
                "statistic": name,
                "amount": len(row["games"]),
                "reference_score" if of_reference else "score": estimate["value"],
                "low": estimate["low"],
                "high": estimate["high"],
                "seeds": row["seeds"],
                "reason": row["reason"],
            }


def _who(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row.get(key) for key in ("agent", "env", "game", "reference")}


def _ours(score: Mapping[str, Any]) -> dict[str, Any]:
    return {key: score[key] for key in ("score", "spread", "seeds", "hns", "env_frames", "seconds", "reason")}


def _pair(row: Mapping[str, Any]) -> dict[str, Any]:
    theirs, verdict = row["theirs"], row["verdict"] or {}
    return {
        **_ours(row["ours"]),
        "comparable": row["comparable"],
        "reference_score": theirs["score"],
        "reference_spread": theirs["spread"],
        "reference_hns": row["reference_hns"],
        "reference_env_frames": theirs["env_frames"],
        "reference_seconds": theirs["seconds"],
        "verdict": verdict.get("word"),
        "margin": verdict.get("margin"),
        "reason": "; ".join(filter(None, (row["ours"]["reason"], theirs["reason"]))),
    }
