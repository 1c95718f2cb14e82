"""Losses of a batch as a whole, for the area under the ROC curve: examples of a class should score above the others.

Each class is to be found among the others by its own probability, and the classes that have both kinds of examples
in the batch count alike; without one, the loss and its gradient are 0. Of two classes each asks the same as the other,
so the loss is that of finding the rarer one. The mean over the batch is the loss; an example's value is its part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.losses.form import LOSSES

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor

    from imbalance_cli.methods.losses import slopes
else:
    torch = lazy_import("torch")
    F = lazy_import("torch.nn.functional")
    slopes = lazy_import("imbalance_cli.methods.losses.slopes")


Margin = Annotated[float, Interval(gt=0, le=1)]


@LOSSES.register
def auc_margin(logits: Tensor, labels: Tensor, counts: Tensor, *, margin: Margin = 1.0) -> Tensor:
    """Spread of the scores in and outside a class, and how far their means are from a margin (Yuan et al., 2021).

    For the area under the ROC curve, where the order of the images counts and the threshold is found later.

    The inner problem of the paper's min-max is solved for each batch, so the usual optimizers serve. Compares the
    examples of a batch: give it large batches that hold rare classes.
    """
    scores, true = _scores(logits), labels.unsqueeze(1)
    inside, outside, judged = _sizes(labels, scores)
    own = scores.gather(1, true).squeeze(1)
    sums_inside = torch.zeros_like(judged).index_add(0, labels, own)
    mean_inside, mean_outside = sums_inside / inside, (scores.sum(0) - sums_inside) / outside
    shortfall = (margin + mean_outside - mean_inside).clamp(min=0).square()
    spread_inside = (own - mean_inside[labels]).square() * (judged / inside)[labels]
    deviations = scores - mean_outside
    with torch.no_grad():
        others = deviations.detach().scatter_(1, true, 0.0)  # in place, for nothing needs the true class's any more
        pulls = others * (2 * judged / outside)
        values = torch.linalg.vecdot(others, pulls) / 2
    spread = spread_inside + slopes.with_slopes(values, pulls, deviations)
    return (len(labels) * spread + shortfall @ judged).to(logits)


@LOSSES.register
def pairwise_hinge(logits: Tensor, labels: Tensor, counts: Tensor, *, margin: Margin = 0.5) -> Tensor:
    """Squared hinge on every pair of examples whose scores are not a margin apart (Gao and Zhou, 2015).

    For the area under the ROC curve, where the order of the images counts and the threshold is found later.

    An example carries the pairs in which its own class is to be found. At margin 1, which no two probabilities
    exceed, the mean is that of auc_margin. Compares the examples of a batch: give it large batches that hold rare
    classes.
    """
    scores = _scores(logits)
    inside, outside, judged = _sizes(labels, scores)
    own = margin - scores.gather(1, labels.unsqueeze(1)).squeeze(1)
    hinges = _squared_hinges(own, scores, labels)
    return (len(labels) * hinges * (judged / (inside * outside))[labels]).to(logits)


def _scores(logits: Tensor) -> Tensor:
    """Probabilities, in at least float32: sums over a batch need more digits than bfloat16 has."""
    return logits.softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))


def _sizes(labels: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each class how many examples are in it and how many outside, at least 1; and its share in the mean.

    The mean is over the classes that have both kinds of examples, the others' share is 0. [classes] each.
    """
    inside = labels.new_zeros(scores.shape[1]).index_add(0, labels, torch.ones_like(labels)).to(scores)
    outside = len(labels) - inside
    judged = ((inside > 0) & (outside > 0)).to(scores)
    return inside.clamp(min=1), outside.clamp(min=1), judged / judged.sum().clamp(min=1)


def _squared_hinges(reach: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    """For each example the sum of max(0, reach + s)^2 over the scores s of its class that other classes got: [batch].

    Sorted from the highest on, the scores that take part come first, and sums over them make up the result, in
    O(n log n) a class in place of O(n^2) (after Rust and Hocking, 2023). With t = -s a term is (reach - t)^2.
    """
    absent = 2.0  # as t, beyond any reach
    t = (-scores).scatter(1, labels.unsqueeze(1), absent).T.contiguous().sort(1).values
    every_reach = reach.detach().expand(len(t), -1).contiguous()
    taking_part = torch.searchsorted(t.detach(), every_reach).gather(0, labels.unsqueeze(0)).squeeze(0)
    first, second = (F.pad(moment.cumsum(1), (1, 0))[labels, taking_part] for moment in (t, t.square()))
    # What rounding takes below 0 is 0.
    return (taking_part * reach.square() - 2 * reach * first + second).clamp(min=0)
