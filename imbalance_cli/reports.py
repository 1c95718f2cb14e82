"""Results as tables and sentences for a terminal."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from imbalance_cli.config import Experiment
from imbalance_cli.strict_yaml import dump_yaml

if TYPE_CHECKING:
    from rich.console import RenderableType

    from imbalance_cli.data.image_set import Dataset
    from imbalance_cli.data.manifest import Manifest
    from imbalance_cli.experiment_data import Prepared

MATRIX_CLASSES = 10  # a larger confusion matrix does not fit 80 columns
LONGEST_NAME = 16

POINT_NAMES = {"argmax": "argmax", "prior": "prior-corrected", "validation": "threshold from validation"}


def results_report(results: dict[str, Any], suggestion: str) -> RenderableType:
    """The whole verdict on one run or evaluation, readable at 80 columns."""
    names = results["classes"]
    parts: list[RenderableType] = [""]
    if len(names) <= MATRIX_CLASSES:
        parts += [_confusion_matrix(results), ""]
    else:
        parts += [_worst_confusions(results), ""]
    parts += [_per_class(results), "", _scores(results), "", _operating_points(results), ""]
    parts.append(Text(verdict(results)))
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
    found = points["argmax"]["recalls"][rarest]
    if found is None:
        return f"{text}; {name} does not occur in these images."
    text += f"{' but' if auroc >= 0.75 and found < 0.5 else ' and'} argmax finds {found:.0%} of {name}"
    best, before = _best_point(results), points["argmax"]["balanced_accuracy"]
    if best == "argmax":
        return f"{text}; no other operating point has a better balanced accuracy than its {_percent(before)}."
    how = {"prior": "prior correction", "validation": "the threshold from validation"}.get(best, f"threshold {best}")
    after = points[best]["balanced_accuracy"]
    text += f"; {how} finds {points[best]['recalls'][rarest]:.0%}"
    if after - before < 0.02:
        return f"{text}, which hardly changes the balanced accuracy ({_percent(before)} to {_percent(after)})."
    return f"{text} (balanced accuracy {_percent(before)} to {_percent(after)})."


def next_command(results: dict[str, Any], experiment: Experiment, folder: Path) -> str:
    """The command that is most worth trying after these results."""
    run = shlex.quote(str(folder))
    if experiment.loss["name"] != "logit_adjustment" and experiment.class_weights["name"] == "none":
        data = experiment.data
        command = ["imbalance train --loss logit_adjustment", "-d", shlex.quote(data.dataset)]
        if data.subset:
            command = ["imbalance train --loss logit_adjustment --subset", shlex.quote(data.subset)]
        elif data.ratio:
            command.append(f"--ratio {data.ratio:g}")
        if data.classes and not data.subset:
            command.append("--classes " + " ".join(shlex.quote(name) for name in data.classes))
        return " ".join(command)
    if _best_point(results) != "argmax":
        return f"imbalance evaluate {run} --threshold {_best_point(results)} --output {run}/figures"
    return f"imbalance evaluate {run} --output {run}/figures"


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
    table = Table(
        title=f"Confusion matrix ({results['decision']}; rows are true classes)",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1),
    )
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
    table = Table(
        title=f"Most frequent confusions ({results['decision']})",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
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
    for heading in (
        f"{_short(rows[rarest]['name'], 12)} found",
        f"{_short(rows[commonest]['name'], 12)} kept",
        "balanced accuracy",
    ):
        table.add_column(Text(heading), justify="right")
    for name, point in results["operating_points"].items():
        label = POINT_NAMES.get(name, f"threshold {name}")
        if point is None:
            table.add_row(label, "-", "-", "-")
            continue
        if name == "prior":
            label += f" (tau {point['tau']:g})"
        elif "threshold" in point and name != "argmax":
            label += f" ({point['threshold']:.3f})" if name == "validation" else ""
        table.add_row(
            label,
            _percent(point["recalls"][rarest]),
            _percent(point["recalls"][commonest]),
            _percent(point["balanced_accuracy"]),
        )
    return table


def _best_point(results: dict[str, Any]) -> str:
    points = {name: point for name, point in results["operating_points"].items() if point is not None}
    best: str = max(points, key=lambda name: (points[name]["balanced_accuracy"], name == "argmax"))
    return best


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
