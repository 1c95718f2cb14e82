"""Refits that find a classifier without training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.refits.form import REFITS, Linear

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Generator, Tensor
else:
    torch = lazy_import("torch")
    F = lazy_import("torch.nn.functional")


@REFITS.register
def tau_normalisation(
    features: Tensor,
    labels: Tensor,
    classifier: Linear,
    generator: Generator,
    *,
    tau: Annotated[float, Interval(ge=0, le=10)] = 0.7,
) -> Linear:
    """Each class's weights shortened, the long ones of common classes most; no bias (Kang et al., 2020).

    When: for many classes, whose weights grow the longer the more images a class has. It looks at no image, so it is
    done at once. Two classes have weights of nearly the same length, so for these it changes next to nothing.

        z_j = W_j . x / |W_j|^tau

    W_j are the trained weights of class j. At tau 0 they stay as they are, at 1 all have length 1. Equal lengths need
    not remove the whole prior, so the prior correction still corrects the rest: what it subtracts for a class is
    divided by the same |W_j|^tau.

    Also known as: tau_norm, tau_normalization, tau_normalized.
    """
    scale = classifier.weight.norm(dim=1).clamp(min=1e-12) ** -tau
    left = scale * (classifier.reference - classifier.bias)
    return Linear(scale[:, None] * classifier.weight, torch.zeros_like(classifier.bias), left - left.mean())


@REFITS.register
def nearest_mean(features: Tensor, labels: Tensor, classifier: Linear, generator: Generator) -> Linear:
    """The class whose mean feature has the smallest angle to that of the image (Kang et al., 2020).

    When: to see at once what the features are worth, and where a class has a handful of images: nothing is trained. A
    class that looks now like this, now like that, has a mean that is like neither.

        z_j = m_j . x / |m_j|
        m_j = mean over x of class j of x / |x|

    Every image counts alike, however long its features are. A class without images has a mean of 0. In a cosine
    classifier z_j is 30 times the cosine.

    Also known as: ncm, nearest_class_mean, nearest_centroid.
    """
    sums = torch.zeros_like(classifier.weight).index_add(0, labels, F.normalize(features))
    return classifier.balanced(F.normalize(sums), torch.zeros_like(classifier.bias))
