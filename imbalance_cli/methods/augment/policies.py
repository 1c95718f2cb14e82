"""Augmentations that draw from a set of operations: TrivialAugment, RandAugment, AutoAugment.

A space says how far each operation goes. Strength, 0 to 1, lies between its weakest and its strongest magnitude.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

from annotated_types import Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.augment.form import AUGMENTATIONS
from imbalance_cli.methods.augment.operations import (
    autocontrast,
    brightness,
    contrast,
    equalize,
    identity,
    invert,
    posterize,
    rotate,
    saturation,
    sharpness,
    shear_x,
    shear_y,
    solarize,
    translate_x,
    translate_y,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


class Reach(NamedTuple):
    """How far an operation goes; with `signed`, in a direction drawn for each image."""

    operation: Callable[[Tensor, Tensor], Tensor]
    weakest: float = 0.0
    strongest: float = 0.0
    signed: bool = False


WIDE = (
    Reach(identity),
    Reach(shear_x, 0, 0.99, signed=True),
    Reach(shear_y, 0, 0.99, signed=True),
    Reach(translate_x, 0, 32, signed=True),
    Reach(translate_y, 0, 32, signed=True),
    Reach(rotate, 0, 135, signed=True),
    Reach(brightness, 0, 0.99, signed=True),
    Reach(saturation, 0, 0.99, signed=True),
    Reach(contrast, 0, 0.99, signed=True),
    Reach(sharpness, 0, 0.99, signed=True),
    Reach(posterize, 8, 2),
    Reach(solarize, 256, 0),
    Reach(autocontrast),
    Reach(equalize),
)


def narrow(images: Tensor) -> tuple[Reach, ...]:
    """The space of RandAugment; AutoAugment has `invert` besides."""
    height, width = images.shape[2:]
    return (
        Reach(identity),
        Reach(shear_x, 0, 0.3, signed=True),
        Reach(shear_y, 0, 0.3, signed=True),
        Reach(translate_x, 0, 150 / 331 * width, signed=True),
        Reach(translate_y, 0, 150 / 331 * height, signed=True),
        Reach(rotate, 0, 30, signed=True),
        Reach(brightness, 0, 0.9, signed=True),
        Reach(saturation, 0, 0.9, signed=True),
        Reach(contrast, 0, 0.9, signed=True),
        Reach(sharpness, 0, 0.9, signed=True),
        Reach(posterize, 8, 4),
        Reach(solarize, 256, 0),
        Reach(autocontrast),
        Reach(equalize),
    )


# What AutoAugment found for CIFAR-10: two operations one after the other, each with its probability and its level, 0 to
# 9, which is written as 0 for operations that know no magnitude.
CIFAR10_POLICY = (
    ((invert, 0.1, 0), (contrast, 0.2, 6)),
    ((rotate, 0.7, 2), (translate_x, 0.3, 9)),
    ((sharpness, 0.8, 1), (sharpness, 0.9, 3)),
    ((shear_y, 0.5, 8), (translate_y, 0.7, 9)),
    ((autocontrast, 0.5, 0), (equalize, 0.9, 0)),
    ((shear_y, 0.2, 7), (posterize, 0.3, 7)),
    ((saturation, 0.4, 3), (brightness, 0.6, 7)),
    ((sharpness, 0.3, 9), (brightness, 0.7, 9)),
    ((equalize, 0.6, 0), (equalize, 0.5, 0)),
    ((contrast, 0.6, 7), (sharpness, 0.6, 5)),
    ((saturation, 0.7, 7), (translate_x, 0.5, 8)),
    ((equalize, 0.3, 0), (autocontrast, 0.4, 0)),
    ((translate_y, 0.4, 3), (sharpness, 0.2, 6)),
    ((brightness, 0.9, 6), (saturation, 0.2, 8)),
    ((solarize, 0.5, 2), (invert, 0.0, 0)),
    ((equalize, 0.2, 0), (autocontrast, 0.6, 0)),
    ((equalize, 0.2, 0), (equalize, 0.6, 0)),
    ((saturation, 0.9, 9), (equalize, 0.6, 0)),
    ((autocontrast, 0.8, 0), (solarize, 0.2, 8)),
    ((brightness, 0.1, 3), (saturation, 0.7, 0)),
    ((solarize, 0.4, 5), (autocontrast, 0.9, 0)),
    ((translate_y, 0.9, 9), (translate_y, 0.7, 9)),
    ((autocontrast, 0.9, 0), (solarize, 0.8, 3)),
    ((equalize, 0.8, 0), (invert, 0.1, 0)),
    ((translate_y, 0.7, 9), (autocontrast, 0.9, 0)),
)


@AUGMENTATIONS.register
def trivial_augment(images: Tensor, draws: Tensor) -> Tensor:
    """One operation of 14 on each image, at any strength, however strong (Mueller and Hutter, 2021).

    When: to begin with among the three policies, because there is nothing to tune. It wants a long training, to see
    enough of each image as it is.

    The operations shear, move or turn the image, change its brightness, colour, contrast or sharpness, coarsen or
    invert its values, spread them, or leave it as it is. Operation and strength, of 31, are drawn for each image.

    Also known as: trivialaugment, trivial_augment_wide.
    """
    chosen = (draws[:, 0] * len(WIDE)).long()
    strength = (draws[:, 1] * 31).floor() / 30
    return _apply(images, WIDE, chosen, strength, draws[:, 2])


@AUGMENTATIONS.register
def rand_augment(
    images: Tensor,
    draws: Tensor,
    *,
    operations: Annotated[int, Interval(ge=1, le=4)] = 2,
    magnitude: Annotated[float, Interval(ge=0, le=30)] = 9.0,
) -> Tensor:
    """A few operations of 14 on each image, 2 by default, one after the other, all equally strong (Cubuk et al., 2020).

    When: where you can try several values of operations and magnitude: the best depend on the data and the size of the
    network. Else trivial_augment.

    All operations are at the same magnitude, of which 0 is next to nothing and 30 the strongest; which ones they are is
    drawn for each image. They are those of trivial_augment, with a smaller reach.

    Also known as: randaugment.
    """
    space = narrow(images)
    strength = torch.full_like(draws[:, 0], magnitude / 30)
    for number in range(operations):
        chosen = (draws[:, 2 * number] * len(space)).long()
        images = _apply(images, space, chosen, strength, draws[:, 2 * number + 1])
    return images


@AUGMENTATIONS.register
def auto_augment(images: Tensor, draws: Tensor) -> Tensor:
    """One of the 25 pairs of operations that a search found best for CIFAR-10 (Cubuk et al., 2019).

    When: for small photographs like those of CIFAR-10, as many papers on long tails do. The search saw all of CIFAR-10,
    so a comparison with methods that saw fewer images is not quite fair. For other images trivial_augment.

    The pair is drawn for each image. Each operation of it comes with a probability and a strength of its own.

    Also known as: autoaugment, autoaugment_cifar10.
    """
    space = (*narrow(images), Reach(invert))
    numbers = {reach.operation: number for number, reach in enumerate(space)}
    pair = (draws[:, 0] * len(CIFAR10_POLICY)).long()
    for turn in range(2):
        rows = [(numbers[steps[turn][0]], *steps[turn][1:]) for steps in CIFAR10_POLICY]
        policy = torch.tensor(rows, dtype=draws.dtype).to(images.device, non_blocking=True)
        chosen, probability, level = policy[pair].unbind(1)
        chosen = torch.where(draws[:, 1 + turn] < probability, chosen.long(), 0)
        images = _apply(images, space, chosen, level / 9, draws[:, 3 + turn])
    return images


def _apply(images: Tensor, space: Sequence[Reach], chosen: Tensor, strength: Tensor, side: Tensor) -> Tensor:
    """To each image operation number `chosen`, int64 [batch], at `strength`, in 0 to 1, backwards if side < 0.5."""
    sign = torch.where(side < 0.5, -1.0, 1.0)
    images = images.clone()
    for number, (operation, weakest, strongest, signed) in enumerate(space):
        magnitudes = weakest + (strongest - weakest) * strength
        _replace(images, chosen == number, operation, magnitudes * sign if signed else magnitudes)
    return images


def _replace(images: Tensor, mask: Tensor, operation: Callable[[Tensor, Tensor], Tensor], magnitudes: Tensor) -> None:
    if images.device.type != "cpu":  # counting the rows would wait for the device; computing them all does not
        images.copy_(torch.where(mask.view(-1, 1, 1, 1), operation(images, magnitudes), images))
        return
    rows = mask.nonzero().squeeze(1)
    if len(rows):
        pixels = images.permute(0, 2, 3, 1)  # as they lie in memory, so that each image is copied in one piece
        changed = operation(pixels.index_select(0, rows).permute(0, 3, 1, 2), magnitudes[rows])
        pixels.index_copy_(0, rows, changed.permute(0, 2, 3, 1))
