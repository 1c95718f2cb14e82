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

    When: by default. Features are learned best so (Kang et al., 2020); leave the balance to the loss, a refit or the
    threshold.

        n_j = N_j

    Also known as: instance_balanced, natural.
    """
    return counts


@SAMPLERS.register
def class_balanced(counts: Tensor, batches: int) -> Tensor:
    """Every class equally often, in an epoch as long as the data (Shen et al., 2016).

    When: for a second stage that trains the classifier alone. A whole network sees its few rare images again and
    again, and learns them by heart.

        n_j = sum_k N_k / C

    Also known as: balanced, class_aware, weighted_random_sampler (weights 1 / N_j).
    """
    return _in_proportion(torch.ones_like(counts), counts)


@SAMPLERS.register
def square_root(counts: Tensor, batches: int) -> Tensor:
    """Classes in proportion to the square root of their images (Mahajan et al., 2018).

    When: for something half-way between instance and class_balanced, so that rare images come less often than there.

        n_j = sqrt(N_j) (sum_k N_k) / (sum_k sqrt(N_k))

    Also known as: sqrt.
    """
    return _in_proportion(counts.sqrt(), counts)


@SAMPLERS.register
def power(counts: Tensor, batches: int, *, q: Annotated[float, Interval(ge=-10, le=10)] = 0.25) -> Tensor:
    """Classes in proportion to count^q: q = 1 is instance, 0 is class_balanced (Kang et al., 2020).

    When: to choose how far to go. Between 0 and 1 it goes well with loss logit_adjustment, which allows for what is
    drawn. Beside class weights it may correct twice.

        n_j = N_j^q (sum_k N_k) / (sum_k N_k^q)

    Below 0 the rarest class is drawn most; -1 is the reversed sampler of BBN (Zhou et al., 2020). An epoch is as
    long as the data. Class weights count^-g ask for the same emphasis as q = 1 - g.

    Also known as: reversed (q = -1).
    """
    return _in_proportion(counts**q, counts)


@SAMPLERS.register
def repeat_factor(counts: Tensor, batches: int, *, threshold: Ratio | None = None) -> Tensor:
    """Each image sqrt(threshold / share of its class) times, and at least once (Gupta et al., 2019).

    When: for long tails: common classes stay as they are. Of two classes it repeats the rare one less than
    class_balanced does, in longer epochs.

        n_j = N_j max(1, sqrt(threshold sum_k N_k / N_j))

    So classes with less than the threshold's share of the images are repeated; by default, 1 / number of classes,
    those with less than an equal share.

    Also known as: rfs.
    """
    shares = counts / counts.sum()
    return counts * ((1 / len(counts) if threshold is None else threshold) / shares).sqrt().clamp(min=1)


@SAMPLERS.register
def under_sampling(counts: Tensor, batches: int, *, ratio: Ratio = 1.0) -> Tensor:
    """Large classes cut to the smallest one / ratio, a fresh choice of images every epoch (Japkowicz, 2000).

    When: with far more common images than training has time for. Epochs are short, with little of the common classes
    in each, so train for more of them.

        n_j = min(N_j, N_min / ratio)

    N_min is the size of the smallest class.

    Also known as: rus, random_under_sampling, downsampling.
    """
    return counts.clamp(max=counts.min() / ratio)


@SAMPLERS.register
def over_sampling(counts: Tensor, batches: int, *, ratio: Ratio = 1.0) -> Tensor:
    """Images of small classes repeated until each has ratio x the largest class (Japkowicz, 2000).

    When: where nothing may be left out and training can take longer: at ratio 1 an epoch has all classes at the size
    of the largest. Rare images come often, so augment them, or they are learnt by heart.

        n_j = max(N_j, ratio N_max)

    N_max is the size of the largest class.

    Also known as: ros, random_over_sampling, upsampling.
    """
    return counts.clamp(min=counts.max() * ratio)


@SAMPLERS.register
def at_least(counts: Tensor, batches: int, *, per_batch: Annotated[int, Interval(ge=1)] = 1) -> Tensor:
    """No batch without `per_batch` images of every class, repeated if need be.

    When: for losses that compare the examples of a batch, as auc_margin and pairwise_hinge do: without a rare image a
    batch teaches them nothing. For others it is a mild over-sampling of the rarest classes alone.

        n_j = max(s N_j, per_batch b)

    b is the number of batches in an epoch, and s such that an epoch stays as long as the data: what the rare classes
    take beyond their images, the others give in proportion. All classes together must fit into a batch.

    Raises SettingError where they do not.
    """
    images, smallest = counts.sum(), int(counts.sum()) // batches
    if per_batch * len(counts) > smallest:
        fitting = smallest // len(counts)
        cure = f"set it to at most {fitting}, or a larger batch_size" if fitting else "set a larger batch_size"
        raise SettingError(
            f"sampler.per_batch {per_batch}: {len(counts)} classes take {per_batch * len(counts)} images of a batch, "
            f"which holds {smallest}; {cure}"
        )
    needed = float(per_batch * batches)
    raised = counts < needed
    while True:  # for where the others give, one more may fall below
        given = counts * ((images - needed * raised.sum()) / counts[~raised].sum())
        draws = torch.where(raised, needed, given)
        if bool((draws >= needed).all()):
            return draws
        raised |= draws < needed


def _in_proportion(shares: Tensor, counts: Tensor) -> Tensor:
    """As many draws as there are images, by `shares`; shares equal to the counts come back to the bit."""
    return shares * (counts.sum() / shares.sum())
