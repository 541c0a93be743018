"""The picture of `rlx plot`: learning curves as PNG or SVG, by the ending of the file's name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlx.compare.comparison import read_agents
from rlx.compare.errors import CompareError, CompareUsageError
from rlx.report.curves import panels, references_to_draw, refuse_mixed
from rlx.report.looks import looks_of
from rlx.report.report import curve_scenes
from rlx.report.scene import Scene, grid_of

FORMATS = ("png", "svg")


def picture_format(file: Path) -> str:
    """Return the format that a file's name asks for.

    Raises:
        CompareUsageError: it is neither PNG nor SVG.
    """
    ending = file.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise CompareUsageError(
            f"a picture is written as {' or '.join(FORMATS)}",
            str(file),
            "give -o curves.png or -o curves.svg",
        )
    return ending


def plot(
    runs: Sequence[str],
    format: str,
    root: Path = Path("runs"),
    *,
    to: str | None = None,
    allow_mixed: bool = False,
    columns: str | None = None,
    game: str | None = None,
) -> tuple[bytes, list[str]]:
    """Draw learning curves: a row for each environment, frames on the left and wall time on the right.

    Args:
        runs, root, columns, game: as `rlx.compare.comparison.compare` takes them.
        format: one of `FORMATS`.
        to: names of references, with commas; None for the default ones whose curve was measured alike; empty
            for none.
        allow_mixed: whether curves that were measured otherwise are drawn, marked.

    Returns:
        The file's content, and what could not be drawn.

    Raises:
        RlxError: a run is missing or damaged, a name unknown, protocols are mixed, or there is no curve.
    """
    agents = read_agents(runs, root, columns=columns, game=game)
    references = references_to_draw(to)
    if to is not None and not allow_mixed:
        refuse_mixed(agents, references)
    shown = panels(agents, references, allow_mixed=allow_mixed and to is not None)
    drawn = {curve.name for panel in shown for curve in panel.curves}
    notes = [f"{one.name} has no learning curve here" for one in references if one.name not in drawn]
    found = curve_scenes(shown, looks_of([agent.name for agent in agents], [one.name for one in references]))
    scenes = [one for one in found if isinstance(one, Scene)]
    if not any(curve.own for panel in shown for curve in panel.curves):
        paths = ", ".join(str(run.path) for agent in agents for run in agent.subjects)
        raise CompareError("no episode has ended yet, so there is no learning curve", paths, "train longer")
    picture = grid_of(scenes, 2, key="curves", title="Learning curves")
    sentences = [one for one in found if isinstance(one, str)]
    return _write(picture, format), [*(notes if to is not None else []), *sentences]


def _write(picture: Scene, format: str) -> bytes:
    if format == "png":
        from rlx.report.png import to_png

        return to_png(picture)
    from rlx.report.svg import standalone

    return standalone(picture).encode()
