"""What a finished run answered for each test image: one line of a CSV file each."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imbalance_cli import runs
from imbalance_cli.errors import CheckpointError, DamageError
from imbalance_cli.files import read_file, write_file
from imbalance_cli.metrics import Floats, Ints

HEADINGS = ("image", "label")
LOGIT = "logit "  # before a class's name in the heading of its column


@dataclass(frozen=True)
class Predictions:
    """The logits [n, classes] of test images, their labels [n] and their names [n]."""

    items: tuple[str, ...]
    labels: Ints
    logits: Floats
    class_names: tuple[str, ...]


def as_csv(items: Sequence[str], labels: Ints, logits: Floats, class_names: Sequence[str]) -> bytes:
    """The content of a predictions file. Nine digits are those of float32, which the logits were computed in."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*HEADINGS, *(f"{LOGIT}{name}" for name in class_names)])
    for item, label, row in zip(items, labels.tolist(), logits.tolist(), strict=True):
        writer.writerow([item, class_names[label], *(f"{logit:.9g}" for logit in row)])
    return text.getvalue().encode("utf-8", "surrogateescape")


def write_predictions(
    path: Path, items: Sequence[str], labels: Ints, logits: Floats, class_names: Sequence[str]
) -> None:
    """Write the predictions file `path`. Raises WriteError."""
    write_file(path, as_csv(items, labels, logits, class_names))


def read_predictions(folder: Path) -> Predictions:
    """The predictions of the finished run in `folder`, verified by their SHA-256. Raises CheckpointError."""
    path = folder / runs.PREDICTIONS
    session = runs.read_sessions(folder)[-1]
    if "predictions_sha256" not in session:
        raise CheckpointError(f"{folder} holds no {runs.PREDICTIONS}: its run is not complete, or of an older version")
    runs.require_unchanged(folder, {runs.PREDICTIONS: session["predictions_sha256"]}, "train the run again")
    try:
        text = read_file(path).decode("utf-8", "surrogateescape")
        heading, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        class_names = tuple(name.removeprefix(LOGIT) for name in heading[len(HEADINGS) :])
        numbers = {name: number for number, name in enumerate(class_names)}
        items = tuple(row[0] for row in rows)
        labels = np.array([numbers[row[1]] for row in rows], np.int64)
        logits = np.array([row[2:] for row in rows], np.float64)
    except (OSError, ValueError, KeyError, IndexError, csv.Error) as error:
        raise DamageError(f"{path} is damaged: it should be lines of image, label and logits") from error
    if logits.shape != (len(items), len(class_names)):
        raise DamageError(f"{path} is damaged: its lines are not of one length")
    return Predictions(items, labels, logits, class_names)
