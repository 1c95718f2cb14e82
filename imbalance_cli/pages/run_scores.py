"""What the scores of two classes say at every threshold: for a page that lets its reader move it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbalance_cli.metrics import Floats

ROWS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)  # of the table
# Of the probabilities that may be ticks, those that matter come first.
TICKS = (
    *(0.5, 0.1, 0.9, 0.01, 0.99, 0.001, 0.999, 1e-4, 0.9999, 1e-5, 0.99999, 1e-6, 1e-7),
    *(0.2, 0.8, 0.3, 0.7, 0.4, 0.6, 0.45, 0.55, 0.48, 0.52),
)
COSTS = (10, 1)  # of a miss and of a false alarm, before the reader says otherwise
MOST_SCORES = 100_000  # embedded of each class; of more, every second, third ...
_BINS = 72
_CLOSEST = 0.11  # of the width, from one tick to the next: room for its number on a phone


def threshold_panel(
    is_minority: NDArray[np.bool_], scores: Floats, points: Mapping[str, float], *, ties_found: bool
) -> dict[str, Any]:
    """All that the interactive threshold, its histogram and its table are made of.

    is_minority [n]; scores [n], log-odds of the minority; points: the threshold of each operating point as log-odds,
    by its name; ties_found: whether a score at the threshold counts as found. `low` and `high` are the ends of the
    slider: at one everything is found, at the other nothing.
    """
    everything = np.concatenate([scores, [*points.values()]]) if len(points) else scores
    low, high = float(everything.min()), float(everything.max())
    room = max(0.05, 0.04 * (high - low))  # so that the ends are thresholds that find all and nothing
    low, high = low - room, high + room
    rows = {name: _row(is_minority, scores, at, name, ties_found) for name, at in points.items()}
    # Of thresholds that decide alike the table holds one, an operating point if there is one.
    others = [_row(is_minority, scores, logit(p), "", ties_found) for p in ROWS if low < logit(p) < high]
    seen = {_decisions(row) for row in rows.values()}
    for row in others:
        if _decisions(row) not in seen:
            seen.add(_decisions(row))
            rows[f"{row['threshold']}"] = row
    return {
        "low": low,
        "high": high,
        "points": [{"name": name, "at": at, "place": _place(at, low, high)} for name, at in points.items()],
        "ticks": _ticks(low, high),
        "shapes": _histogram(is_minority, scores, low, high),
        "rows": sorted(rows.values(), key=lambda row: row["threshold"]),
        "costs": COSTS,
        "scores": [_embedded(scores[is_minority == kind]) for kind in (False, True)],
        "ties_found": ties_found,
    }


def logit(probability: float) -> float:
    return float(np.log(probability) - np.log1p(-probability))


def probability(log_odds: float) -> float:
    return float(np.exp(-np.logaddexp(0, -log_odds)))  # also where exp(-log_odds) would overflow


def _decisions(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["found"], row["alarms"]


def _place(at: float, low: float, high: float) -> float:
    """How far from the left, in per cent."""
    return round(100 * (at - low) / (high - low), 3)


def _ticks(low: float, high: float) -> list[dict[str, Any]]:
    chosen: list[tuple[float, float]] = []
    for value in TICKS:
        place = _place(logit(value), low, high)
        if low < logit(value) < high and all(abs(place - other) >= 100 * _CLOSEST for other, _ in chosen):
            chosen.append((place, value))
    return [{"place": place, "text": f"{value:.7g}"} for place, value in sorted(chosen)]


def _histogram(is_minority: NDArray[np.bool_], scores: Floats, low: float, high: float) -> list[str]:
    """For the other class and the minority the outline of its histogram, as an SVG path in a box of 100 by 100."""
    edges = np.linspace(low, high, _BINS + 1)
    shares = []
    for kind in (False, True):
        counts, _ = np.histogram(scores[is_minority == kind], edges)
        shares.append(counts / max(1, counts.sum()))
    highest = max(1e-12, float(np.max(shares)))
    return [outline(share / highest) for share in shares]


def outline(heights: Floats) -> str:
    """Columns of the given heights, 0 to 1, as one SVG path in a box of 100 by 100."""
    tops = 100 - 100 * heights
    edges = np.linspace(0, 100, len(heights) + 1)
    steps = "".join(f"V{top:.4g}H{right:.4g}" for top, right in zip(tops, edges[1:], strict=True))
    return f"M0 100{steps}V100Z"


def _row(is_minority: NDArray[np.bool_], scores: Floats, at: float, name: str, ties_found: bool) -> dict[str, Any]:
    chosen = scores >= at if ties_found else scores > at
    found, alarms = int((chosen & is_minority).sum()), int((chosen & ~is_minority).sum())
    missed, right = int(is_minority.sum()) - found, int((~is_minority).sum()) - alarms
    recall, specificity = _share(found, missed), _share(right, alarms)
    positives, negatives = found + missed, right + alarms
    balanced = specificity if recall is None else recall
    if positives and negatives:  # divided once, it is the same number as in the results to the last bit
        balanced = (found * negatives + right * positives) / (2 * positives * negatives)
    return {
        "name": name,
        "threshold": probability(at),
        "found": found,
        "missed": missed,
        "alarms": alarms,
        "right": right,
        "recall": recall,
        "precision": _share(found, alarms),
        "specificity": specificity,
        "balanced": balanced,
        "cost": COSTS[0] * missed + COSTS[1] * alarms,
    }


def _share(part: int, rest: int) -> float | None:
    return part / (part + rest) if part + rest else None


def _embedded(scores: Floats) -> dict[str, Any]:
    """Scores in rising order; `each` is how many images one of them stands for."""
    each = -(-len(scores) // MOST_SCORES) or 1
    return {"each": each, "values": np.round(np.sort(scores)[each // 2 :: each], 6).tolist()}
