"""The finished runs of a study to one comparison: who is best, by how much, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from imbalance_cli.errors import SettingError, did_you_mean
from imbalance_cli.runs import read_results, read_sessions
from imbalance_cli.studies.scores import METRICS, POINTS, Metric
from imbalance_cli.studies.significance import (
    CONFIDENCE,
    LEVEL,
    detectable_difference,
    holm,
    mean_interval,
    pairs_told_apart,
    shared_difference,
)
from imbalance_cli.studies.verdicts import (
    absences,
    cautions,
    changed_tests,
    fallback,
    listed,
    unequal_thresholds,
    unnoted_tests,
    verdict,
)

TEST = (
    "paired t-test by seed, Holm-corrected: runs of one seed share the subset, the initial weights and the order of "
    "the images, which cancels in their difference; a signed-rank test of five seeds could not reach p < 0.0625"
)


@dataclass(frozen=True)
class Outcome:
    """A finished cell of a study.

    results: its results.json; seconds: of all its sessions; epochs, steps: as trained; folder: its name within the
    study's folder; chosen: the settings that were tuned for this seed; tried: all that were, as `tuning.tried` gives
    them; machine: what it was trained on, in words.
    """

    condition: str
    method: str
    seed: int
    results: dict[str, Any]
    seconds: float
    epochs: int
    steps: int
    folder: str
    chosen: dict[str, Any] | None = None
    tried: Sequence[Mapping[str, Any]] = ()
    machine: str = ""

    @property
    def minority(self) -> int:
        return int(self.results["classes"].index(self.results["minority"]))

    @property
    def majority(self) -> int:
        """The class with the most training images; of equals the first."""
        return self.train_counts.index(max(self.train_counts))

    @property
    def train_counts(self) -> list[int]:
        return [each["train_count"] for each in self.results["per_class"]]

    def score(self, metric: str, point: str) -> float:
        """Raises SettingError if the test images leave `metric` undefined."""
        decided = self.results["operating_points"][point]
        if not METRICS[metric].decided:
            value = self.results[metric]
        elif metric == "minority_recall":
            value = decided["recalls"][self.minority]
        else:
            value = decided[metric]
        if value is None:
            raise SettingError(
                f"metric {metric}: the test images of {self.folder} leave it undefined, for want of a class; "
                "choose another metric"
            )
        return float(value)


def outcome_of(
    folder: Path, *, condition: str, method: str, seed: int, chosen: dict[str, Any] | None = None
) -> Outcome:
    """What the finished run in `folder` reached. Raises CheckpointError.

    Of a session that was killed the seconds after its last save are missing from the sum.
    """
    results, sessions = read_results(folder), read_sessions(folder)
    return Outcome(
        condition=condition,
        method=method,
        seed=seed,
        results=results,
        seconds=math.fsum(session.get("seconds", 0.0) for session in sessions),
        epochs=results["epochs"],
        steps=results["steps"],
        folder=folder.name,
        chosen=chosen,
        machine=_machine(sessions[-1]),
    )


def _machine(session: Mapping[str, Any]) -> str:
    """What a session says of where it ran, in words."""
    versions = session.get("versions", {})
    parts = [
        session.get("accelerator") or session.get("processor"),
        f"{session.get('threads')} thread{'s' if session.get('threads') != 1 else ''}",
        session.get("precision"),
        f"torch {versions.get('torch')}",
        f"imbalance {versions.get('imbalance-cli')}",
        f"commit {session['git_commit'][:7]}" if session.get("git_commit") else None,
    ]
    return ", ".join(str(part) for part in parts if part)


def require_metric(metric: str, point: str) -> None:
    """Raise SettingError if there is no such metric or operating point to compare by."""
    if metric not in METRICS:
        raise SettingError(f"metric: unknown metric {metric!r}{did_you_mean(metric, METRICS)}")
    if point not in POINTS:
        raise SettingError(f"point: unknown operating point {point!r}{did_you_mean(point, POINTS)}")


def compare(
    outcomes: Iterable[Outcome],
    *,
    methods: Sequence[str],
    conditions: Sequence[str],
    seeds: Sequence[int],
    metric: str,
    point: str,
    baseline: str,
    published: Mapping[str, Mapping[str, Any]] | None = None,
    failed: Iterable[Mapping[str, Any]] = (),
    title: str = "",
) -> dict[str, Any]:
    """Who is best in each condition, by how much, and how sure that is, as plain data: comparison.json.

    published: others' numbers by method and condition; failed: cells without an outcome, each with condition, method,
    seed and reason. Intervals and tests are over seeds, on the same test images; differences are paired by seed.
    Raises SettingError.
    """
    require_metric(metric, point)
    cells = {(each.condition, each.method, each.seed): each for each in outcomes}
    failures = {
        (each["condition"], each["method"], each["seed"]): dict(each)
        for each in failed
        if (each["condition"], each["method"], each["seed"]) not in cells
    }
    compared = []
    for condition in conditions:
        found = {
            method: [cells[condition, method, seed] for seed in seeds if (condition, method, seed) in cells]
            for method in methods
        }
        lost = [failure for (place, _, _), failure in failures.items() if place == condition]
        there = {method: [each.seed for each in outcomes] for method, outcomes in found.items()}
        warnings = list(absences(there, seeds, lost))
        numbers = {method: (published or {}).get(method, {}).get(condition) for method in methods}
        finished = {method: outcomes for method, outcomes in found.items() if outcomes}
        compared.append({"name": condition} | _compared(finished, metric, point, baseline, numbers, warnings))
    asked = len(conditions) * len(methods) * len(seeds)
    return {
        "title": title,
        "metric": metric,
        "metric_words": METRICS[metric].words,
        "point": point,
        "baseline": baseline,
        "higher_is_better": METRICS[metric].higher_is_better,
        "confidence": CONFIDENCE,
        "test": TEST,
        "seeds": list(seeds),
        "methods": list(methods),
        "machines": sorted({each.machine for each in cells.values()} - {""}),
        "data": next((each["data"] for each in compared if each["data"] is not None), None),
        "conditions": compared,
        "failed": list(failures.values()),
        "missing": asked - sum(len(row["seeds"]) for each in compared for row in each["rows"]) - len(failures),
    }


def _compared(
    finished: Mapping[str, Sequence[Outcome]],
    metric: str,
    point: str,
    baseline: str,
    published: Mapping[str, Any],
    warnings: list[str],
) -> dict[str, Any]:
    """The methods under one condition, those with seeds missing after the others, each part sorted best first."""
    if not finished:
        unknown = dict.fromkeys(("data", "train_counts", "point", "detectable_difference"))
        return {**unknown, "rows": [], "verdict": "No run of this condition has finished.", "warnings": warnings}
    lacking = {
        method: each.results["unavailable"][point]
        for method, outcomes in finished.items()
        for each in outcomes
        if each.results["operating_points"][point] is None
    }
    if lacking:
        who = "the runs" if len(lacking) == len(finished) else f"runs of {listed(list(lacking))}"
        warnings.append(fallback(point, next(iter(lacking.values())), f"{who} lack that point", "all methods"))
        point = "prior"
    tests: dict[int, set[tuple[int, str | None]]] = {}
    unnoted: dict[str, None] = {}
    for method, each in ((method, each) for method, outcomes in finished.items() for each in outcomes):
        if "test_digest" in each.results:
            tests.setdefault(each.seed, set()).add((each.results["n"], each.results["test_digest"]))
        else:
            unnoted[method] = None
    warnings += changed_tests([seed for seed, different in tests.items() if len(different) > 1])
    warnings += unnoted_tests(list(unnoted))
    if point == "validation":
        warnings += unequal_thresholds({method: outcomes[0].results for method, outcomes in finished.items()})
    score = METRICS[metric]
    rows = [_row(method, outcomes, metric, point, published[method]) for method, outcomes in finished.items()]
    most, sign = max(len(row["seeds"]) for row in rows), 1 if score.higher_is_better else -1
    rows.sort(key=lambda row: (len(row["seeds"]) < most, -sign * row["mean"]))
    _add_differences(rows, baseline)
    detectable = _add_ranks(rows, baseline, sign)
    first = next(iter(finished.values()))[0]
    names = first.results["classes"]
    return {
        "data": {
            "dataset": Path(first.results["dataset"]).name,  # the folder it lies in is nobody else's
            "classes": names,
            "minority": first.results["minority"],
            "majority": names[first.majority],
            "test_images": first.results["n"],
        },
        "train_counts": first.train_counts,
        "point": point,
        "rows": rows,
        "detectable_difference": detectable,
        "verdict": verdict(rows, score, baseline, detectable),
        "warnings": [*warnings, *cautions(rows, baseline)],
    }


def _row(method: str, outcomes: Sequence[Outcome], metric: str, point: str, published: Any) -> dict[str, Any]:
    """What a method reached, by itself."""
    values, first = [each.score(metric, point) for each in outcomes], outcomes[0]
    decided = [each.results["operating_points"] for each in outcomes]
    recalls = [_mean(of_class) for of_class in zip(*(points[point]["recalls"] for points in decided), strict=True)]
    return {
        "method": method,
        "seeds": [each.seed for each in outcomes],
        "values": values,
        "mean": fmean(values),
        "deviation": stdev(values) if len(values) > 1 else None,
        "interval": _possible(mean_interval(values), METRICS[metric]),
        "points": {
            name: _mean([points[name] and points[name]["balanced_accuracy"] for points in decided]) for name in POINTS
        },
        "minority_recall": recalls[first.minority],
        "majority_recall": recalls[first.majority],
        "recalls": recalls,
        "auroc": _mean([each.results["auroc"] for each in outcomes]),
        "seconds": fmean(each.seconds for each in outcomes),
        "parameters": first.results["parameters"],
        "epochs": _whole(fmean(each.epochs for each in outcomes)),
        "steps": _whole(fmean(each.steps for each in outcomes)),
        "train_counts": first.train_counts,
        "published": published,
        "chosen": [each.chosen for each in outcomes] if any(each.chosen for each in outcomes) else None,
        "tried": [list(each.tried) for each in outcomes] if any(each.tried for each in outcomes) else None,
        "folders": [each.folder for each in outcomes],
    }


def _add_differences(rows: Sequence[dict[str, Any]], baseline: str) -> None:
    """To the baseline, over the seeds that both have; p is corrected for there being one test a row."""
    values = _by_seed(rows)
    differences = [
        shared_difference(values[row["method"]], values[baseline])
        if baseline in values and row["method"] != baseline
        else None
        for row in rows
    ]
    corrected = holm([None if each is None else each.p for each in differences])
    for row, difference, p in zip(rows, differences, corrected, strict=True):
        row["difference"] = None
        if difference is not None:
            interval = difference.interval and list(difference.interval)
            row["difference"] = asdict(difference) | {"interval": interval, "p_corrected": p}


def _add_ranks(rows: Sequence[dict[str, Any]], baseline: str, sign: int) -> float | None:
    """Rank the sorted rows and mark those that cannot be told from the best.

    A method is told from the best by the tests of all pairs; where one of the two is the baseline also by the test of
    its difference, which was asked for before anything was known. Returns the difference that would have been found
    between the best and those marked, None where there is nothing to say.
    """
    values = list(_by_seed(rows).values())
    told, best = pairs_told_apart(values), rows[0]
    order = [(len(row["seeds"]) < len(best["seeds"]), row["mean"]) for row in rows]
    spreads, pairs = [], []
    for place, row in enumerate(rows):
        row["rank"] = 1 + order.index(order[place])  # equals share one
        row["not_distinguishable_from_best"] = True
        difference = shared_difference(values[0], values[place]) if place else None
        if difference is None:
            continue
        planned = {row["method"]: best, best["method"]: row}.get(baseline, {}).get("difference")
        p = None if planned is None else planned["p_corrected"]
        known = frozenset((0, place)) in told or (p is not None and p < LEVEL)
        row["not_distinguishable_from_best"] = not known or sign * difference.mean < 0
        if row["not_distinguishable_from_best"] and difference.deviation is not None:
            spreads.append(difference.deviation)
            pairs.append(difference.pairs)
    if not spreads:
        return None
    level = LEVEL / math.comb(len(rows), 2)
    return detectable_difference(math.sqrt(fmean(spread**2 for spread in spreads)), min(pairs), level)


def _by_seed(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[int, float]]:
    return {row["method"]: dict(zip(row["seeds"], row["values"], strict=True)) for row in rows}


def _mean(values: Sequence[float | None]) -> float | None:
    """None if any of them is."""
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _whole(value: float) -> float:
    return int(value) if value.is_integer() else value


def _possible(interval: tuple[float, float] | None, metric: Metric) -> list[float] | None:
    """An interval without the values that the score cannot take."""
    return None if interval is None else [max(interval[0], metric.lowest), min(interval[1], metric.highest)]
