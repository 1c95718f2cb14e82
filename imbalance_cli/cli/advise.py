"""`imbalance advise`."""

from pathlib import Path
from typing import Annotated

import typer


def advise(
    dataset: Annotated[
        str,
        typer.Argument(metavar="DATA", help="auto, shapes, cifar10, cifar100, a folder or a CSV file."),
    ] = "auto",
    classes: Annotated[list[str] | None, typer.Option(help="The classes to use; of two, the second is rare.")] = None,
    ratio: Annotated[float | None, typer.Option(help="Images of the rarest class over the largest.")] = None,
    subset: Annotated[Path | None, typer.Option(help="A subset file that make-subset wrote.")] = None,
    validation: Annotated[float | None, typer.Option(help="The share of each class held out.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Folders: the side that images are scaled to.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where downloads and decoded images are kept.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Folders: list unreadable images and go on.")] = False,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Folders: let the study accept an image that occurs twice.")
    ] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Folders: accept a class without images.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the study to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notices.")] = False,
) -> None:
    """Say what to try on a data set, what not to, and why.

    It ends with a study to run. The test images are only counted, and looked at for copies of training images.
    """
    from imbalance_cli.cli.output import Output
    from imbalance_cli.config import Setting, resolve
    from imbalance_cli.files import refuse_existing, require_places, write_file

    out = Output(as_json=as_json, quiet=quiet)
    flags = [
        ("--dataset", ("data", "dataset"), dataset),
        ("--classes", ("data", "classes"), classes),
        ("--ratio", ("data", "ratio"), ratio),
        ("--subset", ("data", "subset"), subset and str(subset)),
        ("--validation", ("validation",), validation),
        ("--image-size", ("data", "image_size"), image_size),
        ("--data-dir", ("data", "data_dir"), data_dir and str(data_dir)),
        ("--skip-bad", ("data", "skip_bad"), skip_bad or None),
        ("--allow-empty", ("data", "allow_empty"), allow_empty or None),
        ("advise", ("data", "allow_leak"), True),  # what occurs twice is a finding here, no error
    ]
    experiment, _ = resolve(None, [Setting(path, value, flag) for flag, path, value in flags if value is not None])
    refuse_existing(output, overwrite=overwrite)
    require_places(output)

    from imbalance_cli.advice.advice import advice_on, asked_for, proposed_study, runs_of, study_text
    from imbalance_cli.advice.facts import facts_of
    from imbalance_cli.advice.report import advice_report
    from imbalance_cli.advice.training_time import study_times
    from imbalance_cli.data.sources import BUILT_IN
    from imbalance_cli.experiment_data import prepare
    from imbalance_cli.inference import find_device

    prepared = prepare(experiment, out.notice)
    facts = facts_of(
        prepared,
        built_in=prepared.experiment.data.dataset in BUILT_IN,
        accelerator=find_device(experiment.device).type != "cpu",
    )
    advice = advice_on(facts)
    asked = asked_for(prepared.experiment, allow_leak=allow_leak)
    study = proposed_study(facts, advice, asked)
    text = study_text(study, advice)
    times = study_times(runs_of(text), prepared)
    if output is not None:
        write_file(output, text)
    shown, value = advice_report(facts, advice, times, study, text, output)
    out.result(shown, value)
