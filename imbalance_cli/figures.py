"""Figures of image sets and evaluations: what goes into which plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imbalance_cli import drawing, plots, threshold_plots
from imbalance_cli.checkpoints import Checkpoint
from imbalance_cli.data.image_set import ImageSet
from imbalance_cli.evaluation import missed
from imbalance_cli.metrics import Floats, class_score, softmax
from imbalance_cli.studies.scores import POINTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EVALUATION = ("confusion_matrix", "roc", "precision_recall", "reliability", "recall", "threshold", "missed")
MOST_MISSED = 40
SAMPLES = 10  # images a class in a preview


def subset_figure(images: ImageSet) -> Figure:
    """Samples of every class of `images`, beside its count."""
    samples = [
        images.images[(images.labels == label).nonzero().flatten()[:SAMPLES]].numpy()
        for label in range(len(images.class_names))
    ]
    return plots.subset_preview(samples, images.class_names, images.counts().tolist())


def draw_evaluation(
    checkpoint: Checkpoint, results: dict[str, Any], logits: Floats, images: ImageSet, folder: Path
) -> list[Path]:
    """Draw everything that `results` of `images` show into `folder`; returns the files. Raises WriteError."""
    names, counts, labels = checkpoint.class_names, checkpoint.counts, images.labels.numpy()
    rarest = checkpoint.minority
    probabilities = softmax(logits)
    decided = POINTS.get(results["decision"], f"at threshold {results['decision']}")
    offsets = np.asarray(results["operating_points"][results["decision"]]["offsets"])
    points = {name: point for name, point in results["operating_points"].items() if point is not None}
    recalls = np.array([np.nan if row["recall"] is None else row["recall"] for row in results["per_class"]])
    figures = {
        "confusion_matrix": plots.confusion_matrix(np.asarray(results["confusion_matrix"]), names, decided),
        "roc": threshold_plots.roc_curve(labels, logits, names, counts, points),
        "precision_recall": threshold_plots.precision_recall(labels, logits, names, counts, points),
        "reliability": plots.reliability(probabilities.max(1), probabilities.argmax(1) == labels),
        "recall": plots.recall_bars(recalls, counts, names, decided),
    }
    thresholds = {name: point["threshold"] for name, point in points.items() if "threshold" in point}
    figures["threshold"] = threshold_plots.threshold_sweep(
        labels == rarest, probabilities[:, rarest], thresholds, names[rarest]
    )
    every = missed(logits, labels, rarest, offsets)
    where = every[:MOST_MISSED]
    scores = class_score(logits, rarest)
    figures["missed"] = plots.missed_images(
        images.images[where].numpy(),
        [f"{images.items[i]}\nloss {np.logaddexp(0, -scores[i]):.2f}" for i in where],
        len(every),
        names[rarest],
        decided,
    )
    paths = evaluation_files(folder)
    for name, path in zip(EVALUATION, paths, strict=True):
        drawing.save_figure(figures[name], path)
    return paths


def evaluation_files(folder: Path) -> list[Path]:
    """The files that `draw_evaluation` writes into `folder`."""
    return [folder / f"{name}.png" for name in EVALUATION]
