"""Augmentation that changes colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from imbalance_cli.methods.augment import operations
from imbalance_cli.methods.augment.form import AUGMENTATIONS

if TYPE_CHECKING:
    from torch import Tensor

Strength = Annotated[float, Interval(ge=0, le=1)]


@AUGMENTATIONS.register
def colour(
    images: Tensor,
    draws: Tensor,
    *,
    brightness: Strength = 0.2,
    contrast: Strength = 0.2,
    saturation: Strength = 0.2,
    hue: Annotated[float, Interval(ge=0, le=0.5)] = 0.02,
) -> Tensor:
    """Brightness, contrast, saturation and hue of each image changed by a little (Howard, 2013).

    In that order: each of the first three times a factor uniform in 1 - strength to 1 + strength, the hue moved by
    up to `hue` turns of the colour wheel either way.
    """
    by = 2 * draws - 1
    if brightness:
        images = operations.brightness(images, brightness * by[:, 0])
    if contrast:
        images = operations.contrast(images, contrast * by[:, 1])
    if saturation:
        images = operations.saturation(images, saturation * by[:, 2])
    if hue:
        images = operations.hue(images, hue * by[:, 3])
    return images
