"""What a method does to data with given class counts, before any training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from imbalance_cli.data.batches import batch_bounds
from imbalance_cli.data.order import epoch_length
from imbalance_cli.methods.losses import LOSSES
from imbalance_cli.methods.posthoc import uninformative_logits
from imbalance_cli.methods.samplers import class_draws
from imbalance_cli.methods.weights import class_weights

BATCH_SIZE = 128  # that of a run by default
EXAMPLES = 2000  # the batch, as the counts are, that a loss is looked at on


@dataclass(frozen=True)
class Effect:
    """What a method does: numbers for each class under headings, shares among them, and what to say beside them."""

    columns: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def effect_of(kind: str, choice: Mapping[str, Any], counts: list[int]) -> Effect:
    """The effect of the chosen method on classes with so many images. Raises SettingError if it does not fit them."""
    computed = {"class_weights": _weighing, "sampler": _drawing, "loss": _pulling}
    if kind in computed:
        return computed[kind](choice, torch.tensor(counts, dtype=torch.float64))
    if kind in ("model", "optimizer", "schedule", "augment"):
        return Effect(notes=["It does the same whatever the class counts."])
    return Effect(notes=["What it does depends on images and network, not on the class counts alone."])


def _weighing(choice: Mapping[str, Any], counts: Tensor) -> Effect:
    weights = class_weights(choice, counts)
    return Effect({"weight": weights.tolist(), "share of the loss": _shares(weights * counts)})


def _drawing(choice: Mapping[str, Any], counts: Tensor) -> Effect:
    batches = len(batch_bounds(int(counts.sum()), BATCH_SIZE))
    draws = class_draws(choice, counts, batches)
    length = epoch_length(draws)
    epoch = f"An epoch is {length:,} images in {len(batch_bounds(length, BATCH_SIZE)):,} batches of about {BATCH_SIZE}."
    each = torch.where(counts > 0, draws / counts.clamp(min=1), 0.0)
    return Effect({"drawn": draws.tolist(), "each image": each.tolist(), "share": _shares(draws)}, [epoch])


def _pulling(choice: Mapping[str, Any], counts: Tensor) -> Effect:
    """How hard each class pulls at the logits when all of these are 0, and where a loss leads without any evidence."""
    loss: Callable[[Tensor, Tensor, Tensor], Tensor] = LOSSES.bind(choice)
    # Some losses compare the examples of a batch, so it is made up as the data are.
    batch = (counts * min(1.0, EXAMPLES / float(counts.sum()))).ceil().long()
    labels = torch.repeat_interleave(torch.arange(len(counts)), batch)
    logits = torch.zeros(len(labels), len(counts), dtype=torch.float64, requires_grad=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # some draw
        values = loss(logits, labels, counts)
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    pulls = torch.zeros_like(counts).index_add(0, labels, gradient.norm(dim=1)) * (counts / batch.clamp(min=1))
    reference = uninformative_logits(loss, counts, torch.ones_like(counts))
    return Effect(
        {"share of the gradient": _shares(pulls), "uninformative logit": reference.tolist()},
        [
            "The gradient is that at the logits when all of them are 0, its size summed over the images of a class. "
            "Uninformative logits are what training would answer to an image that says nothing about its class: where "
            "they differ, argmax favours the higher ones, and the prior correction subtracts them."
        ],
    )


def _shares(values: Tensor) -> list[float]:
    total = values.sum()
    return (values / total if total > 0 else torch.zeros_like(values)).tolist()
