"""Refits that train a classifier on the features."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.losses.classic import cross_entropy
from imbalance_cli.methods.losses.form import Smoothing
from imbalance_cli.methods.optimizers import sgd
from imbalance_cli.methods.refits.form import REFITS
from imbalance_cli.methods.samplers import class_draws
from imbalance_cli.methods.schedules import cosine
from imbalance_cli.methods.weights import class_weights

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor

    from imbalance_cli import weight_steps
    from imbalance_cli.data import order
    from imbalance_cli.methods import posthoc
    from imbalance_cli.methods.refits.form import Linear
else:
    torch = lazy_import("torch")
    weight_steps = lazy_import("imbalance_cli.weight_steps")
    order = lazy_import("imbalance_cli.data.order")
    posthoc = lazy_import("imbalance_cli.methods.posthoc")

Epochs = Annotated[int, Interval(ge=1, le=100_000)]
Rate = Annotated[float, Interval(gt=0, le=1000)]
Decay = Annotated[float, Interval(ge=0, le=1)]

BATCH_SIZE = 128


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
    """A new classifier, trained on the features with every class drawn equally often: cRT (Kang et al., 2020).

    When: on a finished run whose argmax forgets the rare classes: it takes seconds. Of two very uneven classes it found
    the rare one far more often here than plain training did, but less often than the prior correction of the same
    training. It cannot mend the features, and of a handful of images it learns what is peculiar to them.

        minimise (1 / C) sum_j mean over x of class j of -log p_j
        z_j = W_j . x + b_j

    W_j and b_j are the weights and the bias of class j. They begin at random, so that nothing is left of the trained
    ones; weight_decay keeps them small. The learning rate falls to 0 along a cosine.

    Also known as: classifier_retraining, classifier_re_training, decoupling.
    """
    found = classifier.fresh(generator)
    _train(
        found.parameters,
        found.logits,
        cross_entropy,
        features,
        labels,
        _draws("class_balanced", labels, classifier),
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
    """Each class's trained weights times a number, learned with every class drawn equally often (Kang et al., 2020).

    When: as crt, where the rare classes have too few images to learn a classifier from: one number per class is all
    that is learned. What the trained weights do not look at, it cannot find either.

        z_j = s_j (W_j . x + b_j)

    W_j and b_j, the trained weights and the bias of class j, stay; the s_j, 1 at first, minimise what crt does. A
    class's bias is scaled with its weights, as in the authors' code.

    Also known as: learnable_weight_scaling.
    """
    scale = torch.ones_like(classifier.bias)
    logits = classifier.logits(features)
    _train(
        [scale],
        lambda batch: scale * batch,
        cross_entropy,
        logits,
        labels,
        _draws("class_balanced", labels, classifier),
        generator,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=0.0,
    )
    return classifier.balanced(scale[:, None] * classifier.weight, scale * classifier.bias)


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
    """The trained classifier trained on, its targets spread almost evenly over all classes: LOS (Sun et al., 2025).

    When: for many classes, after training with strong weight decay, as in configs/recipes/label_over_smoothing.yaml. Of
    two very uneven classes it ranked images worst of all recipes here.

        minimise mean over x of -sum_j q_j log p_j
        q_y = 1 - smoothing + smoothing / C
        q_j = smoothing / C for the other classes

    The steps are small and few, so that what comes out lies on the way from the trained classifier rather than where
    the loss is least. What the prior correction subtracts goes the same way.

    Also known as: los, label_oversmoothing, logits_retargeting, lort.
    """
    found = _copy(classifier)
    loss = partial(cross_entropy, label_smoothing=smoothing)
    draws = _draws("instance", labels, classifier)
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
    """The trained classifier trained on, no class's weights longer than `longest` (Alshammari et al., 2022).

    When: for many classes, after training with strong weight decay, as in the paper: it keeps the common classes from
    growing longer weights than the rest, and rare classes count more. Like crt it cannot mend the features. It was not
    measured here.

        minimise mean over x of -w_y log p_y, with |W_j| <= longest
        w_j = k / (1 - beta^N_j), beta = 0.9999, k such that mean w_y = 1
        z_j = W_j . x + b_j

    W_j are the weights of class j in the classifier, cut to `longest` after every step; w_j is its class weight, that
    of the effective number. Images are drawn as often as they are there.

    Also known as: weight_balancing, maxnorm.
    """
    found = _copy(classifier)
    draws = _draws("instance", labels, classifier)
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


def _draws(sampler: str, labels: Tensor, classifier: Linear) -> Tensor:
    """How often the sampler of that name draws each class in an epoch: float64 [classes]."""
    return class_draws({"name": sampler}, labels.bincount(minlength=len(classifier.bias)), 1)


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
