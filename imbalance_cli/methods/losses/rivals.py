"""Losses that spare rare classes the push away from examples of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.losses.form import LOSSES
from imbalance_cli.methods.losses.priors import log_prior

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor
else:
    torch = lazy_import("torch")
    F = lazy_import("torch.nn.functional")


@LOSSES.register
def equalization(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    tail: Annotated[float, Interval(ge=0, le=1)] = 0.5,
    ignored: Annotated[float, Interval(ge=0, le=1)] = 0.9,
) -> Tensor:
    """Softmax equalization: rare classes are mostly left out where they are not the true one (Tan et al., 2020).

    Made for long tails of many classes.

    Rare are classes with fewer images than `tail` times the average class. Each is left out of the softmax of
    each example of another class with probability `ignored`, drawn anew at every step.
    """
    rare = counts < tail * counts.mean()
    left_out = (torch.rand_like(logits, dtype=torch.float32) < ignored).logical_and_(rare)
    left_out.scatter_(1, labels.unsqueeze(1), False)
    return F.cross_entropy(logits.masked_fill(left_out, -torch.inf), labels, reduction="none")


@LOSSES.register
def seesaw(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    mitigation: Annotated[float, Interval(ge=0, le=10)] = 0.8,
    compensation: Annotated[float, Interval(ge=0, le=10)] = 2.0,
) -> Tensor:
    """Cross-entropy whose push on rarer classes shrinks, and grows on classes mistaken (Wang et al., 2021).

    Made for long tails of many classes.

    In the softmax another class counts (its count / the true class's)^mitigation if it is rarer, times
    (its probability / the true class's)^compensation if it is more probable. Both factors are constants to the
    gradient. The counts are those of the training images, where the paper counts along.
    """
    with torch.no_grad():
        rarity = (mitigation * log_prior(counts)).to(logits)
        factors = (rarity - rarity[labels].unsqueeze(1)).clamp_(max=0)
        lead = (logits - logits.gather(1, labels.unsqueeze(1))).clamp_(min=0)
        factors.add_(lead, alpha=compensation)
    return F.cross_entropy(logits + factors, labels, reduction="none")
