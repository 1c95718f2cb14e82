"""Optimizers: weights and their gradients to changed weights.

Every method has the form `(weights, gradients, memory, learning_rate, weight_decay, *, options) -> None`: weights and
gradients, lists of tensors of the same shapes; memory, what the optimizer keeps from step to step, empty at the first
and plain data for the checkpoint. The weights and the memory are changed in place. Our own steps rather than
torch.optim's, because making one of those imports a compiler: a second, at the start of every run.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


OPTIMIZERS = Registry("optimizer")  # type: ignore[var-annotated]

Share = Annotated[float, Interval(ge=0, lt=1)]

EPSILON = 1e-8  # keeps AdamW's division finite where a gradient has always been 0


@OPTIMIZERS.register
def sgd(
    weights: list[Tensor],
    gradients: list[Tensor] | tuple[Tensor, ...],
    memory: dict[str, Any],
    learning_rate: float,
    weight_decay: float,
    *,
    momentum: Share = 0.9,
    nesterov: bool = True,
) -> None:
    """Stochastic gradient descent with momentum, as in the long-tail papers (Sutskever et al., 2013).

    When: for convolutional networks from random weights, with a learning rate near 0.1 and a warm-up, which are the
    defaults. Large class weights make steps long: if training diverges, lower the rate or set gradient_clipping.

        g = gradient + weight_decay weight
        v = momentum v + g
        weight = weight - r (g + momentum v)    with nesterov
        weight = weight - r v                   without

    r is the learning rate, v starts at 0.

    Also known as: momentum, nag (nesterov).
    """
    if weight_decay > 0:
        gradients = torch._foreach_add(gradients, weights, alpha=weight_decay)
    if momentum > 0:
        velocity = memory.setdefault("velocity", [torch.zeros_like(weight) for weight in weights])
        torch._foreach_mul_(velocity, momentum)
        torch._foreach_add_(velocity, gradients)
        gradients = torch._foreach_add(gradients, velocity, alpha=momentum) if nesterov else velocity
    torch._foreach_add_(weights, gradients, alpha=-learning_rate)


@OPTIMIZERS.register
def adamw(
    weights: list[Tensor],
    gradients: list[Tensor] | tuple[Tensor, ...],
    memory: dict[str, Any],
    learning_rate: float,
    weight_decay: float,
    *,
    beta1: Share = 0.9,
    beta2: Share = 0.999,
) -> None:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019); wants a learning rate near 0.001.

    When: for pretrained networks, or where sgd takes much tuning: each weight has a step length of its own. The
    default learning_rate of 0.1, which is for sgd, is far too high for it: set learning_rate=0.001.

        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        step = (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + 1e-8)
        weight = (1 - r weight_decay) weight - r step

    g is the gradient, r the learning rate, t the number of the step; m and v start at 0.

    Also known as: adam (weight_decay = 0).
    """
    mean = memory.setdefault("mean", [torch.zeros_like(weight) for weight in weights])
    square = memory.setdefault("square", [torch.zeros_like(weight) for weight in weights])
    steps = memory["steps"] = memory.get("steps", 0) + 1
    torch._foreach_mul_(weights, 1 - learning_rate * weight_decay)
    torch._foreach_lerp_(mean, gradients, 1 - beta1)
    torch._foreach_mul_(square, beta2)
    torch._foreach_addcmul_(square, gradients, gradients, 1 - beta2)
    # Both averages start at 0; the divisions undo that.
    size = torch._foreach_sqrt(square)
    torch._foreach_div_(size, math.sqrt(1 - beta2**steps))
    torch._foreach_add_(size, EPSILON)
    torch._foreach_addcdiv_(weights, mean, size, -learning_rate / (1 - beta1**steps))
