"""What losses read off the class counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imbalance_cli.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


def log_prior(counts: Tensor) -> Tensor:
    """The logarithm of each class's share of the images; a class without images is treated as having one."""
    counts = at_least_one(counts)
    return (counts / counts.sum()).log()


def at_least_one(counts: Tensor) -> Tensor:
    """`counts` with 1 for 0. Beside a sampler a class may be drawn less than once an epoch, and keeps its fraction."""
    return torch.where(counts > 0, counts, 1.0)


def inverse_shares(counts: Tensor) -> Tensor:
    """Proportional to 1 / count, with sum 1; 0 for a class without images."""
    inverse = torch.where(counts > 0, 1 / at_least_one(counts), 0.0)
    return inverse / inverse.sum()


def rarest_class(counts: Tensor) -> Tensor:
    """The index of the rarest class. Of equals the last: by convention the second of two classes is the minority."""
    return len(counts) - 1 - counts.flip(0).argmin()


def smallest_present(counts: Tensor) -> Tensor:
    """The count of the rarest class that has images."""
    return torch.where(counts > 0, counts, torch.inf).amin()
