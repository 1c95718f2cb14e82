"""Results as tables and sentences for a terminal of any width: no name and no number is ever cut or split."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from imbalance_cli.config import Experiment
from imbalance_cli.errors import printable
from imbalance_cli.methods.criteria import in_short
from imbalance_cli.run_verdict import auroc_words, verdict, worst_confusions
from imbalance_cli.runs import CONFIG, RESULTS
from imbalance_cli.strict_yaml import dump_yaml
from imbalance_cli.studies.scores import POINT_NAMES, POINTS, decimal, percent

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

    from imbalance_cli.data.image_set import Dataset
    from imbalance_cli.data.manifest import Manifest
    from imbalance_cli.experiment_data import Prepared

MATRIX_CLASSES = 10  # a larger confusion matrix does not fit 80 columns
MOST_CONFUSIONS = 10


def results_report(results: dict[str, Any], suggestion: str | None, *, prevalences: bool = False) -> RenderableType:
    """The whole verdict on one run or evaluation, and what to do next; prevalences: also of two classes in others."""
    names = results["classes"]
    parts: list[RenderableType] = [""]
    decided = POINTS.get(results["decision"], f"at threshold {results['decision']}")
    if len(names) <= MATRIX_CLASSES:
        parts += [f"Confusion matrix {decided}; rows are true classes", _confusion_matrix(results), ""]
    else:
        parts += [f"Largest confusions by share of the class, {decided}", _worst_confusions(results), ""]
    parts += [_per_class(results), "", _scores(results), "", _operating_points(results)]
    parts += [Prose(f"{POINT_NAMES[name]}: {reason}", style="dim") for name, reason in results["unavailable"].items()]
    parts += [Prose(note, style="dim") for note in _notes(results)]
    if prevalences and len(names) == 2 and results["prevalences"] is not None:
        parts += ["", Prose(f"Other prevalences, {decided}; the recalls stay as they are")]
        parts += [_prevalences(results)]
    parts += ["", Prose(verdict(results))]
    parts += ["Try next:", unbroken(suggestion, style="bold")] if suggestion else []
    return Group(*parts)


def comparison_report(results: Mapping[str, dict[str, Any]]) -> RenderableType:
    """Several models by name, on the same images, in a row each."""
    rows = []
    for name, each in results.items():
        found = each["per_class"][each["classes"].index(each["minority"])]["recall"]
        points = each["operating_points"].values()
        balanced = [percent(point and point["balanced_accuracy"]) for point in points]
        rows.append([name, decimal(each["auroc"]), percent(found), *balanced])
    first = next(iter(results.values()))
    points = [POINT_NAMES[name] for name in first["operating_points"]]
    headings = ["classifier", "AUROC", f"{first['minority']} found", *points]
    note = f"What argmax finds of {first['minority']}, then the balanced accuracy at every operating point."
    return Group("", Rows(headings, rows), "", Prose(printable(note)))


def next_command(experiment: Experiment, place: Path, *, drawn: bool = False) -> str | None:
    """The command that is most worth trying after a run, if there is one; `place` is its folder or checkpoint.

    drawn: whether the figures of an evaluation were drawn just now.
    """
    folder = place.parent if os.path.isfile(place) else place
    remedies = (experiment.class_weights["name"], experiment.refit["name"], experiment.sampler["name"])
    corrected = experiment.loss["name"] in ("logit_adjustment", "vector_scaling") or remedies != (
        "none",
        "none",
        "instance",
    )
    if not corrected and os.path.isfile(folder / CONFIG):
        return f"imbalance train {shlex.quote(str(folder / CONFIG))} --loss logit_adjustment"
    if os.path.isfile(folder / CONFIG) and os.path.isfile(folder / RESULTS):
        return f"imbalance report {shlex.quote(str(folder))}"
    if drawn:
        return None
    return f"imbalance evaluate {shlex.quote(str(place))} --output {shlex.quote(str(folder / 'figures'))}"


def experiment_report(prepared: Prepared) -> tuple[RenderableType, dict[str, Any]]:
    """What `train --dry-run` shows, and the same as plain data."""
    settings = prepared.experiment.model_dump()
    splits = {"train": prepared.train, "validation": prepared.validation, "test": prepared.test}
    counts = {
        name: dict.fromkeys(prepared.train.class_names, 0)
        if images is None
        else dict(zip(images.class_names, images.counts().tolist(), strict=True))
        for name, images in splits.items()
    }
    rows = [[name, *(f"{counts[split][name]:,}" for split in splits)] for name in prepared.train.class_names]
    shown = Group(unbroken(dump_yaml(settings)), "images", Rows(["class", *splits], rows))
    return shown, {"experiment": settings, "counts": counts}


def subset_report(manifest: Manifest, dataset: Dataset) -> tuple[RenderableType, dict[str, Any]]:
    """The counts of a subset as a table with bars, and as plain data."""
    test = dict(zip(dataset.test.class_names, dataset.test.counts().tolist(), strict=True))
    largest, smallest = max(manifest.counts.values()), min(manifest.counts.values())
    rows = [
        [name, f"{count:,}", "#" * max(1, round(36 * count / largest)), f"{test[name]:,}"]
        for name, count in manifest.counts.items()
    ]
    total = sum(manifest.counts.values())
    line = f"{total:,} training images; smallest over largest {smallest}:{largest} = {smallest / largest:.4g}"
    value = {
        "dataset": manifest.dataset,
        "counts": manifest.counts,
        "test_counts": test,
        "ratio": smallest / largest,
        "sha256": manifest.sha256,
    }
    return Group(Rows(["class", "train", "", "test"], rows, left=[0, 2]), line), value


def _confusion_matrix(results: dict[str, Any]) -> Rows:
    names = results["classes"]
    rows: list[list[str | Text]] = []
    for name, row in zip(names, results["confusion_matrix"], strict=True):
        total = sum(row)
        cells = []
        for column, count in enumerate(row):
            share = count / total if total else 0.0
            text = f"{count:,}"
            if len(names) <= 3:
                text += f" {percent(share):>7}"
            elif len(names) <= 5:  # 80 columns hold no more of each
                text += f" {100 * share:3.0f}%"
            cells.append(Text(text, style=_shade(share, correct=names[column] == name)))
        rows.append([name, *cells])
    return Rows(["true \\ predicted", *names], rows, numbered=True)


def _worst_confusions(results: dict[str, Any]) -> Rows:
    pairs = worst_confusions(results, results["confusion_matrix"], MOST_CONFUSIONS)
    rows = [[pair["true"], pair["taken"], f"{pair['count']:,}", percent(pair["share"])] for pair in pairs]
    return Rows(["true", "taken for", "images", "share"], rows, left=[0, 1])


def _per_class(results: dict[str, Any]) -> Rows:
    rows = []
    for row in results["per_class"]:
        interval = row["recall_interval"]
        rows.append(
            [
                row["name"],
                f"{row['train_count']:,}",
                f"{row['support']:,}",
                percent(row["recall"]),
                "-" if interval is None else f"{interval[0] * 100:.1f} to {interval[1] * 100:.1f}",
                percent(row["precision"]),
                decimal(row["f1"]),
            ]
        )
    return Rows(["class", "train", "test", "recall", "95 % interval", "precision", "F1"], rows)


def _scores(results: dict[str, Any]) -> Rows:
    prevalence = results["prevalence"]
    present, classes = results["classes_present"], len(results["classes"])
    precision = "average precision" + ("" if prevalence is None else f" (chance {decimal(prevalence)})")
    if classes > 2:  # over all classes chance is on average one by their number
        precision = "mean average precision" + ("" if prevalence is None else f", chance 1/{present}")
    among = "" if present == classes else f" over {present} of {classes} classes"
    left = [
        ("accuracy", percent(results["accuracy"])),
        ("balanced accuracy" + among, percent(results["balanced_accuracy"])),
        ("G-mean", decimal(results["g_mean"])),
        ("macro F1", decimal(results["macro_f1"])),
    ]
    right = [
        (auroc_words(results), decimal(results["auroc"])),
        (precision, decimal(results["average_precision"])),
        ("expected calibration error", decimal(results["ece"])),
        ("MCC", decimal(results["mcc"])),
    ]
    if results.get("temperature") is not None:
        left.append(("temperature from validation", f"{results['temperature']:.3g}"))
        right.append(("calibration error with it", decimal(results["ece_calibrated"])))
    return Rows([], [[*one, *other] for one, other in zip(left, right, strict=True)], left=[0, 2])


def _operating_points(results: dict[str, Any]) -> Rows:
    rows = results["per_class"]
    rarest = results["classes"].index(results["minority"])
    commonest = max(range(len(rows)), key=lambda index: (rows[index]["train_count"], -index))
    table = []
    for name, point in results["operating_points"].items():
        label = POINT_NAMES.get(name, f"threshold {name}")
        if point is None:
            table.append([label, "", "-", "-", "-"])
            continue
        parts = [f"tau {point['tau']:g}"] if "tau" in point else []
        parts += [f"p {point['threshold']:.3f}"] if "threshold" in point else []
        recalls = point["recalls"]
        found, kept = percent(recalls[rarest]), percent(recalls[commonest])
        table.append([label, ", ".join(parts), found, kept, percent(point["balanced_accuracy"])])
    headings = [f"{rows[rarest]['name']} found", f"{rows[commonest]['name']} kept", "balanced"]
    return Rows(["operating point", "at", *headings], table, left=[0, 1])


def _notes(results: Mapping[str, Any]) -> Iterator[str]:
    """What the operating points were asked to be, where that is not the default, and why there is no temperature."""
    points = results["operating_points"]
    prior = points["prior"]
    if "target" in prior:
        shares = ", ".join(f"{printable(name)} {share:.4g}" for name, share in prior["target"].items())
        yield f"{POINT_NAMES['prior']}: for the class shares {shares}, at temperature {prior['temperature']:.3g}"
    chosen = (points["validation"] or {}).get("threshold_by", {"name": "balanced_accuracy"})
    if chosen["name"] != "balanced_accuracy":
        yield f"{POINT_NAMES['validation']}: chosen by {in_short(chosen)}"
    if reason := results.get("no_temperature"):
        yield f"temperature from validation: none; {reason}"


def _prevalences(results: dict[str, Any]) -> Rows:
    rarest = results["minority"]
    (common,) = (name for name in results["classes"] if name != rarest)
    rows = [
        [
            f"1 : {row['others_to_one']}",
            percent(row["precision"]),
            decimal(row["f1"]),
            percent(row["accuracy"]),
            decimal(row["average_precision"]),
        ]
        for row in results["prevalences"]
    ]
    return Rows([f"{rarest} : {common}", "precision", "F1", "accuracy", "average precision"], rows)


class Rows:
    """Rows under headings: a table where it fits the width of the terminal, else lines that name every cell.

    Without headings, the cells are pairs of a score and its value. left: the columns whose cells begin at the left.
    numbered: the headings after the first are the names of the rows; where they are too wide, numbers stand for them.
    """

    def __init__(
        self,
        headings: Sequence[str],
        rows: Iterable[Sequence[str | Text]],
        *,
        left: Sequence[int] = (0,),
        numbered: bool = False,
    ) -> None:
        self.headings = [printable(heading) for heading in headings]
        self.rows = [[Text(printable(cell)) if isinstance(cell, str) else cell for cell in row] for row in rows]
        self.left = left
        self.numbered = numbered

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        unlimited = options.update(width=1_000_000)
        for table in self._tables():
            if Measurement.get(console, unlimited, table).maximum <= options.max_width:
                yield table
                return
        for line in self._lines(options.max_width):
            yield unbroken(line)

    def _tables(self) -> Iterator[Table]:
        yield self._table(self.headings, self.rows)
        if self.numbered:
            numbers = [str(number) for number in range(1, len(self.rows) + 1)]
            rows = [[Text(f"{n:>2} {row[0]}"), *row[1:]] for n, row in zip(numbers, self.rows, strict=True)]
            yield self._table([self.headings[0], *numbers], rows)

    def _table(self, headings: Sequence[str], rows: Iterable[Sequence[Text]]) -> Table:
        table = Table(box=None, pad_edge=False, show_header=bool(headings))
        for column in range(len(self.headings or self.rows[0])):
            heading = Text(headings[column]) if headings else ""
            table.add_column(heading, justify="left" if column in self.left else "right")
        for row in rows:
            table.add_row(*row)
        return table

    def _lines(self, width: int) -> Iterator[str]:
        """Each row's name, then its cells, as many to a line as `width` holds."""
        for name, *cells in ([cell.plain for cell in row] for row in self.rows):
            if not self.headings:
                pairs = [name, *cells]
                yield from (f"{score} {value}" for score, value in zip(pairs[::2], pairs[1::2], strict=True))
                continue
            yield name
            line = ""
            named = zip(self.headings[1:], cells, strict=True)
            for item in (" ".join([heading, *cell.split()]).strip() for heading, cell in named if cell):
                if line and len(f"  {line}, {item},") > width:
                    yield f"  {line},"
                    line = item
                else:
                    line = f"{line}, {item}" if line else item
            if line:
                yield f"  {line}"


class Prose:
    """A sentence in lines that fit the width of the terminal, its words whole, and a number beside its unit."""

    def __init__(self, text: str, style: str = "") -> None:
        self.text, self.style = text, style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        glued = self.text.replace(" %", "\0%")
        for line in wrap(glued, options.max_width, break_long_words=False, break_on_hyphens=False):
            yield unbroken(line.replace("\0", " "), self.style)


def unbroken(text: str, style: str = "") -> Text:
    """`text` in the lines that it has: the terminal may wrap them, but a name or a command is copied as it is."""
    return Text(text, style=style, no_wrap=True, overflow="ignore")


def _shade(share: float, *, correct: bool) -> str:
    """Background by share of the row: blue where right, red where wrong; near white is left alone."""
    if share < 0.02:
        return ""
    strength = 0.25 + 0.75 * share
    base = (0, 90, 181) if correct else (220, 50, 32)
    red, green, blue = (round(255 - (255 - part) * strength) for part in base)
    return f"{'white' if strength > 0.6 else 'black'} on rgb({red},{green},{blue})"
