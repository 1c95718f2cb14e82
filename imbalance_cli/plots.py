"""Figures of a trained model's results and of a subset's images.

`decided` says of a figure by which operating point, as in POINTS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imbalance_cli.drawing import COLOURS, MOST_CURVES, PALE, line_look, new_figure, say, shared_look, short_name
from imbalance_cli.metrics import calibration_error
from imbalance_cli.studies.scores import POINTS, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]

_GAP = 3  # white pixels right of and below each picture of a preview


@shared_look()
def confusion_matrix(matrix: Ints, class_names: Sequence[str], decided: str = POINTS["argmax"]) -> Figure:
    """Counts [classes, classes], rows true, coloured by their share of the row.

    Up to 20 classes the cells also show count and percent.
    """
    import matplotlib

    classes = len(class_names)
    numbers = classes <= 20
    totals = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, totals, out=np.full(matrix.shape, np.nan), where=totals > 0)
    names = [short_name(name) for name in class_names]
    longest = max(map(len, names)) * 0.075  # in inches, as all sizes here
    cell = float(np.clip(4 / classes, 0.58, 1.2)) if numbers else float(np.clip(10 / classes, 0.1, 0.3))
    side = min(cell * classes, 24)
    figure = new_figure(max(side, 3) + longest + (0.6 if numbers else 1.6), max(side, 2) + 1.55 + longest / 2)
    axes = figure.subplots()
    colours = matplotlib.colormaps["Blues"].with_extremes(bad=PALE)
    image = axes.imshow(share, cmap=colours, vmin=0, vmax=1)
    size = 9 if classes <= 5 else 8 if numbers else float(np.clip(cell * 55, 5, 8))
    if classes <= 120:
        level = longest < cell
        axes.set_xticks(range(classes), names, fontsize=size, rotation=0 if level else 45 if numbers else 90)
        if not level and numbers:
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        axes.set_yticks(range(classes), names, fontsize=size)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(f"{int(np.trace(matrix)):,} of {int(matrix.sum()):,} images right\n{decided}")
    if not numbers:
        figure.colorbar(image, ax=axes, shrink=0.6, label="share of the true class")
        return figure
    for (row, column), count in np.ndenumerate(matrix):
        part = share[row, column]
        text = "no\nimages" if np.isnan(part) else f"{count:,}\n{percent(part)}"
        axes.text(
            column, row, text, ha="center", va="center", color="white" if part > 0.65 else "black",
            fontsize=size if classes <= 5 else 6.5,
        )  # fmt: skip
    return figure


@shared_look()
def reliability(probability: Floats, correct: NDArray[np.bool_], bins: int = 15) -> Figure:
    """Accuracy over confidence in equal bins, with the images per bin and the expected calibration error.

    probability [n], of the class predicted at argmax; correct [n].
    """
    figure = new_figure(5.2, 5.4)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    axes.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    below.set(xlabel="confidence: probability of the class predicted at argmax", ylabel="images")
    if not len(probability):
        say(axes, "no images")
        return figure
    bin_of = np.minimum((probability * bins).astype(int), bins - 1)  # the bins of calibration_error
    counts = np.bincount(bin_of, minlength=bins)
    accuracy = np.bincount(bin_of, correct, bins) / np.maximum(counts, 1)
    centres = (np.arange(bins) + 0.5) / bins
    axes.bar(centres, accuracy, 1 / bins, color=COLOURS[5], edgecolor="white")
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    axes.text(0.02, 0.045, "calibrated", rotation=45, rotation_mode="anchor", transform_rotates_text=True)
    below.bar(centres, counts, 1 / bins, color="grey", edgecolor="white")
    below.set(yscale="log", ylim=(0.5, counts.max() * 2))
    below.yaxis.set_major_formatter("{x:,.0f}")
    below.yaxis.set_minor_formatter("")
    error = calibration_error(probability, correct, bins)
    sure, right = percent(probability.mean()), percent(correct.mean())
    axes.set_title(f"ECE {error:.3f}: confidence {sure} on average, accuracy {right}")
    return figure


@shared_look()
def recall_bars(
    recalls: Floats, train_counts: Sequence[int], class_names: Sequence[str], decided: str = POINTS["argmax"]
) -> Figure:
    """Recall of each class beside its training images, most trained first.

    recalls [classes], NaN for a class without test images.
    """
    order = np.argsort(-np.asarray(train_counts), kind="stable")
    recall, counts = np.asarray(recalls)[order], np.asarray(train_counts)[order]
    rows = np.arange(len(order))
    row = float(np.clip(12 / max(len(order), 1), 0.12, 0.3))  # inches
    size = min(9.0, row * 50)
    figure = new_figure(7.2, 1.1 + row * max(len(order), 2))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[2, 1])
    left.barh(rows, np.nan_to_num(recall), color=COLOURS[2])
    for position, value in enumerate(recall):
        text = "no images" if np.isnan(value) else percent(value)
        left.text(np.nan_to_num(value) + 0.01, position, text, va="center", fontsize=size)
    left.set(xlim=(0, 1.16), xticks=[0, 0.25, 0.5, 0.75, 1], xlabel="recall", ylim=(len(order) - 0.4, -0.6))
    left.spines.bottom.set_bounds(0, 1)  # right of it is room for a number
    left.set_yticks(rows, [short_name(class_names[i]) for i in order], fontsize=size)
    # A bar needs an origin, which a logarithmic axis has not.
    right.plot(np.where(counts > 0, counts, np.nan), rows, "o", color="grey", markersize=min(5.0, row * 20))
    for position, count in enumerate(counts):
        right.text(max(count, 1) * 1.5, position, f"{count:,}", va="center", fontsize=size)
    tens = 10 ** np.arange(np.ceil(np.log10(max(counts.max(initial=1), 2))) + 1)
    right.set(xlabel="training images (log scale)", xscale="log", xlim=(0.7, tens[-1] * 8))
    shown = tens if len(tens) <= 4 else tens[::-2]
    right.set_xticks(shown, [f"{ten:,.0f}" for ten in shown])
    right.set_xticks([], minor=True)
    right.spines.bottom.set_bounds(0.7, tens[-1])
    right.grid(True, axis="x")
    for axes in (left, right):
        axes.tick_params(axis="y", length=0)
    present = recall[~np.isnan(recall)]
    mean = percent(present.mean()) if len(present) else "unknown"
    left.set_title(f"Mean recall {mean}, {decided}")
    return figure


@shared_look()
def learning_curves(log: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> Figure:
    """Losses, recall of each class on validation, and learning rate over the epochs.

    Each line of `log` holds epoch, train_loss and learning_rate, and where there is validation data also
    validation_loss and validation_recall, a list with one number or None per class.
    """
    figure = new_figure(6.4, 6.4)
    loss, recall, rate = figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 1.2])
    epochs = [line["epoch"] for line in log]
    marker = "o" if len(log) < 2 else ""  # one epoch makes no line
    for index, (key, label) in enumerate([("train_loss", "training"), ("validation_loss", "validation")]):
        values = [np.nan if line.get(key) is None else line[key] for line in log]
        if np.isfinite(values).any():
            loss.plot(epochs, values, marker=marker, markersize=3, label=label, **line_look(index))
            loss.legend()
    recalls = np.full((len(log), len(class_names)), np.nan)
    for position, line in enumerate(log):
        if line.get("validation_recall"):
            recalls[position] = [np.nan if value is None else value for value in line["validation_recall"]]
    _draw_recalls(recall, epochs, recalls, class_names, marker)
    rate.plot(epochs, [line["learning_rate"] for line in log], color="black", marker=marker, markersize=3)
    loss.set(ylabel="loss")
    recall.set(ylabel="validation recall at argmax", ylim=(-0.03, 1.03))
    rate.set(ylabel="learning rate", xlabel="epoch")
    rate.yaxis.set_major_formatter("{x:g}")
    rate.xaxis.get_major_locator().set_params(integer=True)
    for axes in (loss, recall, rate):
        axes.grid(True)
    if log:
        loss.set_title(f"Training loss {log[-1]['train_loss']:.3g} after epoch {epochs[-1]}")
    else:
        say(loss, "no epochs yet")
    figure.align_ylabels()
    return figure


def _draw_recalls(axes: Axes, epochs: Sequence[int], recalls: Floats, class_names: Sequence[str], marker: str) -> None:
    """Recalls [epochs, classes] on validation: a line per class, or of many classes pale ones and their mean."""
    known = ~np.isnan(recalls)
    if not known.any():
        say(axes, "no validation data")
        return
    many = len(class_names) > MOST_CURVES
    for index in np.flatnonzero(known.any(axis=0)).tolist():
        look = line_look(index) | {"label": short_name(class_names[index])}
        if many:
            look = {"color": "grey", "linewidth": 0.5}
        axes.plot(epochs, recalls[:, index], marker=marker, markersize=3, **look)
    if many:
        seen = known.any(axis=1)
        mean = np.nanmean(recalls[seen], axis=1)
        axes.plot(np.asarray(epochs)[seen], mean, color="black", marker=marker, label="mean of the classes")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))


@shared_look()
def missed_images(
    images: NDArray[np.uint8], captions: Sequence[str], total: int, class_name: str, decided: str = POINTS["argmax"]
) -> Figure:
    """Images [n, 3, height, width] of one class, most confidently missed first, each above its caption.

    A caption is one or two short lines. total: how many were missed, these among them.
    """
    columns = min(max(len(images), 1), 8)
    rows = -(-max(len(images), 1) // columns)
    width = max(1.2 * columns, 3)
    name = short_name(class_name)
    title = f"{name}: {f'{total:,}' if total else 'no'} image{'' if total == 1 else 's'} missed, {decided}"
    if total > 1:
        every = len(images) == total
        title += "; most confident mistake first" if every else f"; the {len(images)} most confident mistakes"
    title = fill(title, int(13 * width), break_on_hyphens=False)
    figure = new_figure(width, 1.45 * rows + 0.3 + 0.17 * title.count("\n"))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for axes, (image, caption) in zip(grid, zip(images, captions, strict=True), strict=False):
        axes.imshow(image.transpose(1, 2, 0))
        axes.set_xlabel("\n".join(short_name(line, 20) for line in caption.split("\n")), fontsize=7)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


@shared_look()
def subset_preview(images: Sequence[NDArray[np.uint8]], class_names: Sequence[str], counts: Sequence[int]) -> Figure:
    """The first images of every class in a row, beside its name and count.

    images: of each class, [any, 3, height, width].
    """
    columns = 10 if len(images) <= 25 else 5
    blocks = -(-len(images) // 25)
    rows = -(-len(images) // blocks)
    size = 0.55 if blocks == 1 else 0.4  # inches
    labels = [f"{short_name(name)}  {count:,}" for name, count in zip(class_names, counts, strict=True)]
    longest = max(map(len, labels)) * 0.08
    figure = new_figure((columns * size + longest + 0.2) * blocks, max(rows * size, 1) + 0.4)
    for block, axes in enumerate(figure.subplots(1, blocks, squeeze=False).ravel()):
        shown = slice(block * rows, (block + 1) * rows)
        pictures = [strip[:columns] for strip in images[shown]]
        axes.imshow(_tiled(pictures, columns))
        step = pictures[0].shape[2] + _GAP
        axes.set_yticks(step * (np.arange(len(pictures)) + 0.5), labels[shown])
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.suptitle(f"{sum(counts):,} images of {len(images)} classes", x=0.01, ha="left", fontsize=10)
    return figure


def _tiled(strips: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """One picture [height, width, 3], with strip i in row i: one image to draw instead of hundreds."""
    _, channels, height, width = strips[0].shape
    grid = np.full((len(strips), columns, height + _GAP, width + _GAP, channels), 255, np.uint8)
    for row, strip in enumerate(strips):
        grid[row, : len(strip), :height, :width] = strip.transpose(0, 2, 3, 1)
    return grid.swapaxes(1, 2).reshape(len(strips) * (height + _GAP), columns * (width + _GAP), channels)
