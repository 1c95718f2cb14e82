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

    When: for photographs in any light, with few images of a class; in configs/recipes/best.yaml it is one of several.
    Where colour tells the classes apart, set hue and saturation to 0 or leave it out.

        brightness, contrast and saturation times 1 + strength u
        hue moved by hue u turns of the colour wheel

    In that order, each with a u of its own, uniform in -1 to 1; strength is the option of that name. Options of 0
    change nothing.

    Also known as: color_jitter, colour_jitter, color.
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
