"""Values that bring their own gradient, where autograd would keep and walk many matrices in place of one."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Loss = Callable[[Tensor, Tensor], Tensor]


def with_slopes(values: Tensor, slopes: Tensor, inputs: Tensor) -> Tensor:
    """`values` [batch], each a function of its row of `inputs` [batch, n] with the gradient `slopes` [batch, n].

    Give values and slopes computed under torch.no_grad().
    """
    result: Tensor = _WithSlopes.apply(values, slopes, inputs)
    return result


def in_blocks(loss: Loss, logits: Tensor, labels: Tensor, rows: int) -> Tensor:
    """`loss` [batch] of logits [batch, classes] and labels [batch] on the CPU, so many rows at a time.

    Its values must each depend on their own row alone. Only their gradient is kept.
    """
    result: Tensor = _InBlocks.apply(loss, logits, labels, rows)
    return result


class _WithSlopes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, slopes: Tensor, inputs: Tensor) -> Tensor:
        ctx.save_for_backward(slopes)
        return values.view_as(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        (slopes,) = ctx.saved_tensors
        return None, None, gradient.unsqueeze(1) * slopes


class _InBlocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Loss, logits: Tensor, labels: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(logits, labels)
        ctx.loss, ctx.rows, ctx.random_state = loss, rows, torch.get_rng_state()
        values, ctx.slopes = _values_and_slopes(loss, logits, labels, rows)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None, None]:
        logits, labels = ctx.saved_tensors
        slopes, ctx.slopes = ctx.slopes, None  # they become the result: new memory would take longer than this
        if slopes is None:  # asked again, of a graph that was retained
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(ctx.random_state)
                _, slopes = _values_and_slopes(ctx.loss, logits, labels, ctx.rows)
        return None, slopes.mul_(gradient.unsqueeze(1)), None, None


@torch.enable_grad()
def _values_and_slopes(loss: Loss, logits: Tensor, labels: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    values = torch.empty(len(logits), dtype=logits.dtype)
    slopes = torch.empty(logits.shape, dtype=logits.dtype)
    blocks = zip(*(torch.split(each, rows) for each in (values, slopes, logits.detach(), labels)), strict=True)
    for value, slope, inputs, targets in blocks:
        found = loss(inputs.requires_grad_(), targets)
        slope.copy_(torch.autograd.grad(found.sum(), inputs)[0])
        value.copy_(found.detach())
    return values, slopes
