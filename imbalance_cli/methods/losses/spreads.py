"""The values of auc_margin, a block of examples at a time: first the means that they hang on, then the values."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from imbalance_cli.methods.losses.blocks import rows_in_cache


class Sizes(NamedTuple):
    """Of each class how many examples are in it and how many outside, above 0, and its share in the mean: [classes]."""

    inside: Tensor
    outside: Tensor
    judged: Tensor


def values(logits: Tensor, labels: Tensor, parts: Tensor, sizes: Sizes, margin: float) -> Tensor:
    """The values of auc_margin [batch], in the precision of `parts` [batch], how much of an example each is.

    Only the scores are kept, and they become the gradient.
    """
    result: Tensor = _Values.apply(logits, labels, parts, sizes, margin)
    return result


class _Values(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, parts: Tensor, sizes: Sizes, margin: float) -> Tensor:
        rows = rows_in_cache(logits) if logits.device.type == "cpu" else max(1, len(logits))
        scores = _scores(logits, parts.dtype, rows)
        mean_inside, mean_outside = (
            total / size for total, size in zip(_sums(scores, labels, parts, rows), sizes[:2], strict=True)
        )
        shortfall = (margin + mean_outside - mean_inside).clamp(min=0)
        found = (sizes.judged * shortfall.square()).sum().repeat(len(labels))
        scales = parts.sum() * sizes.judged / sizes.inside, parts.sum() * sizes.judged / sizes.outside
        for value, block, label in zip(*(torch.split(each, rows) for each in (found, scores, labels)), strict=True):
            true = label.unsqueeze(1)
            own = block.gather(1, true).squeeze(1) - mean_inside[label]
            others = (block - mean_outside).scatter_(1, true, 0.0)
            value += own.square() * scales[0][label] + others.square_().mul_(scales[1]).sum(1)
        ctx.save_for_backward(logits, labels, parts)
        ctx.sizes, ctx.rows, ctx.scores = sizes, rows, scores
        ctx.statistics = mean_inside, mean_outside, shortfall, *scales
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        logits, labels, parts = ctx.saved_tensors
        mean_inside, mean_outside, shortfall, scale_inside, scale_outside = ctx.statistics
        scores, ctx.scores = ctx.scores, None  # they become the result: new memory would take longer than this
        if scores is None:  # asked again, of a graph that was retained
            scores = _scores(logits, parts.dtype, ctx.rows)
        # The means move the margin's part of every value, and, unless the gradient is that of the mean, the spreads.
        weight_inside = torch.zeros_like(mean_inside).index_add_(0, labels, gradient)
        weight_outside = gradient.sum() - weight_inside
        sum_inside, sum_outside = _sums(scores, labels, gradient, ctx.rows)
        pull = gradient.sum() * ctx.sizes.judged * shortfall
        at_inside = (-pull - scale_inside * (sum_inside - weight_inside * mean_inside)) / ctx.sizes.inside
        at_outside = (pull - scale_outside * (sum_outside - weight_outside * mean_outside)) / ctx.sizes.outside
        for block, label, part, weight in zip(
            *(torch.split(each, ctx.rows) for each in (scores, labels, parts, 2 * gradient)), strict=True
        ):
            true = label.unsqueeze(1)
            own = block.gather(1, true).squeeze(1) - mean_inside[label]
            pulls = (block - mean_outside).mul_(scale_outside).mul_(weight.unsqueeze(1))
            pulls.addcmul_(2 * part.unsqueeze(1), at_outside)
            pulls.scatter_(1, true, (weight * own * scale_inside[label] + 2 * part * at_inside[label]).unsqueeze(1))
            block.mul_(pulls.sub_((pulls * block).sum(1, keepdim=True)))  # through the softmax
        return scores.to(logits), None, None, None, None


def _scores(logits: Tensor, dtype: torch.dtype, rows: int) -> Tensor:
    """The probabilities: [batch, classes]."""
    scores = torch.empty_like(logits, dtype=dtype, memory_format=torch.contiguous_format)
    for block, inputs in zip(torch.split(scores, rows), torch.split(logits, rows), strict=True):
        torch.softmax(inputs.to(dtype), 1, out=block)
    return scores


def _sums(scores: Tensor, labels: Tensor, weights: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """The weighted sums of the scores in each class and of those outside: [classes] each."""
    inside, everywhere = scores.new_zeros(2, scores.shape[1]).unbind()
    for block, label, weight in zip(*(torch.split(each, rows) for each in (scores, labels, weights)), strict=True):
        inside.index_add_(0, label, weight * block.gather(1, label.unsqueeze(1)).squeeze(1))
        everywhere += (block * weight.unsqueeze(1)).sum(0)
    return inside, everywhere - inside
