"""`imbalance train`."""

from __future__ import annotations

import os
import shlex
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from imbalance_cli.cli.output import Output
    from imbalance_cli.cli.stopping import Signals
    from imbalance_cli.config import Experiment, Setting
    from imbalance_cli.experiments import Run


def train(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG.yaml", help="Settings from a file; flags and --set override them."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", "-d", help="auto, shapes, cifar10, cifar100, a folder or a CSV file."),
    ] = None,
    subset: Annotated[Path | None, typer.Option(help="A subset file that make-subset wrote.")] = None,
    classes: Annotated[list[str] | None, typer.Option(help="The classes to use; of two, the second is rare.")] = None,
    ratio: Annotated[float | None, typer.Option(help="Images of the rarest class over the largest.")] = None,
    loss: Annotated[list[str] | None, typer.Option(metavar="<str>", help="Listed by `imbalance methods loss`.")] = None,
    gamma: Annotated[float | None, typer.Option(help="Focal loss: how much easy examples are turned down.")] = None,
    alpha: Annotated[
        list[str] | None, typer.Option(help="Focal loss: none, counts, one number, or one per class.")
    ] = None,
    class_weights: Annotated[str | None, typer.Option(help="Listed by `imbalance methods class_weights`.")] = None,
    sampler: Annotated[str | None, typer.Option(help="Listed by `imbalance methods sampler`.")] = None,
    mixing: Annotated[str | None, typer.Option(help="Listed by `imbalance methods mixing`.")] = None,
    model: Annotated[
        str | None, typer.Option(help="cnn, tutorial, resnet8, resnet20, resnet32, resnet18 or resnet50.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step.")] = None,
    lr: Annotated[float | None, typer.Option(help="The highest learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Subset, weights and order follow from it.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Folders: the side that images are scaled to.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where downloads and decoded images are kept.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Folders: list unreadable images and go on.")] = False,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Folders: accept an image that occurs twice.")
    ] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Folders: accept a class without images.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting, as in loss.gamma=2.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The run's folder; by default runs/NAME.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in that folder.")] = False,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with a run that was stopped; with -d, its images were moved there."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show settings and class counts only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and notices.")] = False,
) -> None:
    """Train on imbalanced images and show the truth about it.

    The test images are used once, at the end. Defaults, then the YAML file, then flags, then --set.
    """
    from imbalance_cli.cli.output import Output
    from imbalance_cli.cli.parsing import numbers_or_words
    from imbalance_cli.cli.stopping import stopped_by_signals
    from imbalance_cli.config import Setting, parse_assignment
    from imbalance_cli.errors import SettingError

    file = _one_file([*([config] if config else []), *map(Path, context.args)], loss or [])
    flags: list[tuple[str, tuple[str, ...], Any]] = [
        ("--dataset", ("data", "dataset"), dataset),
        ("--data-dir", ("data", "data_dir"), data_dir and str(data_dir)),
        ("--subset", ("data", "subset"), subset and str(subset)),
        ("--classes", ("data", "classes"), classes),
        ("--ratio", ("data", "ratio"), ratio),
        ("--image-size", ("data", "image_size"), image_size),
        ("--skip-bad", ("data", "skip_bad"), skip_bad or None),
        ("--allow-leak", ("data", "allow_leak"), allow_leak or None),
        ("--allow-empty", ("data", "allow_empty"), allow_empty or None),
        ("--loss", ("loss",), loss and loss[0]),
        ("--gamma", ("loss", "gamma"), gamma),
        ("--class-weights", ("class_weights",), class_weights),
        ("--sampler", ("sampler",), sampler),
        ("--mixing", ("mixing",), mixing),
        ("--model", ("model",), model),
        ("--epochs", ("epochs",), epochs),
        ("--batch-size", ("batch_size",), batch_size),
        ("--lr", ("learning_rate",), lr),
        ("--seed", ("seed",), seed),
        ("--device", ("device",), device),
    ]
    said = [Setting(path, value, flag) for flag, path, value in flags if value is not None]
    if alpha:
        said.append(Setting(("loss", "alpha"), numbers_or_words(alpha, "--alpha"), "--alpha"))
    said += [parse_assignment(text) for text in settings or ()]
    out = Output(as_json=as_json, quiet=quiet)
    with stopped_by_signals(out) as signals:
        if resume is None:
            _start(file, said, out, signals, folder=output, overwrite=overwrite, dry_run=dry_run)
        elif output or overwrite or file or dry_run:
            raise SettingError("--resume takes no configuration file, --output, --overwrite or --dry-run")
        else:
            _resume(resume, said, out, signals)


def _one_file(words: list[Path], losses: list[str]) -> Path | None:
    """The configuration file among `words`, if there is one. Raises SettingError for several losses or files."""
    from imbalance_cli.errors import SettingError

    files = [word for word in words if not losses or word.suffix in (".yaml", ".yml") or os.path.lexists(word)]
    named = [name for text in losses for name in text.split(",")] + [str(word) for word in words if word not in files]
    if len(named) > 1:
        command = shlex.join(["imbalance", "compare", "--loss", *named])
        raise SettingError(f"--loss: train takes one loss; to compare several: {command}")
    if len(files) > 1:
        raise SettingError(f"train takes one configuration file; got {', '.join(map(str, files))}")
    return files[0] if files else None


def _start(
    config: Path | None,
    said: list[Setting],
    out: Output,
    signals: Signals,
    *,
    folder: Path | None,
    overwrite: bool,
    dry_run: bool,
) -> None:
    from imbalance_cli.config import resolve

    experiment, sources = resolve(config, said)  # every mistake is found before torch is imported

    from imbalance_cli import combinations, experiment_data, experiments, runs
    from imbalance_cli.advice.training_time import too_short
    from imbalance_cli.files import make_folder

    if folder is not None and not dry_run:
        runs.require_unlocked(folder)
        runs.check_folder(folder, overwrite=overwrite)
    prepared = experiment_data.prepare(experiment, out.notice)
    counts = dict(zip(prepared.train.class_names, prepared.train.counts().tolist(), strict=True))
    for warning in filter(None, (*combinations.warnings(prepared.experiment, counts), too_short(prepared))):
        out.notice(f"warning: {warning}")
    if dry_run:
        from imbalance_cli.reports import experiment_report

        shown, value = experiment_report(prepared)
        out.result(shown, value | {"warnings": out.warnings})
        return
    run = experiments.Run(prepared)
    folder = folder or runs.free_folder(Path("runs"), experiments.run_name(prepared.experiment))
    make_folder(folder)
    with runs.lock(folder, out.notice):
        runs.check_folder(folder, overwrite=overwrite)  # nobody has started a run there meanwhile
        runs.clear_folder(folder)
        run.start(folder, sources)
        _train(run, out, signals)


def _resume(folder: Path, said: list[Setting], out: Output, signals: Signals) -> None:
    from imbalance_cli import experiments, runs
    from imbalance_cli.errors import CheckpointError
    from imbalance_cli.stopped_runs import settings_of

    if not os.path.lexists(folder):
        raise CheckpointError(f"{folder} does not exist; give the folder of a run that was stopped")
    runs.require_run(folder)
    dataset = next((str(each.value) for each in said if each.path == ("data", "dataset")), None)
    said = [each for each in said if each.path != ("data", "dataset")]  # which says where the images are now
    experiment = settings_of(folder, said)
    if runs.RESULTS in runs.entries(folder):
        out.notice(f"{folder} is already complete")
        _show(experiment, folder, runs.read_results(folder), out)
        return
    with runs.lock(folder, out.notice):
        _train(experiments.resume(folder, said, out.notice, dataset=dataset), out, signals)


def _train(run: Run, out: Output, signals: Signals) -> None:
    from imbalance_cli import runs
    from imbalance_cli.cli.progress import describe_batches, show_training
    from imbalance_cli.cli.stopping import how_to_go_on
    from imbalance_cli.errors import (
        OUT_OF_MEMORY_AT_THE_END,
        DivergedError,
        MemoryShortage,
        WriteError,
        is_out_of_memory,
    )

    experiment, images = run.prepared.experiment, run.prepared.train
    first = run.trainer.stage
    bounds = first.bounds(first.begin)
    signals.run = run
    out.notice(f"run folder: {run.folder}")
    out.notice(describe_batches(bounds))
    progress = show_training(
        run.train(), out, epochs=experiment.all_epochs, steps_per_epoch=len(bounds), class_names=images.class_names
    )
    try:
        with run.noting_failure():
            with signals.awaited(), closing(progress):
                for _ in progress:
                    if signals.received:
                        run.save()
                        break
            results = run.finish()
    except DivergedError as error:
        kept = f"{run.folder / runs.CHECKPOINT} is the state at {run.saved}" if run.saved else "nothing was saved yet"
        raise DivergedError(f"{error}; {kept}") from error
    except MemoryShortage as error:
        raise MemoryShortage(f"{error} in a new run, for a resumed one keeps its settings") from error
    except WriteError as error:
        raise WriteError(f"{error}; {how_to_go_on(run)}") from error
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryShortage(f"{OUT_OF_MEMORY_AT_THE_END}; {how_to_go_on(run)}") from error
    try:
        _show(experiment, run.folder, results, out)
    except (WriteError, typer.Exit):
        if out.as_json:
            raise
        out.notice(f"nobody reads the results here; they are in {run.folder / runs.RESULTS}")


def _show(experiment: Experiment, folder: Path, results: dict[str, Any], out: Output) -> None:
    from imbalance_cli.reports import next_command, results_report

    suggestion = next_command(experiment, folder)
    more = {"warnings": out.warnings, "run": str(folder), "next": suggestion}
    out.result(results_report(results, suggestion), results | more)
