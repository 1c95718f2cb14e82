"""What is done to weights beside the optimizer's step: averaged, clipped, perturbed, shortened."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Gradients = tuple[Tensor, ...]


class Averaged:
    """An exponential moving average of a model's weights, as a model of its own (Polyak and Juditsky, 1992).

    It counts the first steps more, like a plain average, so that it does not drag the random initial weights along.
    """

    def __init__(self, model: nn.Sequential, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Sequential, steps: int) -> None:
        """Move towards the weights of `model` after its step number `steps`; batch norm's statistics alike."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        averages, current = [], []
        for average, value in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if average.is_floating_point():
                averages.append(average)
                current.append(value)
            else:
                average.copy_(value)
        torch._foreach_lerp_(averages, current, 1 - decay)


def clip(gradients: Gradients, largest: float) -> Gradients:
    """`gradients` scaled down to the length `largest` if they are longer, all together (Pascanu et al., 2013)."""
    scale = (largest / (length(gradients) + 1e-12)).clamp(max=1)
    return tuple(torch._foreach_mul(gradients, scale))


def length(gradients: Gradients) -> Tensor:
    """The Euclidean length of all gradients as one vector: a scalar tensor."""
    lengths = torch.stack(torch._foreach_norm(gradients))
    whole: Tensor = torch.linalg.vector_norm(lengths)
    return whole


@contextmanager
def perturbed(model: nn.Module, weights: list[Tensor], gradients: Gradients, radius: float) -> Iterator[None]:
    """Inside the block the weights lie `radius` up the gradients, as for SAM (Foret et al., 2021).

    Batch norm's running statistics stay as they are meanwhile, because they belong to the weights outside.
    """
    before = [weight.detach().clone() for weight in weights]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    with torch.no_grad():
        torch._foreach_add_(weights, torch._foreach_mul(gradients, radius / (length(gradients) + 1e-12)))
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        with torch.no_grad():
            torch._foreach_copy_(weights, before)


@torch.no_grad()
def shorten_rows(weight: Tensor, longest: float) -> None:
    """Scale each row of the classifier's `weight` [classes, features] down to length `longest`, in place.

    MaxNorm keeps the common classes from growing longer vectors than the rare ones (Alshammari et al., 2022).
    """
    weight.mul_((longest / weight.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1))
