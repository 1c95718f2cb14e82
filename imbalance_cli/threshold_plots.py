"""Figures of how a model ranks images and what a threshold makes of that: ROC, precision over recall, the sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imbalance_cli.drawing import MOST_CURVES, line_look, new_figure, point_look, say, shared_look, short_name
from imbalance_cli.metrics import class_score
from imbalance_cli.studies.scores import POINT_NAMES, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]
Points = Mapping[str, Mapping[str, Any]]  # operating points by name, as in the results of a run

LEAST = 1e-4  # thresholds nearer to 0 or 1 are drawn at the ends of their axis
# Of the thresholds that may be ticks, those that matter come first.
_TICKS = (0.5, 0.1, 0.9, 0.01, 0.99, 0.001, 0.999, LEAST, 1 - LEAST, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6)
_MORE_TICKS = tuple(hundredth / 100 for hundredth in range(2, 99))
_CLOSEST = 0.09  # of the width, from one tick to the next
_BASE_LINE: dict[str, Any] = {"color": "grey", "linewidth": 1, "linestyle": (0, (3, 2)), "zorder": 3}  # over curves


@shared_look()
def roc_curve(
    labels: Ints, logits: Floats, class_names: Sequence[str], train_counts: Sequence[int], points: Points | None = None
) -> Figure:
    """True over false positive rate of the rarer of two classes, else of each class against the rest.

    labels [n]; logits [n, classes]; points: the operating points to mark, of two classes. Of many classes the ten
    rarest in training are shown; one without images in `labels` has no curve.
    """
    from sklearn.metrics import auc
    from sklearn.metrics import roc_curve as rates

    figure, axes = _square_figure("ROC", class_names)
    axes.plot([0, 1], [0, 1], **_BASE_LINE)
    axes.text(
        *(0.6, 0.57, "chance"), color="grey", rotation=45, rotation_mode="anchor", va="top", zorder=4,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
    )  # fmt: skip
    for label, name, is_class, score, look in _rarest_first(labels, logits, class_names, train_counts):
        if is_class.all() or not is_class.any():
            axes.plot([], [], **look, label=f"{name}: no curve, needs images of it and of others")
            continue
        false_positive, true_positive, _ = rates(is_class, score)
        area = auc(false_positive, true_positive)
        axes.plot(false_positive, true_positive, **look, label=f"{name}: AUROC {area:.3f}")
        for point, (recall, _, others) in _at_points(points, label):
            axes.plot(1 - others, recall, **_mark(point))
    axes.set(xlabel="false positive rate", ylabel="true positive rate (recall)")
    figure.legend(loc="outside lower center", fontsize=8)
    return figure


@shared_look()
def precision_recall(
    labels: Ints, logits: Floats, class_names: Sequence[str], train_counts: Sequence[int], points: Points | None = None
) -> Figure:
    """Precision over recall, and the precision of guessing; classes, shapes and points as for `roc_curve`."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    figure, axes = _square_figure("Precision and recall", class_names, 1)
    guesses: set[float] = set()
    for label, name, is_class, score, look in _rarest_first(labels, logits, class_names, train_counts):
        if not is_class.any():
            axes.plot([], [], **look, label=f"{name}: no curve, needs images of it")
            continue
        precision, recall, _ = precision_recall_curve(is_class, score)
        # Where nothing is found there is no precision, so the curve begins where something is.
        precision, recall = precision[recall > 0], recall[recall > 0]
        average = average_precision_score(is_class, score)
        prevalence = float(is_class.mean())
        legend = f"{name}: average precision {average:.3f}, guessing {prevalence:.3f}"
        axes.step([*recall, 0], [*precision, precision[-1]], where="post", **look, label=legend)
        for point, (found, right, _) in _at_points(points, label):
            axes.plot(found, right, **_mark(point))
        guesses.add(prevalence)
    for number, guess in enumerate(sorted(guesses)):
        axes.axhline(guess, **_BASE_LINE, label="_" if number else "guessing")
    axes.set(xlabel="recall", ylabel="precision")
    figure.legend(loc="outside lower center", fontsize=8)
    return figure


@shared_look()
def threshold_sweep(
    is_class: NDArray[np.bool_], scores: Floats, operating_points: Mapping[str, float], class_name: str
) -> Figure:
    """Recall, precision and specificity of one class over the threshold on its probability.

    is_class [n]; scores [n], probabilities; operating_points: the threshold of each by its name, none of more than
    two classes.
    """
    from sklearn.metrics import precision_recall_curve
    from sklearn.metrics import roc_curve as rates

    name = short_name(class_name)
    figure = new_figure(6.4, 4.6)
    axes = figure.subplots()
    axes.set(xscale="logit", xlabel=f"threshold on the probability of {name}", ylim=(-0.02, 1.02))
    axes.set_ylabel("recall, precision, specificity")
    axes.set_title(f"What the threshold does to {name}")
    axes.grid(True)
    _limit(axes, np.array([*scores, *operating_points.values()]))
    if is_class.all() or not is_class.any():
        say(axes, "needs images inside and outside the class")
        return figure

    def shown(threshold: Any) -> Any:
        return np.clip(threshold, LEAST, 1 - LEAST)

    # Scores at the threshold are accepted; `at` falls and `precision_at` rises, hence post and pre.
    false_positive, recall, at = rates(is_class, scores, drop_intermediate=False)
    at[0] = max(at[1], *operating_points.values(), 0)  # scikit-learn's infinity, from which on nothing is found
    precision, _, precision_at = precision_recall_curve(is_class, scores)
    axes.step(shown(at), recall, where="post", label="recall", **line_look(0))
    axes.step(shown(precision_at), precision[:-1], where="pre", label="precision", **line_look(1))
    axes.step(shown(at), 1 - false_positive, where="post", label="specificity", **line_look(2))
    for point, threshold in operating_points.items():
        chosen = scores >= threshold
        found = float(chosen[is_class].mean())
        right = float(is_class[chosen].mean()) if chosen.any() else None
        rejected = 1 - float(chosen[~is_class].mean())
        axes.axvline(shown(threshold), color="grey", linewidth=0.8)
        axes.plot(
            [shown(threshold)] * 3, [found, np.nan if right is None else right, rejected], color="black",
            **point_look(point),
            label=(f"{POINT_NAMES[point]} at {threshold:.3g}" if point in POINT_NAMES else f"threshold {point}")
            + f": recall {percent(found)}, precision {percent(right)}, specificity {percent(rejected)}",
        )  # fmt: skip
    lines, texts = axes.get_legend_handles_labels()
    axes.legend(lines[:3], texts[:3], loc="lower center", bbox_to_anchor=(0.5, 1.06), ncols=3)
    if operating_points:
        figure.legend(lines[3:], texts[3:], loc="outside lower center", fontsize=8)
    else:
        why = "No operating point is marked: with more than two classes a decision compares all of them."
        figure.supxlabel(why, fontsize=8, color="grey")
    return figure


def _limit(axes: Axes, thresholds: Floats) -> None:
    """Let the threshold axis reach as far as `thresholds` do, and number it where there is room."""
    reached = np.clip(thresholds, LEAST, 1 - LEAST)
    low, high = (_log_odds(end) for end in ((reached.min(), reached.max()) if len(reached) else (LEAST, 1 - LEAST)))
    air = 0.03 * (high - low) or 0.1
    low, high = low - air, high + air
    chosen: list[float] = []
    for tick in (*_TICKS, *_MORE_TICKS):
        near = any(abs(_log_odds(tick) - _log_odds(other)) < _CLOSEST * (high - low) for other in chosen)
        if low < _log_odds(tick) < high and not near:
            chosen.append(tick)
    axes.set_xticks(chosen, [f"{tick:g}" for tick in chosen])
    axes.set_xticks([], minor=True)
    axes.set_xlim(1 / (1 + np.exp(-low)), 1 / (1 + np.exp(-high)))


def _log_odds(probability: float) -> float:
    return float(np.log(probability) - np.log1p(-probability))


def _at_points(points: Points | None, label: int) -> Iterator[tuple[str, Floats]]:
    """Recall and precision of class `label`, and the recall of the other of two, at each of `points`."""
    for name, point in (points or {}).items():
        if len(point["recalls"]) == 2:
            scores = point["recalls"][label], point["precisions"][label], point["recalls"][1 - label]
            yield name, np.array(scores, float)  # None is NaN


def _mark(point: str) -> dict[str, Any]:
    label = POINT_NAMES.get(point, f"threshold {point}")
    return point_look(point) | {"color": "black", "label": label, "zorder": 5}


def _rarest_first(
    labels: Ints, logits: Floats, class_names: Sequence[str], train_counts: Sequence[int]
) -> Iterator[tuple[int, str, NDArray[np.bool_], Floats, dict[str, Any]]]:
    """Number, name, membership [n], scores [n] and look of each class to draw, the rarest boldest."""
    classes = len(class_names)
    # Of equally rare classes the last comes first: by convention the second of two is the minority.
    order = sorted(range(classes), key=lambda i: (train_counts[i], -i))
    for position, i in enumerate(order[:1] if classes == 2 else order[:MOST_CURVES]):
        look = {**line_look(position), "linewidth": 2.4 if position == 0 else 1.1}
        yield i, short_name(class_names[i]), labels == i, class_score(logits, i), look


def _square_figure(what: str, class_names: Sequence[str], more: int = 0) -> tuple[Figure, Axes]:
    """A figure of one panel from 0 to 1 both ways, with room below for a legend of a line for each curve and point.

    more: lines beside these.
    """
    classes = len(class_names)
    lines = more + (1 + len(POINT_NAMES) if classes == 2 else min(classes, MOST_CURVES))
    figure = new_figure(5.4, 4.9 + 0.17 * lines)
    axes = figure.subplots()
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.grid(True)
    whose = "the rarer class" if classes == 2 else "each class against the rest, rarest first"
    if classes > MOST_CURVES:
        whose = f"the {MOST_CURVES} rarest of {classes} classes"
    axes.set_title(f"{what} of {whose}")
    return figure, axes
