"""Losses that wrong labels harm less: they stop growing where cross-entropy does not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.losses.form import LOSSES

if TYPE_CHECKING:
    import torch.nn.functional as F
    from torch import Tensor
else:
    F = lazy_import("torch.nn.functional")


@LOSSES.register
def generalized_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    q: Annotated[float, Interval(gt=0, le=1)] = 0.7,
    truncation: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
) -> Tensor:
    """(1 - p^q) / q, from cross-entropy (q near 0) to 1 - p (q = 1), for noisy labels (Zhang and Sabuncu, 2018).

    When: where some labels are wrong. It is no remedy for uneven classes: it learns little from an image whose true
    class seems improbable, be that label wrong or the class rare.

        loss = (1 - max(truncation, p_y)^q) / q

    Examples whose true class has a probability of `truncation` or less teach nothing: with the paper's 0.5 only a
    network that has learnt something goes on learning.

    Also known as: gce, lq, truncated_lq (truncation = 0.5), unhinged (q = 1).
    """
    least = -math.log(truncation) if truncation > 0 else math.inf
    loss = F.cross_entropy(logits, labels, reduction="none").clamp(max=least)
    return (-q * loss).expm1() / -q


@LOSSES.register
def symmetric_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    forward: Annotated[float, Ge(0)] = 0.1,
    reverse: Annotated[float, Ge(0)] = 1.0,
) -> Tensor:
    """Cross-entropy plus the reverse one, of labels under predictions, for noisy labels (Wang et al., 2019).

    When: where some labels are wrong. It takes no account of how common a class is.

        loss = -forward log p_y + 4 reverse (1 - p_y)

    forward and reverse weigh the two, alpha and beta in the paper, which has 0.1 and 1 for ten classes, 6 and 0.1 for
    a hundred. The logarithm of a label's 0 counts as -4, so the reverse part is 4 (1 - p_y). With forward 1 and
    reverse 0 this is cross_entropy.

    Also known as: sce, sl.
    """
    loss = F.cross_entropy(logits, labels, reduction="none")
    return forward * loss - 4 * reverse * (-loss).expm1()
