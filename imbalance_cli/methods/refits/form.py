"""The form that every refit has, the classifiers it is given and gives back, and the registry that holds them.

What an imbalanced training spoils is mostly the last layer (Kang et al., 2020). Every method has the form
`(features, labels, classifier, generator, *, options) -> Linear`: features float32 [n, d] of the training images and
their labels int64 [n], perhaps resampled; classifier, the trained one, `Linear` or `Cosine` as what is returned;
generator, where all draws come from. Everything is on the CPU, and equal generators give equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from imbalance_cli.lazy import lazy_import
from imbalance_cli.registry import Registry

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Generator, Tensor

    from imbalance_cli import blocks
else:
    torch = lazy_import("torch")
    F = lazy_import("torch.nn.functional")
    blocks = lazy_import("imbalance_cli.blocks")


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
    "lws": "learns how long the weights of each class are to be, which changes nothing in a cosine classifier",
    "tau_normalisation": "makes the weights of all classes more alike in length, which a cosine classifier does anyway",
    "max_norm": "limits how long the weights of a class are, which changes nothing in a cosine classifier",
}
# Whatever the classifier before was, these find the same.
FROM_FEATURES_ALONE = ("crt", "nearest_mean")


@REFITS.register
def none(features: Tensor, labels: Tensor, classifier: Linear, generator: Generator) -> Linear:
    """The classifier as it was trained together with the rest."""
    return classifier
