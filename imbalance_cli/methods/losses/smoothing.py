"""Label smoothing by how common the class is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.losses.blocks import in_blocks
from imbalance_cli.methods.losses.form import LOSSES, Smoothing
from imbalance_cli.methods.losses.priors import smallest_present

if TYPE_CHECKING:
    import torch.nn.functional as F
    from torch import Tensor
else:
    F = lazy_import("torch.nn.functional")


@LOSSES.register
@in_blocks
def label_aware_smoothing(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    class_sizes: Tensor | None = None,
    *,
    head: Smoothing = 0.3,
    tail: Smoothing = 0.0,
) -> Tensor:
    """Cross-entropy that smooths the labels of common classes more than those of rare ones (Zhong et al., 2021).

    When: against too much confidence in common classes, above all in a second stage that trains the classifier alone.
    For the decision, try logit_adjustment first.

        loss = -(1 - s_y) log p_y - (s_y / (C - 1)) sum_{j != y} log p_j
        s_j = tail + (head - tail) sin(90 degrees * h_j)
        h_j = (N_j - min_k N_k) / (max_k N_k - min_k N_k)

    The largest class gives the share `head` of its target to the other classes, the rarest one that has images `tail`,
    and those between along a sine of their count. A head smaller than the tail smooths rare classes more, a head of 0
    the rare ones alone: the opposite remedy (Shwartz-Ziv et al., 2023). Where all counts are equal, all are the tail;
    head and tail 0 are cross_entropy.

    Also known as: las.
    """
    sizes = counts if class_sizes is None else class_sizes
    rarest = smallest_present(sizes)
    height = ((sizes - rarest) / (sizes.amax() - rarest).clamp(min=1)).clamp(min=0)
    smoothing = (tail + (head - tail) * (math.pi / 2 * height).sin()).to(logits)[labels]
    share = smoothing / (logits.shape[1] - 1)  # of each other class
    log_p = logits.log_softmax(1)
    return (1 - smoothing - share) * F.nll_loss(log_p, labels, reduction="none") - share * log_p.sum(1)
