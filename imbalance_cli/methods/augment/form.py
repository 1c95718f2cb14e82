"""The form that every augmentation has, and the registry that holds them.

An augmentation is a function `(images, draws, *, options) -> Tensor`: images uint8 [batch, 3, height, width], channels
last in memory, on any device; draws, numbers uniform in [0, 1), float [batch, DRAWS]. It gives back changed images of
the same form. An image's own row of draws is all the randomness it sees, so the draws of a whole epoch can be made at
once and any batch of it made again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from imbalance_cli.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

AUGMENTATIONS: Registry[Callable[..., Tensor]] = Registry("augmentation")

DRAWS = 8  # uniform numbers per image and augmentation
