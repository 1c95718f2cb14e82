"""Criteria: what the threshold that is chosen on validation images is to be best at.

Every criterion has the form `(decisions, *, options) -> Floats[n + 1]`, a score for each of `decisions`, of which the
highest is wanted. All of them are exact, and of two classes as well as more unless they say otherwise. What looks at
the order of the images alone, such as AUROC, is no criterion: no threshold changes it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from imbalance_cli.errors import SettingError
from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.cost_table import Costs, cost_table
from imbalance_cli.registry import Registry, short_name

if TYPE_CHECKING:
    import numpy as np

    from imbalance_cli.metrics import Floats, Ints
else:
    np = lazy_import("numpy")

CRITERIA: Registry[Callable[..., Floats]] = Registry("threshold_by")

FEWEST_TO_CHOOSE_ON = 10  # validation images of a class below which what is chosen on them means nothing

Share = Annotated[float, Interval(ge=0, le=1)]

# What may be written instead of a name with an option: the name, and the option that the number is for.
SHORT_FORMS = {
    "recall>=": ("recall_at_least", "recall"),
    "fpr<=": ("fpr_at_most", "fpr"),
    "f": ("f_beta", "beta"),
}
PROMISING = ("recall_at_least", "fpr_at_most")  # a share of one class, which few images cannot tell
OF_THE_RANKING = ("auc", "auroc", "roc_auc", "auprc", "average_precision")


@dataclass(frozen=True)
class Decisions:
    """The n + 1 decisions that the rising offset of class `target` leads through: it takes one image after the other.

    labels, before: int64 [n], in the order in which they are taken, the class of each image and the one that it is
    given until then. rarest: the class that the criteria of two classes are about, the last by convention.
    """

    labels: Ints
    before: Ints
    target: int
    classes: int
    rarest: int = -1

    @cached_property
    def supports(self) -> Ints:
        """The images of each class: int64 [classes]."""
        return np.bincount(self.labels, minlength=self.classes)

    @cached_property
    def predicted(self) -> Ints:
        """The images that each class is given: int64 [n + 1, classes]."""
        every = np.ones(len(self.labels), bool)
        return self._counted(every, every)

    @cached_property
    def hits(self) -> Ints:
        """The images that each class is given rightly: int64 [n + 1, classes]."""
        return self._counted(self.before == self.labels, self.labels == self.target)

    def totals(self, values: Floats) -> Floats:
        """The sum over the images of values[class, class that it is given]: float64 [n + 1]."""
        lost, won = values[self.labels, self.before], values[self.labels, self.target]
        return np.asarray(lost.sum() + np.concatenate([[0.0], np.cumsum(won - lost)]))

    def _counted(self, before: np.ndarray[Any, Any], after: np.ndarray[Any, Any]) -> Ints:
        """How many images each class is given, of those marked by `before` until taken, by `after` from then on."""
        steps = np.zeros((len(self.labels) + 1, self.classes), np.int64)
        steps[0] = np.bincount(self.before[before], minlength=self.classes)
        steps[np.arange(1, len(steps)), self.before] -= before
        steps[1:, self.target] += after
        return np.asarray(steps.cumsum(0))


def in_full(said: Any) -> Any:
    """`recall>=0.95`, `fpr<=0.01` or `f2` as the name and option that it stands for; all else as it is.

    Raises ValueError for what no threshold changes.
    """
    if not isinstance(said, str):
        return said
    if said.lower() in OF_THE_RANKING:
        raise ValueError(
            f"{said} looks at the order of the images alone, so every threshold has the same; "
            f"what to choose by: {', '.join(CRITERIA.names())}"
        )
    compact = re.sub(r"\s*([<>]=)\s*", r"\1", said)
    for short, (name, option) in SHORT_FORMS.items():
        if found := re.fullmatch(short + r"([0-9]+\.?[0-9]*|\.[0-9]+)", compact):
            return {"name": name, option: float(found[1])}
    return said


def in_short(choice: Mapping[str, Any]) -> str:
    """`choice` as it would be typed: `recall>=0.95`, `f2`; without a short form its name and its options."""
    for short, (name, option) in SHORT_FORMS.items():
        if choice["name"] == name:
            return f"{short}{choice[option]:g}"
    options = ", ".join(f"{name} {value}" for name, value in choice.items() if name not in ("name", "sha256"))
    return short_name(choice["name"]) + (f" ({options})" if options else "")


def require_fit(choice: Mapping[str, Any], classes: int) -> None:
    """Raise SettingError if the chosen criterion does not fit so many classes."""
    one_of_each = np.arange(classes)
    CRITERIA.bind(choice)(Decisions(one_of_each, one_of_each, 0, classes))


def lacking(choice: Mapping[str, Any], supports: Ints, rarest: int) -> str | None:
    """Why no threshold can be chosen by this criterion on so many images of each class; None if one can.

    A promised share means nothing on so few images that it stands for all or none of them.
    """
    said, few = in_short(choice), None
    if supports.min() < FEWEST_TO_CHOOSE_ON:
        few = (
            f"a threshold needs {FEWEST_TO_CHOOSE_ON} validation images of every class; the smallest class has "
            f"{supports.min()}"
        )
    if choice["name"] == "recall_at_least":
        wrong, which, meaning = 1 - choice["recall"], "rarest", "less than all"
        images = supports[rarest]
    elif choice["name"] == "fpr_at_most":
        wrong, which, meaning = choice["fpr"], "other", "more than none"
        images = supports.sum() - supports[rarest]
    else:
        return few
    if wrong == 0:
        return f"{said} allows no mistake at all, which no number of validation images can promise; leave room for some"
    if few is not None:
        return few
    needed = math.ceil(1 / wrong - 1e-9)  # 1 / (1 - 0.95) is a little more than 20
    if images >= needed:
        return None
    return f"{said} needs {needed} validation images of the {which} class to mean {meaning} of them; there are {images}"


@CRITERIA.register
def balanced_accuracy(decisions: Decisions) -> Floats:
    """The mean recall: every class counts alike, whatever its images.

    When: by default, where every class matters alike, and however rare each will be where the model is used.

        (recall_1 + ... + recall_C) / C

    Also known as: bacc, macro_recall, uar.
    """
    counts = decisions.supports
    return decisions.totals(np.diag(1 / np.maximum(counts, 1) / np.count_nonzero(counts)))


@CRITERIA.register
def g_mean(decisions: Decisions) -> Floats:
    """The geometric mean of the recalls, for when no class may be given up (Kubat and Matwin, 1997).

    When: where a class that is hardly found is worse than a lower mean. With many classes, some of few images, one
    unlucky class decides.

        (recall_1 * ... * recall_C)^(1 / C)

    A class that is never found brings it to 0. Of such decisions those with the fewest such classes score higher, and
    of these the ones with the higher mean over the rest, so that the search finds a way out.

    Also known as: geometric_mean, gmean.
    """
    occurs = decisions.supports > 0
    hits = decisions.hits[:, occurs]
    found = hits > 0
    logs = np.log(np.where(found, hits / decisions.supports[occurs], 1.0)).sum(1)
    return np.asarray(np.exp(logs / np.maximum(found.sum(1), 1)) - (~found).sum(1))


@CRITERIA.register
def mcc(decisions: Decisions) -> Floats:
    """Matthews' correlation of classes and predictions, for few false alarms beside few misses (Matthews, 1975).

    When: where false alarms matter as misses do, at the class shares of the validation images. Where the rare class is
    rarer still, another threshold is best.

        (TP TN - FP FN) / sqrt((TP + FP) (TP + FN) (TN + FP) (TN + FN))

    TP and TN are the images of the rare and of the other class that are told right, FP the false alarms, FN the
    misses. More than two classes: the generalisation to them (Gorodkin, 2004). 0 where all images are given one class.

    Also known as: matthews_corrcoef, phi_coefficient.
    """
    n, supports, predicted = len(decisions.labels), decisions.supports, decisions.predicted
    agreement = n * decisions.hits.sum(1) - predicted @ supports
    spread = (n**2 - (predicted**2).sum(1)).astype(float) * float(n**2 - (supports**2).sum())
    return np.where(spread > 0, agreement / np.sqrt(np.maximum(spread, 1)), 0.0)


@CRITERIA.register
def f_beta(decisions: Decisions, *, beta: Annotated[float, Interval(gt=0, le=100)] = 1.0) -> Floats:
    """The harmonic mean of precision and recall, recall beta times as important (van Rijsbergen, 1979); also f1, f2.

    When: where what matters is to find the rare class without many false alarms, and nothing is gained by telling the
    others apart. It depends on how rare a class is, as precision does.

        (1 + beta^2) precision recall / (beta^2 precision + recall)

    Two classes: of the rarest. More: the mean over the classes.

    Also known as: f1 (beta = 1), f2 (beta = 2), f_score.
    """
    weight = beta**2
    sizes = weight * decisions.supports + decisions.predicted
    scores = (1 + weight) * decisions.hits / np.where(sizes > 0, sizes, 1)
    return scores[:, decisions.rarest] if decisions.classes == 2 else scores[:, decisions.supports > 0].mean(1)


@CRITERIA.register
def cost(decisions: Decisions, *, costs: Costs = None) -> Floats:
    """The least cost of the mistakes, for when it is known what they cost (Elkan, 2001).

    When: where that is known, and the classes are as frequent in use as in validation.

        mean of costs[y, predicted class] over the images

    costs has one number per class, what a mistake on an image of it costs: with the rarer of two classes last, of a
    false alarm and of a miss. Or a row per true class of what each prediction costs, the right one 0. It has to be
    given.

    Also known as: expected_cost, cost_matrix.

    Raises SettingError if the costs do not fit the classes.
    """
    return -decisions.totals(cost_table(costs, decisions.classes, "threshold_by.costs")) / len(decisions.labels)


@CRITERIA.register
def recall_at_least(decisions: Decisions, *, recall: Share = 0.95) -> Floats:
    """The fewest false alarms while a given share of the rarest of two classes is found: also recall>=0.95.

    When: where so many must be found, whatever it takes. The share is that of the validation images, and new ones
    may differ by as much as so few tell: the interval of the recall says by how much. It needs 1 / (1 - recall) rare
    validation images or more, 20 for 0.95.

        fewest false alarms with recall of the rarest >= recall

    Also known as: sensitivity_at_least, tpr_at_least.
    """
    _require_two_classes("recall_at_least", decisions)
    hits = decisions.hits[:, decisions.rarest]
    found = hits / max(decisions.supports[decisions.rarest], 1)
    spared = decisions.hits.sum(1) - hits
    return np.where(found >= recall, spared + found / 2, -1.0)  # of equally few false alarms the most found


@CRITERIA.register
def fpr_at_most(decisions: Decisions, *, fpr: Share = 0.01) -> Floats:
    """The most found of the rarest of two classes while a given share of the other is false alarms: also fpr<=0.01.

    When: where there is time for so many false alarms and no more. It needs 1 / fpr validation images of the other
    class or more, 100 for 0.01, and is as uncertain as so few tell.

        most found of the rarest with false alarms / others <= fpr

    Also known as: false_positive_rate_at_most.
    """
    _require_two_classes("fpr_at_most", decisions)
    hits = decisions.hits[:, decisions.rarest]
    others = max(len(decisions.labels) - int(decisions.supports[decisions.rarest]), 1)
    rate = (decisions.predicted[:, decisions.rarest] - hits) / others
    return np.where(rate <= fpr, hits - rate / 2, -1.0)  # of equally many found the fewest false alarms


def _require_two_classes(name: str, decisions: Decisions) -> None:
    if decisions.classes != 2:
        raise SettingError(
            f"threshold_by {name} needs two classes, a rarest and another; here are {decisions.classes}; "
            "try balanced_accuracy or g_mean"
        )
