"""The order of an epoch: draws per class to the index of every image in turn.

The whole epoch is one list that depends on the generator alone. Several processes each take their slice of it.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def epoch_length(draws: Tensor) -> int:
    """How many images an epoch of `draws` (float64 [classes]) has: their sum, rounded."""
    return round(float(draws.sum()))


def epoch_order(
    labels: Tensor,
    draws: Tensor,
    *,
    generator: Generator,
    at_least: int = 0,
    bounds: Sequence[tuple[int, int]] = (),
) -> Tensor:
    """The indices of one epoch, shuffled: int64 [epoch_length(draws)].

    labels: int64 [n]; draws: float64 [classes], how often each class is drawn. They fall evenly on its images: each
    is drawn as often as the others or once more, and which ones once more is chosen anew every time. A class is
    drawn a whole number of times: a fraction goes up with its own probability, so the average over epochs is right.

    at_least: how many images of every class each batch of `bounds` holds; those of a class that is drawn too rarely
    for that are shared out evenly.
    """
    counts = torch.bincount(labels, minlength=len(draws))
    if bool((draws[counts == 0] > 0).any()):
        raise ValueError("draws from a class without images")
    if torch.equal(draws, counts.double()):  # every image once
        order = torch.randperm(len(labels), generator=generator)
    else:
        order = _shuffled(_drawn(labels, counts, _whole(draws, generator), generator), generator)
    if at_least > 0:
        order = _every_class_in_every_batch(order, labels.index_select(0, order), at_least, bounds, generator)
    return order


def _shuffled(items: Tensor, generator: Generator) -> Tensor:
    # index_select is three times as fast as items[...] here.
    return items.index_select(0, torch.randperm(len(items), generator=generator))


def _whole(draws: Tensor, generator: Generator) -> Tensor:
    """`draws` rounded to int64 with the sum `epoch_length`, by systematic sampling of their fractions."""
    whole = draws.floor()
    missing = epoch_length(draws) - int(whole.sum())
    if missing == 0:
        return whole.long()
    # The fractions laid end to end, to the length `missing`, and a comb of points one apart: a class gets one more
    # for each point on its fraction. Whole draws have no fraction, so that they stay as they are.
    ends = (draws - whole).cumsum(0)
    start = torch.rand(1, generator=generator)  # float32, so that adding it never rounds up to the next point
    points_passed = (ends / ends[-1] * missing + start).floor()
    return (whole + points_passed.diff(prepend=points_passed.new_zeros(1))).long()


def _drawn(labels: Tensor, counts: Tensor, times: Tensor, generator: Generator) -> Tensor:
    """Each class's images as evenly as they come to `times` (int64 [classes]) of them, class by class."""
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled.index_select(0, _by_class(labels.index_select(0, shuffled), len(counts)))
    images = counts.clamp(min=1)
    each, once_more = times // images, times % images
    # Two runs for each class: its first `once_more` images in their random sequence, and the others.
    runs = torch.stack([once_more, counts - once_more], dim=1).flatten()
    copies = torch.stack([each + 1, each], dim=1).flatten().repeat_interleave(runs)
    return by_class.repeat_interleave(copies)


def _every_class_in_every_batch(
    order: Tensor, labels: Tensor, at_least: int, bounds: Sequence[tuple[int, int]], generator: Generator
) -> Tensor:
    """`order`, of images of these labels, with `at_least` of every class in every batch, all else still at random."""
    batches, drawn = len(bounds), torch.bincount(labels)
    by_class = _by_class(labels, len(drawn))
    promises = drawn.clamp(max=at_least * batches)
    label = torch.arange(len(drawn)).repeat_interleave(promises)
    number = torch.arange(len(label)) - (promises.cumsum(0) - promises)[label]  # of a promise among those of its class
    # All over the class: if its first were promised, the rest would come late in the epoch.
    promised = by_class[(drawn.cumsum(0) - drawn)[label] + number * drawn[label] // promises[label]]
    batch_of_promised = number * batches // promises[label]
    is_free = torch.ones(len(order), dtype=torch.bool)
    is_free[promised] = False
    places_left = torch.tensor([last - first for first, last in bounds])
    places_left -= torch.bincount(batch_of_promised, minlength=batches)
    batch = torch.empty(len(order), dtype=torch.int32)
    batch[promised] = batch_of_promised.int()
    batch[is_free] = torch.arange(batches, dtype=torch.int32).repeat_interleave(places_left)
    # Shuffled within batches too: a process that takes a slice of each must not get the rare images always or never.
    shuffle = torch.randperm(len(order), generator=generator)
    by_batch = batch.index_select(0, shuffle).argsort(stable=True)
    return order.index_select(0, shuffle.index_select(0, by_batch))


def _by_class(labels: Tensor, classes: int) -> Tensor:
    """The places of `labels`, class by class, in their sequence inside a class."""
    return labels.to(torch.int16 if classes <= 2**15 else torch.int32).argsort(stable=True)  # narrow sorts faster
