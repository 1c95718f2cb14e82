"""What a method does to data with given class counts, before any training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from imbalance_cli.config import Experiment
from imbalance_cli.data.batches import batch_bounds
from imbalance_cli.data.order import epoch_length
from imbalance_cli.loss_curves import compares_images, expected_loss
from imbalance_cli.methods.augment import strength_by_class
from imbalance_cli.methods.losses import LOSSES
from imbalance_cli.methods.posthoc import uninformative_logits
from imbalance_cli.methods.resampling import require_enough
from imbalance_cli.methods.resampling.form import cut, grown
from imbalance_cli.methods.samplers import class_draws
from imbalance_cli.methods.weights import class_weights
from imbalance_cli.metrics import Floats
from imbalance_cli.stages import Stage
from imbalance_cli.training_aids import AIDS

BATCH_SIZE = 128  # that of a run by default
EXAMPLES = 2000  # the batch, as the counts are, that a loss is looked at on
DRAWN_LOGITS = 10_000_000  # on which a loss that draws at random is looked at, all told

ALIKE = "It does the same whatever the class counts."
ALIKE_AIDS = (
    *("ema", "gradient_clipping", "dropout", "l1", "weight_decay", "mixing_until", "label_smoothing"),
    *("test_time_flip", "warmup"),
)
OF_THE_FEATURES = "What it does depends on images and network, not on the class counts alone."
# What cuts large classes rather than adding to small ones.
CUTTING = ("random_under_sampling", "near_miss", "cluster_centroids", "instance_hardness_threshold")
# What the features change about the counts that a resampling aims at.
UP_TO_THE_FEATURES = {
    "near_miss": "With version 3 there may be fewer.",
    "instance_hardness_threshold": "Where images are equally hard, there may be more.",
    "borderline_smote": "A class of which no image is in danger stays as it is.",
    "adasyn": "Rounding changes them by a few.",
    "kmeans_smote": "Rounding changes them by a few.",
    "smote_tomek": "The cleaning after that takes some away; which, depends on the features.",
    "smote_enn": "The cleaning after that takes some away; which, depends on the features.",
}


@dataclass(frozen=True)
class Effect:
    """What a method does: numbers for each class under headings, shares among them, and what to say beside them."""

    columns: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def effect_of(kind: str, choice: Mapping[str, Any], counts: list[int]) -> Effect:
    """The effect of the chosen method on classes with so many images. Raises SettingError if it does not fit them."""
    computed = {
        "class_weights": _weighing,
        "sampler": _drawing,
        "loss": _pulling,
        "mixing": _mixing,
        "resample": _resampling,
        AIDS.kind: _aiding,
    }
    if kind in computed:
        return computed[kind](choice, torch.tensor(counts, dtype=torch.float64))
    if kind in ("model", "optimizer", "schedule", "augment"):
        return Effect(notes=[ALIKE])
    return Effect(notes=[OF_THE_FEATURES])


def _weighing(choice: Mapping[str, Any], counts: Tensor) -> Effect:
    weights = class_weights(choice, counts)
    return Effect({"weight": weights.tolist(), "share of the loss": _shares(weights * counts)})


def _drawing(choice: Mapping[str, Any], counts: Tensor) -> Effect:
    batches = len(batch_bounds(int(counts.sum()), BATCH_SIZE))
    draws = class_draws(choice, counts, batches)
    length = epoch_length(draws)
    number = len(batch_bounds(length, BATCH_SIZE))
    parts = "1 batch" if number == 1 else f"{number:,} batches of about {BATCH_SIZE}"
    epoch = f"An epoch is {length:,} images in {parts}."
    each = torch.where(counts > 0, draws / counts.clamp(min=1), 0.0)
    return Effect({"drawn": draws.tolist(), "each image": each.tolist(), "share": _shares(draws)}, [epoch])


def pulls(loss: Callable[..., Tensor], counts: Tensor, *, compares: bool) -> Tensor:
    """How hard each class pulls at the logits when all of these are 0, float64 [classes].

    loss: with its options; counts: of the labels that it sees, float64 [classes]; compares: whether it compares the
    examples of a batch.
    """
    # The batch is made up as the data are, for the losses that compare its examples.
    batch = (counts * min(1.0, EXAMPLES / float(counts.sum()))).ceil().long()
    labels = torch.repeat_interleave(torch.arange(len(counts)), batch)
    found = torch.zeros_like(counts).index_add(0, labels, _gradient_sizes(loss, labels, counts))
    # Where examples are compared, those of a class share what it pulls, however many of them the batch holds.
    return found if compares else found * (counts / batch.clamp(min=1))


def _pulling(choice: Mapping[str, Any], counts: Tensor) -> Effect:
    """How hard each class pulls at first, and where a loss leads without any evidence."""
    loss: Callable[..., Tensor] = expected_loss(choice) if len(counts) == 2 else LOSSES.bind(choice)
    shares = _shares(pulls(loss, counts, compares=compares_images(choice["name"])))
    reference = uninformative_logits(loss, counts, torch.ones_like(counts))
    return Effect(
        {"share of the gradient": shares, "uninformative logit": _without_noise(reference)},
        [
            "share of the gradient: how much of the pull on the logits comes from each class when all logits are 0, "
            "summed over its images. uninformative logit: what training would answer to an image that says nothing "
            "about its class; where these differ, argmax favours the higher ones, and the prior correction subtracts "
            "them."
        ],
    )


def _gradient_sizes(loss: Callable[..., Tensor], labels: Tensor, counts: Tensor) -> Tensor:
    """How hard each example pulls at the logits when these are 0, [n]: of a loss that draws at random the mean."""
    logits = torch.zeros(len(labels), len(counts), dtype=torch.float64, requires_grad=True)

    def drawn() -> Tensor:
        (gradient,) = torch.autograd.grad(loss(logits, labels, counts).sum(), logits)
        sizes: Tensor = gradient.norm(dim=1)
        return sizes

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        draws = [drawn(), drawn()]
        if not torch.equal(*draws):
            draws += [drawn() for _ in range(DRAWN_LOGITS // logits.numel())]
    return torch.stack(draws).mean(0)


def _mixing(choice: Mapping[str, Any], counts: Tensor) -> Effect:
    """Of which classes the labels are while images are mixed, each by its share in the image."""
    stage = Stage(Experiment.model_validate({"mixing": choice}), counts, 0)
    columns, partners = {"share of the images": _shares(counts)}, stage.partner_draws(0)
    if partners is not None:
        columns["drawn as partner"] = partners.tolist()
    columns["share of the labels"] = _shares(stage.seen(0))
    notes = ["A label counts by its share in the mixed image. The loss is told of these shares."]
    if partners is not None:
        notes.append("Of the partners only the share that probability says is pasted.")
    return Effect(columns, [" ".join(notes)])


def _resampling(choice: Mapping[str, Any], counts: Tensor) -> Effect:
    """How many features of each class the refit sees, where the class counts tell that."""
    name, before = choice["name"], counts.long()
    require_enough(choice, before.tolist(), list(map(str, range(len(counts)))))
    if "ratio" not in choice:
        return Effect(notes=[OF_THE_FEATURES] if name != "none" else ["It leaves the class counts as they are."])
    sizes = {number: count for number, count in enumerate(before.tolist()) if count > 0}
    changed = (cut if name in CUTTING else grown)(sizes, choice["ratio"])
    after = torch.tensor([changed.get(number, count) for number, count in enumerate(before.tolist())])
    columns = {} if name in CUTTING else {"new": (after - before).tolist()}
    notes = ['The refit sees as many of each class as the column "then" says.', UP_TO_THE_FEATURES.get(name, "")]
    return Effect(columns | {"then": after.tolist()}, [" ".join(notes).strip()])


def _aiding(choice: Mapping[str, Any], counts: Tensor) -> Effect:
    if choice["name"] == "augment_rarer":
        return Effect({"share changed": strength_by_class(counts, power=choice["augment_rarer"]).tolist()})
    if choice["name"] == "bias_from_prior":
        bias = Stage(Experiment.model_validate({}), counts, 0).uninformative_logits(0)
        return Effect({"bias": _without_noise(bias)}, ["That is with cross_entropy and nothing that shifts it."])
    return Effect(notes=[ALIKE if choice["name"] in ALIKE_AIDS else OF_THE_FEATURES])


def _without_noise(values: Floats) -> list[float]:
    """`values` in the digits that the search for them settles, 0 without a sign."""
    return [round(float(value), 6) + 0.0 for value in values]


def _shares(values: Tensor) -> list[float]:
    total = values.sum()
    return (values / total if total > 0 else torch.zeros_like(values)).tolist()
