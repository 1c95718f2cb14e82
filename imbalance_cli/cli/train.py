"""`imbalance train`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from imbalance_cli.cli.output import Output
    from imbalance_cli.config import Setting
    from imbalance_cli.experiments import Run


def train(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="[CONFIG.yaml]", help="Settings from a file; flags and --set override them."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", "-d", help="auto, shapes, cifar10, cifar100, a folder or a CSV file."),
    ] = None,
    subset: Annotated[Path | None, typer.Option(help="A subset file that make-subset wrote.")] = None,
    classes: Annotated[list[str] | None, typer.Option(help="The classes to use; of two, the second is rare.")] = None,
    ratio: Annotated[float | None, typer.Option(help="Images of the rarest class over the largest.")] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="cross_entropy, focal, logit_adjustment, mse, huber or hinge."),
    ] = None,
    gamma: Annotated[float | None, typer.Option(help="Focal loss: how much easy examples are turned down.")] = None,
    alpha: Annotated[
        list[str] | None, typer.Option(help="Focal loss: none, counts, one number, or one per class.")
    ] = None,
    class_weights: Annotated[str | None, typer.Option(help="none, inverse, sqrt or effective_number.")] = None,
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
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show settings and class counts only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and notices.")] = False,
) -> None:
    """Train a classifier on imbalanced images and show the truth about it.

    The test images are used once, at the end. Defaults, then the YAML file, then flags, then --set.
    """
    from imbalance_cli.cli.output import Output
    from imbalance_cli.cli.parsing import numbers_or_words
    from imbalance_cli.config import Setting, parse_assignment
    from imbalance_cli.errors import SettingError

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
        ("--loss", ("loss",), loss),
        ("--gamma", ("loss", "gamma"), gamma),
        ("--class-weights", ("class_weights",), class_weights),
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
    if resume is not None:
        if output or overwrite or config or dry_run:
            raise SettingError("--resume takes no configuration file, --output, --overwrite or --dry-run")
        _resume(resume, said, out)
    else:
        _start(config, said, out, folder=output, overwrite=overwrite, dry_run=dry_run)


def _start(
    config: Path | None,
    said: list[Setting],
    out: Output,
    *,
    folder: Path | None,
    overwrite: bool,
    dry_run: bool,
) -> None:
    from imbalance_cli.config import resolve

    experiment, sources = resolve(config, said)  # every mistake is found before torch is imported

    from imbalance_cli import experiment_data, experiments, runs
    from imbalance_cli.files import make_folder

    if folder is not None and not dry_run:
        runs.check_folder(folder, overwrite=overwrite)
    prepared = experiment_data.prepare(experiment, out.notice)
    if dry_run:
        from imbalance_cli.reports import experiment_report

        shown, value = experiment_report(prepared)
        out.result(shown, value)
        return
    run = experiments.Run(prepared)
    folder = folder or runs.free_folder(Path("runs"), experiments.run_name(prepared.experiment))
    make_folder(folder)
    with runs.lock(folder):
        runs.check_folder(folder, overwrite=overwrite)  # nobody has started a run there meanwhile
        runs.clear_folder(folder)
        run.start(folder, sources)
        _train(run, out)


def _resume(folder: Path, said: list[Setting], out: Output) -> None:
    from imbalance_cli import experiments, runs

    runs.require_run(folder)
    with runs.lock(folder):
        run = experiments.resume(folder, said, out.notice)
        if (folder / runs.RESULTS).exists():
            out.notice(f"{folder} is already complete")
            _show(run, runs.read_json(folder / runs.RESULTS), out)
        else:
            _train(run, out)


def _train(run: Run, out: Output) -> None:
    from imbalance_cli.cli.progress import show_training
    from imbalance_cli.data.batches import batch_bounds

    experiment, images = run.prepared.experiment, run.prepared.train
    out.notice(f"run folder: {run.folder}")
    progress = show_training(
        run.train(),
        out,
        epochs=experiment.epochs,
        steps_per_epoch=len(batch_bounds(len(images), experiment.batch_size)),
        class_names=images.class_names,
    )
    with _signals() as received:
        for _ in progress:
            if received:
                run.save()
                at = run.trainer.progress
                out.notice(
                    f"stopped by {received[0].name}: saved at epoch {at.epoch + 1}, step {at.step}; "
                    f"go on with: imbalance train --resume {run.folder}"
                )
                raise typer.Exit(128 + received[0])
    _show(run, run.finish(), out)


def _show(run: Run, results: dict[str, Any], out: Output) -> None:
    from imbalance_cli.reports import next_command, results_report

    suggestion = next_command(run.prepared.experiment, run.folder)
    out.result(results_report(results, suggestion), results | {"run": str(run.folder), "next": suggestion})


@contextmanager
def _signals() -> Iterator[list[signal.Signals]]:
    """Collect Ctrl-C and the like instead of being interrupted in the middle of a step; a second one interrupts."""
    received: list[signal.Signals] = []

    def remember(number: int, _: Any) -> None:
        if received:
            raise typer.Exit(128 + number)
        received.append(signal.Signals(number))

    known = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    watched = [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]  # as nohup sets it
    before = {number: signal.signal(number, remember) for number in watched}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
