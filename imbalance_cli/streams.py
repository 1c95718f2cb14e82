"""The batches of an epoch: drawn, augmented, normalised and mixed as its stage says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from imbalance_cli.data.batches import Normalisation, epoch_batches
from imbalance_cli.data.image_set import ImageSet
from imbalance_cli.data.order import epoch_order
from imbalance_cli.methods.augment import AUGMENTATIONS, strength_by_class
from imbalance_cli.methods.mixing import MIXING
from imbalance_cli.randomness import keyed_generator, keyed_numpy
from imbalance_cli.stages import Stage


class View(NamedTuple):
    """Normalised images [b, 3, h, w], and how much of each is of its own class, float [b], where they are mixed."""

    inputs: Tensor
    share: Tensor | None = None


class Batch(NamedTuple):
    """One or two views of the same images, their labels [b], and those of the partners that are mixed in.

    places: of each image among the training images, int64 [b].
    """

    views: tuple[View, ...]
    labels: Tensor
    places: Tensor
    partner_labels: Tensor | None = None


def epoch_stream(
    stage: Stage, epoch: int, train: ImageSet, normalise: Normalisation, *, device: torch.device, start: int
) -> Iterator[Batch]:
    """The batches of an epoch of the run from number `start` on; `train` holds its images where they fit best.

    What is in a batch depends on the experiment's seed, the epoch and the batch's number alone.
    """
    experiment = stage.experiment
    bounds = stage.bounds(epoch)
    order = epoch_order(
        train.labels,
        stage.draws(epoch),
        generator=keyed_generator(experiment.seed, "order", epoch),
        at_least=experiment.sampler["per_batch"] if experiment.sampler["name"] == "at_least" else 0,
        bounds=bounds,
    )

    def batches(order: Tensor, purpose: str) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return epoch_batches(
            train.images,
            train.labels,
            order,
            bounds[start:],
            augmentations=[AUGMENTATIONS.bind(choice) for choice in experiment.augment],
            strength=strength_by_class(stage.counts, power=experiment.augment_rarer),
            key=(experiment.seed, purpose, epoch),
            device=device,
        )

    own = ((normalise(images), labels, places) for images, labels, places in batches(order, "augment"))
    if not stage.mixes(epoch):
        yield from (Batch((View(inputs),), labels, places) for inputs, labels, places in own)
        return
    mixings = [
        MIXING.bind(choice) for choice in (experiment.mixing, experiment.second_view) if choice["name"] != "none"
    ]
    counts = stage.draws(epoch).to(device, torch.float32)
    partners = None
    if (partner_draws := stage.partner_draws(epoch)) is not None:  # partners come from a stream of their own
        generator = keyed_generator(experiment.seed, "partners", epoch)
        partner_order = epoch_order(
            train.labels, partner_draws * (len(order) / partner_draws.sum()), generator=generator
        )
        partners = batches(partner_order, "augment partners")
    for number, (inputs, labels, places) in enumerate(own, start=start):
        random = keyed_numpy(experiment.seed, "mixing", epoch, number)
        if partners is None:
            chosen = torch.from_numpy(random.permutation(len(labels))).to(device, non_blocking=True)
            # Whole images out of channels-last memory, several times faster than inputs[chosen].
            other = inputs.permute(0, 2, 3, 1).index_select(0, chosen).permute(0, 3, 1, 2)
            other_labels = labels[chosen]
        else:
            images, other_labels, _ = next(partners)
            other = normalise(images)
        views = tuple(View(*mix(inputs, labels, other, other_labels, counts, random)) for mix in mixings)
        yield Batch(views, labels, places, other_labels)
