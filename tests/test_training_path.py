"""The path from the settings to the weights: what reaches the model, what its loss is, where a step leads.

The model here is one linear layer on the mean colour of an image, and the images are plain colours, so the batches
can be read off its features and every step can be made by hand.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

import pytest
import torch
from small_data import plain_colours
from torch import Tensor, nn

from imbalance_cli.config import Setting, resolve
from imbalance_cli.data.batches import Normalisation
from imbalance_cli.methods.refits import REFITS, Linear
from imbalance_cli.methods.weights import class_weights
from imbalance_cli.models import build_model
from imbalance_cli.training import Trainer
from imbalance_cli.weight_steps import perturbed

RATE = 0.5
STILL = 1e-12  # a learning rate that moves nothing: every epoch's loss is that of the first weights

START = torch.tensor([[1.0, -0.5, 0.2], [0.3, 0.8, -0.4]])


@dataclass
class Trained:
    """What could be seen of a training.

    log: an epoch each; losses, rates: of that; shown: the mean colours that the model saw, an epoch's batches each,
    [b, 3]; weights, biases: the classifier's at the end of each epoch; averages: likewise of the model that is tested.
    """

    losses: list[float]
    rates: list[float]
    shown: list[list[Tensor]]
    weights: list[Tensor]
    biases: list[Tensor]
    averages: list[Tensor]
    log: list[dict]

    @property
    def rare(self) -> list[int]:
        """How many images of the second class each epoch showed."""
        return [sum(int((colours.argmax(1) == 1).sum()) for colours in batches) for batches in self.shown]

    @property
    def is_mixed(self) -> list[bool]:
        """Whether an epoch showed images of two colours."""
        return [bool(((colours > 0).sum(1) == 2).any()) for (colours,) in self.shown]


def train(
    *counts: int,
    start: Tensor = START,
    brightness: int = 255,
    scale: float = 1.0,
    dropout: float = 0.0,
    validated: bool = False,
    **settings: object,
) -> Trained:
    """Train on plain colours from a classifier with the rows `start`: plain SGD, one batch an epoch.

    brightness: of the colours, up to 255; scale: what a channel at 255 is to the model; validated: on the same
    images, which only the log tells.
    """
    values = {
        "epochs": 1,
        "batch_size": 1000,
        "augment": [],
        "learning_rate": RATE,
        "learning_rate_schedule": "constant",
        "warmup": 0.0,
        "weight_decay": 0.0,
        "optimizer": {"name": "sgd", "momentum": 0.0},
        "device": "cpu",
        "precision": "fp32",
        **settings,
    }
    experiment, _ = resolve(None, [Setting((name,), value, "test") for name, value in values.items()])
    classifier = nn.Linear(3, len(counts))
    with torch.no_grad():
        classifier.weight.copy_(start)
        classifier.bias.zero_()
    backbone = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout))
    images = plain_colours(*counts, brightness=brightness)
    trainer = Trainer(
        experiment,
        nn.Sequential(OrderedDict(backbone=backbone, classifier=classifier)),
        Normalisation((0.0,) * 3, (1 / scale,) * 3),
        images.counts(),
    )
    batches: list[Tensor] = []
    trainer.model[0].register_forward_hook(lambda module, inputs, colours: batches.append(colours.detach().clone()))
    seen = Trained([], [], [], [], [], [], trainer.progress.log)
    for progress in trainer.train(images, images if validated else None):
        if progress.step == 0:
            seen.shown.append(list(batches))
            batches.clear()
            seen.weights.append(trainer.model[1].weight.detach().clone())
            seen.biases.append(trainer.model[1].bias.detach().clone())
            seen.averages.append(trainer.evaluated[1].weight.detach().clone())
    seen.losses = [line["train_loss"] for line in trainer.progress.log]
    seen.rates = [line["learning_rate"] for line in trainer.progress.log]
    return seen


def by_hand(colours: Tensor, targets: Tensor) -> tuple[float, Tensor, Tensor]:
    """The mean cross-entropy of soft `targets` at START, and the weight and bias after a step down it, in float64."""
    features, start = colours.double(), START.double()
    targets = targets.double()
    logits = features @ start.T
    loss = -(targets * logits.log_softmax(1)).sum(1).mean()
    slopes = (targets.sum(1, keepdim=True) * logits.softmax(1) - targets) / len(features)
    return float(loss), start - RATE * slopes.T @ features, -RATE * slopes.sum(0)


def same(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one.double(), other.double(), rtol=0, atol=1e-6)


# One step


def test_a_step_goes_down_the_mean_cross_entropy():
    seen = train(12, 4)
    ((colours,),) = seen.shown
    loss, weight, bias = by_hand(colours, colours[:, :2])
    assert seen.losses == pytest.approx([loss], rel=1e-6)
    assert same(seen.weights[0], weight) and same(seen.biases[0], bias)


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_a_mixed_image_teaches_each_class_by_as_much_as_it_shows_of_it(mixing):
    seen = train(12, 4, mixing=mixing)
    ((colours,),) = seen.shown
    assert seen.is_mixed == [True]
    loss, weight, bias = by_hand(colours, colours[:, :2])
    assert seen.losses == pytest.approx([loss], rel=1e-6)
    assert same(seen.weights[0], weight) and same(seen.biases[0], bias)


def test_each_label_of_a_mixed_image_weighs_as_its_own_class_does():
    seen = train(12, 4, mixing="mixup", class_weights="inverse")
    ((colours,),) = seen.shown
    loss, weight, bias = by_hand(colours, colours[:, :2] * torch.tensor([16 / 24, 16 / 8]))
    assert seen.losses == pytest.approx([loss], rel=1e-6)
    assert same(seen.weights[0], weight) and same(seen.biases[0], bias)


def test_max_norm_shortens_the_rows_that_are_longer():
    rows = torch.tensor([[3.0, 4.0, 0.0], [0.1, 0.0, 0.2]])
    free, held = train(12, 4, start=rows), train(12, 4, start=rows, max_norm=1.0)
    assert held.weights[0].norm(dim=1).tolist() == pytest.approx([1, float(free.weights[0][1].norm())])
    assert same(held.weights[0][0], free.weights[0][0] / free.weights[0][0].norm())


def test_clipping_shortens_the_step_and_keeps_its_direction():
    free, clipped = train(12, 4), train(12, 4, gradient_clipping=0.1)
    moved = [torch.cat([(seen.weights[0] - START).flatten(), seen.biases[0]]) for seen in (free, clipped)]
    assert moved[0].norm() > RATE * 0.1
    assert same(moved[1], RATE * 0.1 * moved[0] / moved[0].norm())


def test_weight_decay_pulls_every_weight_towards_zero():
    seen = train(12, 4, brightness=0, weight_decay=0.2)
    assert same(seen.weights[0], START - RATE * 0.2 * START)


@pytest.mark.parametrize(("classes", "taught"), [("all", [0, 1]), ("rare", [1])])
def test_sam_takes_the_slope_from_up_the_hill_of_the_chosen_classes(classes, taught):
    seen = train(12, 4, sam_radius=0.3, sam_classes=classes)
    ((colours, _),) = seen.shown  # the way up, and the step
    features, targets = colours.double(), colours[:, :2].double()

    def slope(weight: Tensor, bias: Tensor, of: list[int]) -> tuple[Tensor, Tensor]:
        counted = targets[:, of].sum(1, keepdim=True)
        errors = counted * (features @ weight.T + bias).softmax(1) - targets * counted
        return errors.T @ features / len(features), errors.sum(0) / len(features)

    start, zero = START.double(), torch.zeros(2, dtype=torch.float64)
    up, up_bias = slope(start, zero, taught)
    length = torch.cat([up.flatten(), up_bias]).norm()
    down, down_bias = slope(start + 0.3 * up / length, 0.3 * up_bias / length, [0, 1])
    assert same(seen.weights[0], start - RATE * down) and same(seen.biases[0], -RATE * down_bias)


def test_batch_norm_keeps_its_statistics_where_sam_looks_from():
    norm = nn.BatchNorm2d(3)
    weights = list(norm.parameters())
    with perturbed(norm, weights, tuple(torch.ones_like(weight) for weight in weights), 0.6):
        assert norm.weight[0].item() == pytest.approx(1 + 0.6 / math.sqrt(6))
        norm(torch.randn(4, 3, 2, 2) + 5)
    assert norm.running_mean.tolist() == [0, 0, 0] and norm.weight.tolist() == [1, 1, 1]
    norm(torch.randn(4, 3, 2, 2) + 5)
    assert norm.running_mean.min() > 0


def test_the_same_share_of_every_class_is_left_out_as_noise_rising_over_ten_epochs():
    seen = train(12, 1, noise_share=0.25, epochs=12, learning_rate=STILL)
    red, green = -START.T[:2].double().log_softmax(1).diagonal()
    kept = [1 - 0.25 * min(epoch / 10, 1) for epoch in range(12)]
    assert seen.losses == pytest.approx([share * float(12 * red + green) / 13 for share in kept], rel=1e-6)


def test_the_second_look_of_sam_leaves_out_the_same_images():
    plain, sam = (train(12, 4, noise_share=0.9, epochs=12, sam_radius=radius) for radius in (0.0, 1e-9))
    assert same(plain.weights[-1], sam.weights[-1])
    assert not same(plain.weights[-1], train(12, 4, epochs=12).weights[-1])


def test_of_mixed_images_none_is_left_out():
    seen = train(12, 4, noise_share=0.5, epochs=20, mixing="mixup", mixing_until=0.6, learning_rate=STILL)
    red, green = -START.T[:2].double().log_softmax(1).diagonal()
    whole = float(12 * red + 4 * green) / 16
    assert seen.is_mixed == [True] * 12 + [False] * 8
    assert min(seen.losses[:12]) > 0.75 * whole
    assert seen.losses[12:] == pytest.approx([whole] + [whole / 2] * 7, rel=1e-6)  # nothing known of any at first


def test_two_views_count_alike_and_are_held_together():
    seen = train(12, 4, mixing="mixup", second_view="cutmix", consistency=2.0)
    ((first, second),) = seen.shown
    apart = (1 - nn.functional.cosine_similarity(first, second)).mean()
    assert apart > 0.01
    losses = [by_hand(colours, colours[:, :2])[0] for colours in (first, second)]
    assert seen.losses == pytest.approx([sum(losses) / 2 + 2 * float(apart)], rel=1e-5)


def test_dropout_is_at_work_in_training():
    ((colours,),) = train(12, 4, dropout=0.5).shown
    assert 0 < int((colours == 0).all(1).sum()) < 16


def test_with_test_time_flips_an_image_is_judged_with_its_mirror_image():
    images = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for flip in (True, False):
        values = {"test_time_flip": flip, "device": "cpu", "precision": "fp32"}
        experiment, _ = resolve(None, [Setting((name,), value, "test") for name, value in values.items()])
        model = build_model({"name": "cnn"}, 2, 8, seed=0)
        trainer = Trainer(experiment, model, Normalisation((0.5,) * 3, (0.2,) * 3), torch.tensor([12, 4]))
        assert torch.allclose(trainer.predict(images), trainer.predict(images.flip(3)), atol=1e-6) == flip


def test_early_stopping_looks_where_the_prior_is_corrected():
    # A green image is called red at argmax, by less than red is commoner.
    tilted = torch.tensor([[3.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    seen = train(12, 4, start=tilted, learning_rate=STILL, early_stopping=1, validated=True)
    assert seen.log[0]["validation_recall"] == [1, 0]
    assert seen.log[0]["validation_balanced_accuracy"] == 1


def test_the_average_follows_the_weights_at_the_said_pace():
    seen = train(12, 4, ema=0.9, epochs=2)
    first = START + (1 - 1 / 10) * (seen.weights[0] - START)  # the pace is (1 + step) / (10 + step) at first
    assert same(seen.averages[0], first)
    assert same(seen.averages[1], first + (1 - 2 / 11) * (seen.weights[1] - first))


def test_influence_is_measured_by_the_features_too():
    # From weights of 0: cross-entropy log 2, influence 1 at the logits times the features' length; here that is 3.
    nothing = torch.zeros(2, 3)
    seen = train(12, 4, start=nothing, scale=3.0, loss={"name": "influence_balanced", "scale": 10.0, "epsilon": 0.5})
    share = 12 / 16 * 0.25 + 4 / 16 * 0.75  # of 1 / count, for the average image
    assert seen.losses == pytest.approx([10 * share * math.log(2) / (3 + 0.5)], rel=1e-5)


# What a sampler draws


def test_beside_a_sampler_that_balances_logit_adjustment_has_nothing_left_to_adjust():
    balanced = {"sampler": "class_balanced", "epochs": 3}
    adjusted = train(12, 4, loss="logit_adjustment", **balanced)
    plain = train(12, 4, loss="cross_entropy", **balanced)
    assert adjusted.rare == [8, 8, 8]
    assert adjusted.losses == pytest.approx(plain.losses, rel=1e-6)
    assert same(adjusted.weights[-1], plain.weights[-1])
    alone = train(12, 4, loss="logit_adjustment", epochs=3)
    assert not same(alone.weights[-1], train(12, 4, epochs=3).weights[-1])


def test_remix_favours_no_class_that_the_sampler_draws_as_often_as_the_other():
    balanced = {"sampler": "class_balanced", "epochs": 3}
    remix, mixup = (train(12, 4, mixing=mixing, **balanced) for mixing in ("remix", "mixup"))
    assert same(remix.weights[-1], mixup.weights[-1])
    remix, mixup = (train(12, 4, mixing=mixing) for mixing in ("remix", "mixup"))
    assert not same(remix.weights[-1], mixup.weights[-1])


def test_every_batch_holds_the_rare_images_that_at_least_promises():
    seen = train(26, 6, batch_size=8, epochs=5, sampler={"name": "at_least", "per_batch": 2})
    for batches in seen.shown:
        assert [int((colours.argmax(1) == 1).sum()) for colours in batches] == [2, 2, 2, 2]


# From epoch to epoch


def test_deferred_class_weights_set_in_at_their_epoch():
    late = {"name": "deferred", "start": 0.5}
    seen = train(12, 4, class_weights="inverse", class_weights_schedule=late, epochs=4, learning_rate=STILL)
    red, green = -START.T[:2].double().log_softmax(1).diagonal()  # the loss of an image of each
    equally, by_class = float(12 * red + 4 * green) / 16, float(red + green) / 2
    assert equally != pytest.approx(by_class, rel=0.01)
    assert seen.losses == pytest.approx([equally, equally, by_class, by_class], rel=1e-6)


def test_schedules_start_anew_in_every_stage():
    late = {"name": "deferred", "start": 0.5}
    seen = train(
        *(12, 4),
        epochs=2,
        sampler="class_balanced",
        sampler_schedule=late,
        learning_rate_schedule="cosine",
        stages=[{"epochs": 2}],
    )
    assert seen.rare == [4, 8, 4, 8]
    assert seen.rates == pytest.approx([RATE, RATE / 2, RATE, RATE / 2])


def test_the_end_of_mixing_is_that_of_each_stage():
    seen = train(12, 4, epochs=2, mixing="mixup", mixing_until=0.5, stages=[{"epochs": 2}])
    assert seen.is_mixed == [True, False, True, False]


# Where a stage starts


def test_a_stage_may_start_from_a_new_classifier():
    far = torch.full((2, 3), 50.0)
    kept = train(12, 4, start=far, stages=[{"epochs": 1, "learning_rate": STILL}])
    assert same(kept.weights[1], kept.weights[0])
    new = train(12, 4, start=far, stages=[{"epochs": 1, "learning_rate": STILL, "restart_classifier": True}])
    assert same(new.weights[0], kept.weights[0])
    assert new.weights[1].abs().max() <= 1 / math.sqrt(3) < new.weights[0].abs().min()  # as PyTorch draws them
    assert len(new.weights[1].unique()) == 6


def test_a_stage_goes_on_from_the_averaged_weights():
    seen = train(12, 4, ema=0.9, epochs=3, stages=[{"epochs": 1, "learning_rate": STILL}])
    assert not same(seen.averages[2], seen.weights[2])
    assert same(seen.weights[3], seen.averages[2])
    assert same(seen.averages[3], seen.averages[2])


def test_the_average_starts_anew_with_a_new_classifier():
    far = torch.full((2, 3), 50.0)
    again = {"epochs": 1, "learning_rate": STILL, "restart_classifier": True}
    seen = train(12, 4, start=far, ema=0.9, stages=[again])
    assert seen.averages[0].min() > 40
    assert same(seen.averages[1], seen.weights[1])


def test_a_stages_own_l1_draws_its_weights_to_zero():
    # Black images: nothing but l1 moves the weights.
    seen = train(12, 4, brightness=0, stages=[{"epochs": 1, "l1": 0.2}])
    assert same(seen.weights[0], START)
    assert same(seen.weights[1], START - RATE * 0.2 * START.sign())


def test_a_stage_switches_off_the_runs_l1_and_forgets_its_momentum():
    momentum = {"name": "sgd", "momentum": 0.9, "nesterov": False}
    seen = train(12, 4, brightness=0, l1=0.2, optimizer=momentum, stages=[{"epochs": 2, "l1": 0.0}])
    assert same(seen.weights[0], START - RATE * 0.2 * START.sign())
    assert same(seen.weights[2], seen.weights[0])


# After training


def test_the_refit_by_max_norm_weighs_its_classes_by_their_effective_number():
    labels = torch.tensor([0] * 90 + [1] * 10)
    features = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    choice = {"name": "max_norm", "longest": 100.0, "epochs": 1, "learning_rate": RATE, "weight_decay": 0.0}
    trained = Linear(START, torch.zeros(2), torch.zeros(2, dtype=torch.float64))
    found = REFITS.bind(choice)(features, labels, trained, torch.Generator().manual_seed(0))
    # One batch holds all, so there is one step; with Nesterov's momentum the first is 1.9 gradients long.
    weights = class_weights({"name": "effective_number", "beta": 0.9999}, torch.tensor([90, 10]))
    assert weights.tolist() == pytest.approx([100 / 180, 100 / 20], rel=0.01)
    _, weight, bias = by_hand(features, nn.functional.one_hot(labels, 2) * weights)
    assert same(found.weight, START + 1.9 * (weight - START))
    assert same(found.bias, 1.9 * bias)
