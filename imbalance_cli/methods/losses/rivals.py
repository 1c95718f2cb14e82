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

ROUNDING = 1e-5  # of a mean: equal draws that are not whole numbers may lie below theirs by a few of the last digits


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

    When: made for long tails of many classes. A class is rare or it is not, so how rare it is makes no difference:
    where it should, try logit_adjustment.

        loss = -log(exp(z_y) / sum_j k_j exp(z_j))
        k_j = 0 with probability ignored if j != y and n_j < tail sum_k n_k / C
        k_j = 1 otherwise

    Rare are classes with fewer images than `tail` times the average class. Each is left out of the softmax of each
    example of another class with probability `ignored`, drawn anew at every step. Where no class is rare, or ignored
    is 0, this is cross_entropy.

    Also known as: eql, seql, softmax_eql.
    """
    if ignored == 0:
        return F.cross_entropy(logits, labels, reduction="none")
    rare = counts < (1 - ROUNDING) * tail * counts.mean()
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

    When: made for long tails of many classes. Of a few, try the simpler logit_adjustment first.

        loss = -log(exp(z_y) / (exp(z_y) + sum_{j != y} s_j exp(z_j)))
        s_j = min(1, n_j / n_y)^mitigation max(1, p_j / p_y)^compensation

    In the softmax another class counts (its count / the true class's)^mitigation if it is rarer, times (its
    probability / the true class's)^compensation if it is more probable. Both factors are constants to the gradient.
    The counts are known from the start, where the paper counts along; a class without images is treated as having one.
    At equal counts and compensation 0, or with both options 0, this is cross_entropy.

    Also known as: seesaw_loss.
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
