"""The loss that turns down the examples with the most influence on the decision boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Gt

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.losses.form import LOSSES
from imbalance_cli.methods.losses.priors import inverse_shares

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor
else:
    torch = lazy_import("torch")
    F = lazy_import("torch.nn.functional")


@LOSSES.register
def influence_balanced(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    features: Tensor | None = None,
    *,
    scale: Annotated[float, Gt(0)] = 1000.0,
    epsilon: Annotated[float, Gt(0)] = 1e-3,
) -> Tensor:
    """Cross-entropy over the influence of the example, times scale / count: for fine-tuning (Park et al., 2021).

    When: for fine-tuning, in a stage after one of cross-entropy, which takes half of the epochs in the paper. It is
    not for a network that has learnt nothing yet.

        loss = -scale w_y log p_y / (2 (1 - p_y) |x|_1 + epsilon)
        w_j = (1 / n_j) / sum_k (1 / n_k)

    The influence is the size (sum of absolute values) of the gradient at the logits, 2 (1 - p_y), times that of the
    features, |x|_1, which is 1 without features; epsilon is added to it. The factor of log p_y is a constant to the
    gradient. The counts weigh as 1 / count does, scaled to sum 1 over the classes that have images, so leave
    class_weights at none.

    Also known as: ib, ib_loss.
    """
    loss = F.cross_entropy(logits, labels, reduction="none")
    with torch.no_grad():
        influence = -2 * (-loss).expm1()  # the distance of the probabilities from the one-hot target, 2 (1 - p)
        if features is not None:
            influence = influence * features.abs().sum(1).to(loss)
        factor = (scale * inverse_shares(counts)).to(loss)[labels] / (influence + epsilon)
    return factor * loss
