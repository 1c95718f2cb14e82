"""`imbalance make-subset`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer


def make_subset(
    dataset: Annotated[
        str,
        typer.Argument(metavar="DATASET", help="auto, shapes, cifar10, cifar100, a folder or a CSV file."),
    ] = "auto",
    classes: Annotated[
        list[str] | None,
        typer.Option(help="The classes to use, most frequent first; of two, the second is rare."),
    ] = None,
    ratio: Annotated[float | None, typer.Option(help="Images of the rarest class over the largest, in (0, 1].")] = None,
    factor: Annotated[float | None, typer.Option(help="The inverse of --ratio: 100 is a ratio of 0.01.")] = None,
    profile: Annotated[str | None, typer.Option(help="More than two classes: exponential, step or linear.")] = None,
    counts: Annotated[
        list[str] | None, typer.Option(metavar="CLASS=N", help="Images of each class, instead of a ratio.")
    ] = None,
    minority: Annotated[
        list[str] | None,
        typer.Option(help="The rare classes; by default the last half of --classes, else the smaller."),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(help="nested: a smaller subset is part of a larger one; cao: as the LDAM paper's code."),
    ] = "nested",
    seed: Annotated[int, typer.Option(help="Which images are drawn.")] = 0,
    test_ratio: Annotated[
        float | None, typer.Option(help="Make the test images imbalanced too; else they stay as they are.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The subset file.")] = Path("subset.yaml"),
    preview: Annotated[Path | None, typer.Option(help="Also draw samples of every class: .png, .svg or .pdf.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files if they exist.")] = False,
    image_size: Annotated[int | None, typer.Option(help="Folders: the side that images are scaled to.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where downloads and decoded images are kept.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Folders: list unreadable images and go on.")] = False,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Folders: accept an image that occurs twice.")
    ] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Folders: accept a class without images.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notices.")] = False,
) -> None:
    """Choose an imbalanced subset and write down its images.

    The same seed chooses the same images. Train on them with:
    imbalance train --subset subset.yaml
    """
    from imbalance_cli.cli.output import Output
    from imbalance_cli.cli.parsing import class_counts
    from imbalance_cli.config import Setting, resolve
    from imbalance_cli.files import refuse_existing, require_places

    out = Output(as_json=as_json, quiet=quiet)
    flags = {
        "--dataset": dataset,
        "--classes": classes,
        "--ratio": ratio,
        "--factor": factor,
        "--profile": profile,
        "--counts": class_counts(counts),
        "--minority": minority,
        "--protocol": protocol,
        "--test-ratio": test_ratio,
        "--image-size": image_size,
        "--data-dir": data_dir and str(data_dir),
        "--skip-bad": skip_bad,
        "--allow-leak": allow_leak,
        "--allow-empty": allow_empty,
    }
    said = [
        Setting(("data", flag.strip("-").replace("-", "_")), value, flag)
        for flag, value in flags.items()
        if value is not None
    ]
    experiment, _ = resolve(None, [*said, Setting(("seed",), seed, "--seed")])
    refuse_existing(output, preview, overwrite=overwrite)
    require_places(output, preview)

    from imbalance_cli import drawing
    from imbalance_cli.data.manifest import write_manifest
    from imbalance_cli.experiment_data import load_subset
    from imbalance_cli.figures import subset_figure
    from imbalance_cli.reports import subset_report

    if preview is not None:
        drawing.check_suffix(preview)
    _, manifest, subset = load_subset(experiment.data, experiment.seed, out.notice)
    write_manifest(manifest, output, overwrite=overwrite)
    if preview is not None:
        drawing.save_figure(subset_figure(subset.train), preview)
    shown, value = subset_report(manifest, subset)
    command = ["imbalance", "train", "--subset", str(output)]
    out.result(shown, value | {"subset": str(output)})
    drawn = f", samples of it to {preview}" if preview is not None else ""
    out.notice(f"written to {output}{drawn}; train on it with: {shlex.join(command)}")
