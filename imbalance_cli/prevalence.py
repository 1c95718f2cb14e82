"""Other class shares than those of the images at hand: to decide for them, and what a decision is worth there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbalance_cli.errors import SettingError, did_you_mean
from imbalance_cli.metrics import Floats, Ints, class_score

RATIOS = (1, 10, 100, 1000)  # images of the other classes to one of the minority


def target_shares(said: Sequence[str], class_names: Sequence[str], counts: Sequence[int], minority: int) -> Floats:
    """The class shares [classes] that `--prior` says, adding up to 1. Raises SettingError.

    said: `uniform`, `train`, the share of the class `minority` if there are two classes, or CLASS=SHARE for every class
    in any unit; counts: the training images per class.
    """
    classes = len(class_names)
    match said:
        case ["uniform"]:
            shares = [1.0] * classes
        case ["train"]:
            shares = [float(count) for count in counts]
            if 0 in shares:
                raise SettingError(f"--prior train: class {class_names[shares.index(0)]} has no training images")
        case [word] if "=" not in word:
            share = _number(word)
            if not 0 < share < 1:
                raise SettingError(
                    "--prior must be uniform, train, a share of the minority between 0 and 1, or CLASS=SHARE for "
                    f"every class; got {word}"
                )
            if classes != 2:
                raise SettingError(
                    f"--prior {word}: a share of the minority needs two classes, this model has {classes}; "
                    "give CLASS=SHARE for every class"
                )
            shares = [1 - share] * classes
            shares[minority] = share
        case _:
            shares = _share_of_each(said, class_names)
    return np.asarray(shares) / math.fsum(shares)


def at_prevalences(
    labels: Ints, logits: Floats, found: NDArray[np.bool_], minority: int
) -> list[dict[str, Any]] | None:
    """What finding class `minority` would be worth at 1, 10, 100 and 1000 images of the others to one of it.

    labels [n]; logits [n, classes]; found [n], which images the decision gives to the minority. No image is drawn:
    each counts as much as its class would occur, the other classes as frequent among each other as here. Recall and
    balanced accuracy stay as they are. precision is None where nothing is found; all is None where the labels lack
    the minority, or hold nothing else.
    """
    from sklearn.metrics import (
        accuracy_score,
        average_precision_score,
        balanced_accuracy_score,
        precision_recall_fscore_support,
    )

    is_minority = labels == minority
    images = int(is_minority.sum())
    if images in (0, len(labels)):
        return None
    scores = class_score(logits, minority)
    rows = []
    for ratio in RATIOS:
        weights = np.where(is_minority, 1 / images, ratio / (len(labels) - images))
        precision, recall, f1, _ = precision_recall_fscore_support(
            is_minority, found, average="binary", sample_weight=weights, zero_division=np.nan
        )
        rows.append(
            {
                "others_to_one": ratio,
                "prevalence": 1 / (1 + ratio),
                "precision": float(precision) if found.any() else None,
                "recall": float(recall),
                "f1": float(f1),
                "accuracy": float(accuracy_score(is_minority, found, sample_weight=weights)),
                "balanced_accuracy": float(balanced_accuracy_score(is_minority, found, sample_weight=weights)),
                "average_precision": float(average_precision_score(is_minority, scores, sample_weight=weights)),
            }
        )
    return rows


def _share_of_each(said: Sequence[str], class_names: Sequence[str]) -> list[float]:
    shares: dict[str, float] = {}
    for word in said:
        name, _, text = word.rpartition("=")
        if not name:
            raise SettingError(f"--prior {word}: expected CLASS=SHARE, as in automobile=0.01")
        if name not in class_names:
            raise SettingError(f"--prior: unknown class {name!r}{did_you_mean(name, class_names)}")
        if name in shares:
            raise SettingError(f"--prior: class {name!r} is given twice")
        shares[name] = _number(text)
        if not 0 < shares[name] <= 1e12:
            raise SettingError(f"--prior {word}: a share must be more than 0; got {text}")
    if missing := [name for name in class_names if name not in shares]:
        raise SettingError(f"--prior: every class needs a share; missing: {', '.join(missing)}")
    return [shares[name] for name in class_names]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
