"""Figures of a study in two dimensions: performance over the time that it costs, and over a setting of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imbalance_cli.drawing import PALE, line_look, new_figure, shared_look
from imbalance_cli.pages.study_plots import GREY, WIDTH, Row, axis_limits, name_axis, sentence, standing, wrapped
from imbalance_cli.studies.scores import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

MOST_BANDS = 6  # more bands than this in one panel hide each other
ROOMY = 8  # names beside points that leave room for their lines


@shared_look()
def cost(rows: Sequence[Row], metric: Metric) -> Figure:
    """The metric's mean and interval over the mean time of a run; a pale line joins what nothing beats in both.

    Each of `rows` must have a mean and seconds.
    """
    figure = new_figure(WIDTH, 3.6)
    axes = figure.subplots()
    axes.grid(True)
    unit, size = time_unit(max(row["seconds"] for row in rows))
    times = np.array([row["seconds"] / size for row in rows])
    means = np.array([row["mean"] for row in rows])
    bars = np.array([row["interval"] or [row["mean"]] * 2 for row in rows])
    front = _unbeaten(times, means if metric.higher_is_better else -means)
    axes.plot(times[front], means[front], color=PALE, linewidth=3, zorder=1, gid="front")
    for row, time, mean, bar in zip(rows, times, means, bars, strict=True):
        axes.plot([time] * 2, bar, color=standing(row), linewidth=1.4, alpha=0.4, gid="interval")
        axes.plot(time, mean, "o", color=standing(row), markersize=6, gid="mean")
    if not _make_logarithmic(axes, times):
        axes.set_xlim(0, times.max() * 1.3)
    axes.set_ylim(axis_limits(metric, bars.ravel().tolist()))
    name_axis(axes.yaxis, metric)
    axes.set_title(f"{sentence(metric.words)} against time")
    axes.set_xlabel(f"{unit} for one run")
    _name_points(figure, axes, np.column_stack([times, means]), bars, [wrapped(row["method"]) for row in rows])
    return figure


@shared_look()
def sweep(
    setting: str,
    conditions: Sequence[tuple[float, Sequence[Row]]],
    methods: Sequence[str],
    metric: Metric,
    value: str = "mean",
) -> Figure:
    """A curve per method over the values of `setting`; each of `conditions` is such a value and its rows.

    The axis runs as the study lists the values. value: the entry of a row that is drawn; the mean has its interval as
    a band, where there are six curves at most.
    """
    figure = new_figure(WIDTH, max(3.4, 0.9 + 0.3 * len(methods)))
    axes = figure.subplots()
    axes.grid(True)
    places = np.array([place for place, _ in conditions])
    ends: dict[str, tuple[float, float, dict[str, Any]]] = {}
    seen: list[float] = []
    for index, method in enumerate(methods):
        found = [next((row for row in rows if row["method"] == method), {}) for _, rows in conditions]
        curve = np.array([row.get(value) for row in found], float)  # None is NaN
        known = ~np.isnan(curve)
        if not known.any():
            continue
        look = line_look(index)
        axes.plot(places[known], curve[known], marker="o", markersize=4, label=method, **look)
        ends[method] = (places[known][-1], curve[known][-1], look)
        seen += curve[known].tolist()
        if value == "mean" and len(methods) <= MOST_BANDS:
            band = np.array([row.get("interval") or (np.nan, np.nan) for row in found])
            axes.fill_between(places, band[:, 0], band[:, 1], color=look["color"], alpha=0.13, linewidth=0)
            seen += band[~np.isnan(band)].tolist()
    logarithmic = _make_logarithmic(axes, places)
    axes.set_xticks(places, [f"{place:g}" for place in places])
    if places[0] > places[-1]:
        axes.invert_xaxis()
    axes.set_title(f"{sentence(metric.words)} over {setting}")
    axes.set_xlabel(f"{setting} (log scale)" if logarithmic else setting)
    axes.set_ylim(axis_limits(metric, seen))
    name_axis(axes.yaxis, metric)
    _name_ends(figure, axes, ends)
    return figure


def _make_logarithmic(axes: Axes, across: Floats) -> bool:
    """Make the horizontal axis logarithmic, ticks at 1, 2 and 5, if its values span a factor of eight."""
    from matplotlib.ticker import LogLocator, NullLocator

    if across.min() <= 0 or across.max() / across.min() < 8:
        return False
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    return True


def time_unit(seconds: float) -> tuple[str, float]:
    """The unit in which `seconds` is a number to read, and its length in seconds."""
    return ("seconds", 1) if seconds < 180 else ("minutes", 60) if seconds < 10800 else ("hours", 3600)


def _unbeaten(costs: Floats, scores: Floats) -> list[int]:
    """The points with a higher score than all that cost less or as much, from the cheapest on."""
    front: list[int] = []
    for i in np.lexsort((-scores, costs)).tolist():
        if not front or scores[i] > scores[front[-1]]:
            front.append(i)
    return front


def _name_ends(figure: Figure, axes: Axes, ends: Mapping[str, tuple[float, float, dict[str, Any]]]) -> None:
    """Write the name of each curve right of where it ends, (x, y, look), as near to its height as there is room."""
    low, high = axes.get_ylim()
    names = [wrapped(name) for name in ends]
    lines = max((name.count("\n") + 1 for name in names), default=1)
    gap = (0.03 + 0.14 * lines) / (figure.get_figheight() - 0.7)  # a name's height, as a share of the axes'
    heights = _spread(np.array([(y - low) / (high - low) for _, y, _ in ends.values()]), gap)
    for name, height, (x, y, look) in zip(names, heights, ends.values(), strict=True):
        line = {"arrowstyle": "-", "relpos": (0, 0.5), "shrinkA": 0, "shrinkB": 3, "linewidth": 1, **look}
        axes.annotate(
            *(name, (x, y), (1.06, height)), textcoords="axes fraction", va="center", fontsize=8.5, arrowprops=line
        )


def _spread(heights: Floats, gap: float) -> Floats:
    """The heights nearest to `heights` (squared) of which any two are `gap` apart, within 0 and 1 if they fit."""
    from sklearn.isotonic import isotonic_regression

    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(heights))
    apart = isotonic_regression(heights[order] - steps, y_min=0, y_max=max(1 - steps[-1], 0)) + steps
    return np.asarray(apart[np.argsort(order)], float)


def _name_points(figure: Figure, axes: Axes, points: Floats, bars: Floats, names: Sequence[str]) -> None:
    """Write each name beside its point, [n, 2], away from other points and names; a line leads back to it, past them.

    bars: the lower and upper end of the line through each point, [n, 2], which no name is to cover either.
    """
    from matplotlib.text import Text

    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the names lie inside the axes, which stay as they are now
    inch, frame = figure.dpi, axes.get_window_extent()
    centres = axes.transData.transform(points)
    taken = np.hstack([centres - 0.13 * inch, centres + 0.13 * inch])  # left, lower, right, upper
    lower, upper = (axes.transData.transform(np.column_stack([points[:, 0], end])) for end in bars.T)
    lines = np.hstack([lower - 0.03 * inch, upper + 0.03 * inch])
    care = 3 if len(names) <= ROOMY else 0.5  # to keep lines clear, which takes room
    turns = np.arange(16) * np.pi / 8
    distance, turn = (grid.ravel() for grid in np.meshgrid(np.arange(0.1, 1.8, 0.1) * inch, turns, indexing="ij"))
    direction = np.column_stack([np.cos(turn), np.sin(turn)])
    line: dict[str, Any] = {"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 3}
    for index, (centre, name) in enumerate(zip(centres, names, strict=True)):
        text = axes.annotate(
            *(name, points[index], (0, 0)), textcoords="figure fraction", ha="center", va="center", fontsize=8.5,
            arrowprops=line,
        )  # fmt: skip
        half = np.asarray(Text.get_window_extent(text).size) / 2  # of the name without its line
        middle = centre + direction * (distance[:, None] + half)
        boxes = np.hstack([middle - half, middle + half])
        outside = np.maximum(frame.p0 - boxes[:, :2], 0) + np.maximum(boxes[:, 2:] - frame.p1, 0)
        others = np.delete(taken, index, axis=0)
        way = centre + np.linspace(0, 1, 30)[:, None] * (middle - centre)[:, None]  # [places, steps, 2]
        dots = np.concatenate([way - 1, way + 1], axis=2)
        crossed = _covered(dots.reshape(-1, 4), others).reshape(len(middle), -1).sum(1)
        covered = 100 * _covered(boxes, others) + care * (_covered(boxes, lines) + crossed)
        best = int((distance + 100 * outside.sum(1) + covered).argmin())
        text.set_position(tuple(figure.transFigure.inverted().transform(middle[best])))
        taken, lines = np.vstack([taken, boxes[best]]), np.vstack([lines, dots[best]])


def _covered(boxes: Floats, others: Floats) -> Floats:
    """Of each of `boxes`, (left, lower, right, upper), the area that `others` cover."""
    lower = np.maximum(boxes[:, None, :2], others[None, :, :2])
    upper = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.asarray(np.clip(upper - lower, 0, None).prod(2).sum(1), float)
