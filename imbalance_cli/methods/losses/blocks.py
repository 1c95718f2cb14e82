"""Losses of large batches, a block of examples at a time, so that what they compute with stays in the cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from imbalance_cli.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from imbalance_cli.methods.losses import slopes
else:
    torch = lazy_import("torch")
    slopes = lazy_import("imbalance_cli.methods.losses.slopes")

BLOCK = 2**18  # logits, for each thread: a megabyte in float32


def in_blocks(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Decorator for a loss whose values each depend on their own example alone: large batches go through it in blocks.

    A processor takes longer to find memory for a matrix of a hundred megabytes than to compute what goes into it, so
    that each step of a formula would cost as much as cross-entropy in all. A graphics card keeps its memory.
    """

    @wraps(loss)
    def taken(logits: Tensor, labels: Tensor, counts: Tensor, **options: Any) -> Tensor:
        bound = partial(loss, counts=counts, **options)
        rows = rows_in_cache(logits)
        learns = logits.requires_grad and torch.is_grad_enabled()
        if len(labels) <= rows or not learns or logits.device.type != "cpu":
            return bound(logits, labels)
        return slopes.in_blocks(bound, logits, labels, rows)

    return taken


def rows_in_cache(logits: Tensor) -> int:
    """How many examples a block of `logits` [batch, classes] has."""
    rows = BLOCK * torch.get_num_threads() // logits.shape[1]
    return max(4, rows - rows % 4)  # in fours, as random numbers come (see `equalization`)
