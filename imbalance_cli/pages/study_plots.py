"""Figures of one condition of a study: its methods in rows, each with its seeds, its mean and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from imbalance_cli.drawing import COLOURS, PALE, new_figure, point_look, shared_look, short_name
from imbalance_cli.errors import printable
from imbalance_cli.studies.scores import METRICS, POINT_NAMES, Metric, p_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Row = Mapping[str, Any]  # of a comparison: what a method reached in one condition

WIDTH = 4.7  # inches: two fit beside each other on a screen, and one can still be read on a telephone
GREY = "#808080"

_ROW = 0.46  # inches for the name of a method, its mean and its seeds
_BLACK, _WORSE, _BEST, _BETTER = COLOURS[:4]
_SURE = 0.05  # a difference with a smaller corrected p is drawn filled
_POINT_COLOURS = {"argmax": GREY, "prior": _WORSE, "validation": _BEST}


@shared_look()
def intervals(rows: Sequence[Row], metric: Metric) -> Figure:
    """Of each method the mean and its interval, and below them a faint dot for each seed, in the order of `rows`.

    The best method, a diamond, and those that cannot be told from it are blue.
    """
    figure, axes = _row_figure([row["method"] for row in rows])
    seen: list[float] = []
    for position, row in enumerate(rows):
        marker = "D" if row["rank"] == 1 else "o"
        seen += _draw_row(axes, position, row["values"], row["mean"], row["interval"], standing(row), marker)
        words = ", best" if row["rank"] == 1 else ", ≈ best" if row["not_distinguishable_from_best"] else ""
        _say_right(axes, position, metric.shown(row["mean"]) + words)
    axes.set_title(f"{sentence(metric.words)}: mean, interval and seeds")
    axes.set_xlim(axis_limits(metric, seen))
    name_axis(axes.xaxis, metric)
    return figure


@shared_look()
def differences(rows: Sequence[Row], baseline: str, metric: Metric) -> Figure:
    """Paired differences to the baseline: of each method their mean and its interval, each seed's, and where none is.

    Filled where the corrected p is below 0.05, green for better and orange for worse. `rows` may hold the baseline.
    """
    values = {row["method"]: dict(zip(row["seeds"], row["values"], strict=True)) for row in rows}
    compared = [row for row in rows if row["difference"] is not None]
    figure, axes = _row_figure([row["method"] for row in compared])
    positions = np.arange(len(compared))
    axes.vlines(np.zeros(len(compared)), positions - 0.25, positions + 0.35, color=_BLACK, linewidth=1)
    seen = [0.0]
    for position, row in enumerate(compared):
        mean, interval, p = (row["difference"][key] for key in ("mean", "interval", "p_corrected"))
        reference = values[baseline]
        paired = [value - reference[seed] for seed, value in values[row["method"]].items() if seed in reference]
        sure = p is not None and p < _SURE
        better = (mean > 0) == metric.higher_is_better
        colour = (_BETTER if better else _WORSE) if sure else GREY
        seen += _draw_row(axes, position, paired, mean, interval, colour, "o", filled=sure)
        _say_right(axes, position, signed(metric, mean) + ("" if p is None else f", {p_words(p)}"))
    span = metric.highest - metric.lowest
    air = 0.06 * (max(seen) - min(seen)) or 0.02
    axes.set_xlim(max(min(seen) - air, -span), min(max(seen) + air, span))
    axes.set_title(f"Difference to {short_name(baseline, 28)}, same seeds")
    axes.set_xlabel("percentage points" if metric.percent else metric.words)
    times = 100 if metric.percent else 1
    axes.xaxis.set_major_formatter(lambda value, _: f"{value * times:+.4g}".replace("-", "−") if value else "0")
    return figure


@shared_look()
def operating_points(rows: Sequence[Row], classes: int) -> Figure:
    """Mean balanced accuracy of each method at each operating point that it has, and how far these are apart."""
    figure, axes = _row_figure([row["method"] for row in rows], above=0.25)
    metric = METRICS["balanced_accuracy"]
    guessing = 1 / classes
    seen = [guessing]
    for position, row in enumerate(rows):
        points = {name: value for name, value in row["points"].items() if value is not None}
        if not points:
            continue
        low, high = min(points.values()), max(points.values())
        axes.plot([low, high], [position] * 2, color=PALE, linewidth=3, zorder=1)
        for name, value in points.items():
            look = point_look(name) | {"color": _POINT_COLOURS[name], "label": POINT_NAMES[name]}
            axes.plot(value, position, **look, markeredgewidth=1.6)
        seen += points.values()
        _say_right(axes, position, f"{100 * (high - low):.1f} apart")
    axes.axvline(guessing, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
    axes.set_ylim(bottom=len(rows) - 0.45)  # room for the word below the last marks
    axes.text(guessing, len(rows) - 0.47, " guessing", color=GREY, fontsize=8, va="bottom")
    axes.set_title("What the threshold changes")
    axes.set_xlim(axis_limits(metric, seen))
    name_axis(axes.xaxis, metric)
    lines, names = axes.get_legend_handles_labels()
    shown = {name: lines[names.index(name)] for name in POINT_NAMES.values() if name in names}
    figure.legend(shown.values(), shown.keys(), loc="outside lower left", ncols=3, fontsize=8.5, handletextpad=0.1)
    return figure


@shared_look()
def recall_map(rows: Sequence[Row], class_names: Sequence[str], train_counts: Sequence[int]) -> Figure:
    """Mean recall of each class with each method, the most trained class first; up to 12 classes with numbers.

    A class without test images is grey.
    """
    import matplotlib

    order = np.argsort(-np.asarray(train_counts), kind="stable")
    recalls = np.array([[np.nan if value is None else value for value in row["recalls"]] for row in rows])[:, order]
    numbers = len(order) <= 12
    names = [wrapped(row["method"]) for row in rows]
    labels = [f"{short_name(class_names[i], 18)}\n{train_counts[i]:,} images" for i in order]
    level = _longest(labels) * 0.068 * len(labels) < WIDTH - _longest(names) * 0.068
    above = 0.8 if level or not numbers else 0.6 + _longest(labels) * 0.068
    figure = new_figure(WIDTH, 0.33 * len(rows) + above)
    axes = figure.subplots()
    axes.set_title("Recall of each class" + (", %" if numbers else ""))
    colours = matplotlib.colormaps["Blues"].with_extremes(bad=PALE)
    image = axes.imshow(recalls, cmap=colours, vmin=0, vmax=1, aspect="auto", interpolation="none")
    axes.set_yticks(range(len(rows)), names, fontsize=8.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if not numbers:
        axes.set_xticks([0, len(order) - 1], [f"{train_counts[order[i]]:,} images" for i in (0, -1)])
        first, last = axes.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
        axes.set_xlabel(f"{len(order)} classes, by training images")
        figure.colorbar(image, ax=axes, label="recall", format=lambda value, _: f"{100 * value:.0f} %")
        return figure
    axes.set_xticks(range(len(order)), labels, fontsize=8, rotation=0 if level else 90)
    axes.xaxis.tick_top()
    for (row, column), value in np.ndenumerate(recalls):
        text = "none" if np.isnan(value) else f"{100 * value:.0f}"
        colour = "#FEFEFE" if value > 0.6 else "#111111"  # the cells are as dark on a dark page
        axes.text(column, row, text, ha="center", va="center", fontsize=8.5, color=colour)
    return figure


def _row_figure(names: Sequence[str], above: float = 0) -> tuple[Figure, Axes]:
    """A figure with a row for each name, which stands above its marks, at y 0, 1, 2 ... from the top.

    above: inches for a legend.
    """
    figure = new_figure(WIDTH, _ROW * max(len(names), 1) + 0.7 + above)
    axes = figure.subplots()
    axes.grid(True, axis="x")
    axes.set(ylim=(len(names) - 0.6, -0.85), yticks=[])
    axes.spines.left.set_visible(False)
    for position, name in enumerate(names):
        axes.axhline(position, color=PALE, linewidth=0.6, zorder=0)
        axes.text(0, position - 0.44, short_name(name, 54), transform=axes.get_yaxis_transform(), va="center")
    return figure, axes


def _draw_row(
    axes: Axes,
    position: int,
    values: Sequence[float],
    mean: float,
    interval: Sequence[float] | None,
    colour: str,
    marker: str,
    *,
    filled: bool = True,
) -> list[float]:
    """Draw a mean, its interval, and just below it the values of the seeds; returns what the axis should show."""
    below = [position + 0.24] * len(values)
    axes.plot(values, below, "o", color=colour, alpha=0.45, markersize=4, markeredgewidth=0, gid="seeds")
    if interval:
        axes.plot(interval, [position] * 2, color=colour, linewidth=2.2, solid_capstyle="butt", gid="interval")
    fill = "full" if filled else "none"
    axes.plot(mean, position, marker, color=colour, markersize=6.5, fillstyle=fill, gid="mean")
    return [*values, *(interval or ())]


def _say_right(axes: Axes, position: int, text: str) -> None:
    """Write `text` right of row `position`."""
    axes.text(1.02, position, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)


def standing(row: Row) -> str:
    """The colour of a method: blue for the best and for what cannot be told from it, else grey."""
    return _BEST if row["rank"] == 1 or row["not_distinguishable_from_best"] else GREY


def signed(metric: Metric, difference: float) -> str:
    """A difference of two values with its sign; of those in per cent, in points."""
    size = metric.number(abs(difference))
    return f"{'−' if difference < 0 else '+'}{size}" if size.strip("0.") else size


def sentence(words: str) -> str:
    """`words` with a capital at the beginning."""
    return words[:1].upper() + words[1:]


def axis_limits(metric: Metric, values: Sequence[float]) -> tuple[float, float]:
    """The range of `values` with some air, but hardly more than there can be."""
    air = 0.06 * (max(values) - min(values)) or 0.02
    return max(min(values) - air, metric.lowest - 0.02), min(max(values) + air, metric.highest + 0.02)


def name_axis(axis: Axis, metric: Metric) -> None:
    """Name `axis` after the metric, and write its ticks as values of it."""
    axis.set_label_text(metric.words)
    axis.set_major_formatter((lambda value, _: f"{value * 100:.4g} %") if metric.percent else "{x:.4g}")


def wrapped(name: str) -> str:
    """`name` in one or two lines of 24 characters, cut after that."""
    return "\n".join(wrap(printable(name), 24, max_lines=2, placeholder="…"))


def _longest(labels: Sequence[str]) -> int:
    """The characters of the longest line of `labels`."""
    return max(len(line) for label in labels for line in label.split("\n"))
