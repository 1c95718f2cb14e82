"""Predictions to scores. Whatever scikit-learn or SciPy computes comes from there."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def softmax(logits: Floats) -> Floats:
    """Probabilities [n, classes] of logits [n, classes]."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


def confusion(labels: Ints, predictions: Ints, classes: int) -> Ints:
    """Counts [classes, classes]; rows are true classes."""
    from sklearn.metrics import confusion_matrix

    return np.asarray(confusion_matrix(labels, predictions, labels=np.arange(classes)))


def decision_scores(labels: Ints, predictions: Ints, classes: int) -> dict[str, Any]:
    """What a decision rule achieves: labels and predictions int [n].

    Averages over classes are over those that occur among the labels (`classes_present`); a score that an absent
    class leaves undefined is None. g_mean is the geometric mean of the recalls (Kubat and Matwin, 1997).
    """
    from scipy.stats import binomtest, gmean
    from sklearn.metrics import matthews_corrcoef, precision_recall_fscore_support

    matrix = confusion(labels, predictions, classes)
    present = matrix.sum(1) > 0
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predictions, labels=np.arange(classes), zero_division=np.nan
    )
    hits = matrix.diagonal()
    f1 = np.where(present, np.nan_to_num(f1), np.nan)
    precision = np.where(matrix.sum(0) > 0, precision, np.nan)
    intervals = [
        binomtest(int(hit), int(n)).proportion_ci(method="wilson") if n else None
        for hit, n in zip(hits, support, strict=True)
    ]
    return {
        "confusion_matrix": matrix.tolist(),
        "classes_present": int(present.sum()),
        "accuracy": float(hits.sum() / matrix.sum()),
        # exactly, so that it is written as the accuracy where the two are one
        "balanced_accuracy": float(mean(Fraction(int(hit), int(n)) for hit, n in zip(hits, support, strict=True) if n)),
        "g_mean": float(gmean(recall[present])) if (recall[present] > 0).all() else 0.0,
        # scikit-learn's own answer for a single class, which it would accompany with a warning
        "mcc": float(matthews_corrcoef(labels, predictions)) if present.sum() > 1 else 0.0,
        "macro_f1": float(f1[present].mean()),
        "recalls": _listed(np.where(present, recall, np.nan)),
        "recall_intervals": [
            None if interval is None else [float(interval.low), float(interval.high)] for interval in intervals
        ],
        "precisions": _listed(precision),
        "f1s": _listed(f1),
        "supports": [int(n) for n in support],
    }


def ranking_scores(labels: Ints, logits: Floats, positive: int) -> dict[str, Any]:
    """What the logits are worth before any decision: labels int [n], logits [n, classes].

    Two classes: area under the ROC curve, and average precision of finding class `positive` beside the prevalence
    that a random ranking would reach. More: the mean of these over one-vs-rest problems, over the classes that
    occur. None where the labels hold a single class. ece is the expected calibration error of the top class's
    probability over 15 equal bins (Guo et al., 2017).
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    probabilities = softmax(logits)
    targets = [positive] if logits.shape[1] == 2 else sorted(set(labels.tolist()))
    rocs, precisions, prevalences = [], [], []
    for target in targets:
        is_target = labels == target
        if is_target.any() and not is_target.all():
            score = class_score(logits, target)
            rocs.append(roc_auc_score(is_target, score))
            precisions.append(average_precision_score(is_target, score))
            prevalences.append(is_target.mean())
    top = probabilities.max(1)
    return {
        "auroc": float(np.mean(rocs)) if rocs else None,
        "average_precision": float(np.mean(precisions)) if rocs else None,
        "prevalence": float(np.mean(prevalences)) if rocs else None,
        "ece": calibration_error(top, probabilities.argmax(1) == labels),
        "log_loss": float(-np.log(probabilities[np.arange(len(labels)), labels].clip(1e-300)).mean()),
    }


def class_score(logits: Floats, target: int) -> Floats:
    """How strongly `logits` [n, classes] speak for class `target`: its log-odds, [n].

    Its order is that of the probability, but it does not run out of digits near 0 and 1.
    """
    others = np.delete(logits, target, axis=1)
    highest = others.max(1, keepdims=True)
    return np.asarray(logits[:, target] - highest[:, 0] - np.log(np.exp(others - highest).sum(1)))


def calibration_error(confidence: Floats, correct: NDArray[np.bool_], bins: int = 15) -> float:
    """Mean distance of accuracy from confidence over equal bins, weighted by their size (Guo et al., 2017)."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(which, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def _listed(values: Floats) -> Sequence[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
