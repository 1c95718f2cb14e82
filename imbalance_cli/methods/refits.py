"""Refits: a trained network's features to another classifier of the same kind on top of them.

What an imbalanced training spoils is mostly the last layer (Kang et al., 2020). Every method has the form
`(features, labels, classifier, generator, *, options) -> Linear`: features float32 [n, d] of the training images and
their labels int64 [n], perhaps resampled; classifier, the trained one, `Linear` or `Cosine` as what is returned;
generator, where all draws come from. Everything is on the CPU, and equal generators give equal bytes.
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

    from imbalance_cli import blocks, weight_steps
    from imbalance_cli.data import order
    from imbalance_cli.methods import posthoc
else:
    torch = lazy_import("torch")
    F = lazy_import("torch.nn.functional")
    blocks = lazy_import("imbalance_cli.blocks")
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

    @property
    def parameters(self) -> list[Tensor]:
        """What training may change."""
        return [self.weight, self.bias]

    @property
    def rows(self) -> Tensor:
        """What `seen` features are multiplied with."""
        return self.weight

    def seen(self, features: Tensor) -> Tensor:
        """What counts of `features`."""
        return features

    def logits(self, features: Tensor) -> Tensor:
        """What the classifier makes of `features`, [n, classes]."""
        return F.linear(self.seen(features), self.rows, self.bias)

    def fresh(self, generator: Generator) -> Linear:
        """An untrained classifier of this kind, drawn as PyTorch draws a linear layer; without a reference yet."""
        bound = 1 / math.sqrt(self.weight.shape[1])
        weight, bias = torch.empty_like(self.weight), torch.empty_like(self.bias)
        weight.uniform_(-bound, bound, generator=generator)
        return self._replace(weight=weight, bias=bias.uniform_(-bound, bound, generator=generator))

    def balanced(self, weight: Tensor, bias: Tensor) -> Linear:
        """One of this kind that is balanced by itself."""
        return self._replace(weight=weight, bias=bias, reference=torch.zeros(len(bias), dtype=torch.float64))


class Cosine(Linear):
    """A cosine classifier, as `blocks.CosineClassifier`: linear in features of length 1, by rows all equally long.

    The length of its rows of `weight` changes nothing, and its bias stays 0.
    """

    @property
    def parameters(self) -> list[Tensor]:
        return [self.weight]

    @property
    def rows(self) -> Tensor:
        return blocks.CosineClassifier.SCALE * F.normalize(self.weight)

    def seen(self, features: Tensor) -> Tensor:
        return F.normalize(features)

    def fresh(self, generator: Generator) -> Linear:
        """Drawn as `blocks.CosineClassifier` draws its rows."""
        return self._replace(weight=torch.empty_like(self.weight).normal_(generator=generator))


REFITS: Registry[Callable[..., Linear]] = Registry("refit")

# What has no use on a cosine classifier, and why.
NEEDS_LENGTHS = {
    "lws": "learns how long each row is to be, which changes nothing in a cosine classifier",
    "tau_normalisation": "makes the rows more equally long, as which a cosine classifier takes them anyway",
    "max_norm": "limits how long the rows are, which changes nothing in a cosine classifier",
}
# Whatever the classifier before was, these find the same.
FROM_FEATURES_ALONE = ("crt", "nearest_mean")

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
    found = classifier.fresh(generator)
    _train(
        found.parameters,
        found.logits,
        cross_entropy,
        features,
        labels,
        _balanced_draws(labels, len(found.bias)),
        generator,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
    )
    return classifier.balanced(found.weight, found.bias)


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
    logits = classifier.logits(features)
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
    return classifier.balanced(scale[:, None] * classifier.weight, scale * classifier.bias)


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
    return classifier.balanced(F.normalize(sums), torch.zeros_like(classifier.bias))


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
    found = _copy(classifier)
    loss = partial(cross_entropy, label_smoothing=smoothing)
    draws = labels.bincount(minlength=len(found.bias)).double()
    _train(
        found.parameters,
        found.logits,
        loss,
        features,
        labels,
        draws,
        generator,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=0.0,
    )
    return found._replace(reference=_reference_now(features, classifier, found))


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
    found = _copy(classifier)
    draws = labels.bincount(minlength=len(found.bias)).double()
    weights = class_weights({"name": "effective_number"}, draws)
    _train(
        found.parameters,
        found.logits,
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
    return found._replace(reference=torch.from_numpy(posthoc.uninformative_logits(cross_entropy, draws, weights)))


def _reference_now(features: Tensor, before: Linear, now: Linear) -> Tensor:
    """What `now` makes of an image of which `before` makes its reference: float64 [classes], mean 0.

    Such an image says nothing about its class, so this is the reference of a classifier that comes from the trained
    one, however far it has gone. Of all the features that an image could have then, those expected by a linear
    regression of `features` on their logits are taken.
    """
    seen = before.seen(features).double()
    mean = seen.mean(0)
    apart = seen - mean
    covariance = apart.T @ apart / len(apart)
    rows = before.rows.double() - before.rows.double().mean(0)  # logits count up to a constant
    missing = before.reference - (rows @ mean + before.bias.double())
    missing = missing - missing.mean()
    # Nothing can be told along a direction in which the images vary less than 1e-3 of the most.
    spread: Tensor = torch.linalg.pinv(rows @ covariance @ rows.T, hermitian=True, rtol=1e-6)
    expected = mean + covariance @ rows.T @ spread @ missing
    logits: Tensor = now.rows.double() @ expected + now.bias.double()
    return logits - logits.mean()


def _copy(classifier: Linear) -> Linear:
    return classifier._replace(weight=classifier.weight.clone(), bias=classifier.bias.clone())


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
