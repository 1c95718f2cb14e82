"""Losses that spare rare classes the push away from examples of the others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.losses.blocks import in_blocks
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
@in_blocks
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
    if ignored == 0:
        return F.cross_entropy(logits, labels, reduction="none")
    rare = counts < tail * counts.mean()
    left_out = _drawn(logits, ignored).logical_and_(rare).scatter_(1, labels.unsqueeze(1), False)
    return F.cross_entropy(logits + torch.where(left_out, -torch.inf, 0.0).to(logits), labels, reduction="none")


@LOSSES.register
@in_blocks
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


def _drawn(like: Tensor, probability: float) -> Tensor:
    """True with `probability`, in (0, 1] and to 16 bits: bool, of the shape of `like`.

    Drawing is what takes the time, so numbers of 64 bits are cut in four.
    """
    numbers = torch.empty((like.numel() + 3) // 4, dtype=torch.int64, device=like.device).random_(-(2**63), None)
    uniform = numbers.view(torch.int16)[: like.numel()].view(like.shape)  # in -2^15 ... 2^15 - 1
    return uniform <= math.ceil(probability * 2**16) - 2**15 - 1
