"""Write a report as one HTML page that needs nothing else and loads nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import rlx
from rlx.compare.tables import Table, tables, without_empty
from rlx.report.facts import Experiment
from rlx.report.palette import DARK, LIGHT, css_colors
from rlx.report.scene import Scene
from rlx.report.svg import FONT, escape, inline, rules
from rlx.runs.files import plain


@dataclass(frozen=True)
class Part:
    """A section of the page: figures, or sentences where there is nothing to draw; notes; tables."""

    title: str
    figures: Sequence[Scene | str]
    notes: Sequence[str] = ()
    tables: Sequence[Table] = field(default=())


def page(
    title: str, document: Mapping[str, Any], parts: Sequence[Part], experiments: Sequence[Experiment]
) -> str:
    """Return the page.

    Args:
        title: its heading.
        document: what `rlx compare` found: its tables are shown and its numbers embedded.
        parts: sections with figures, before the tables of the document, and after them where they have none.
        experiments: shown at the end.
    """
    pictures = [part for part in parts if part.figures]
    rest = [part for part in parts if not part.figures]
    sections = [
        *((part.title, _part(part)) for part in pictures),
        ("Tables", "".join(_table(table, heading=True) for table in tables(document))),
        *((part.title, _part(part)) for part in rest),
        ("Experiment", "".join(map(_experiment, experiments))),
    ]
    links = "".join(f'<li><a href="#{_slug(name)}">{escape(name)}</a></li>' for name, _ in sections)
    body = "".join(
        f'<section id="{_slug(name)}"><h2>{escape(name)}</h2>\n{text}</section>\n' for name, text in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="generator" content="rlx {escape(rlx.__version__)}">'
        f"<title>{escape(title)} - rlx report</title>\n<style>{_style()}</style></head>\n<body>"
        f"<header><h1>{escape(title)}</h1>{_summary(document)}"
        f'<nav aria-label="Contents"><ul>{links}</ul></nav></header>\n<main>\n{body}</main>\n'
        f"<footer>Made by rlx {escape(rlx.__version__)}. The numbers are those of "
        "<code>rlx compare --format json</code>, and are embedded in this page "
        "(<code>#rlx-data</code>).</footer>\n"
        f'<script type="application/json" id="rlx-data">{embedded(document)}</script>\n</body></html>\n'
    )


def embedded(document: Mapping[str, Any]) -> str:
    """Return the document as strict JSON that cannot end the element it stands in."""
    text = json.dumps(plain(document), allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _summary(document: Mapping[str, Any]) -> str:
    """Return what is compared with what, and the verdicts, before everything else."""
    runs = sum(len(agent["runs"]) for agent in document["agents"])
    names = ", ".join(reference["name"] for reference in document["references"]) or "no published result"
    text = f"<p>{runs} run{'' if runs == 1 else 's'}, beside {escape(names)}. "
    text += f"Scores are read: {escape(document['at'])}.</p>\n"
    verdicts = [row for row in document["comparisons"] if row["verdict"]]
    items = "".join(
        f'<li><b class="{escape(row["verdict"]["word"])}">{_MARKS[row["verdict"]["word"]]} '
        f"{escape(row['verdict']['word'])}</b> {escape(row['reference'])} on {escape(row['game'])}: "
        f"{escape(row['agent'])} has {row['ours']['score']:.2f}, it has {row['theirs']['score']:.2f}</li>"
        for row in verdicts[:_MOST_VERDICTS]
    )
    if len(verdicts) > _MOST_VERDICTS:
        items += f"<li>and {len(verdicts) - _MOST_VERDICTS} more, in the tables</li>"
    return f'{text}<ul class="verdicts">{items}</ul>{_notes(document["notes"])}'


_MARKS = {"above": "▲", "within": "≈", "below": "▼"}
_MOST_VERDICTS = 12
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def _part(part: Part) -> str:
    figures = "".join(
        f"<figure><figcaption>{escape(one.title)}</figcaption>{inline(one)}</figure>\n"
        if isinstance(one, Scene)
        else f"<p>{escape(one)}</p>\n"
        for one in part.figures
    )
    grid = f'<div class="figures">{figures}</div>\n' if figures else ""
    return f"{grid}{_notes(part.notes)}{''.join(_table(without_empty(table)) for table in part.tables)}"


def _table(table: Table, *, heading: bool = False) -> str:
    marks = table.marks or ("",) * len(table.rows)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.columns)
    body = "".join(
        f'<tr class="{escape(mark)}">{"".join(f"<td>{_cell(cell)}</td>" for cell in row)}</tr>\n'
        for row, mark in zip(table.rows, marks, strict=True)
    )
    title = f"<h3>{escape(table.title)}</h3>\n" if heading else ""
    if not table.rows:
        return f"{title}{_notes(table.notes)}"
    # A box that scrolls must be reachable by keyboard.
    return (
        f'{title}<div class="wide" tabindex="0" role="region" aria-label="{escape(table.title)}">'
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n{_notes(table.notes)}"
    )


def _cell(text: str) -> str:
    return f'<span class="long">{escape(text)}</span>' if len(text) > 60 else escape(text)


def _experiment(one: Experiment) -> str:
    if not one.text:
        return f"<p>{escape(one.agent)}: {escape(one.why)}.</p>\n"
    return (
        f"<details><summary>{escape(one.agent)}: every value, resolved</summary>"
        f'<pre tabindex="0">{escape(one.text)}</pre></details>\n'
    )


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{items}</ul>\n' if items else ""


def _slug(name: str) -> str:
    return "part-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _style() -> str:
    return (
        f":root{{color-scheme:light dark;{css_colors(LIGHT)}}}"
        f"@media(prefers-color-scheme:dark){{:root{{{css_colors(DARK)}}}}}"
        f"{rules()}{_LAYOUT.replace('FONT', FONT)}"
        # After the dark colours, so that paper is white from a dark screen too.
        f"@media print{{:root{{color-scheme:light;{css_colors(LIGHT)}}}{_PRINT}}}"
    )


_LAYOUT = """
*{box-sizing:border-box}
body{margin:0 auto;max-width:76rem;padding:1rem;background:var(--paper);color:var(--ink);
font:16px/1.5 FONT;overflow-wrap:break-word}
h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.25rem;margin:2.2rem 0 .6rem;border-bottom:1px solid var(--grid);padding-bottom:.2rem}
h3{font-size:1rem;margin:1.4rem 0 .4rem}
a{color:var(--k0)}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1rem;list-style:none;padding:0;margin:.8rem 0}
nav a{display:inline-block;padding:.3rem 0}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1rem 1.5rem}
figure{margin:0;min-width:0;max-width:38rem}
figcaption{font-weight:600;font-size:.95rem;margin-bottom:.3rem}
svg{display:block;width:100%;height:auto}
.wide,pre{overflow-x:auto;max-width:100%;border:1px solid var(--grid);border-radius:.4rem}
table{border-collapse:collapse;white-space:nowrap;font-size:.88rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:.3rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--grid)}
tbody tr:last-child td{border-bottom:0}
.long{display:inline-block;white-space:normal;width:24rem}
.above{color:var(--good)}.below{color:var(--bad)}
.notes{color:var(--soft);font-size:.88rem;padding-left:1.2rem}
.verdicts{padding-left:1.2rem}
pre{padding:.6rem;font-size:.82rem;line-height:1.4}
summary{cursor:pointer;padding:.4rem 0}
footer{margin-top:2.5rem;color:var(--soft);font-size:.85rem}
"""
_PRINT = """
body{max-width:none;padding:0;font-size:10pt}nav{display:none}
.figures{grid-template-columns:1fr 1fr}figure,tr{break-inside:avoid}h2,h3{break-after:avoid}
.wide,pre{overflow:visible;border:0}
table{white-space:normal;font-size:7.5pt}th,td{padding:.15rem .25rem}.long{width:auto}
pre{white-space:pre-wrap}details::details-content{content-visibility:visible;block-size:auto}
"""
