"""`imbalance compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imbalance_cli.cli.output import Output
    from imbalance_cli.cli.stopping import Signals
    from imbalance_cli.studies.cell_runs import Failure, StudyRuns
    from imbalance_cli.studies.reading import Flags
    from imbalance_cli.studies.study import Cell, Study

Texts = list[str] | None


def compare(
    given: Annotated[
        list[Path] | None,
        typer.Argument(metavar="STUDY.yaml | RUN", help="A study; or two or more runs, on the same test images."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="auto, shapes, cifar10, cifar100, a folder or a CSV file.")
    ] = None,
    subset: Annotated[Path | None, typer.Option(help="A subset file that make-subset wrote.")] = None,
    classes: Annotated[Texts, typer.Option(help="The classes to use; of two, the second is rare.")] = None,
    ratio: Annotated[list[float] | None, typer.Option(help="Imbalance ratios: a table for each.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Folders: the side that images are scaled to.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where downloads and decoded images are kept.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Folders: list unreadable images and go on.")] = False,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Folders: accept an image that occurs twice.")
    ] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Folders: accept a class without images.")] = False,
    loss: Annotated[Texts, typer.Option(help="Losses: a method for each.")] = None,
    recipe: Annotated[list[Path] | None, typer.Option(help="Experiment files: a method for each.")] = None,
    class_weights: Annotated[Texts, typer.Option(help="One for all, or every method with each.")] = None,
    sampler: Annotated[Texts, typer.Option(help="One for all, or every method with each.")] = None,
    mixing: Annotated[Texts, typer.Option(help="One for all, or every method with each.")] = None,
    model: Annotated[Texts, typer.Option(help="One for all, or every method with each.")] = None,
    vary: Annotated[
        Texts, typer.Option(metavar="KEY VALUE...", help="Every method with each value; data.KEY: a table for each.")
    ] = None,
    settings: Annotated[Texts, typer.Option("--set", metavar="KEY=VALUE", help="A setting of every run.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    seeds: Annotated[list[int] | None, typer.Option(help="How many, or which (two and more); 5 if not said.")] = None,
    metric: Annotated[str | None, typer.Option(help="What to compare by; by default balanced_accuracy.")] = None,
    point: Annotated[str | None, typer.Option(help="Decide by argmax, prior or validation (default).")] = None,
    baseline: Annotated[str | None, typer.Option(help="The method that others are compared to.")] = None,
    tune: Annotated[
        Texts, typer.Option(metavar="KEY VALUE...", help="Choose the value on validation, for each seed.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Of the values to choose from, try so many.")] = None,
    search: Annotated[str | None, typer.Option(help="grid, or tpe: Optuna's, over ranges as in 0.001..0.1.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Runs side by side; they share the threads.")] = 1,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help="Only the I-th of N shares of the runs.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Go on with runs that failed, too.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The study's folder; by default runs/TITLE, numbered if that is taken."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be run only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and notices.")] = False,
) -> None:
    """Compare methods over seeds: which is best, and how surely.

    Give a study, runs, or two methods and more. One method alone takes several
    conditions (--ratio 0.1 0.01), --tune, or --seeds.

    Runs that are finished are not run again, so the same command goes on with a
    study that was stopped or has grown. A run that fails stops no other; the exit
    code is then that of the failure, of several the first.
    """
    from imbalance_cli.cli.output import Output
    from imbalance_cli.cli.parsing import values_by_key
    from imbalance_cli.cli.stopping import stopped_by_signals
    from imbalance_cli.config import Setting, parse_assignment
    from imbalance_cli.errors import SettingError
    from imbalance_cli.studies.reading import Flags

    overrides = [
        Setting(path, value, flag)
        for flag, path, value in (
            ("--dataset", ("data", "dataset"), dataset),
            ("--data-dir", ("data", "data_dir"), data_dir and str(data_dir)),
            ("--subset", ("data", "subset"), subset and str(subset)),
            ("--classes", ("data", "classes"), classes),
            ("--image-size", ("data", "image_size"), image_size),
            ("--skip-bad", ("data", "skip_bad"), skip_bad or None),
            ("--allow-leak", ("data", "allow_leak"), allow_leak or None),
            ("--allow-empty", ("data", "allow_empty"), allow_empty or None),
            ("--epochs", ("epochs",), epochs),
        )
        if value is not None
    ]
    factors = [
        (flag, key, list(values))
        for flag, key, values in (
            ("--ratio", "data.ratio", ratio),
            ("--class-weights", "class_weights", class_weights),
            ("--sampler", "sampler", sampler),
            ("--mixing", "mixing", mixing),
            ("--model", "model", model),
        )
        if values
    ]
    changes = {
        key: (f"--{key}", value)
        for key, value in (
            ("seeds", seeds[0] if seeds and len(seeds) == 1 else seeds),
            ("metric", metric),
            ("point", point),
            ("baseline", baseline),
            ("tune", values_by_key(tune, "--tune")),
            ("trials", trials),
            ("search", search),
        )
        if value is not None and value != {}
    }
    flags = Flags(
        losses=loss or (),
        recipes=recipe or (),
        factors=(*factors, *((f"--vary {key}", key, each) for key, each in values_by_key(vary, "--vary").items())),
        overrides=(*overrides, *map(parse_assignment, settings or ())),
        changes=changes,
    )
    out = Output(as_json=as_json, quiet=quiet)
    paths = given or []
    file = _study_file(paths)
    if len(paths) > 1:
        if flags != Flags(changes={"point": ("--point", point)} if point else {}) or output or shard or dry_run:
            raise SettingError("runs are compared as they are; leave out all flags but --point, or give one study")
        _compare_runs(paths, point or "validation", out)
        return
    with stopped_by_signals(out) as signals:
        _compare_study(file, flags, out, signals, output=output, jobs=jobs, shard=shard, retry=retry, dry_run=dry_run)


def _study_file(paths: Sequence[Path]) -> Path | None:
    """The file of the study in question, if there is one. Raises SettingError."""
    import os

    from imbalance_cli.errors import SettingError
    from imbalance_cli.studies.study import STUDY

    for path in paths:
        if path.suffix in (".yaml", ".yml") and len(paths) > 1:
            raise SettingError(f"{path}: give one study, or two or more runs")
    if len(paths) != 1:
        return None
    if os.path.isfile(paths[0] / STUDY):
        return paths[0] / STUDY
    if os.path.isdir(paths[0]) or paths[0].suffix == ".pt":
        raise SettingError(f"{paths[0]} is no study; to compare runs on the same test images, give two or more")
    return paths[0]


def _compare_runs(paths: Sequence[Path], point: str, out: Output) -> None:
    from imbalance_cli.studies.paired_runs import compare_runs
    from imbalance_cli.studies.paired_tables import paired_report

    value = compare_runs([path.parent if path.suffix == ".pt" else path for path in paths], point=point)
    out.result(paired_report(value), value)


def _compare_study(
    file: Path | None,
    flags: Flags,
    out: Output,
    signals: Signals,
    *,
    output: Path | None,
    jobs: int,
    shard: str | None,
    retry: bool,
    dry_run: bool,
) -> None:
    from imbalance_cli.cli.stopping import Stopped
    from imbalance_cli.cli.study_progress import StudyProgress
    from imbalance_cli.studies import cell_runs
    from imbalance_cli.studies.reading import read_study, require_comparison, settled
    from imbalance_cli.studies.study import is_record, shard_of, slug

    study, lines = read_study(file, flags)
    study.cells()  # every mistake is found before anything is loaded or written
    if file is None:
        require_comparison(study, flags)
    study = settled(study, out.notice)
    if output or file:
        folder = output or (file.parent if file and is_record(file) else Path("runs") / slug(study.title))
    else:
        folder = cell_runs.free_folder(study, out.notice)
    cell_runs.check_folder(folder, study.title)
    for line in [*lines, *study.cautions()]:
        out.notice(line)
    cells = cell_runs.located(folder, study.cells())
    mine = shard_of(cells, shard)
    if dry_run:
        _show_plan(study, folder, cells, out)
        return
    cell_runs.begin(folder, study)
    carried = cell_runs.StudyRuns(folder, mine, jobs=jobs, retry=retry)
    progress = StudyProgress(carried, out, study.metric, study.point)
    try:
        with signals.awaited(), progress.shown():
            carried.carry_out(
                leave=shard is not None,
                is_stopped=lambda: bool(signals.received),
                tick=progress.tick,
                told=progress.told,
                ended=progress.ended,
            )
    except Stopped:
        done = sum(cell_runs.is_finished(folder, cell) for cell in cells)
        out.notice(
            f"{signals.received[-1].name}: {done} of {len(cells)} runs are finished; "
            f"go on with: {_command(folder, jobs, shard)}"
        )
        raise typer.Exit(128 + signals.received[-1]) from None
    _conclude(study, folder, cells, carried, out)


def _conclude(study: Study, folder: Path, cells: Sequence[Cell], carried: StudyRuns, out: Output) -> None:
    """Compare what is finished, and end with the exit code of what failed."""
    import shlex

    from imbalance_cli import runs
    from imbalance_cli.cli.output import complain
    from imbalance_cli.errors import CheckpointError, one_line
    from imbalance_cli.files import write_file
    from imbalance_cli.studies import cell_runs, tables
    from imbalance_cli.studies.comparison import compare as compared
    from imbalance_cli.studies.study import COMPARISON

    outcomes, failed = [], dict(carried.board.failed)
    missing = 0
    for cell in cells:
        if cell.folder in failed:
            continue
        if not cell_runs.is_finished(folder, cell):
            missing += 1
            continue
        try:
            outcomes.append(cell_runs.gather(folder, cell))
        except CheckpointError as error:
            failed[cell.folder] = cell, cell_runs.Failure(str(error), error.exit_code)
    if missing:
        out.notice(f"{missing} of {len(cells)} runs are missing; when they are there, collect with: {_command(folder)}")
    if outcomes:
        value = compared(
            outcomes,
            title=study.title,
            methods=study.methods,
            conditions=study.conditions,
            seeds=study.seeds,
            metric=study.metric,
            point=study.point,
            baseline=study.baseline,
            published=study.published,
            failed=[
                {"condition": cell.condition, "method": cell.method, "seed": cell.seed, "reason": failure.reason}
                for cell, failure in failed.values()
            ],
        )
        write_file(folder / COMPARISON, runs.as_json(value))
        write_file(folder / "comparison.md", tables.to_markdown(value))
        write_file(folder / "comparison.csv", tables.to_csv(value))
        write_file(folder / "comparison.tex", tables.to_latex(value))
        if not missing:
            out.result(tables.comparison_report(value), value)
            out.notice(f"written to {folder}; a page of it: {shlex.join(['imbalance', 'report', str(folder)])}")
    if failed:
        for line in _complaints(list(failed.values())):
            complain(one_line(f"error: {line}"))
        codes = [failure.exit_code for _, failure in failed.values()]
        raise typer.Exit(codes[0])


def _complaints(failed: Sequence[tuple[Cell, Failure]]) -> list[str]:
    """A line for each reason for which cells failed."""
    by_reason: dict[str, list[str]] = {}
    for cell, failure in failed:
        by_reason.setdefault(failure.reason, []).append(cell.label)
    return [
        f"{labels[0]}{f' and {len(labels) - 1} more runs' if len(labels) > 1 else ''}: {reason}"
        for reason, labels in by_reason.items()
    ]


def _command(folder: Path, jobs: int = 1, shard: str | None = None) -> str:
    """The command that goes on with the study in `folder`."""
    import shlex

    from imbalance_cli.studies.study import STUDY

    more = [*(["--jobs", str(jobs)] if jobs > 1 else []), *(["--shard", shard] if shard else [])]
    return shlex.join(["imbalance", "compare", str(folder / STUDY), *more])


def _show_plan(study: Study, folder: Path, cells: Sequence[Cell], out: Output) -> None:
    from rich.console import Group
    from rich.text import Text

    from imbalance_cli.studies.cell_runs import is_finished
    from imbalance_cli.studies.tuning import value_words

    done = sum(is_finished(folder, cell) for cell in cells)
    trials = sum(cell.tuning.count for cell in cells if cell.tuning)
    epochs = {cell.method: cell.experiment.all_epochs for cell in cells}
    data = study.shared_data()
    value: dict[str, Any] = {
        "title": study.title,
        "folder": str(folder),
        "data": data,
        "epochs": epochs,
        "conditions": study.conditions,
        "methods": study.methods,
        "seeds": list(study.seeds),
        "metric": study.metric,
        "point": study.point,
        "baseline": study.baseline,
        "cells": len(cells),
        "finished": done,
        "trials": trials,
    }
    lines = [f"{study.title}, in {folder}"]
    told = {key: ", ".join(value) if isinstance(value, list) else value_words(value) for key, value in data.items()}
    lines += ["data", *(f"  {key} {words}" for key, words in told.items())]
    if study.conditions != [""]:
        lines += ["conditions", *(f"  {name}" for name in study.conditions)]
    lines += ["methods", *(f"  {name}{' (baseline)' if name == study.baseline else ''}" for name in study.methods)]
    most_common = max(epochs.values(), key=list(epochs.values()).count)
    others = [f"  {name} {count}" for name, count in epochs.items() if count != most_common]
    lines += ["epochs", f"  {most_common}", *others]
    lines += ["seeds", f"  {' '.join(map(str, study.seeds))}"]
    lines += [f"{len(cells)} runs, of which {done} are finished" + (f"; {trials} trials" if trials else "")]
    out.result(Group(*(Text(line, no_wrap=True, overflow="ignore") for line in lines)), value)
