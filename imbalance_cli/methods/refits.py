"""Refits: a trained network's features to another linear classifier on top of them.

What an imbalanced training spoils is mostly the last layer (Kang et al., 2020). Every method has the form
`(features, labels, classifier, generator, *, options) -> Linear`: features float32 [n, d] of the training images and
their labels int64 [n], perhaps resampled; classifier, the trained one; generator, where all draws come from. Everything
is on the CPU, and equal generators give equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, NamedTuple

from annotated_types import Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.losses.classic import cross_entropy
from imbalance_cli.methods.losses.form import Smoothing
from imbalance_cli.methods.optimizers import sgd
from imbalance_cli.methods.samplers import class_draws
from imbalance_cli.methods.schedules import cosine
from imbalance_cli.methods.weights import class_weights
from imbalance_cli.registry import Registry

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Generator, Tensor

    from imbalance_cli import weight_steps
    from imbalance_cli.data import order
    from imbalance_cli.methods import posthoc
else:
    torch = lazy_import("torch")
    F = lazy_import("torch.nn.functional")
    weight_steps = lazy_import("imbalance_cli.weight_steps")
    order = lazy_import("imbalance_cli.data.order")
    posthoc = lazy_import("imbalance_cli.methods.posthoc")


class Linear(NamedTuple):
    """A linear classifier: weight float32 [classes, d], bias float32 [classes].

    reference: the logits it gives an image that says nothing about its class, float64 [classes], which the prior
    correction subtracts; 0 for a classifier that is balanced by itself (see `posthoc.uninformative_logits`).
    """

    weight: Tensor
    bias: Tensor
    reference: Tensor


REFITS: Registry[Callable[..., Linear]] = Registry("refit")

Epochs = Annotated[int, Interval(ge=1, le=100_000)]
Rate = Annotated[float, Interval(gt=0, le=1000)]
Decay = Annotated[float, Interval(ge=0, le=1)]

BATCH_SIZE = 128


@REFITS.register
def none(features: Tensor, labels: Tensor, classifier: Linear, generator: Generator) -> Linear:
    """The classifier as it was trained together with the rest."""
    return classifier


@REFITS.register
def crt(
    features: Tensor,
    labels: Tensor,
    classifier: Linear,
    generator: Generator,
    *,
    epochs: Epochs = 10,
    learning_rate: Rate = 0.1,
    weight_decay: Decay = 5e-4,
) -> Linear:
    """A new classifier, trained with every class drawn equally often: cRT (Kang et al., 2020)."""
    weight, bias = _fresh(classifier, generator)
    _train(
        [weight, bias],
        lambda batch: F.linear(batch, weight, bias),
        cross_entropy,
        features,
        labels,
        _balanced_draws(labels, len(bias)),
        generator,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
    )
    return _balanced(weight, bias)


@REFITS.register
def lws(
    features: Tensor,
    labels: Tensor,
    classifier: Linear,
    generator: Generator,
    *,
    epochs: Epochs = 10,
    learning_rate: Rate = 0.1,
) -> Linear:
    """The trained rows, each times a scale that is learned with classes drawn equally often (Kang et al., 2020).

    A class's bias is scaled with its row, as in the authors' code.
    """
    scale = torch.ones_like(classifier.bias)
    logits = F.linear(features, classifier.weight, classifier.bias)
    _train(
        [scale],
        lambda batch: scale * batch,
        cross_entropy,
        logits,
        labels,
        _balanced_draws(labels, len(scale)),
        generator,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=0.0,
    )
    return _balanced(scale[:, None] * classifier.weight, scale * classifier.bias)


@REFITS.register
def tau_normalisation(
    features: Tensor,
    labels: Tensor,
    classifier: Linear,
    generator: Generator,
    *,
    tau: Annotated[float, Interval(ge=0, le=10)] = 0.7,
) -> Linear:
    """Rows divided by length^tau, for common classes grow the longer ones; no bias (Kang et al., 2020).

    At tau 0 the rows stay as they are, at 1 all have length 1. Two classes have rows of nearly the same length, so it
    is for more. The reference is what the trained one becomes: the lengths need not hold the whole prior.
    """
    scale = classifier.weight.norm(dim=1).clamp(min=1e-12) ** -tau
    left = scale * (classifier.reference - classifier.bias)
    return Linear(scale[:, None] * classifier.weight, torch.zeros_like(classifier.bias), left - left.mean())


@REFITS.register
def nearest_mean(features: Tensor, labels: Tensor, classifier: Linear, generator: Generator) -> Linear:
    """The class whose mean of length-1 features has the smallest angle to an image's (Kang et al., 2020).

    A row is a class mean scaled to length 1; there is no bias. A class without images has a row of 0.
    """
    sums = torch.zeros_like(classifier.weight).index_add(0, labels, F.normalize(features))
    return _balanced(F.normalize(sums), torch.zeros_like(classifier.bias))


@REFITS.register
def label_over_smoothing(
    features: Tensor,
    labels: Tensor,
    classifier: Linear,
    generator: Generator,
    *,
    smoothing: Smoothing = 0.98,
    epochs: Epochs = 20,
    learning_rate: Rate = 5e-4,
) -> Linear:
    """The trained classifier trained on, with labels hardly more likely than the other classes (Sun et al., 2025).

    smoothing: the share of the target that is spread evenly over all classes. The steps are small and few, so that
    what follows is on the way from the trained classifier rather than the least loss; and so is the reference, which
    is what the trained one becomes.
    """
    weight, bias = classifier.weight.clone(), classifier.bias.clone()
    loss = partial(cross_entropy, label_smoothing=smoothing)
    draws = labels.bincount(minlength=len(bias)).double()
    _train(
        [weight, bias],
        lambda batch: F.linear(batch, weight, bias),
        loss,
        features,
        labels,
        draws,
        generator,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=0.0,
    )
    return Linear(weight, bias, _reference_now(features, classifier, weight, bias))


@REFITS.register
def max_norm(
    features: Tensor,
    labels: Tensor,
    classifier: Linear,
    generator: Generator,
    *,
    longest: Annotated[float, Interval(gt=0, le=1e6)] = 1.0,
    epochs: Epochs = 10,
    learning_rate: Rate = 0.01,
    weight_decay: Decay = 5e-4,
) -> Linear:
    """The trained classifier trained on, no row longer than `longest`, classes weighed (Alshammari et al., 2022).

    The class weights are those of the effective number.
    """
    weight, bias = classifier.weight.clone(), classifier.bias.clone()
    draws = labels.bincount(minlength=len(bias)).double()
    weights = class_weights({"name": "effective_number"}, draws)
    _train(
        [weight, bias],
        lambda batch: F.linear(batch, weight, bias),
        lambda logits, target, counts: weights.to(logits)[target] * cross_entropy(logits, target, counts),
        features,
        labels,
        draws,
        generator,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        longest=longest,
    )
    return Linear(weight, bias, torch.from_numpy(posthoc.uninformative_logits(cross_entropy, draws, weights)))


def _reference_now(features: Tensor, classifier: Linear, weight: Tensor, bias: Tensor) -> Tensor:
    """What `weight` and `bias` make of an image of which `classifier` makes its reference: float64 [classes], mean 0.

    Such an image says nothing about its class, so this is the reference of a classifier that comes from the trained
    one, however far it has gone. Of all the features that an image could have then, those expected by a linear
    regression of `features` on their logits are taken.
    """
    mean = features.double().mean(0)
    apart = features.double() - mean
    covariance = apart.T @ apart / len(apart)
    rows = classifier.weight.double() - classifier.weight.double().mean(0)  # logits count up to a constant
    missing = classifier.reference - (rows @ mean + classifier.bias.double())
    missing = missing - missing.mean()
    # Nothing can be told along a direction in which the images vary less than 1e-3 of the most.
    spread: Tensor = torch.linalg.pinv(rows @ covariance @ rows.T, hermitian=True, rtol=1e-6)
    expected = mean + covariance @ rows.T @ spread @ missing
    logits: Tensor = weight.double() @ expected + bias.double()
    return logits - logits.mean()


def _fresh(classifier: Linear, generator: Generator) -> tuple[Tensor, Tensor]:
    """The weight and bias of an untrained classifier, drawn as PyTorch draws those of a linear layer."""
    bound = 1 / math.sqrt(classifier.weight.shape[1])
    weight, bias = torch.empty_like(classifier.weight), torch.empty_like(classifier.bias)
    return weight.uniform_(-bound, bound, generator=generator), bias.uniform_(-bound, bound, generator=generator)


def _balanced(weight: Tensor, bias: Tensor) -> Linear:
    return Linear(weight, bias, torch.zeros(len(bias), dtype=torch.float64))


def _balanced_draws(labels: Tensor, classes: int) -> Tensor:
    return class_draws({"name": "class_balanced"}, labels.bincount(minlength=classes), 1)


def _train(
    weights: list[Tensor],
    logits: Callable[[Tensor], Tensor],
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    features: Tensor,
    labels: Tensor,
    draws: Tensor,
    generator: Generator,
    *,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    longest: float = math.inf,
) -> None:
    """Change `weights` in place by SGD, the learning rate falling from its value to 0 along a cosine.

    logits: a batch of features to what `weights` make of it; draws: how often each class is drawn in an epoch;
    longest: the length to which the rows of the first weight are cut after every step.
    """
    epoch_orders = [order.epoch_order(labels, draws, generator=generator) for _ in range(epochs)]
    batches = [batch for indices in epoch_orders for batch in torch.split(indices, BATCH_SIZE)]
    memory: dict[str, object] = {}
    for weight in weights:
        weight.requires_grad_()
    for number, batch in enumerate(batches):
        losses = loss(logits(features.index_select(0, batch)), labels.index_select(0, batch), draws)
        gradients = torch.autograd.grad(losses.mean(), weights)
        with torch.no_grad():
            sgd(weights, gradients, memory, learning_rate * cosine(number / len(batches)), weight_decay)
        if longest < math.inf:
            weight_steps.shorten_rows(weights[0], longest)
    for weight in weights:
        weight.requires_grad_(False)
