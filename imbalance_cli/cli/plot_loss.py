"""`imbalance plot-loss`."""

from pathlib import Path
from typing import Annotated, Any

import typer


def plot_loss(
    loss: Annotated[
        list[str] | None,
        typer.Option(help="focal (the default), cross_entropy, mse, huber, hinge ...: one curve each."),
    ] = None,
    gamma: Annotated[list[float] | None, typer.Option(help="Focal: one curve for each value.")] = None,
    alpha: Annotated[
        list[float] | None, typer.Option(help="Focal: the weight of the true class; one curve for each.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The figure: .png, .svg or .pdf.")] = Path("loss.png"),
    csv: Annotated[Path | None, typer.Option(help="Also write the values of the curves.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files if they exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notices.")] = False,
) -> None:
    """Draw losses over the probability of the true class, and how hard each one pulls.

    Example: imbalance plot-loss --gamma 0 1 2 5
    """
    from imbalance_cli import drawing
    from imbalance_cli.cli.output import Output
    from imbalance_cli.files import refuse_existing, require_places

    out = Output(as_json=as_json, quiet=quiet)
    drawing.check_suffix(output)
    refuse_existing(output, csv, overwrite=overwrite)
    require_places(output, csv)
    choices = _choices(loss or ["focal"], gamma, alpha)

    from imbalance_cli import loss_curves

    curves = loss_curves.curves_of(choices)
    drawing.save_figure(loss_curves.loss_figure(curves), output)
    if csv is not None:
        loss_curves.write_csv(curves, csv)
    shown = loss_curves.draw_in_terminal(
        curves, width=min(out.stdout.width, 80), ascii_only=out.stdout.options.ascii_only
    )
    files = {"figure": str(output)} | ({"csv": str(csv)} if csv else {})
    out.result(shown, files | {"curves": [curve.label for curve in curves]})
    out.notice(f"written to {' and '.join(files.values())}")


def _choices(losses: list[str], gammas: list[float] | None, alphas: list[float] | None) -> list[dict[str, Any]]:
    """Every curve that is asked for, each validated as a run's loss is. Raises SettingError."""
    from imbalance_cli.config import Setting, resolve

    choices = []
    for name in losses:
        options = resolve(None, [Setting(("loss",), name, "--loss")])[0].loss
        for gamma in (gammas or [None]) if "gamma" in options else [None]:  # type: ignore[list-item]
            for alpha in (alphas or [None]) if "alpha" in options else [None]:  # type: ignore[list-item]
                said = [Setting(("loss",), name, "--loss")]
                if gamma is not None:
                    said.append(Setting(("loss", "gamma"), gamma, "--gamma"))
                if alpha is not None:
                    said.append(Setting(("loss", "alpha"), alpha, "--alpha"))
                choices.append(resolve(None, said)[0].loss)
    for flag, given, option in (("--gamma", gammas, "gamma"), ("--alpha", alphas, "alpha")):
        if given and not any(option in choice for choice in choices):
            from imbalance_cli.errors import SettingError

            raise SettingError(f"{flag} has no use with {', '.join(losses)}; it is an option of focal")
    return choices
