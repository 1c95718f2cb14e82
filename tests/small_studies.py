"""Comparisons of made-up runs, as `imbalance compare` makes them, for the tests of what is made from them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from imbalance_cli.studies.comparison import Outcome, compare

METHODS = ("cross-entropy", "focal 2", "inverse weights", "logit adjustment", "balanced sampler + mixup")
CONDITIONS = ("ratio 1", "ratio 0.1", "ratio 0.05", "ratio 0.01")


def comparison(
    *,
    methods: Sequence[str] = METHODS,
    conditions: Sequence[str] = CONDITIONS,
    seeds: int = 5,
    classes: Sequence[str] = ("airplane", "automobile"),
    metric: str = "balanced_accuracy",
    without: Sequence[tuple[str, str, int]] = (),
    validation: bool = True,
    **more: Any,
) -> dict[str, Any]:
    """A comparison in which each condition is harder than the one before, and the later methods mind that less.

    without: cells, as (condition, method, seed), that have no outcome; validation: whether that point is there.
    """
    random = np.random.default_rng(0)
    outcomes = []
    for place, condition in enumerate(conditions):
        hard = place / max(len(conditions) - 1, 1)
        luck = random.normal(0, 0.01, seeds)
        for index, method in enumerate(methods):
            for seed in range(seeds):
                score = 0.95 - hard * (0.25 - 0.2 * index / len(methods)) + luck[seed] + random.normal(0, 0.008)
                results = _results(float(score), hard, classes, validation=validation)
                seconds = (50 + random.uniform(0, 10)) * (1 + index / 10)
                if (condition, method, seed) not in without:
                    outcomes.append(Outcome(condition, method, seed, results, seconds, 10, 390, f"{index}-{seed}"))
    return compare(
        outcomes,
        methods=methods,
        conditions=conditions,
        seeds=range(seeds),
        metric=metric,
        **{"point": "validation", "baseline": methods[0], "title": "The classroom study"} | more,
    )


def _results(score: float, hard: float, classes: Sequence[str], *, validation: bool) -> dict[str, Any]:
    """The results of a run with balanced accuracy `score` at the point from validation."""
    counts = [round(4000 * 0.01 ** (hard * i / max(len(classes) - 1, 1))) for i in range(len(classes))]
    scores = {"argmax": 0.5 + (score - 0.5) * (1 - 0.8 * hard), "prior": score - 0.03 * hard, "validation": score}
    points = {name: _point(value, hard, len(classes)) for name, value in scores.items()}
    return {
        "dataset": "cifar10",
        "classes": list(classes),
        "minority": classes[-1],
        "n": 2000,
        "test_digest": "8c5f",
        "auroc": min(score + 0.06, 0.999),
        "average_precision": score - 0.1,
        "ece": 1 - score,
        "log_loss": 2 - 2 * score,
        "parameters": 464_154,
        "per_class": [{"train_count": count} for count in counts],
        "operating_points": points | ({} if validation else {"validation": None}),
        "unavailable": {} if validation else {"validation": "no validation images"},
    }


def _point(score: float, hard: float, classes: int) -> dict[str, Any]:
    recalls = np.clip(np.linspace(score + 0.15 * hard, score - 0.15 * hard, classes), 0, 1)
    names = ("accuracy", "g_mean", "macro_f1", "mcc")
    return {"balanced_accuracy": score, "recalls": recalls.tolist()} | dict.fromkeys(names, score)
