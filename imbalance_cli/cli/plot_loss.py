"""`imbalance plot-loss`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from imbalance_cli.config import Setting


def plot_loss(
    loss: Annotated[
        list[str] | None,
        typer.Option(help="focal (the default), cross_entropy, mse, huber, hinge ...: one curve each."),
    ] = None,
    gamma: Annotated[list[float] | None, typer.Option(help="Focal: one curve for each value.")] = None,
    alpha: Annotated[
        list[float] | None, typer.Option(help="Focal: the weight of the true class; one curve for each.")
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY VALUE...", help="Any option, as in loss.epsilon -1 1 2: one curve for each."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of all curves, as in loss.scale=10."),
    ] = None,
    counts: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N N",
            help="Images of two classes, for losses that go by them: a curve of each; by default 5000 50.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The figure: .png, .svg or .pdf.")] = Path("loss.png"),
    csv: Annotated[Path | None, typer.Option(help="Also write the values of the curves.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files if they exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notices.")] = False,
) -> None:
    """Draw losses, and how hard each pulls, over probability.

    The probability is that of the true class.

    Example: imbalance plot-loss --gamma 0 1 2 5
    """
    from imbalance_cli import drawing
    from imbalance_cli.cli.output import Output
    from imbalance_cli.errors import SettingError
    from imbalance_cli.files import refuse_existing, require_places

    out = Output(as_json=as_json, quiet=quiet)
    drawing.check_suffix(output)
    refuse_existing(output, csv, overwrite=overwrite)
    require_places(output, csv)
    classes = _classes(counts)
    choices = _choices(loss or ["focal"], _varied(gamma, alpha, vary, settings))

    from imbalance_cli import loss_curves

    curves = loss_curves.curves_of(choices, classes or loss_curves.IMAGES)
    by_counts = any(curve.images is not None for curve in curves)
    if classes and not by_counts:
        raise SettingError(f"--counts has no use here: whatever they are, the curve of {curves[0].label} is the same")
    drawing.save_figure(loss_curves.loss_figure(curves), output)
    if csv is not None:
        loss_curves.write_csv(curves, csv)
    shown = loss_curves.draw_in_terminal(
        curves, width=min(out.stdout.width, 80), ascii_only=out.stdout.options.ascii_only
    )
    files = {"figure": str(output)} | ({"csv": str(csv)} if csv else {})
    out.result(shown, files | {"curves": [curve.label for curve in curves]})
    if by_counts and not classes:
        assumed = " and ".join(map(str, loss_curves.IMAGES.values()))
        out.notice(f"class counts make a difference here; for others than {assumed} give --counts")
    out.notice(f"written to {' and '.join(files.values())}")


def _classes(counts: list[str] | None) -> dict[str, int]:
    """The images of two classes by name, the common one first, as `--counts` gives them. Raises SettingError."""
    from imbalance_cli.cli.parsing import class_images
    from imbalance_cli.errors import SettingError

    images = class_images(counts or [])
    if len(images) > 2:
        raise SettingError("--counts: a curve is of one class against another; give two, as in --counts 5000 50")
    ordered = dict(sorted(images.items(), key=lambda each: -each[1]))
    if counts and "=" not in counts[0]:
        even = len({*ordered.values()}) == 1
        names = ("one class", "the other") if even else ("common class", "rare class")
        return dict(zip(names, ordered.values(), strict=True))
    return ordered


def _varied(
    gamma: list[float] | None, alpha: list[float] | None, vary: list[str] | None, settings: list[str] | None
) -> dict[str, list[Setting]]:
    """Of each option that is given the values that it is to have. Raises SettingError."""
    from imbalance_cli.cli.parsing import values_by_key
    from imbalance_cli.config import Setting, parse_assignment
    from imbalance_cli.errors import SettingError
    from imbalance_cli.methods.losses import LOSSES

    given = [("--gamma", "loss.gamma", gamma or []), ("--alpha", "loss.alpha", alpha or [])]
    given += [("--vary", key, values) for key, values in values_by_key(vary, "--vary").items()]
    given += [("--set", ".".join(each.path), [each.value]) for each in map(parse_assignment, settings or ())]
    varied: dict[str, list[Setting]] = {}
    for flag, key, values in given:
        first, _, option = key.partition(".")
        if first != "loss" or not option:
            meant = f"; did you mean 'loss.{key}'?" if LOSSES.having(key) else ", as in loss.gamma"
            raise SettingError(f"{flag} {key}: give an option of the loss{meant}")
        if values and option in varied:
            raise SettingError(f"{flag} {key}: that option is given twice; give all its values to --vary {key}")
        if values:
            source = f"--set {key}" if flag == "--vary" else flag
            varied[option] = [Setting(("loss", option), value, source) for value in values]
    return varied


def _choices(losses: list[str], varied: dict[str, list[Setting]]) -> list[dict[str, Any]]:
    """Every curve that is asked for, each validated as a run's loss is. Raises SettingError.

    A loss has a curve for each combination of the values of those options that it takes.
    """
    from itertools import product

    from imbalance_cli.config import Setting, resolve

    choices = []
    for name in losses:
        loss = Setting(("loss",), name, "--loss")
        own = resolve(None, [loss])[0].loss
        taken = product(*(values for option, values in varied.items() if option in own))
        choices += [resolve(None, [loss, *options])[0].loss for options in taken]
    for option, values in varied.items():
        if not any(option in choice for choice in choices):
            resolve(None, [Setting(("loss",), losses[0], "--loss"), values[0]])  # says which losses take it
    return choices
