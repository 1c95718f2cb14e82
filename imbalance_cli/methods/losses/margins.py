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

    When: for long tails of many classes, with class_weights effective_number and class_weights_schedule deferred: that
    is LDAM-DRW, among the best here on ten classes. Of two very uneven classes it finds the rare one too, but decides
    less well than logit_adjustment and ranks images worse than cross-entropy.

        loss = -log(exp(u) / (exp(u) + sum_{j != y} exp(z_j)))
        u = z_y - scale m_y
        m_j = max_margin (min_k N_k / N_j)^(1/4)

    For a cosine classifier, whose logits are `scale` times the cosine of features and class: the margin is in cosine,
    max_margin for the rarest class that has images and for those that have none, and leaves the logit scale times as
    large. The classifier multiplies by 30, so with another scale the margins are others; you are warned of that.
    max_margin 0 is cross_entropy.

    Also known as: label_distribution_aware_margin.
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

    When: for long training: the scaling goes on working once all training images are told right, where adjustment
    alone does no more. In the short training of small networks measured here it ranked images, at tau 2, as
    logit_adjustment does, and its argmax found far fewer of the rare class.

        loss = -log(exp(a_y) / sum_j exp(a_j))
        a_j = (n_j / max_k n_k)^gamma z_j + tau log pi_j

    gamma 0 is logit_adjustment; tau 0 is class-dependent temperatures (Ye et al., 2020); both 0 are cross_entropy. A
    class without images is treated as having one.

    Also known as: vs, vs_loss, cdt (tau = 0), class_dependent_temperatures (tau = 0).
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

    When: as hinge, for decisions rather than probabilities, where rare classes should be told with more to spare. The
    margins differ far less than the counts do, so do not expect them to make up for very uneven classes.

        loss = max(0, m_y + max_{j != y} z_j - z_y)
        m_j = margin (min_k N_k / N_j)^(1/4)

    margin is that of the rarest class that has images, and of those that have none. Equal counts make it hinge.

    Also known as: ldam_hinge, ldam_hg.
    """
    margins = (margin * _relative_margins(counts if class_sizes is None else class_sizes)).to(logits)
    return (margins[labels] + lead_against(logits, labels)).clamp(min=0)


def _relative_margins(sizes: Tensor) -> Tensor:
    """Proportional to size^-1/4, with 1 for the rarest class that has images and for those that have none."""
    rarest = smallest_present(sizes)
    return (rarest / sizes.clamp(min=rarest)) ** 0.25
