"""Losses of a batch as a whole, for the area under the ROC curve: examples of a class should score above the others.

Each class is to be found among the others by its own probability, and the classes that have both kinds of examples
in the batch count alike; without one, the loss and its gradient are 0. Of two classes each asks the same as the other,
so the loss is that of finding the rarer one. The mean over the batch is the loss; an example's value is its part.

An example of membership m is m examples in every sum, count and pair, and in the mean. A class of which the batch holds
less than one example in all, or all but less than one, counts by that part, so that a vanishing share of an image
counts as vanishingly little.
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

    from imbalance_cli.methods.losses import spreads
    from imbalance_cli.methods.losses.spreads import Sizes
else:
    torch = lazy_import("torch")
    F = lazy_import("torch.nn.functional")
    spreads = lazy_import("imbalance_cli.methods.losses.spreads")


Margin = Annotated[float, Interval(gt=0, le=1)]


@LOSSES.register
def auc_margin(
    logits: Tensor, labels: Tensor, counts: Tensor, membership: Tensor | None = None, *, margin: Margin = 1.0
) -> Tensor:
    """Spread of the scores in and outside a class, and how far their means are from a margin (Yuan et al., 2021).

    When: for the area under the ROC curve, where the order of the images counts and the threshold is found later:
    argmax is no decision to rely on. It compares the examples of a batch: give it large batches that hold rare
    classes.

        loss = mean over j of v_j + u_j + max(0, margin - a_j + b_j)^2
        a_j, v_j: mean and variance of p_j over the batch's images of class j
        b_j, u_j: mean and variance of p_j over the batch's other images

    That is the loss of a batch, the mean of its images' parts, over the classes that have images in it and not all of
    them. The inner problem of the paper's min-max is solved for each batch, so the usual optimizers serve.

    Also known as: aucm, auc_m, libauc.
    """
    parts = _parts(membership, logits)
    sizes = _sizes(labels, parts, logits.shape[1])
    return spreads.values(logits, labels, parts, sizes, margin).to(logits)


@LOSSES.register
def pairwise_hinge(
    logits: Tensor, labels: Tensor, counts: Tensor, membership: Tensor | None = None, *, margin: Margin = 0.5
) -> Tensor:
    """Squared hinge on every pair of examples whose scores are not a margin apart (Gao and Zhou, 2015).

    When: for the area under the ROC curve, where the order of the images counts and the threshold is found later:
    argmax is no decision to rely on. It compares the examples of a batch: give it large batches that hold rare
    classes. Of many classes it takes much longer than the other losses.

        loss = mean over j of h_j
        h_j: mean of max(0, margin - p_j(a) + p_j(b))^2 over all pairs of images
             in the batch, a of class j and b of another

    That is the loss of a batch, over the classes that have images in it and not all of them. An example carries the
    pairs in which its own class is to be found. At margin 1, which no two probabilities exceed, the mean is that of
    auc_margin.

    Also known as: pairwise_squared_hinge, pairwise_auc.
    """
    parts = _parts(membership, logits)
    scores = logits.softmax(1, dtype=parts.dtype)
    inside, outside, judged = _sizes(labels, parts, scores.shape[1])
    reach = margin - scores.gather(1, labels.unsqueeze(1)).squeeze(1)
    hinges = _squared_hinges(reach, scores, labels, parts)
    return (parts.sum() * hinges * (judged / (inside * outside))[labels]).to(logits)


def _parts(membership: Tensor | None, logits: Tensor) -> Tensor:
    """How much of an example each is: [batch], all 1 where nothing is said of it.

    In at least float32, in which the loss is computed: sums over a batch need more digits than bfloat16 has.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.new_ones(len(logits), dtype=dtype) if membership is None else membership.to(logits.device, dtype)


def _sizes(labels: Tensor, parts: Tensor, classes: int) -> Sizes:
    """Of each class how many examples are in it and how many outside, above 0; and its share in the mean.

    The mean is over the classes that have both kinds of examples, the others' share is 0. [classes] each.
    """
    inside = parts.new_zeros(classes).index_add(0, labels, parts)
    outside = inside.sum() - inside  # exactly 0, not rounded, where there is no other class
    judged = torch.minimum(inside, outside).clamp(max=1)
    least = torch.finfo(parts.dtype).eps
    return spreads.Sizes(inside.clamp(min=least), outside.clamp(min=least), judged / judged.sum().clamp(min=1))


def _squared_hinges(reach: Tensor, scores: Tensor, labels: Tensor, parts: Tensor) -> Tensor:
    """For each example the sum of part * max(0, reach + s)^2 over the scores s of its class that others got: [batch].

    Others are the examples with another label. Sorted from the highest on, the scores that take part come first, and
    sums over them make up the result, in O(n log n) a class in place of O(n^2) (after Rust and Hocking, 2023). With
    t = -s a term is (reach - t)^2.
    """
    absent = 2.0  # as t, beyond any reach
    t, order = (-scores).scatter(1, labels.unsqueeze(1), absent).T.contiguous().sort(1)
    every_reach = reach.detach().expand(len(t), -1).contiguous()
    taking_part = torch.searchsorted(t.detach(), every_reach).gather(0, labels.unsqueeze(0)).squeeze(0)
    sizes = parts[order]
    moments = (sizes, sizes * t, sizes * t.square())
    size, first, second = (F.pad(moment.cumsum(1), (1, 0))[labels, taking_part] for moment in moments)
    # What rounding takes below 0 is 0.
    return (size * reach.square() - 2 * reach * first + second).clamp(min=0)
