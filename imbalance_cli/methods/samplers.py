"""Samplers: images per class to how many are drawn of each class in an epoch.

Every method has the form `(counts, batches, *, options) -> Tensor[classes]`: counts, the images of each class that has
any, float64 [classes]; batches, into how many batches an epoch of all images falls; and back, the expected draws per
class, float64 [classes]. They are the class counts of the stream that the loss sees, so a loss that allows for the
prior is given exactly them. Which images are drawn, and in what order, is for `imbalance_cli.data.order`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from imbalance_cli.errors import SettingError
from imbalance_cli.lazy import lazy_import
from imbalance_cli.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


SAMPLERS = Registry("sampler")  # type: ignore[var-annotated]

Ratio = Annotated[float, Interval(gt=0, le=1)]


def class_draws(choice: Mapping[str, Any], counts: Tensor, batches: int) -> Tensor:
    """Draws per class and epoch by the chosen method: float64 [classes], 0 for a class without images.

    counts: images per class, [classes]; batches: how many an epoch of all of them falls into. Raises SettingError
    for an option that does not fit the batches.
    """
    counts = counts.double()
    draws = torch.zeros_like(counts)
    present = counts > 0
    draws[present] = SAMPLERS.bind(choice)(counts[present], batches)
    return draws


def rarest(counts: Tensor) -> Tensor:
    """The class with the fewest images, of those that have any: int64 [].

    Of equally rare classes the last: by convention the second class is the minority.
    """
    return len(counts) - 1 - torch.where(counts > 0, counts.double(), torch.inf).flip(0).argmin()


@SAMPLERS.register
def instance(counts: Tensor, batches: int) -> Tensor:
    """Every image once.

    Features are learned best so (Kang et al., 2020); leave the balance to the loss, a refit or the threshold.
    """
    return counts


@SAMPLERS.register
def class_balanced(counts: Tensor, batches: int) -> Tensor:
    """Every class equally often, in an epoch as long as the data (Shen et al., 2016).

    Few rare images come again and again, so it suits a second stage that trains the classifier alone.
    """
    return _in_proportion(torch.ones_like(counts), counts)


@SAMPLERS.register
def square_root(counts: Tensor, batches: int) -> Tensor:
    """Classes in proportion to the square root of their images (Mahajan et al., 2018).

    Half-way between instance and class_balanced.
    """
    return _in_proportion(counts.sqrt(), counts)


@SAMPLERS.register
def power(counts: Tensor, batches: int, *, q: Annotated[float, Interval(ge=-10, le=10)] = 0.25) -> Tensor:
    """Classes in proportion to count^q: q = 1 is instance, 0 is class_balanced (Kang et al., 2020).

    Between 0 and 1 it goes well with loss logit_adjustment, which allows for what is drawn.

    Below 0 the rarest class is drawn most; -1 is the reversed sampler of BBN (Zhou et al., 2020). An epoch is as
    long as the data. Class weights count^-g ask for the same emphasis as q = 1 - g.
    """
    return _in_proportion(counts**q, counts)


@SAMPLERS.register
def repeat_factor(counts: Tensor, batches: int, *, threshold: Ratio | None = None) -> Tensor:
    """Each image sqrt(threshold / share of its class) times, and at least once (Gupta et al., 2019).

    For long tails: common classes stay as they are.

    So classes with less than the threshold's share of the images are repeated; by default, 1 / number of classes,
    those with less than an equal share.
    """
    shares = counts / counts.sum()
    return counts * ((1 / len(counts) if threshold is None else threshold) / shares).sqrt().clamp(min=1)


@SAMPLERS.register
def under_sampling(counts: Tensor, batches: int, *, ratio: Ratio = 1.0) -> Tensor:
    """Large classes cut to the smallest one / ratio, a fresh choice of images every epoch (Japkowicz, 2000).

    Short epochs, with little of the common classes in each.
    """
    return counts.clamp(max=counts.min() / ratio)


@SAMPLERS.register
def over_sampling(counts: Tensor, batches: int, *, ratio: Ratio = 1.0) -> Tensor:
    """Images of small classes repeated until each has ratio x the largest class (Japkowicz, 2000).

    Nothing is left out; rare images come often, so augment them.
    """
    return counts.clamp(min=counts.max() * ratio)


@SAMPLERS.register
def at_least(counts: Tensor, batches: int, *, per_batch: Annotated[int, Interval(ge=1)] = 1) -> Tensor:
    """No batch without `per_batch` images of the rarest class, repeated if need be.

    For losses that compare the examples of a batch, as auc_margin does.

    What it takes, the other classes give in proportion, so that an epoch stays as long as the data.
    """
    images = counts.sum()
    smallest = int(images) // batches
    if per_batch >= smallest:
        raise SettingError(
            f"sampler.per_batch must leave room for other classes in a batch, which holds {smallest} images; "
            f"got {per_batch}"
        )
    rare = rarest(counts)
    needed = counts[rare].clamp(min=per_batch * batches)
    draws = counts * ((images - needed) / (images - counts[rare]))
    draws[rare] = needed
    return draws


def _in_proportion(shares: Tensor, counts: Tensor) -> Tensor:
    """As many draws as there are images, by `shares`; shares equal to the counts come back to the bit."""
    return shares * (counts.sum() / shares.sum())
