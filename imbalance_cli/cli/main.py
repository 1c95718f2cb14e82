"""The command's top level: its subcommands, and the options of all of them."""

import gc
import os
from typing import Annotated

import typer

from imbalance_cli.cli.download import download
from imbalance_cli.cli.evaluate import evaluate
from imbalance_cli.cli.make_subset import make_subset
from imbalance_cli.cli.parsing import Group, ListCommand
from imbalance_cli.cli.plot_loss import plot_loss
from imbalance_cli.cli.train import train

# Plain help: drawing it with rich would double the time that --help takes.
app = typer.Typer(
    name="imbalance", cls=Group, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


def _show_version(value: bool) -> None:
    if value:
        from imbalance_cli import __version__

        print(f"imbalance {__version__}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Learn from class-imbalanced images, and see honestly what each remedy changes.

    Start with: imbalance train --loss focal --ratio 0.01
    """


app.command(cls=ListCommand)(download)
app.command(cls=ListCommand, name="make-subset")(make_subset)
app.command(cls=ListCommand)(train)
app.command(cls=ListCommand)(evaluate)
app.command(cls=ListCommand, name="plot-loss")(plot_loss)


def main() -> None:
    """Run the command line."""
    # PyTorch's threads wait for each other many times a step. By default they wait by spinning, so on a machine with
    # other work they take the processor from the thread they wait for: measured, up to twenty times slower. Set
    # before torch is imported; an idle machine is as fast either way.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # A training step makes thousands of small objects and hardly any cycle; looking for cycles after every 700 of
    # them, as Python does by default, took a sixth of a short run.
    gc.set_threshold(10_000)
    app(prog_name="imbalance")
