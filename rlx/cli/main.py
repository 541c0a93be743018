"""The `rlx` command: its verbs, and what happens when one fails."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import rlx
from rlx.cli import bench, cluster_group, compare, evaluate, inspect, reference, train, watch
from rlx.cli import cluster as cluster  # their verbs join the group
from rlx.cli import cluster_use as cluster_use
from rlx.cli import report as pages
from rlx.cli.errors import report
from rlx.cli.options import DEBUG_KEY


class _Verbs(TyperGroup):
    """Words errors instead of showing tracebacks."""

    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except (typer.Exit, typer.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            # Errors of the command line itself (unknown option, no argument) are worded by typer: code 2.
            if hasattr(error, "exit_code") and hasattr(error, "show"):
                raise
            debug = bool(context.find_root().meta.get(DEBUG_KEY))
            raise typer.Exit(int(report(error, debug=debug))) from None


app = typer.Typer(
    name="rlx",
    cls=_Verbs,
    help="Run, resume and compare DQN, Rainbow and Ape-X on Ray RLlib.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("resume")(train.resume)
app.command("evaluate")(evaluate.evaluate)
app.command("watch")(watch.watch)
app.command("compare")(compare.compare)
app.command("report")(pages.report)
app.command("plot")(pages.plot)
app.command("references")(compare.references)
app.command("ls")(inspect.ls)
app.command("show")(inspect.show)
app.command("algorithms")(reference.algorithms)
app.command("schema")(reference.schema)
app.command("bench")(bench.bench)
app.add_typer(cluster_group.app)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"rlx {rlx.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Run, resume and compare DQN, Rainbow and Ape-X on Ray RLlib."""


def main() -> None:
    """Run the command line."""
    sys.exit(app(prog_name="rlx"))


if __name__ == "__main__":
    main()
