"""Augmentations that hide a part of each image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.augment.form import AUGMENTATIONS

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


@AUGMENTATIONS.register
def cutout(images: Tensor, draws: Tensor, *, size: Annotated[int, Interval(ge=1, le=1024)] = 8) -> Tensor:
    """A square of each image in its mean colour, centred anywhere in it (DeVries and Taylor, 2017).

    When: against learning a class by one detail; in configs/recipes/best.yaml it is one of several. The square must not
    hide the whole thing: the 8 pixels are for images of 32, and larger images want more.

    At the edge of the image less than the square is hidden.
    """
    height, width = images.shape[2:]
    top = (draws[:, 0] * height).long() - size // 2
    left = (draws[:, 1] * width).long() - size // 2
    return _hide(images, top, top + size, left, left + size)


@AUGMENTATIONS.register
def erasing(
    images: Tensor,
    draws: Tensor,
    *,
    probability: Annotated[float, Interval(ge=0, le=1)] = 0.5,
    largest: Annotated[float, Interval(ge=0.02, le=1)] = 0.33,
) -> Tensor:
    """A rectangle of some images in their mean colour: 0.02 to `largest` of the area (Zhong et al., 2020).

    When: as cutout, for images of any size: what it hides goes by their area, and some images stay whole.

        area = (0.02 + (largest - 0.02) u_1) width height
        height / width of the rectangle = 0.3^(1 - 2 u_2)

    Each u is uniform in 0 to 1. So its height is 0.3 to 1 / 0.3 times its width, as long as both fit; it lies wholly
    within the image.

    Also known as: random_erasing.
    """
    height, width = images.shape[2:]
    area = (0.02 + (largest - 0.02) * draws[:, 1]) * height * width
    ratio = torch.exp((1 - 2 * draws[:, 2]) * math.log(0.3))
    tall = (area * ratio).sqrt().round().clamp(1, height)
    wide = (area / ratio).sqrt().round().clamp(1, width)
    top = (draws[:, 3] * (height - tall + 1)).floor()
    left = (draws[:, 4] * (width - wide + 1)).floor()
    return _hide(images, top, top + tall * (draws[:, 0] < probability), left, left + wide)


def _hide(images: Tensor, top: Tensor, bottom: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Rows `top` to `bottom` and columns `left` to `right`, exclusive, of each image in its mean colour."""
    batch, channels, height, width = images.shape
    pixels = images.permute(0, 2, 3, 1).flatten(2)  # whole rows of pixels, as they lie in memory
    totals = pixels.sum(1, dtype=torch.int32).view(batch, width, channels).sum(1)
    mean = (totals + height * width // 2) // (height * width)
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).repeat_interleave(channels)
    in_rows = (rows >= top.unsqueeze(1)) & (rows < bottom.unsqueeze(1))
    in_columns = (columns >= left.unsqueeze(1)) & (columns < right.unsqueeze(1))
    # Choosing by bits, all of them set where a pixel is hidden, is several times faster than torch.where.
    hidden = (in_rows.to(torch.uint8) * 255).unsqueeze(2) & (in_columns.to(torch.uint8) * 255).unsqueeze(1)
    colour = mean.to(torch.uint8).repeat(1, width).unsqueeze(1)
    changed = pixels ^ ((pixels ^ colour) & hidden)
    return changed.view(batch, height, width, channels).permute(0, 3, 1, 2)
