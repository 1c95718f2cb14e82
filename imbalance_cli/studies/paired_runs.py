"""Finished runs against each other on the same test images: how much of a difference the choice of images explains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbalance_cli.errors import CheckpointError, SettingError, did_you_mean
from imbalance_cli.methods.posthoc import decide
from imbalance_cli.metrics import Ints, decision_scores
from imbalance_cli.predictions import Predictions, read_predictions
from imbalance_cli.runs import read_results
from imbalance_cli.studies.scores import METRICS, POINTS, p_words
from imbalance_cli.studies.significance import CONFIDENCE, LEVEL, McNemar, Resampled, holm, mcnemar, resample_recalls
from imbalance_cli.studies.verdicts import fallback, unequal_thresholds, unequal_training, unnoted_tests

TEST = (
    "of balanced accuracy and recall: the bootstrap over the test images of each class; of how many are right: "
    "McNemar's exact test on the images that one of the two alone decides rightly; Holm-corrected for several runs"
)
ABOUT = (
    "This is about these models on images like these, not about the methods that trained them: "
    "to compare methods takes several seeds."
)
FEWEST_TO_RESAMPLE = 30  # test images of a class below which a bootstrap interval is clearly too narrow
QUANTITIES = ("balanced_accuracy", "minority_recall", "right", "minority_right")  # each a family of tests


@dataclass(frozen=True)
class _Run:
    """A finished run: what it is called, its results, what it answered for the test images."""

    name: str
    results: dict[str, Any]
    answers: Predictions

    @property
    def training(self) -> dict[str, Any]:
        """What the training took, and from how many images of each class."""
        budget = {name: self.results[name] for name in ("epochs", "steps", "parameters")}
        counts = [each["train_count"] for each in self.results["per_class"]]
        return {"method": self.name, **budget, "train_counts": counts}

    def decisions(self, point: str) -> Ints:
        return decide(self.answers.logits, np.asarray(self.results["operating_points"][point]["offsets"]))


def compare_runs(folders: Sequence[Path], *, point: str = "validation") -> dict[str, Any]:
    """The runs in `folders` against the first of them on the test images that they share, as plain data.

    point: the operating point, the same for all; where a run lacks it, prior. Intervals and tests are about these
    models on images like these: what another seed would have trained is not in them. Raises SettingError, and
    CheckpointError if the test images differ.
    """
    if len(folders) < 2:
        raise SettingError(f"comparing runs needs two or more; got {len(folders)}")
    if point not in POINTS:
        raise SettingError(f"point: unknown operating point {point!r}{did_you_mean(point, POINTS)}")
    if len({folder.resolve() for folder in folders}) < len(folders):
        twice = next(each for at, each in enumerate(folders) if each.resolve() in [b.resolve() for b in folders[:at]])
        raise SettingError(f"{twice} is given twice; a run is compared with others, not with itself")
    runs = [
        _Run(name, read_results(folder), read_predictions(folder))
        for name, folder in zip(_names(folders), folders, strict=True)
    ]
    first = runs[0]
    for run in runs[1:]:
        _require_same_images(first, run)
    warnings = []
    if lacking := [run for run in runs if run.results["operating_points"][point] is None]:
        reason = lacking[0].results["unavailable"][point]
        warnings.append(fallback(point, reason, f"{lacking[0].name} lacks that point", "all runs"))
        point = "prior"
    names, labels = list(first.answers.class_names), first.answers.labels
    minority = names.index(first.results["minority"])
    supports = np.bincount(labels, minlength=len(names))
    if few := [f"{names[index]} {n}" for index, n in enumerate(supports) if 0 < n < FEWEST_TO_RESAMPLE]:
        warnings.append(f"few test images ({', '.join(few)}): the intervals are too narrow; rely on McNemar's test")
    if other := [run.name for run in runs if run.results["minority"] != names[minority]]:
        warnings.append(f"the minority is that of {first.name}; in training it was another for {', '.join(other)}")
    warnings += unnoted_tests([run.name for run in runs if "test_digest" not in run.results])
    warnings += unequal_training([run.training for run in runs])
    if point == "validation":
        warnings += unequal_thresholds({run.name: run.results for run in runs})
    rows: list[dict[str, Any]] = []
    for run in runs:
        decisions = run.decisions(point)
        scores, right = decision_scores(labels, decisions, len(names)), decisions == labels
        if run is first:
            reference = right
        rows.append(
            {
                "run": run.name,
                "accuracy": scores["accuracy"],
                "balanced_accuracy": scores["balanced_accuracy"],
                "minority_recall": scores["recalls"][minority],
                "auroc": run.results["auroc"],
                "difference": None if run is first else _difference(labels, right, reference, minority, len(names)),
            }
        )
    _correct([row["difference"] for row in rows[1:]])
    return {
        "runs": [run.name for run in runs],
        "data": {
            "dataset": Path(first.results["dataset"]).name,  # the folder it lies in is nobody else's
            "classes": names,
            "minority": names[minority],
            "test_images": len(labels),
            "minority_images": int(supports[minority]),
        },
        "point": point,
        "confidence": CONFIDENCE,
        "test": TEST,
        "rows": rows,
        "verdict": " ".join([*_verdicts(rows, len(labels), point), ABOUT]),
        "warnings": warnings,
    }


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names, or all of their paths where two are called the same."""
    names = [folder.name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _require_same_images(first: _Run, other: _Run) -> None:
    ours, theirs = first.answers, other.answers
    datasets = [Path(run.results["dataset"]).name for run in (first, other)]
    if datasets[0] != datasets[1]:
        what = f"those of {datasets[0]} and those of {datasets[1]}"
    elif ours.class_names != theirs.class_names:
        what = f"their classes are {', '.join(ours.class_names)} and {', '.join(theirs.class_names)}"
    elif len(ours.items) != len(theirs.items):
        what = f"{len(ours.items)} and {len(theirs.items)} images"
    elif ours.items != theirs.items:
        place, pair = next(
            (place, pair) for place, pair in enumerate(zip(ours.items, theirs.items, strict=True)) if pair[0] != pair[1]
        )
        what = f"image {place + 1} is {pair[0]} and {pair[1]}"
    elif (ours.labels != theirs.labels).any():
        what = f"{ours.items[int(np.argmax(ours.labels != theirs.labels))]} is of another class in each"
    elif len({each.results["test_digest"] for each in (first, other) if "test_digest" in each.results}) > 1:
        what = "files of the same names, changed in between"
    else:
        return
    raise CheckpointError(
        f"{first.name} and {other.name} were tested on different images ({what}); "
        "only runs with the same test images can be compared"
    )


def _difference(
    labels: Ints, right: NDArray[np.bool_], reference: NDArray[np.bool_], minority: int, classes: int
) -> dict[str, Any]:
    """How a run differs from the first; right, reference: which images each of the two decides rightly."""
    recalls = resample_recalls(labels, right, reference, classes, "paired runs")
    rare = labels == minority
    return {
        "balanced_accuracy": _plain(recalls.balanced()),
        "minority_recall": _plain(recalls.of_class(minority)) if rare.any() else None,
        "right": _counted(mcnemar(right, reference)),
        "minority_right": _counted(mcnemar(right[rare], reference[rare])),
    }


def _plain(resampled: Resampled) -> dict[str, Any]:
    return {"mean": resampled.difference, "interval": list(resampled.interval), "p": resampled.p}


def _counted(tested: McNemar) -> dict[str, Any]:
    """On how many images the run alone is right, on how many the first alone."""
    return {"alone": tested.only_first, "first_alone": tested.only_second, "p": tested.p}


def _correct(differences: Sequence[Mapping[str, Any]]) -> None:
    """Add the p-values corrected for there being several runs, each quantity by itself."""
    for quantity in QUANTITIES:
        there = [each[quantity] for each in differences if each[quantity] is not None]
        for each, p in zip(there, holm([each["p"] for each in there]), strict=True):
            each["p_corrected"] = p


def _verdicts(rows: Sequence[Mapping[str, Any]], images: int, point: str) -> Iterator[str]:
    """A sentence for each run but the first."""
    metric, first = METRICS["balanced_accuracy"], rows[0]
    where = f"on these {images:,} test images, {POINTS[point]}"
    for row in rows[1:]:
        change, right = row["difference"]["balanced_accuracy"], row["difference"]["right"]
        if right["alone"] + right["first_alone"] == 0:
            yield f"{row['run']} and {first['run']} are right on the same images, {where}."
            continue
        sure = p_words(change["p_corrected"])
        alone = (
            f"{row['run']} alone is right on {right['alone']:,} images and {first['run']} alone on "
            f"{right['first_alone']:,} (McNemar's exact test: {p_words(right['p_corrected'])})"
        )
        if change["p_corrected"] < LEVEL:
            side, sign = ("above", 1) if change["mean"] > 0 else ("below", -1)
            low, high = (metric.number(end) for end in sorted(sign * end for end in change["interval"]))
            interval = f"95 % interval {low} to {high}"
            size = f"is {metric.gap(change['mean'])} {side} that of {first['run']} ({interval}, {sure})"
            yield f"The balanced accuracy of {row['run']} {size}, {where}; {alone}."
        else:
            low, high = (metric.signed(end) for end in change["interval"])
            size = f"the difference of {metric.signed(change['mean'])} points (95 % interval {low} to {high}, {sure}) "
            size += "may come from which images they are"
            yield f"{row['run']} cannot be told from {first['run']} by balanced accuracy {where}: {size}; {alone}."
