"""Augmentations that move pixels: crop, flip, affine maps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.augment.form import AUGMENTATIONS
from imbalance_cli.methods.augment.operations import warp

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor
else:
    torch = lazy_import("torch")
    F = lazy_import("torch.nn.functional")


@AUGMENTATIONS.register
def crop(images: Tensor, draws: Tensor, *, padding: Annotated[int, Interval(ge=1, le=64)] = 4) -> Tensor:
    """Each image shifted by up to `padding` pixels either way, black beyond its edge (He et al., 2016).

    When: for photographs, in which things may stand anywhere: it is on by default. The 4 pixels are for images of 32;
    larger images want more. Where the place itself says the class, leave it out.

    Each shift, to the side and up or down, is equally likely.

    Also known as: random_crop.
    """
    batch, _, height, width = images.shape
    windows = F.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)  # a view of all crops
    top, left = (draws[:, :2] * (2 * padding + 1)).long().unbind(1)
    return windows[torch.arange(batch, device=images.device), :, top, left]


@AUGMENTATIONS.register
def flip(images: Tensor, draws: Tensor, *, probability: Annotated[float, Interval(ge=0, le=1)] = 0.5) -> Tensor:
    """Each image mirrored left to right with the given probability.

    When: wherever a mirrored image is of the same class: it is on by default. Leave it out for text, digits and
    whatever else has a left and a right: augment: [crop].

    Also known as: horizontal_flip, random_horizontal_flip, hflip.
    """
    batch = len(images)
    pixels = images.permute(0, 2, 3, 1)
    both = torch.cat([pixels, pixels.flip(2)])
    mirrored = draws[:, 0] < probability
    # Whole images out of channels-last memory: several times faster than choosing pixel by pixel.
    chosen = both.index_select(0, torch.arange(batch, device=images.device) + batch * mirrored)
    return chosen.permute(0, 3, 1, 2)


@AUGMENTATIONS.register
def affine(
    images: Tensor,
    draws: Tensor,
    *,
    rotation: Annotated[float, Interval(ge=0, le=180)] = 15.0,
    scale: Annotated[float, Interval(ge=0, lt=1)] = 0.15,
    translation: Annotated[float, Interval(ge=0, le=1)] = 0.0,
    shear: Annotated[float, Interval(ge=0, lt=90)] = 0.0,
) -> Tensor:
    """Each image turned, scaled, moved and sheared by a little, black beyond its edge (Simard et al., 2003).

    When: with few images of a class, in a training long enough to see many versions of each; it is one of several in
    configs/recipes/best_long.yaml, of 120 epochs; in 30 that recipe did better here without it. Where a turned thing is
    another, as 6 and 9, keep rotation small.

        angle = rotation u_1
        size = 1 + scale u_2
        shift = translation (u_3 width, u_4 height)
        slant = shear u_5

    Each u is uniform in -1 to 1, drawn anew for each image; rotation and shear are in degrees.

    Also known as: random_affine.
    """
    height, width = images.shape[2:]
    turn, growth, right, down, slant = (2 * draws[:, :5] - 1).unbind(1)
    cosine, sine = (turn * math.radians(rotation)).cos(), (turn * math.radians(rotation)).sin()
    slant = (slant * math.radians(shear)).tan()
    size = 1 + scale * growth
    x = (cosine - sine * slant) / size, (sine + cosine * slant) / size
    y = -sine / size, cosine / size
    right, down = right * translation * width, down * translation * height
    return warp(images, (*x, -x[0] * right - x[1] * down), (*y, -y[0] * right - y[1] * down))
