"""Values that bring their own gradient, where autograd would keep and walk many matrices in place of one."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def with_slopes(values: Tensor, slopes: Tensor, inputs: Tensor) -> Tensor:
    """`values` [batch], each a function of its row of `inputs` [batch, n] with the gradient `slopes` [batch, n].

    Give values and slopes computed under torch.no_grad().
    """
    result: Tensor = _WithSlopes.apply(values, slopes, inputs)
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
