"""Class weights: images per class to the weight of each class in the loss.

Every method has the form `(counts, *, options) -> Tensor[classes]` with counts float64 [classes]; only the
proportions matter, because `class_weights` scales the result. A class without images gets weight 0 and leaves the
others as they would be without it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


CLASS_WEIGHTS = Registry("class_weights")  # type: ignore[var-annotated]


def class_weights(choice: Mapping[str, Any], counts: Tensor) -> Tensor:
    """The chosen weights, scaled so that the average example of the stream weighs 1: float64 [classes].

    The loss of a batch is the sum of weight x loss over the batch size. Dividing by the sum of the weights
    instead, as `torch.nn.CrossEntropyLoss(weight=...)` does, would leave a batch of one class unweighted.
    """
    counts = counts.double()
    raw = torch.where(counts > 0, CLASS_WEIGHTS.bind(choice)(counts.clamp(min=1)), 0.0)
    return raw * counts.sum() / (raw * counts).sum()


@CLASS_WEIGHTS.register
def none(counts: Tensor) -> Tensor:
    """Every image counts alike."""
    return torch.ones_like(counts)


@CLASS_WEIGHTS.register
def inverse(counts: Tensor) -> Tensor:
    """1 / count: every class counts alike."""
    return 1 / counts


@CLASS_WEIGHTS.register
def sqrt(counts: Tensor) -> Tensor:
    """1 / square root of the count: half-way, on the logarithmic scale, between images and classes alike."""
    return counts.rsqrt()


@CLASS_WEIGHTS.register
def effective_number(counts: Tensor, *, beta: Annotated[float, Interval(ge=0, lt=1)] = 0.9999) -> Tensor:
    """(1 - beta) / (1 - beta^count): images of a large class overlap, so they add less (Cui et al., 2019)."""
    if beta == 0:
        return torch.ones_like(counts)
    # expm1 keeps the digits that 1 - beta^count loses when beta^count is close to 1; 1 - beta cancels anyway.
    return -1 / (counts * math.log(beta)).expm1()
