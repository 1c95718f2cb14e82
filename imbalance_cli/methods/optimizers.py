"""Optimizers: parameters to an object that steps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch
    from torch.nn import Parameter
    from torch.optim import Optimizer
else:
    torch = lazy_import("torch")


OPTIMIZERS = Registry("optimizer")  # type: ignore[var-annotated]

Share = Annotated[float, Interval(ge=0, lt=1)]


@OPTIMIZERS.register
def sgd(
    parameters: Iterable[Parameter],
    learning_rate: float,
    weight_decay: float,
    *,
    momentum: Share = 0.9,
    nesterov: bool = True,
) -> Optimizer:
    """Stochastic gradient descent with momentum, as in the long-tail papers (Sutskever et al., 2013)."""
    return torch.optim.SGD(
        parameters,
        lr=learning_rate,
        momentum=momentum,
        weight_decay=weight_decay,
        nesterov=nesterov and momentum > 0,
    )


@OPTIMIZERS.register
def adamw(
    parameters: Iterable[Parameter],
    learning_rate: float,
    weight_decay: float,
    *,
    beta1: Share = 0.9,
    beta2: Share = 0.999,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019); wants a learning rate near 0.001."""
    return torch.optim.AdamW(parameters, lr=learning_rate, betas=(beta1, beta2), weight_decay=weight_decay)
