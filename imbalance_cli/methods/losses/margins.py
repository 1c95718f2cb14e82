"""Losses that ask more of the rare classes: a wider margin, or a larger logit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Gt, Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.losses.blocks import in_blocks
from imbalance_cli.methods.losses.form import LOSSES
from imbalance_cli.methods.losses.odds import lead_against
from imbalance_cli.methods.losses.priors import at_least_one, log_prior, smallest_present

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor
else:
    torch = lazy_import("torch")
    F = lazy_import("torch.nn.functional")


@LOSSES.register
@in_blocks
def ldam(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    class_sizes: Tensor | None = None,
    *,
    max_margin: Annotated[float, Interval(ge=0, le=2)] = 0.5,
    scale: Annotated[float, Gt(0)] = 30.0,
) -> Tensor:
    """Cross-entropy that asks a margin of count^-1/4 of the true class, so more of rare ones (Cao et al., 2019).

    With class_weights effective_number and class_weights_schedule deferred it is LDAM-DRW.

    For a cosine classifier, whose logits are `scale` times the cosine of features and class: the margin is in
    cosine, max_margin for the rarest class that has images, and leaves the logit scale times as large.
    """
    margins = (scale * max_margin * _relative_margins(counts if class_sizes is None else class_sizes)).to(logits)
    with_margins = logits.scatter_add(1, labels.unsqueeze(1), -margins[labels].unsqueeze(1))
    return F.cross_entropy(with_margins, labels, reduction="none")


@LOSSES.register
@in_blocks
def vector_scaling(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    gamma: Annotated[float, Interval(ge=0, le=10)] = 0.2,
    tau: Annotated[float, Interval(ge=0, le=10)] = 1.2,
) -> Tensor:
    """Logit adjustment by tau on logits that are scaled by (count / largest count)^gamma (Kini et al., 2021).

    The scaling goes on working once all training images are told right, where adjustment alone does no more.

    gamma 0 is logit_adjustment; tau 0 is class-dependent temperatures (Ye et al., 2020). A class without images
    is treated as having one.
    """
    present = at_least_one(counts)
    temper = (present / present.amax()) ** gamma
    adjusted = torch.addcmul((tau * log_prior(counts)).to(logits), logits, temper.to(logits))
    return F.cross_entropy(adjusted, labels, reduction="none")


@LOSSES.register
def margin_hinge(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    class_sizes: Tensor | None = None,
    *,
    margin: Annotated[float, Gt(0)] = 1.0,
) -> Tensor:
    """Hinge whose margin shrinks with count^-1/4 from the rarest class's on: LDAM as a hinge (Cao et al., 2019).

    margin is that of the rarest class that has images. Equal counts make it hinge.
    """
    margins = (margin * _relative_margins(counts if class_sizes is None else class_sizes)).to(logits)
    return (margins[labels] + lead_against(logits, labels)).clamp(min=0)


def _relative_margins(sizes: Tensor) -> Tensor:
    """Proportional to size^-1/4, with 1 for the rarest class that has images and for those that have none."""
    rarest = smallest_present(sizes)
    return (rarest / sizes.clamp(min=rarest)) ** 0.25
