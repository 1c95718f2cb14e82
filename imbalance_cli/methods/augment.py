"""Augmentation: a whole batch of images to a changed batch.

Every method has the form `(images, draws, *, options) -> Tensor`: images uint8 [batch, 3, height, width], on any
device; draws, numbers uniform in [0, 1), float [batch, DRAWS]. An image's own row is all the randomness it sees, so
the draws of a whole epoch can be made at once and any batch of it made again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.registry import Registry

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor
else:
    torch = lazy_import("torch")
    F = lazy_import("torch.nn.functional")


AUGMENTATIONS = Registry("augmentation")  # type: ignore[var-annotated]

DRAWS = 4  # uniform numbers per image and augmentation


@AUGMENTATIONS.register
def crop(images: Tensor, draws: Tensor, *, padding: Annotated[int, Interval(ge=1, le=64)] = 4) -> Tensor:
    """Each image shifted by up to `padding` pixels either way, black beyond its edge (He et al., 2016)."""
    batch, _, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    offsets = (draws[:, :2] * (2 * padding + 1)).long()
    rows = offsets[:, :1] + torch.arange(height, device=images.device)
    columns = offsets[:, 1:2] + torch.arange(width, device=images.device)
    which = torch.arange(batch, device=images.device)
    cropped = padded[which[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)


@AUGMENTATIONS.register
def flip(images: Tensor, draws: Tensor, *, probability: Annotated[float, Interval(ge=0, le=1)] = 0.5) -> Tensor:
    """Each image mirrored left to right with the given probability."""
    return torch.where((draws[:, 0] < probability)[:, None, None, None], images.flip(3), images)
