"""Class weights: images per class to the weight of each class in the loss.

Every method has the form `(counts, *, options) -> Tensor[classes]` with counts float64 [classes]; only the
proportions matter, because `class_weights` scales the result. A class without images gets weight 0 and leaves the
others as they would be without it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from imbalance_cli.errors import SettingError
from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.cost_table import Costs, cost_table
from imbalance_cli.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


CLASS_WEIGHTS = Registry("class_weights")  # type: ignore[var-annotated]


def class_weights(choice: Mapping[str, Any], counts: Tensor) -> Tensor:
    """The chosen weights, scaled so that the average of the images counted weighs 1: float64 [classes].

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
    """1 / count: every class counts alike.

    When: for plain weighted cross-entropy, where every class matters alike. With very few images of a class each of
    them weighs much, and training follows them closely: there sqrt is milder, weights that set in late
    (class_weights_schedule deferred) leave the features alone, and loss logit_adjustment decided better here.

        r_j = 1 / N_j
        w_j = r_j (sum_k n_k) / (sum_k n_k r_k)

    Also known as: balanced, inverse_frequency, weighted_cross_entropy.
    """
    return 1 / counts


@CLASS_WEIGHTS.register
def sqrt(counts: Tensor) -> Tensor:
    """1 / square root of the count: half-way, on the logarithmic scale, between images and classes alike.

    When: where inverse weighs a handful of images too much. It corrects half of the imbalance: argmax goes on
    favouring the common classes, which the prior correction after training takes account of.

        r_j = 1 / sqrt(N_j)
        w_j = r_j (sum_k n_k) / (sum_k n_k r_k)

    Also known as: square_root, inverse_square_root.
    """
    return counts.rsqrt()


@CLASS_WEIGHTS.register
def power(counts: Tensor, *, exponent: Annotated[float, Interval(ge=0, le=10)] = 0.75) -> Tensor:
    """1 / count^exponent: 0 is none, 0.5 is sqrt, 1 is inverse, and more favours the rare.

    When: to choose how much the rare classes count, as an option to tune on validation images. Above 1 they count for
    more than the common ones, as where missing them is worse; if the price of a mistake is known, take costs.

        r_j = N_j^-exponent
        w_j = r_j (sum_k n_k) / (sum_k n_k r_k)

    Also known as: smoothed_inverse.
    """
    return counts**-exponent


@CLASS_WEIGHTS.register
def effective_number(counts: Tensor, *, beta: Annotated[float, Interval(ge=0, lt=1)] = 0.9999) -> Tensor:
    """(1 - beta) / (1 - beta^count): images of a large class overlap, so they add less (Cui et al., 2019).

    When: for long tails whose common classes have thousands of images, and with class_weights_schedule deferred as
    DRW, the second half of LDAM-DRW (Cao et al., 2019). Where all classes have far fewer than 1 / (1 - beta) images it
    is inverse in all but name.

        r_j = (1 - beta) / (1 - beta^N_j)
        w_j = r_j (sum_k n_k) / (sum_k n_k r_k)

    From none (beta 0) to inverse (beta close to 1): classes of far more than 1 / (1 - beta) images weigh alike.

    Also known as: class_balanced, effective_number_of_samples, cb.
    """
    if beta == 0:
        return torch.ones_like(counts)
    # expm1 keeps the digits that 1 - beta^count loses when beta^count is close to 1; 1 - beta cancels anyway.
    return -1 / (counts * math.log(beta)).expm1()


@CLASS_WEIGHTS.register
def costs(counts: Tensor, *, costs: Costs = None) -> Tensor:
    """What a mistake on an image of the class costs (Breiman et al., 1984).

    When: where it is known what mistakes cost, as 20 for a missed defect and 1 for a false alarm. Argmax follows the
    costs for classes as common as in training, beside a sampler or loss that balances for equally common ones. If only
    the decision is to follow them, threshold_by cost needs no other training.

        r_j = the cost of class j
        w_j = r_j (sum_k n_k) / (sum_k n_k r_k)

    costs has one number per class, or a row per true class of what each prediction costs, the right one 0; then a
    class weighs the sum of its row, for a weight cannot tell one wrong prediction from another. It has to be given.

    The prior-corrected decisions are those for balanced accuracy, so they take the costs back.

    Also known as: cost_sensitive.

    Raises SettingError if it does not fit the classes.
    """
    weights = torch.from_numpy(cost_table(costs, len(counts), "class_weights.costs").sum(1)).to(counts)
    if bool((weights == 0).any()):
        raise SettingError(
            f"class_weights.costs: a mistake on class {int(weights.argmin())} costs 0, so nobody would learn it; "
            "give every class a cost above 0"
        )
    return weights
