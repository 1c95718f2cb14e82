"""Results as tables and sentences for a terminal."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from imbalance_cli.config import Experiment
from imbalance_cli.runs import CONFIG
from imbalance_cli.strict_yaml import dump_yaml

if TYPE_CHECKING:
    from rich.console import RenderableType

    from imbalance_cli.data.image_set import Dataset
    from imbalance_cli.data.manifest import Manifest
    from imbalance_cli.experiment_data import Prepared

MATRIX_CLASSES = 10  # a larger confusion matrix does not fit 80 columns
LONGEST_NAME = 16

POINT_NAMES = {"argmax": "argmax", "prior": "prior-corrected", "validation": "from validation"}


def results_report(results: dict[str, Any], suggestion: str) -> RenderableType:
    """The whole verdict on one run or evaluation, readable at 80 columns."""
    names = results["classes"]
    parts: list[RenderableType] = [""]
    if len(names) <= MATRIX_CLASSES:
        parts += [f"Confusion matrix at {results['decision']}; rows are true classes", _confusion_matrix(results), ""]
    else:
        parts += [f"Most frequent confusions at {results['decision']}", _worst_confusions(results), ""]
    parts += [_per_class(results), "", _scores(results), "", _operating_points(results)]
    parts += [Text(f"{POINT_NAMES[name]}: {reason}", style="dim") for name, reason in results["unavailable"].items()]
    parts += ["", Text(verdict(results))]
    parts.append(Text(f"Try next: {suggestion}", style="bold"))
    return Group(*parts)


def verdict(results: dict[str, Any]) -> str:
    """What the numbers mean, in plain words."""
    if results["auroc"] is None:
        return (
            f"Only one class occurs in these {results['n']} images, so nothing can be said about telling classes apart."
        )
    name, points, auroc = results["minority"], results["operating_points"], results["auroc"]
    rarest = results["classes"].index(name)
    quality = "well" if auroc >= 0.9 else "fairly" if auroc >= 0.75 else "poorly"
    text = f"The model ranks {quality} (AUROC {_decimal(auroc)})"
    argmax = points["argmax"]
    if argmax["recalls"][rarest] is None:
        return f"{text}; {name} does not occur in these images."
    text += f"{' but' if auroc >= 0.75 and argmax['recalls'][rarest] < 0.5 else ' and'} argmax finds "
    text += f"{argmax['recalls'][rarest]:.0%} of {name}"
    # Which point to name is not decided by these results: that would be a choice made on the test images.
    other = "validation" if points["validation"] is not None else "prior"
    point, how = points[other], {"prior": "prior correction", "validation": "the threshold from validation"}[other]
    if point["recalls"] == argmax["recalls"]:
        return f"{text}; {how} decides the same."
    change = f"balanced accuracy {_percent(argmax['balanced_accuracy'])} to {_percent(point['balanced_accuracy'])}"
    return f"{text}; {how} finds {point['recalls'][rarest]:.0%} ({change})."


def next_command(experiment: Experiment, place: Path) -> str:
    """The command that is most worth trying after a run; `place` is its folder or checkpoint."""
    folder = place.parent if place.is_file() else place
    corrected = experiment.loss["name"] == "logit_adjustment" or experiment.class_weights["name"] != "none"
    if not corrected and (folder / CONFIG).is_file():
        return f"imbalance train {shlex.quote(str(folder / CONFIG))} --loss logit_adjustment"
    return f"imbalance evaluate {shlex.quote(str(place))} --output {shlex.quote(str(folder / 'figures'))}"


def experiment_report(prepared: Prepared) -> tuple[RenderableType, dict[str, Any]]:
    """What `train --dry-run` shows, and the same as plain data."""
    settings = prepared.experiment.model_dump()
    table = Table("class", title="images", box=None, title_justify="left", pad_edge=False)
    splits = {"train": prepared.train, "validation": prepared.validation, "test": prepared.test}
    counts = {
        name: dict.fromkeys(prepared.train.class_names, 0)
        if images is None
        else dict(zip(images.class_names, images.counts().tolist(), strict=True))
        for name, images in splits.items()
    }
    for name in splits:
        table.add_column(name, justify="right")
    for name in prepared.train.class_names:
        table.add_row(Text(name), *(f"{counts[split][name]:,}" for split in splits))
    return Group(Text(dump_yaml(settings)), table), {"experiment": settings, "counts": counts}


def subset_report(manifest: Manifest, dataset: Dataset) -> tuple[RenderableType, dict[str, Any]]:
    """The counts of a subset as a table with bars, and as plain data."""
    test = dict(zip(dataset.test.class_names, dataset.test.counts().tolist(), strict=True))
    largest = max(manifest.counts.values())
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    table.add_column("train", justify="right")
    table.add_column("")
    table.add_column("test", justify="right")
    for name, count in manifest.counts.items():
        table.add_row(Text(name), f"{count:,}", "#" * max(1, round(36 * count / largest)), f"{test[name]:,}")
    smallest = min(manifest.counts.values())
    total = sum(manifest.counts.values())
    line = f"{total:,} training images; smallest over largest {smallest}:{largest} = {smallest / largest:.4g}"
    value = {
        "dataset": manifest.dataset,
        "counts": manifest.counts,
        "test_counts": test,
        "ratio": smallest / largest,
        "sha256": manifest.sha256,
    }
    return Group(table, line), value


def _confusion_matrix(results: dict[str, Any]) -> Table:
    names = results["classes"]
    table = Table(box=None, pad_edge=False)
    table.add_column("true \\ predicted")
    width = 16 if len(names) <= 3 else 60 // len(names)
    for name in names:
        table.add_column(Text(_short(name, width)), justify="right")
    for name, row in zip(names, results["confusion_matrix"], strict=True):
        total = sum(row)
        cells = []
        for column, count in enumerate(row):
            share = count / total if total else 0.0
            text = f"{count:,} {share:4.0%}" if len(names) <= 5 else f"{count:,}"
            cells.append(Text(text, style=_shade(share, correct=names[column] == name)))
        table.add_row(Text(_short(name, LONGEST_NAME)), *cells)
    return table


def _worst_confusions(results: dict[str, Any]) -> Table:
    names, matrix = results["classes"], results["confusion_matrix"]
    pairs = [
        (row[column] / sum(row), row[column], names[true], names[column])
        for true, row in enumerate(matrix)
        for column in range(len(names))
        if column != true and sum(row)
    ]
    table = Table(box=None, pad_edge=False)
    table.add_column("true")
    table.add_column("taken for")
    table.add_column("images", justify="right")
    table.add_column("share", justify="right")
    for share, count, true, predicted in sorted(pairs, reverse=True)[:10]:
        table.add_row(Text(true), Text(predicted), f"{count:,}", f"{share:.0%}")
    return table


def _per_class(results: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    for heading in ("train", "test", "recall", "95 % interval", "precision", "F1"):
        table.add_column(heading, justify="right")
    for row in results["per_class"]:
        interval = row["recall_interval"]
        table.add_row(
            Text(_short(row["name"], LONGEST_NAME)),
            f"{row['train_count']:,}",
            f"{row['support']:,}",
            _percent(row["recall"]),
            "-" if interval is None else f"{interval[0] * 100:.1f} to {interval[1] * 100:.1f}",
            _percent(row["precision"]),
            _decimal(row["f1"]),
        )
    return table


def _scores(results: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(2):
        table.add_column(justify="left")
        table.add_column(justify="right")
    prevalence = results["prevalence"]
    baseline = "" if prevalence is None else f" (chance {_decimal(prevalence)})"
    present, classes = results["classes_present"], len(results["classes"])
    among = "" if present == classes else f" (of {present} of {classes} classes)"
    table.add_row("accuracy", _percent(results["accuracy"]), "AUROC", _decimal(results["auroc"]))
    table.add_row(
        "balanced accuracy" + among,
        _percent(results["balanced_accuracy"]),
        "average precision" + baseline,
        _decimal(results["average_precision"]),
    )
    table.add_row("G-mean", _decimal(results["g_mean"]), "expected calibration error", _decimal(results["ece"]))
    table.add_row("macro F1", _decimal(results["macro_f1"]), "MCC", _decimal(results["mcc"]))
    return table


def _operating_points(results: dict[str, Any]) -> Table:
    rows = results["per_class"]
    rarest = results["classes"].index(results["minority"])
    commonest = max(range(len(rows)), key=lambda index: (rows[index]["train_count"], -index))
    table = Table(box=None, pad_edge=False)
    table.add_column("operating point")
    table.add_column("at")
    for heading in (
        f"{_short(rows[rarest]['name'], 12)} found",
        f"{_short(rows[commonest]['name'], 12)} kept",
        "balanced",
    ):
        table.add_column(Text(heading), justify="right")
    for name, point in results["operating_points"].items():
        label = POINT_NAMES.get(name, f"threshold {name}")
        if point is None:
            table.add_row(label, "", "-", "-", "-")
            continue
        parts = [f"tau {point['tau']:g}"] if "tau" in point else []
        parts += [f"p {point['threshold']:.3f}"] if "threshold" in point else []
        table.add_row(
            label,
            ", ".join(parts),
            _percent(point["recalls"][rarest]),
            _percent(point["recalls"][commonest]),
            _percent(point["balanced_accuracy"]),
        )
    return table


def _shade(share: float, *, correct: bool) -> str:
    """Background by share of the row: blue where right, red where wrong; near white is left alone."""
    if share < 0.02:
        return ""
    strength = 0.25 + 0.75 * share
    base = (0, 90, 181) if correct else (220, 50, 32)
    red, green, blue = (round(255 - (255 - part) * strength) for part in base)
    return f"{'white' if strength > 0.6 else 'black'} on rgb({red},{green},{blue})"


def _short(name: str, width: int) -> str:
    return name if len(name) <= width else name[: max(1, width - 1)] + "~"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.1f} %"


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
